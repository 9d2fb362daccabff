"""What the project's own modules import: Python by `ast`, the browser library's ES modules by their import lines."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

# `import x from "./a.js"`, `import "./a.js"`, `export * from "./a.js"`, `await import("./a.js")`
_JS_IMPORT = re.compile(r"""(?:\bfrom\s*|\bimport\s*\(?\s*)["']([^"']+)["']""")
_JS_COMMENT = re.compile(r"/\*.*?\*/|(?<![:\"'])//[^\n]*", re.DOTALL)


def python_modules(package: Path) -> dict[str, ast.Module]:
    """Every module of a package by its dotted name; a package itself goes by its own name."""
    modules = {}
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(path.read_text(), filename=str(path))
    return modules


def imported_names(name: str, tree: ast.Module, known: Mapping[str, object]) -> set[str]:
    """The dotted names of the modules that module `name` imports anywhere, also inside of functions and for typing.

    `from a import b` is `a.b` where that is a module in `known`, else `a`.
    """
    return set(_imports(name, tree, known))


def _imports(name: str, tree: ast.Module, known: Mapping[str, object]) -> Iterator[str]:
    is_package = any(other.startswith(name + ".") for other in known)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = name.split(".")
                above = parts[: len(parts) - node.level + (1 if is_package else 0)]
                base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base


def js_imports(source: str) -> set[str]:
    """What an ES module imports, as it is written there. Types named in comments do not count."""
    return set(_JS_IMPORT.findall(_JS_COMMENT.sub("", source)))


def find_cycle(imports: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first one repeated at the end; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done or name not in imports:
            return []
        for other in sorted(imports[name]):
            if cycle := visit(other, [*trail, name]):
                return cycle
        done.add(name)
        return []

    for name in sorted(imports):
        if cycle := visit(name, []):
            return cycle
    return []
