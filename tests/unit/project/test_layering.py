"""Packages import in one direction only, and what a package must not know it cannot name."""

import ast
import posixpath
import sys
from collections.abc import Mapping

import pytest

from tests.support.source_imports import find_cycle, imported_names, js_imports, python_modules
from tests.support.tools import ROOT

# One rule for a package: it imports itself and what this line names. `incoming` is the package's own __init__.
MAY_IMPORT = {
    "incoming": "",
    "core": "",
    "platform": "",
    "settings": "core platform",
    "wire": "core",
    "storage": "core platform settings",
    "client": "core platform wire",
    "monitoring": "core platform settings wire storage",
    "uploads": "core platform settings wire storage monitoring",
    "callbacks": "core platform settings wire storage monitoring",
    "maintenance": "core platform settings wire storage monitoring uploads callbacks",
    "handlers": "core platform settings wire storage monitoring uploads callbacks maintenance",
    "server": "core platform settings wire storage monitoring uploads callbacks maintenance handlers",
    "cli": "core platform settings wire storage monitoring uploads callbacks maintenance handlers server client",
    "__main__": "cli",
}
PURE_PACKAGES = {"incoming", "core", "wire"}

# Above `storage`, nothing names a concrete store: `open` opens those that are configured, `administration` moves them.
STORE_INTERFACE = {"byte_store", "ticket_store", "operator_store", "open", "administration"}

# Values and arithmetic. Nothing here reads a clock, a file, a socket, the environment or random numbers.
PURE = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum",
    "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "string",
    "struct", "types", "typing", "unicodedata", "urllib.parse",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}
# A pure module that needs more, with the reason.
PURE_EXCEPTIONS = {
    "incoming.core.steady_clock": {"time"},  # clocks of the system as default arguments, replaced in tests
    "incoming.core.token_bucket": {"time"},
    "incoming.wire.websocket_mask": {"tornado.speedups", "websockets.speedups"},  # compiled arithmetic
}

# An outside system, and the only packages or modules that may know it.
HIDDEN_BY = {
    "ctypes": {"incoming.platform"},
    "sqlite3": {"incoming.storage.sqlite"},
    "asyncpg": {"incoming.storage.postgres"},
    "botocore": {"incoming.storage.s3"},
    "tornado.web": {"incoming.handlers"},
    "tornado.websocket": {"incoming.handlers"},
    "tornado.httpclient": {"incoming.callbacks.client"},
    "tornado.simple_httpclient": {"incoming.callbacks.client", "incoming.callbacks.kept_connections"},
    "tornado.httpserver": {"incoming.server"},
    "aiohttp": {
        "incoming.client.upload.http_connection",
        "incoming.client.upload.websocket_connection",
        "incoming.cli.ticket_source",
        "incoming.cli.checks.proxy",
    },
    "rich": {"incoming.cli.send_progress"},
    "yaml": {"incoming.settings", "incoming.handlers.openapi"},
    "prometheus_client": {"incoming.monitoring.prometheus"},
    "websockets": {"incoming.wire.websocket_mask"},
}


def package_of(module: str) -> str | None:
    """The package of `incoming` that a module belongs to; None for a module with no rule."""
    parts = module.split(".")
    package = "incoming" if len(parts) == 1 else parts[1]
    return package if package in MAY_IMPORT else None


def violations(modules: Mapping[str, ast.Module]) -> list[str]:
    """Every rule that these modules break, in words."""
    found = []
    for name, tree in modules.items():
        package = package_of(name)
        if package is None:
            found.append(f"{name}: to which package does it belong? Add its rule to MAY_IMPORT")
            continue
        for other in sorted(imported_names(name, tree, modules)):
            found += [f"{name} imports {other}: {why}" for why in _objections(name, package, other)]
        if package in PURE_PACKAGES:
            found += _impure_calls(name, tree)
    return found


def _objections(name: str, package: str, other: str) -> list[str]:
    if other == "incoming" or other.startswith("incoming."):
        return _objections_inside(name, package, other)
    if package in PURE_PACKAGES and not any(_is_in(other, pure) for pure in PURE | PURE_EXCEPTIONS.get(name, set())):
        return [f"{package} is pure"]
    return [
        f"only {', '.join(sorted(allowed))} may know {system}"
        for system, allowed in HIDDEN_BY.items()
        if _is_in(other, system) and not any(_is_in(name, one) for one in allowed)
    ]


