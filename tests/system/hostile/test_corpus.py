"""The table of hostile input has every row, and every test that it names exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.tools import ROOT

PAGE = (Path(__file__).parent / "README.md").read_text()
ROWS = {
    cells[0]: re.findall(r"`([\w/.]+\.py)::([\w*]+)`", cells[-1])
    for line in PAGE.splitlines()
    if (cells := [cell.strip() for cell in line.strip("|").split("|")]) and len(cells) == 3 and "::" in cells[-1]
}


@cache
def names_in(file: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / file).read_text())
    return {
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def test_every_row_of_hostile_input_exists() -> None:
    assert [name for name in ROWS if re.fullmatch(r"H\d+", name)] == [f"H{number}" for number in range(1, 17)]
    assert {name[0] for name in ROWS if " " in name} == set("ABCDE")


@pytest.mark.parametrize("row", ROWS)
def test_the_tests_of_a_row_exist(row: str) -> None:
    assert ROWS[row]
    for file, test in ROWS[row]:
        found = names_in(file)
        assert found if test == "*" else test in found, f"{file}::{test}"
