"""The page on reliability: every promise has tests, and those are there."""

import re
from pathlib import Path

import pytest

from tests.support.tools import ROOT

PAGE = ROOT / "doc" / "reliability.md"
PROMISES = re.findall(r"^\*\*(P\d+)\. (.*?)(?=^\*\*P|^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PROOF = re.compile(r"\[test_\w+\.py\]\((\.\./tests/[\w/]+\.py)\)(?:: ((?:`test_\w+`(?:, )?)+))?")


def proofs(text: str) -> list[tuple[Path, list[str]]]:
    """The files that a promise names, each with the tests that it names in it."""
    return [(PAGE.parent / path, re.findall(r"`(test_\w+)`", names)) for path, names in PROOF.findall(text)]


def test_all_ten_are_there() -> None:
    assert [number for number, _ in PROMISES] == [f"P{number}" for number in range(1, 11)]


@pytest.mark.parametrize(("number", "text"), PROMISES)
def test_each_names_tests_that_exist(number: str, text: str) -> None:
    named = proofs(text)
    assert named, f"{number} has no proof"
    for path, tests in named:
        defined = set(re.findall(r"^(?:async def |def |)(test_\w+|Test\w+)(?:\(| = )", path.read_text(), re.MULTILINE))
        assert defined, f"{path} has no tests"
        assert set(tests) <= defined, f"{number}: {set(tests) - defined} are not in {path}"


def test_no_test_is_named_outside_of_a_proof() -> None:
    """Else a misspelled link would hide its tests from this."""
    for number, text in PROMISES:
        found = {name for _, tests in proofs(text) for name in tests}
        assert set(re.findall(r"`(test_\w+)`", text)) == found, number