def _objections_inside(name: str, package: str, other: str) -> list[str]:
    target = package_of(other)
    if target is None:
        return ["that belongs to no package"]
    if target not in {package, "incoming", *MAY_IMPORT[package].split()}:
        return [f"{package} must not import {target}"]
    concrete = target == "storage" and other.split(".")[2:3] not in [[], *([one] for one in STORE_INTERFACE)]
    if concrete and package != "storage":
        return ["a concrete store; use its Protocol"]
    return []


def _is_in(module: str, parent: str) -> bool:
    return module == parent or module.startswith(parent + ".")


def _impure_calls(name: str, tree: ast.Module) -> list[str]:
    return [
        f"{name} calls {node.func.id}() in line {node.lineno}: its package is pure"
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IMPURE_CALLS
    ]


def test_every_import_goes_down() -> None:
    found = violations(python_modules(ROOT / "incoming"))
    assert not found, "\n".join(found)


def test_no_modules_import_each_other_in_a_ring() -> None:
    modules = python_modules(ROOT / "incoming")
    assert find_cycle({name: imported_names(name, tree, modules) for name, tree in modules.items()}) == []


@pytest.mark.parametrize(
    ("name", "source", "objection"),
    [
        ("incoming.core.ticket", "import asyncio", "core is pure"),
        ("incoming.core.ticket", "from time import time", "core is pure"),
        ("incoming.wire.messages", "import urllib.request", "wire is pure"),
        ("incoming.core.ticket", "def f():\n    open('x')", "its package is pure"),
        ("incoming.core.ticket", "from incoming.settings.settings import Settings", "must not import settings"),
        ("incoming.storage.filesystem.store", "from incoming.uploads import upload_service", "must not import uploads"),
        ("incoming.storage.filesystem.store", "from ...uploads.upload_service import X", "must not import uploads"),
        ("incoming.uploads.upload_service", "from incoming.storage.filesystem.store import X", "a concrete store"),
        ("incoming.uploads.upload_service", "def f():\n    from ..storage import sqlite", "a concrete store"),
        ("incoming.server.worker", "from incoming.storage.sqlite.store import X", "a concrete store"),
        ("incoming.uploads.upload_service", "import tornado.web", "may know tornado.web"),
        ("incoming.uploads.upload_service", "from incoming.callbacks import client", "must not import callbacks"),
        (
            "incoming.handlers.upload.websocket.upload_socket",
            "from incoming.storage.sqlite import store",
            "a concrete store",
        ),
        ("incoming.handlers.upload.websocket.upload_socket", "import sqlite3", "may know sqlite3"),
        (
            "incoming.handlers.upload.websocket.upload_socket",
            "from incoming.cli.main import main",
            "must not import cli",
        ),
        ("incoming.helpers", "", "to which package"),
    ],
)
def test_breaking_a_rule_is_noticed(name: str, source: str, objection: str) -> None:
    others = ["incoming", "incoming.settings.settings", "incoming.core.ticket", "incoming.storage", "incoming.cli.main"]
    others += ["incoming.storage.filesystem", "incoming.storage.filesystem.store", "incoming.storage.sqlite"]
    others += [
        "incoming.storage.sqlite.store",
        "incoming.uploads.upload_service",
        "incoming.handlers.upload.websocket.upload_socket",
    ]
    others += ["incoming.server.worker"]
    modules = {**{other: ast.parse("") for other in others}, name: ast.parse(source)}
    [found] = violations(modules)
    assert found.startswith(name)
    assert objection in found


def test_what_the_rules_allow_is_allowed() -> None:
    modules = {
        "incoming.core.ticket": ast.parse("import urllib.parse\nfrom collections.abc import Iterable"),
        "incoming.storage.byte_store": ast.parse("from incoming.core import ticket"),
        "incoming.storage.sqlite.store": ast.parse("import sqlite3\nfrom ..byte_store import ByteStore"),
        "incoming.uploads.upload_service": ast.parse("import asyncio\nfrom incoming.storage import byte_store"),
        "incoming.handlers.upload.put": ast.parse("import tornado.web\nfrom incoming.uploads import upload_service"),
        "incoming.server.worker": ast.parse("from incoming.storage.open import open_stores\nimport incoming.handlers"),
    }
    assert violations(modules) == []


