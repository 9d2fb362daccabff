"""The page on reliability: every claim has tests, and those are there."""

import re
from pathlib import Path

import pytest

from tests.support.tools import ROOT

PAGE = ROOT / "doc" / "reliability.md"
CLAIMS = re.findall(r"^\*\*(P\d+|[A-Z][a-z ]+)\b(.*?)(?=^\*\*|^## )", PAGE.read_text(), re.MULTILINE | re.DOTALL)
"""The ten promises, and what people notice: each begins a paragraph in bold type."""
PROOF = re.compile(r"\[test_\w+\.py\]\((\.\./tests/[\w/]+\.py)\)(?:: ((?:`test_\w+`(?:, )?)+))?")


def proofs(text: str) -> list[tuple[Path, list[str]]]:
    """The files that a claim names, each with the tests that it names in it."""
    return [(PAGE.parent / path, re.findall(r"`(test_\w+)`", names)) for path, names in PROOF.findall(text)]


def test_all_are_there() -> None:
    names = [name for name, _ in CLAIMS]
    assert names[:10] == [f"P{number}" for number in range(1, 11)]
    assert names[10:] == ["The network", "The page", "The user", "The application", "Time"]


@pytest.mark.parametrize(("name", "text"), CLAIMS)
def test_each_names_tests_that_exist(name: str, text: str) -> None:
    named = proofs(text)
    assert named, f"{name} has no proof"
    for path, tests in named:
        defined = set(re.findall(r"^(?:async def |def |)(test_\w+|Test\w+)(?:\(| = )", path.read_text(), re.MULTILINE))
        assert defined, f"{path} has no tests"
        assert set(tests) <= defined, f"{name}: {set(tests) - defined} are not in {path}"


def test_no_test_is_named_outside_of_a_proof() -> None:
    """Else a misspelled link would hide its tests from this."""
    for name, text in CLAIMS:
        found = {test for _, tests in proofs(text) for test in tests}
        assert set(re.findall(r"`(test_\w+)`", text)) == found, name
