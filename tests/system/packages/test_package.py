"""The npm package: what is in it, and that programs, compilers and servers can use it as it is installed."""

import json
import tarfile
from pathlib import Path

import pytest

import incoming
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file
from tests.support.tools import ROOT
from tests.system.e2e.upload_app import UploadApp
from tests.system.packages.project import NAME, Project, make_package

JS = ROOT / "incoming" / "js"


def test_the_same_sources_make_the_same_archive_named_for_the_projects_version(archive: Path, tmp_path: Path) -> None:
    again = make_package(tmp_path)
    assert again.name == archive.name == f"{NAME}-{incoming.__version__}.tgz"
    assert again.read_bytes() == archive.read_bytes()


def test_what_the_package_says_of_itself_is_in_it(project: Project) -> None:
    about = json.loads((project.package / "package.json").read_text())
    assert (about["name"], about["version"], about["license"]) == (NAME, incoming.__version__, "MIT")
    assert (project.package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    targets = [
        path
        for export in about["exports"].values()
        for path in (export.values() if isinstance(export, dict) else [export])
    ]
    assert len(targets) > 6
    for path in [*targets, *about["sideEffects"]]:
        assert list(project.package.glob(path)), path


def test_every_module_is_minified_and_has_its_sources(project: Project) -> None:
    modules = [path for path in project.package.rglob("*.*js") if path.parent.name != "locales"]
    assert {path.name for path in modules} >= {
        "incoming.js",
        "incoming.mjs",
        "incoming-uploader.mjs",
        "incoming-details.mjs",
        "incoming-direct.mjs",
        "incoming-transfer.mjs",
    }
    for path in modules:
        text = path.read_text()
        assert text.endswith(f"//# sourceMappingURL={path.name}.map\n")
        assert text.count("\n") < 8
        sources = json.loads(path.with_name(f"{path.name}.map").read_text())
        assert all(sources["sourcesContent"])
    assert not list(project.package.rglob("*.br"))


def test_the_archive_belongs_to_nobody_and_has_no_date(archive: Path) -> None:
    with tarfile.open(archive) as content:
        members = content.getmembers()
    assert {(member.uid, member.gid, member.mtime) for member in members} == {(0, 0, 499162500)}
    assert all(member.name.startswith("package/") for member in members)


def entries(project: Project) -> list[str]:
    """What an app can import, with one language pack for all."""
    exports = json.loads((project.package / "package.json").read_text())["exports"]
    return [(NAME + name[1:]).replace("*", "ar") for name in exports if not name.endswith(".json")]


def test_a_server_that_renders_pages_can_import_every_module(project: Project) -> None:
    """Also in a worker thread; and neither prints, nor keeps the process alive, nor leaves a global behind."""
    names = json.dumps(entries(project))
    project.write("modules.mjs", f"for (const name of {names}) await import(name);\n")
    program = "import './modules.mjs'; console.log(Object.keys(globalThis).includes('HTMLElement'));"
    project.write("main.mjs", program)
    worker = "import { Worker } from 'node:worker_threads'; new Worker(new URL('./main.mjs', import.meta.url));"
    project.write("worker.mjs", worker)
    assert project.run("node", "main.mjs") == "false\n"
    assert project.run("node", "worker.mjs") == "false\n"


@pytest.mark.parametrize("without", ["", "WebSocket"])
def test_a_program_in_node_uploads_a_file_of_the_disk_with_the_package(
    without: str, project: Project, tmp_path: Path
) -> None:
    """`fs.openAsBlob` reads it piece by piece."""
    file = make_file(tmp_path / "film.bin", (3 << 20) + 7)
    project.write("upload.mjs", (ROOT / "tests" / "system" / "clients" / "upload.mjs").read_text())
    options = ["--no-warnings", "--experimental-websocket"]
    if without:
        options += ["--import", "data:text/javascript,delete globalThis.WebSocket"]
    with IncomingServer(tmp_path / "storage") as server, UploadApp(server.base_url) as app:
        ticket = app.new_ticket()
        done = project.run("node", *options, "upload.mjs", NAME, f"http://{server.host}", ticket, str(file.path))
        assert done.split() == ["http" if without else "websocket", "finished"]
        app.assert_received(ticket, file)


APPLICATION = """
import "incoming-upload/element";
import german from "incoming-upload/locales/de";
import { Queue, Uploader, set_language, type QueueSnapshot, type UploaderSnapshot } from "incoming-upload";
import { LANGUAGES, add_language } from "incoming-upload/element";

declare const file: File;
set_language(german);
add_language({ ...german, drop: "Filme" });
const uploader: Uploader = Uploader(async (one, { signal }) => fetch(`/ticket?${one.name}`, { signal }), file).start();
export const seen: UploaderSnapshot = uploader.snapshot();
export const all: QueueSnapshot = Queue(() => "ticket", { concurrency: 2 }).snapshot();
document.createElement("incoming-uploader").get_ticket = () => LANGUAGES[0] ?? "";
// @ts-expect-error no module of the package
import "incoming-upload/elements";
// @ts-expect-error a property that is to be read only
uploader.bytes_acked = 5;
"""


@pytest.mark.parametrize("resolution", ["bundler", "node16"])
def test_an_application_in_strict_typescript_finds_all_types(resolution: str, project: Project) -> None:
    options = {
        "strict": True,
        "noEmit": True,
        "noUncheckedSideEffectImports": True,
        "skipLibCheck": False,
        "target": "es2022",
        "lib": ["es2022", "dom"],
        "types": [],
        "moduleResolution": resolution,
        "module": "node16" if resolution == "node16" else "esnext",
    }
    project.write("app.ts", APPLICATION)
    project.write("tsconfig.json", json.dumps({"compilerOptions": options, "files": ["app.ts"]}))
    assert project.run_tool("tsc", "--project", ".") == ""
