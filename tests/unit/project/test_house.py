"""House rules that a machine can see: sizes, names, leftovers, and that what is written about the project holds."""

import ast
import itertools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.tools import ROOT

# A file that passes 400 lines, or a function that passes 40, is asking to be two. Where the answer is no, it stands
# here with the reason. Nothing passes the second figure.
FILE_LINES, FILE_LINES_LIMIT = 400, 500
FUNCTION_LINES, FUNCTION_LINES_LIMIT = 40, 60
MAY_BE_LONGER: dict[str, str] = {}

VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "tools", "lib"}


def sources(*folders: str, suffixes: tuple[str, ...] = (".py", ".js")) -> Iterator[Path]:
    """The project's own files: neither built nor installed nor made by a run."""
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*")):
            parts = path.relative_to(ROOT).parts
            if path.suffix in suffixes and not {"dist", "node_modules", "__pycache__"} & set(parts):
                if parts[0] == "examples" and "uploads" in parts:  # what the examples have received
                    continue
                yield path


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def function_lengths(source: str) -> dict[str, int]:
    """Lines of every function by its name, without docstring."""
    lengths = {}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if ast.get_docstring(node, clean=False) is not None:
                docstring = node.body[0]
                lines -= (docstring.end_lineno or docstring.lineno) - docstring.lineno + 1
            lengths[node.name] = max(lines, lengths.get(node.name, 0))
    return lengths


def too_long(lengths: dict[str, int], asks: int, limit: int) -> list[str]:
    return [
        f"{name}: {lines} lines"
        for name, lines in lengths.items()
        if lines > (limit if name in MAY_BE_LONGER else asks)
    ]


def test_no_file_is_two() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in sources("incoming", "examples", "tools")}
    assert too_long(lengths, FILE_LINES, FILE_LINES_LIMIT) == []


def test_no_function_is_two() -> None:
    lengths = {
        f"{name_of(path)}:{function}": lines
        for path in sources("incoming", "examples", "tools", suffixes=(".py",))
        for function, lines in function_lengths(path.read_text()).items()
    }
    assert too_long(lengths, FUNCTION_LINES, FUNCTION_LINES_LIMIT) == []


def test_exceptions_are_still_needed() -> None:
    for name in MAY_BE_LONGER:
        path, _, function = name.partition(":")
        source = (ROOT / path).read_text()
        assert (
            (function_lengths(source)[function] > FUNCTION_LINES)
            if function
            else (len(source.splitlines()) > FILE_LINES)
        ), f"{name} no longer needs its place in MAY_BE_LONGER"


def test_length_is_measured_without_the_docstring() -> None:
    source = (
        'class A:\n    def f(self):\n        """One.\n\n        Two.\n        """\n        x = 1\n        return x\n'
    )
    assert function_lengths(source) == {"f": 3}


def test_modules_are_named_for_what_they_are() -> None:
    assert [name_of(path) for path in sources("incoming", "examples") if path.stem in VAGUE_NAMES] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        name_of(path)
        for path in sources("incoming", "tests", "tools", "examples", suffixes=(".py",))
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert silent == []


def test_nothing_is_left_for_later() -> None:
    leftover = re.compile("|".join([r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b"]))
    text = (".py", ".js", ".mjs", ".md", ".sh", ".html", ".css", ".toml", ".yaml", ".yml", ".conf", ".ts")
    folders = ("incoming", "tests", "tools", "examples", "doc")
    assert [name_of(path) for path in sources(*folders, suffixes=text) if leftover.search(path.read_text())] == []


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_make_targets_and_the_pages_about_them_agree() -> None:
    pages = {name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")}
    named = {name: set(re.findall(r"\bmake ([a-z-]+)\b", _code_in(text))) for name, text in pages.items()}
    assert set().union(*named.values()) == make_targets() - {"help"}
    assert {"run", "test"} <= named["README.md"]


def _code_in(markdown: str) -> str:
    """Code spans and indented or fenced blocks."""
    blocks = re.findall(r"^(?: {4}|\t).*$|^```.*?^```", markdown, re.MULTILINE | re.DOTALL)
    return "\n".join([*blocks, *re.findall(r"`[^`\n]+`", markdown)])


def test_dependencies_are_bounded_on_both_sides() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [project["build-system"]["requires"], project["project"]["dependencies"]]
    groups += project["project"]["optional-dependencies"].values()
    for requirement in map(Requirement, itertools.chain(*groups)):
        if requirement.name != "incoming":
            operators = {specifier.operator for specifier in requirement.specifier}
            assert operators >= {">=", "<"}, f"{requirement} needs a lower and an upper bound"


def test_examples_want_the_same_in_both_places() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    lines = (ROOT / "examples" / "pip-req.txt").read_text().splitlines()
    listed = {str(Requirement(line)) for line in lines if line.strip() and not line.startswith("#")}
    assert listed == {str(Requirement(text)) for text in project["project"]["optional-dependencies"]["examples"]}
