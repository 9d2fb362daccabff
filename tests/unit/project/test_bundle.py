"""What browsers load, and what is installed: the committed bundle is what its sources make, and the wheel has it."""

import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

from incoming import __version__
from tests.support.tools import ROOT, require_node_package, require_tool

DIST = ROOT / "incoming" / "js" / "dist"


def test_bundle_is_fresh(tmp_path: Path) -> None:
    require_node_package("esbuild")
    subprocess.run([require_tool("node"), "tools/bundle.mjs", str(tmp_path)], cwd=ROOT, check=True, timeout=300)
    built, committed = contents(tmp_path), contents(DIST)
    assert sorted(built) == sorted(committed)
    # Another zlib compresses to other bytes: of those files only the content counts.
    plain = {name: content for name, content in built.items() if Path(name).suffix not in UNPACK}
    stale = [name for name, content in plain.items() if content != committed[name]]
    stale += [name for name in built if Path(name).suffix in UNPACK and committed[name] != built[name]]
    stale = [name for name in stale if Path(name).suffix not in UNPACK or unpacked(name) != plain[name[:-3]]]
    assert not stale, f"run make bundle and commit the result: {stale}"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_page_with_the_element_loads_less_than_30_kb_at_first_and_less_than_40_kb_with_what_follows_at_once() -> None:
    at_first = gzipped("incoming", "incoming-uploader")
    assert at_first < 30_000
    assert at_first + gzipped("incoming-transfer") < 40_000
    assert max(path.stat().st_size for path in (DIST / "locales").glob("*.br")) < 2_000


def gzipped(*modules: str) -> int:
    """Bytes of modules as a server sends them."""
    return sum((DIST / f"{name}.mjs.gz").stat().st_size for name in modules)


def test_what_sends_files_is_beside_the_library_and_inside_of_the_classic_script() -> None:
    sending = re.compile(r"\.\./(pool|file/(?!shown_file)|session/(?!backoff)|transport/\w+_connection)")
    assert [source for source in sources_of("incoming.mjs") if sending.match(source)] == []
    for name in ("incoming-transfer.mjs", "incoming.js"):
        assert {"../session/session.js", "../pool/connection_pool.js"} <= set(sources_of(name))
    assert "import(" not in (DIST / "incoming.js").read_text()


def sources_of(name: str) -> dict[str, str]:
    """The sources of a file of the bundle, by their path from it, as its map has them."""
    sources = json.loads((DIST / f"{name}.map").read_text())
    return dict(zip(sources["sources"], sources["sourcesContent"], strict=True))


def test_the_module_of_the_element_uses_the_library_beside_it() -> None:
    """One library in a page, however often it is loaded; and both can be imported where there is no page."""
    assert 'from"./incoming.mjs"' in (DIST / "incoming-uploader.mjs").read_text()
    program = "await import(process.argv[1]); console.log(Object.keys(globalThis).includes('incoming'))"
    for name in ("incoming.mjs", "incoming-uploader.mjs"):
        node = [require_tool("node"), "--input-type=module", "-e", program, str(DIST / name)]
        done = subprocess.run(node, check=True, capture_output=True, text=True, timeout=60)
        assert (done.stdout, done.stderr) == ("false\n", "")


UNPACK = {".gz": "gunzipSync", ".br": "brotliDecompressSync"}


def unpacked(name: str) -> bytes:
    program = f"process.stdout.write(zlib.{UNPACK[Path(name).suffix]}(fs.readFileSync(process.argv[1])))"
    return subprocess.run(
        [require_tool("node"), "-e", program, str(DIST / name)], check=True, capture_output=True
    ).stdout


def test_the_maps_lead_to_the_sources() -> None:
    for name in ("incoming.js", "incoming.mjs"):
        assert (DIST / name).read_text().rstrip().endswith(f"//# sourceMappingURL={name}.map")
        assert sources_of(name)["../uploader/uploader.js"] == (ROOT / "incoming/js/uploader/uploader.js").read_text()


def test_the_library_knows_the_projects_version() -> None:
    for name in ("incoming.js", "incoming.mjs"):
        assert f'"{__version__}"' in (DIST / name).read_text()


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


def test_a_page_that_extends_every_object_or_has_the_script_twice_still_has_a_working_library(tmp_path: Path) -> None:
    probe = tmp_path / "probe.cjs"
    probe.write_text(
        """
        const vm = require("node:vm");
        const script = require("node:fs").readFileSync(process.argv[2], "utf8");
        const page = vm.createContext({ URL, requests: [] });
        const run = (code) => vm.runInContext(code, page);
        run(`Object.prototype.extended = 5; Object.prototype.helper = function () {};
            globalThis.WebSocket = class { constructor(url) { requests.push(url); } };
            globalThis.performance = Date; globalThis.setTimeout = () => 1; globalThis.clearTimeout = () => {};
            globalThis.file = { name: "a", size: 1, lastModified: 1, type: "", slice: () => file,
                                arrayBuffer: async () => new ArrayBuffer(1) };`);
        run(script);
        run("incoming.set_server_hostname('up.example')");
        run(script);
        run("incoming.Uploader('t', file).start()");
        const look = () => (page.requests.length ? console.log(page.requests.join(" ")) : setTimeout(look, 10));
        look();
        """
    )
    node = [require_tool("node"), str(probe), str(DIST / "incoming.js")]
    output = subprocess.run(node, check=True, capture_output=True, text=True, timeout=60).stdout
    assert output.strip() == "wss://up.example/incoming/0.1/frontend/upload_ws?ticket=t"


def test_wheel_has_what_the_server_serves(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = next(archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    served = (
        "incoming.js",
        "incoming.mjs.br",
        "incoming-transfer.mjs.gz",
        "incoming.d.mts",
        "incoming-uploader.mjs",
        "locales/ar.mjs.gz",
    )
    assert {f"incoming/js/dist/{name}" for name in served} <= names
    assert "incoming/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert "incoming = incoming.cli.main:main" in entry_points
    foreign = [name for name in names if not name.startswith(("incoming/", "incoming-"))]
    assert foreign == []
    assert [
        name for name in names if name.startswith("incoming/js/") and not name.startswith("incoming/js/dist/")
    ] == []
