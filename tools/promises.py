"""Fill in doc/promises.md: which test proves which promise.

The page lists the promises; the tests name those that they prove, by the marker `promise(12, 13)` in Python and by
"promise 12, 13" in the name of a JavaScript test. Runs no test.
"""

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "doc" / "promises.md"
TESTS = ROOT / "tests"

_ROW = re.compile(r"^\| (?P<number>\d+) \| (?P<kind>\w+) \| (?P<promise>.+?) \| (?P<tests>.*?) ?\|$", re.MULTILINE)
_JS_TEST = re.compile(r"""\b(?:test|it|describe)(?:\.\w+)?\(\s*(["'`])(?P<name>(?:\\.|(?!\1).)*)\1""", re.DOTALL)
_JS_CLAIM = re.compile(r"\bpromises? (?P<numbers>\d+(?:(?:, ?| and |-)\d+)*)")


@dataclass(frozen=True)
class Promise:
    """One row of the page."""

    number: int
    kind: str
    text: str


@dataclass(frozen=True, order=True)
class Proof:
    """A test that names promises; `file` is relative to the project."""

    file: str
    test: str


def promises(page: str) -> list[Promise]:
    """Return the rows of the page, in order."""
    return [Promise(int(row["number"]), row["kind"], row["promise"]) for row in _ROW.finditer(page)]


def proofs(tests: Path = TESTS) -> dict[int, list[Proof]]:
    """Return, by promise, the tests below a directory that name it."""
    found: dict[int, set[Proof]] = defaultdict(set)
    for path in sorted(tests.rglob("*")):
        if path.name.startswith("test_") and path.suffix == ".py":
            claims = _python_claims(ast.parse(path.read_text(), filename=str(path)))
        elif path.name.endswith(".test.js"):
            claims = _js_claims(path.read_text())
        else:
            continue
        file = str(path.relative_to(tests.parent))
        for test, number in claims:
            found[number].add(Proof(file, test))
    return {number: sorted(several) for number, several in found.items()}


def _python_claims(module: ast.Module) -> Iterator[tuple[str, int]]:
    yield from _claims_in(module.body, _marks_of_module(module))


def _claims_in(body: list[ast.stmt], inherited: list[int]) -> Iterator[tuple[str, int]]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _claims_in(node.body, inherited + _marks_in(node.decorator_list))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            for number in inherited + _marks_in(node.decorator_list):
                yield node.name, number


def _marks_of_module(module: ast.Module) -> list[int]:
    assigned = [node for node in module.body if isinstance(node, ast.Assign)]
    return _marks_in([node.value for node in assigned if "pytestmark" in {ast.unparse(one) for one in node.targets}])


def _marks_in(expressions: list[ast.expr]) -> list[int]:
    """Return the arguments of every `promise(...)` in these, also on single parameter sets."""
    calls = [node for expression in expressions for node in ast.walk(expression) if isinstance(node, ast.Call)]
    return [
        number
        for call in calls
        if isinstance(call.func, ast.Attribute) and call.func.attr == "promise"
        for argument in call.args
        for number in _numbers(argument)
    ]


def _numbers(argument: ast.expr) -> list[int]:
    match argument:
        case ast.Constant(value=int(number)):
            return [number]
        case ast.Starred(value=ast.Call(func=ast.Name(id="range"), args=bounds)):
            return list(range(*(number for bound in bounds for number in _numbers(bound))))
    raise ValueError(f"line {argument.lineno}: the numbers of promises are written out, or as *range(76, 81)")


def _js_claims(source: str) -> Iterator[tuple[str, int]]:
    for test in _JS_TEST.finditer(source):
        for claim in _JS_CLAIM.finditer(test["name"]):
            for part in re.split(r", ?| and ", claim["numbers"]):
                first, _, last = part.partition("-")
                for number in range(int(first), int(last or first) + 1):
                    yield test["name"], number


def rendered(page: str, found: dict[int, list[Proof]]) -> str:
    """Return the page with its last column regenerated."""
    unknown = sorted(set(found) - {promise.number for promise in promises(page)})
    if unknown:
        named = ", ".join(f"{number} in {found[number][0].file}" for number in unknown)
        raise ValueError(f"tests name promises that do not exist: {named}")
    return _ROW.sub(lambda row: _row(row, found.get(int(row["number"]), [])), page)


def _row(row: re.Match[str], several: list[Proof]) -> str:
    by_file: dict[str, list[str]] = defaultdict(list)
    for proof in several:
        by_file[proof.file].append(proof.test)
    cells = [f"[{Path(file).name}](../{file}): {', '.join(map(_code, tests))}" for file, tests in by_file.items()]
    return f"| {row['number']} | {row['kind']} | {row['promise']} | {'; '.join(cells)}{' ' if cells else ''}|"


def _code(test: str) -> str:
    return "`" + " ".join(test.replace("`", "'").split()).replace("|", "\\|") + "`"


def unproved(page: str, found: dict[int, list[Proof]]) -> list[Promise]:
    """Return the promises of kind `must` that no test names."""
    return [promise for promise in promises(page) if promise.kind == "must" and promise.number not in found]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    given = parser.parse_args()
    page, found = PAGE.read_text(), proofs()
    fresh = rendered(page, found)
    for promise in unproved(fresh, found):
        print(f"no test: {promise.number} {promise.text}", file=sys.stderr)
    if given.check:
        return 0 if fresh == page else 1
    PAGE.write_text(fresh)
    return 0


if __name__ == "__main__":
    sys.exit(main())
