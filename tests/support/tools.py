"""Programs that tests call. Without one, a test skips and says why; in CI, where all of them belong, it fails."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]


def unavailable(reason: str) -> NoReturn:
    """End the test for want of something outside of the project."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI=true: nothing may be missing here)", pytrace=False)
    pytest.skip(reason)


def require_tool(name: str) -> str:
    """The path of program `name`. Daemons live in /usr/sbin, which is not on everybody's PATH."""
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin")
    if path is None:
        unavailable(f"{name} is not installed: run tools/system_packages.sh")
    return path


def chromium_path() -> str:
    """The path of Chromium without its user interface, which takes a third of the CPU time; else of the whole one."""
    return shutil.which("chromium-headless-shell") or require_tool("chromium")


def require_root() -> None:
    """For tests that make network namespaces or mount file systems."""
    if os.geteuid() != 0:
        unavailable("needs root")


def require_node_package(name: str) -> Path:
    """The directory of a development package of package.json."""
    require_tool("node")
    package = ROOT / "node_modules" / name
    if not package.is_dir():
        unavailable(f"the npm package {name} is not installed: run make setup")
    return package
