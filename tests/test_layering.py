"""Folders are floors: every import goes down, never up, and what a floor must not know it cannot name."""

import ast
import sys
from collections.abc import Mapping

import pytest

from tests.support.source_imports import find_cycle, imported_names, js_imports, python_modules
from tests.support.tools import ROOT

FOLDERS = {"incoming.core": 0, "incoming.storage": 1, "incoming.handlers": 3}
# A new module beside these says here on which floor it lives.
MODULES = {
    "incoming": 0,
    "incoming.config": 1,  # data: whoever is not pure may read settings
    "incoming.options": 1,
    "incoming.assembler": 2,
    "incoming.upload": 2,
    "incoming.checkpoints": 2,
    "incoming.intake": 2,
    "incoming.basin": 2,
    "incoming.piece": 2,
    "incoming.listeners": 2,
    "incoming.handover": 2,
    "incoming.delivery": 2,
    "incoming.callback": 2,
    "incoming.callback_guard": 2,
    "incoming.steady_clock": 2,
    "incoming.janitor": 2,
    "incoming.metrics": 2,
    "incoming.connections": 2,
    "incoming.activity": 2,
    "incoming.upload_list": 2,
    "incoming.recovery": 2,
    "incoming.ticket_batches": 2,
    "incoming.token_bucket": 2,
    "incoming.garbage": 4,
    "incoming.logs": 1,
    "incoming.readiness": 4,
    "incoming.app": 4,
    "incoming.uploads_command": 4,
    "incoming.worker": 4,
    "incoming.worker_server": 4,
    "incoming.workers": 4,
    "incoming.__main__": 4,
}
STORE_PROTOCOLS = "incoming.storage.base"
CONCRETE_STORES_ARE_KNOWN_TO = {"incoming.worker", "incoming.uploads_command"}

# Values and arithmetic. Nothing here reads a clock, a file, a socket, the environment or random numbers.
PURE = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "dataclasses", "enum",
    "functools", "hashlib", "heapq", "hmac", "ipaddress", "itertools", "json", "math", "operator", "re", "string",
    "struct", "types", "typing", "unicodedata", "urllib.parse",
}  # fmt: skip
IMPURE_CALLS = {"open", "print", "input", "exec", "eval", "__import__"}

# An outside system, and the only modules that may know it: a name stands for its folder and its `name_...` as well.
HIDDEN_BY = {
    "sqlite3": {"incoming.storage.sqlite"},
    "tornado.web": {"incoming.handlers"},
    "tornado.websocket": {"incoming.handlers"},
    "tornado.httpclient": {"incoming.callback"},
    "tornado.simple_httpclient": {"incoming.callback"},
    "tornado.httpserver": {"incoming.worker"},
    "yaml": {"incoming.config"},
    "prometheus_client": {"incoming.handlers.exposition"},
    "websockets": {"incoming.handlers.masks"},
}


def floor_of(module: str) -> int | None:
    for folder, floor in FOLDERS.items():
        if module == folder or module.startswith(folder + "."):
            return floor
    return MODULES.get(module)


def violations(modules: Mapping[str, ast.Module]) -> list[str]:
    """Every rule of the house that these modules break, in words."""
    found = []
    for name, tree in modules.items():
        floor = floor_of(name)
        if floor is None:
            found.append(f"{name}: on which floor does it live? Tell tests/test_layering.py")
            continue
        for other in sorted(imported_names(name, tree, modules)):
            found += [f"{name} imports {other}: {why}" for why in _objections(name, floor, other)]
        if floor == 0:
            found += _impure_calls(name, tree)
    return found


def _objections(name: str, floor: int, other: str) -> list[str]:
    if other == "incoming" or other.startswith("incoming."):
        return _objections_inside(name, floor, other)
    if floor == 0 and not any(other == pure or other.startswith(pure + ".") for pure in PURE):
        return ["the ground floor is pure"]
    return [
        f"only {', '.join(sorted(allowed))} may know {system}"
        for system, allowed in HIDDEN_BY.items()
        if (other == system or other.startswith(system + "."))
        and not any(name == one or name.startswith((one + ".", one + "_")) for one in allowed)
    ]


def _objections_inside(name: str, floor: int, other: str) -> list[str]:
    target = floor_of(other)
    if target is None:
        return ["that is on no floor"]
    if target > floor:
        return [f"from floor {floor} up to floor {target}"]
    concrete_store = other.startswith("incoming.storage.") and other != STORE_PROTOCOLS
    if concrete_store and floor > 1 and name not in CONCRETE_STORES_ARE_KNOWN_TO:
        return ["a concrete store; its promises are in incoming.storage.base"]
    return []


