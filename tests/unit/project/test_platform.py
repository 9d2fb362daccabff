"""Only incoming.platform names what other systems lack; the rest of the server and what `make run` starts is POSIX."""

import ast
import re
from collections.abc import Iterator

import pytest

from tests.support.linux_only import CALLS, NAMES, PATHS
from tests.support.tools import ROOT

FOLDERS = ("incoming", "examples")
SCRIPTS = ("tools/run_all.py",)
HIDING = ROOT / "incoming" / "platform"
ALL = {name for names in NAMES.values() for name in names} | set(CALLS)


def violations(source: str) -> Iterator[str]:
    """Yield the names and paths in Python source that exist on Linux alone."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute) and node.attr in ALL:
            # An object's own method, such as a Protocol's fdatasync, is none of a module.
            if isinstance(node.value, ast.Name) and node.value.id in NAMES:
                yield f"{node.value.id}.{node.attr} in line {node.lineno}"
        elif isinstance(node, ast.ImportFrom) and node.module in NAMES:
            for alias in node.names:
                if alias.name in ALL:
                    yield f"{node.module}.{alias.name} in line {node.lineno}"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith(PATHS):
            yield f"{node.value} in line {node.lineno}"


def test_only_one_package_names_what_only_linux_has() -> None:
    paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py") if HIDING not in path.parents]
    paths += [ROOT / script for script in SCRIPTS]
    assert len(paths) > 150
    assert [f"{path.relative_to(ROOT)}: {one}" for path in paths for one in violations(path.read_text())] == []


@pytest.mark.parametrize(
    "source",
    [
        "import os\nos.fdatasync(3)",
        "from os import sched_getaffinity",
        "import socket\nx = socket.TCP_INFO",
        "open('/proc/self/statm')",
        "import signal\nsignal.sigtimedwait([], 1)",
    ],
)
def test_breaking_the_rule_is_noticed(source: str) -> None:
    [found] = violations(source)
    assert re.search(r"fdatasync|affinity|TCP_INFO|statm|sigtimedwait", found)


def test_what_is_posix_is_allowed() -> None:
    assert list(violations("import os, fcntl\nos.fsync(3)\nfcntl.flock(3, 1)\ndisk.fdatasync(3)")) == []


def test_the_scripts_of_make_run_use_no_options_of_gnu() -> None:
    """BSD's sed knows no `\\t`, its readlink no -f before macOS 12.3; and bash is 3.2 there."""
    scripts = {name: (ROOT / name).read_text() for name in ("Makefile", "tools/make_venv.sh", "tools/apt_install.sh")}
    scripts |= {name: (ROOT / name).read_text() for name in ("tools/system_packages.sh", "tools/npm_packages.sh")}
    gnu = re.compile(
        r"readlink -f|\bnproc\b|sed [^|]*\\t|sed -i |sed -[a-z]*r|grep -[a-zA-Z]*P|date -d|stat -c|realpath --|cp --"
        r"|mktemp --|mapfile|readarray|declare -A|\$\{\w+(,,|\^\^)\}|sort -V|xargs -d|timeout \d"
    )
    assert {name: gnu.findall(text) for name, text in scripts.items() if gnu.search(text)} == {}
