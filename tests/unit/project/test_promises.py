"""The list of promises is whole, fresh, and every `must` on it has a test."""

import ast
from pathlib import Path

import pytest

from tools import promises
from tools.promises import Proof

PAGE = promises.PAGE.read_text()


def test_every_promise_is_listed_once() -> None:
    assert [promise.number for promise in promises.promises(PAGE)] == list(range(1, 138))
    assert {promise.kind for promise in promises.promises(PAGE)} == {"must", "quality", "option"}


def test_the_page_is_fresh() -> None:
    assert promises.rendered(PAGE, promises.proofs()) == PAGE, "run python tools/promises.py and commit the page"


def test_every_must_has_a_test() -> None:
    missing = [f"{promise.number} {promise.text}" for promise in promises.unproved(PAGE, promises.proofs())]
    assert not missing, "\n".join(missing)


ROWS = """| 1 | must | One. | |
| 2 | must | Two. | [old.py](../tests/old.py): `test_gone` |
| 3 | quality | Three. | |
"""


def test_claims_are_found_wherever_pytest_takes_marks(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_a.py").write_text(
        "pytestmark = [pytest.mark.promise(1), pytest.mark.slow]\n"
        "@pytest.mark.promise(2, *range(4, 6))\n"
        "async def test_one(): ...\n"
        "def not_a_test(): ...\n"
        "class TestMore:\n"
        "    @pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.promise(6))])\n"
        "    def test_two(self, x): ...\n"
    )
    (tests / "b.test.js").write_text('test("promises 7, 8-9 and 3: it\\"s so", () => {});\nit(`no claim 12`, f);')
    (tests / "c.js").write_text('test("promise 11", f)')
    found = promises.proofs(tests)
    one, two = Proof("tests/test_a.py", "test_one"), Proof("tests/test_a.py", "test_two")
    js = Proof("tests/b.test.js", 'promises 7, 8-9 and 3: it\\"s so')
    assert found == {1: [one, two], 2: [one], 4: [one], 5: [one], 6: [two], 7: [js], 8: [js], 9: [js], 3: [js]}


def test_computed_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="line 2"):
        list(promises._python_claims(ast.parse("N = 3\n@pytest.mark.promise(N)\ndef test_x(): ...")))


def test_the_last_column_is_made_anew() -> None:
    proofs = {1: [Proof("tests/a/test_x.py", "test_p"), Proof("tests/a/test_x.py", "test_q")], 3: []}
    assert promises.rendered(ROWS, proofs) == (
        "| 1 | must | One. | [test_x.py](../tests/a/test_x.py): `test_p`, `test_q` |\n"
        "| 2 | must | Two. | |\n"
        "| 3 | quality | Three. | |\n"
    )
    assert promises.rendered(promises.rendered(ROWS, proofs), {}) == promises.rendered(ROWS, {})


def test_a_must_without_a_test_is_noticed() -> None:
    proof = [Proof("tests/test_x.py", "test_p")]
    assert [promise.number for promise in promises.unproved(ROWS, {1: proof})] == [2]
    assert promises.unproved(ROWS, {1: proof, 2: proof}) == []


def test_a_number_that_is_no_promise_is_noticed() -> None:
    with pytest.raises(ValueError, match=r"99 in tests/test_x\.py"):
        promises.rendered(ROWS, {99: [Proof("tests/test_x.py", "test_p")]})
