"""What browsers load, and what is installed: the committed bundle is what its sources make, and the wheel has it."""

import subprocess
import sys
import zipfile
from pathlib import Path

from tests.support.tools import ROOT, require_node_package, require_tool

DIST = ROOT / "incoming" / "js" / "dist"


def test_bundle_is_fresh(tmp_path: Path) -> None:
    require_node_package("esbuild")
    subprocess.run([require_tool("node"), "tools/bundle.mjs", str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in DIST.iterdir()}
    assert sorted(built) == sorted(committed)
    stale = [name for name, content in built.items() if content != committed[name]]
    assert not stale, f"run make bundle and commit the result: {stale}"


def test_classic_bundle_makes_one_global(tmp_path: Path) -> None:
    """As a browser runs it: a script, not a module, with nothing that the browser would not have."""
    probe = tmp_path / "probe.cjs"
    probe.write_text(
        """
        const vm = require("node:vm");
        const page = vm.createContext({});
        const before = new Set(vm.runInContext("Object.getOwnPropertyNames(globalThis)", page));
        vm.runInContext(require("node:fs").readFileSync(process.argv[2], "utf8"), page);
        const after = vm.runInContext("Object.getOwnPropertyNames(globalThis)", page);
        console.log(after.filter((name) => !before.has(name)).join(" "));
        console.log(vm.runInContext("typeof incoming.set_server_hostname + ' ' + typeof incoming.Uploader", page));
        """
    )
    node = [require_tool("node"), str(probe), str(DIST / "incoming.js")]
    output = subprocess.run(node, check=True, capture_output=True, text=True, timeout=60).stdout
    assert output.split("\n")[:2] == ["incoming", "function function"]


def test_wheel_has_what_the_server_serves(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    assert {f"incoming/js/dist/{name}" for name in ("incoming.js", "incoming.mjs", "incoming.d.ts")} <= names
    assert "incoming/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "incoming = incoming.cli.main:main" in entry_points
    foreign = [name for name in names if not name.startswith(("incoming/", "incoming-"))]
    assert foreign == []
    assert [
        name for name in names if name.startswith("incoming/js/") and not name.startswith("incoming/js/dist/")
    ] == []
