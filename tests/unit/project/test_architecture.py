"""doc/architecture.md describes the tree as it is."""

import re

from tests.support.tools import ROOT

PAGE = (ROOT / "doc" / "architecture.md").read_text()


def packages() -> set[str]:
    return {str(path.parent.relative_to(ROOT)) + "/" for path in (ROOT / "incoming").rglob("__init__.py")} - {
        "incoming/"
    }


def test_every_package_has_its_row() -> None:
    rows = set(re.findall(r"^\| `(incoming/[\w/]+/)` \|", PAGE, re.MULTILINE))
    in_python = {row for row in rows if not row.startswith("incoming/js/")}
    assert in_python == packages()


def test_every_folder_of_the_browser_library_has_its_row() -> None:
    rows = set(re.findall(r"^\| `(incoming/js/\w+/)` \|", PAGE, re.MULTILINE))
    folders = {str(path.parent.relative_to(ROOT)) + "/" for path in (ROOT / "incoming" / "js").glob("*/*.js")}
    assert rows == folders - {"incoming/js/dist/"}


def test_every_file_that_is_named_is_there() -> None:
    named = re.findall(r"`((?:incoming|tests)/[\w/]+(?:\.\w+|/))`", PAGE)
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_order_of_the_layers_is_that_of_the_rules() -> None:
    [order] = re.findall(r"^ {4}(core, .*)$", PAGE, re.MULTILINE)
    source = (ROOT / "tests" / "unit" / "project" / "test_layering.py").read_text()
    rules = dict(re.findall(r'^    "(\w+)": "([\w ]*)",$', source, re.MULTILINE))
    layers = [layer.split(", ") for layer in order.split(" < ")]
    below: set[str] = set()
    for layer in layers:
        for package in layer:
            assert set(rules[package].split()) <= below
        below |= set(layer)