def _impure_calls(name: str, tree: ast.Module) -> list[str]:
    return [
        f"{name} calls {node.func.id}() in line {node.lineno}: the ground floor is pure"
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
        ("incoming.core.ticket", "import asyncio", "the ground floor is pure"),
        ("incoming.core.ticket", "from time import time", "the ground floor is pure"),
        ("incoming.core.ticket", "import urllib.request", "the ground floor is pure"),
        ("incoming.core.ticket", "def f():\n    open('x')", "the ground floor is pure"),
        ("incoming.core.ticket", "from incoming.config import Settings", "up to floor 1"),
        ("incoming.storage.files", "from incoming import assembler", "up to floor 2"),
        ("incoming.storage.files", "from ..assembler import Assembler", "up to floor 2"),
        ("incoming.assembler", "from incoming.storage.files import Files", "a concrete store"),
        ("incoming.assembler", "def f():\n    from .storage import sqlite", "a concrete store"),
        ("incoming.assembler", "import tornado.web", "may know tornado.web"),
        ("incoming.assembler", "import incoming.handlers.put", "up to floor 3"),
        ("incoming.handlers.put", "from incoming.storage import files", "a concrete store"),
        ("incoming.handlers.put", "import sqlite3", "may know sqlite3"),
        ("incoming.handlers.put", "from incoming.app import main", "up to floor 4"),
        ("incoming.helpers", "", "on which floor"),
    ],
)
def test_breaking_a_rule_is_noticed(name: str, source: str, objection: str) -> None:
    house = ["incoming", "incoming.config", "incoming.core.ticket", "incoming.storage", "incoming.storage.files"]
    house += ["incoming.storage.sqlite", "incoming.assembler", "incoming.handlers.put", "incoming.app"]
    modules = {**{other: ast.parse("") for other in house}, name: ast.parse(source)}
    [found] = violations(modules)
    assert found.startswith(name)
    assert objection in found


def test_what_the_rules_allow_is_allowed() -> None:
    modules = {
        "incoming.core.ticket": ast.parse("import urllib.parse\nfrom collections.abc import Iterable"),
        "incoming.storage.base": ast.parse("from incoming.core import ticket"),
        "incoming.storage.sqlite": ast.parse("import sqlite3\nfrom .base import TicketStore"),
        "incoming.assembler": ast.parse("import asyncio\nfrom incoming.storage.base import ByteStore"),
        "incoming.handlers.put": ast.parse("import tornado.web\nfrom incoming.assembler import Assembler"),
        "incoming.worker": ast.parse("from incoming.storage.sqlite import Tickets\nfrom incoming.handlers import put"),
    }
    assert violations(modules) == []


def test_a_ring_is_noticed() -> None:
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]


def test_the_door_has_no_definitions() -> None:
    door = ast.parse((ROOT / "incoming.py").read_text())
    kinds = {type(node) for node in ast.walk(door)}
    assert not kinds & {ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda, ast.Assign, ast.AnnAssign}
    assert len((ROOT / "incoming.py").read_text().splitlines()) <= 10


# The browser library. Whoever stands further left must not import who stands further right.
JS = ROOT / "incoming" / "js"
JS_LADDER = ["messages.js", "websocket_transport.js", "scheduler.js", "uploader.js", "index.js"]
JS_LADDER_TWIN = {"http_transport.js": "websocket_transport.js"}


def js_violations(sources: Mapping[str, str]) -> list[str]:
    imports = {name: js_imports(source) for name, source in sources.items()}
    found = [
        f"{name} imports {other}: the library uses nothing but its own modules"
        for name, others in imports.items()
        for other in sorted(others)
        if not (other.startswith("./") and other[2:] in sources)
    ]
    inner = {name: {other.removeprefix("./") for other in others} for name, others in imports.items()}
    if cycle := find_cycle(inner):
        found.append("a ring: " + " -> ".join(cycle))
    found += [f"messages.js imports {other}" for other in sorted(inner.get("messages.js", set()))]
    for name, others in inner.items():
        found += [f"{name} imports {other}, which stands above it" for other in sorted(others) if _climbs(name, other)]
    return found


def _climbs(name: str, other: str) -> bool:
    ladder = {module: step for step, module in enumerate(JS_LADDER)}
    step, target = (ladder.get(JS_LADDER_TWIN.get(module, module)) for module in (name, other))
    if other == "index.js":
        return True
    return step is not None and target is not None and target > step


def test_browser_library_climbs_nowhere() -> None:
    sources = {path.name: path.read_text() for path in JS.glob("*.js")}
    assert "index.js" in sources
    assert js_violations(sources) == []


@pytest.mark.parametrize(
    ("name", "source", "objection"),
    [
        ("messages.js", 'import { x } from "./backoff.js";', "messages.js imports backoff.js"),
        ("scheduler.js", "import {\n  x,\n} from './uploader.js'", "stands above it"),
        ("http_transport.js", 'const x = await import("./scheduler.js")', "stands above it"),
        ("backoff.js", 'export * from "./index.js"', "stands above it"),
        ("backoff.js", 'import _ from "lodash"', "nothing but its own modules"),
    ],
)
def test_breaking_a_rule_in_the_browser_library_is_noticed(name: str, source: str, objection: str) -> None:
    sources = {**dict.fromkeys([*JS_LADDER, "http_transport.js", "backoff.js"], ""), name: source}
    assert any(objection in found for found in js_violations(sources))


def test_types_named_in_comments_are_no_imports() -> None:
    source = (
        '/** @typedef {import("./uploader.js").Uploader} U */\n// from "./index.js"\nimport { x } from "./backoff.js";'
    )
    assert js_imports(source) == {"./backoff.js"}


def test_the_pure_list_is_of_this_python() -> None:
    assert {name.split(".")[0] for name in PURE} <= sys.stdlib_module_names