def test_a_ring_is_noticed() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_door_has_no_definitions() -> None:
    door = ast.parse((ROOT / "incoming.py").read_text())
    kinds = {type(node) for node in ast.walk(door)}
    assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Assign, ast.AnnAssign}
    assert len((ROOT / "incoming.py").read_text().splitlines()) <= 10


# The browser library: a folder imports itself and what this line names; "" is index.js, of which the element is a page.
JS = ROOT / "incoming" / "js"
JS_MAY_IMPORT = {
    "element": "element/parts element/texts element/checks index.js",
    "element/parts": "element/texts element/checks index.js",
    "element/texts": "element/checks locales did_you_mean.js",
    "element/checks": "did_you_mean.js",
    "hooks": "index.js",
    "locales": "",
    "": "queue uploader page transport",
    "queue": "uploader transport",
    "uploader": "session file transport did_you_mean.js",
    "file": "transport",
    "session": "file pool transport",
    "pool": "transport",
    "transport": "",
    "page": "transport session",
}
FRAMEWORKS = {"hooks/react_hook.js": {"react"}, "hooks/vue_hook.js": {"vue"}}
"""What the hooks use of others."""


def js_violations(sources: Mapping[str, str]) -> list[str]:
    """Every rule that these modules, by their path below incoming/js, break, in words."""
    imports = {name: {_js_target(name, other) for other in js_imports(source)} for name, source in sources.items()}
    found = [
        f"{name} imports {other}: the library uses nothing but its own modules"
        for name, others in imports.items()
        for other in sorted(others - FRAMEWORKS.get(name, set()))
        if other not in sources
    ]
    if cycle := find_cycle(imports):
        found.append("a ring: " + " -> ".join(cycle))
    for name, others in imports.items():
        folder = _folder(name)
        if folder not in JS_MAY_IMPORT:
            found.append(f"{name}: {folder} has no rule in JS_MAY_IMPORT")
            continue
        allowed = {folder, *JS_MAY_IMPORT[folder].split()}
        forbidden = [other for other in sorted(others) if not {other, _folder(other) or "-"} & allowed]
        found += [f"{name} imports {other}: {folder} must not" for other in forbidden if other in sources]
    return found


def _folder(name: str) -> str:
    return name.rpartition("/")[0]


def _js_target(name: str, other: str) -> str:
    return posixpath.normpath(posixpath.join(_folder(name), other)) if other.startswith(".") else other


def test_browser_library_imports_in_one_direction() -> None:
    paths = [path for path in JS.rglob("*.js") if "dist" not in path.parts]
    sources = {str(path.relative_to(JS)): path.read_text() for path in paths}
    assert "index.js" in sources
    assert js_violations(sources) == []


@pytest.mark.parametrize(
    ("name", "source", "objection"),
    [
        ("transport/messages.js", 'import { x } from "../session/backoff.js";', "transport must not"),
        ("pool/chunk_scheduler.js", "import {\n  x,\n} from '../uploader/uploader.js'", "pool must not"),
        ("transport/http.js", 'const x = await import("../pool/chunk_scheduler.js")', "transport must not"),
        ("session/backoff.js", 'export * from "../index.js"', "session must not"),
        ("session/backoff.js", 'import _ from "lodash"', "nothing but its own modules"),
        ("element/x.js", 'import { x } from "../uploader/uploader.js"', "element must not"),
        ("uploader/x.js", 'import { x } from "../element/parts/part.js"', "uploader must not"),
        ("element/texts/x.js", 'import { x } from "../parts/part.js"', "element/texts must not"),
        ("helpers/x.js", "", "no rule"),
    ],
)
def test_breaking_a_rule_in_the_browser_library_is_noticed(name: str, source: str, objection: str) -> None:
    others = [
        "index.js",
        "transport/messages.js",
        "pool/chunk_scheduler.js",
        "uploader/uploader.js",
        "element/parts/part.js",
    ]
    sources = {**dict.fromkeys([*others, "session/backoff.js"], ""), name: source}
    assert any(objection in found for found in js_violations(sources))


def test_types_named_in_comments_are_no_imports() -> None:
    source = (
        '/** @typedef {import("./uploader.js").Uploader} U */\n// from "./index.js"\nimport { x } from "./backoff.js";'
    )
    assert js_imports(source) == {"./backoff.js"}


def test_the_pure_list_is_of_this_python() -> None:
    assert {name.split(".")[0] for name in PURE} <= sys.stdlib_module_names
