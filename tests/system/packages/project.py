"""Projects of other people: folders in which the npm package is installed from its archive."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.support.tools import ROOT, require_node_package, require_tool

NAME = "incoming-upload"
TOOLS = {"tsc": "typescript/bin/tsc", "vite": "vite/bin/vite.js", "svelte-kit": "@sveltejs/kit/svelte-kit.js"}
"""Programs of the development packages, by their path in node_modules."""


def run(command: list[str], folder: Path, timeout: float = 120) -> str:
    """Run a program in `folder`; its standard output. Fails with all that it has written."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def make_package(folder: Path) -> Path:
    """Make the archive as `make packages` does."""
    require_node_package("esbuild")
    require_tool("npm")
    return Path(run([require_tool("node"), str(ROOT / "tools" / "packages.mjs"), str(folder)], ROOT).strip())


def install(archive: Path, folder: Path) -> Path:
    """Make an empty application in `folder` and let npm install the package, which needs no network."""
    (folder / "package.json").write_text(json.dumps({"name": "app", "private": True, "type": "module"}))
    run([require_tool("npm"), "install", "--offline", "--no-audit", "--no-fund", str(archive)], folder)
    return folder


class Project:
    """A folder with files of its own, the package from its archive, and the frameworks of the development packages.

    Frameworks are found one folder above, where Node looks next.
    """

    def __init__(self, parent: Path, installed: Path, frameworks: Path = ROOT / "node_modules") -> None:
        self.folder = parent / "app"
        shutil.copytree(installed, self.folder)
        (parent / "node_modules").symlink_to(frameworks, target_is_directory=True)

    @property
    def package(self) -> Path:
        """Where the package is installed."""
        return self.folder / "node_modules" / NAME

    def write(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def run(self, program: str, *arguments: str) -> str:
        return run([require_tool(program), *arguments], self.folder)

    def run_tool(self, name: str, *arguments: str) -> str:
        """Run a program of the development packages."""
        path = require_node_package(TOOLS[name].partition("/")[0]).parent / TOOLS[name]
        return self.run("node", str(path), *arguments)
