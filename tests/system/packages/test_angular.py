"""The components of doc/frameworks.md in Angular, compiled ahead of time, with zone.js and without, in Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.tools import ROOT, require_node_package, unavailable
from tests.system.packages.applications import FILES, SERVER, BuiltApp
from tests.system.packages.project import Project
from tests.system.packages.test_applications import DONE_WITHIN, finished, show

pytestmark = pytest.mark.wide

MIB = 1 << 20
ANGULAR = ROOT / ".wide" / "angular" / "node_modules"
"""Where tools/wide.sh installs it, with the TypeScript that its compiler wants."""
PAGE = (
    '<!DOCTYPE html><html lang="en"><title>Films</title><link rel="icon" href="data:,"><app-root></app-root>%s</html>'
)
APPLICATION = '<script type="module" src="/application.js"></script>'
OPTIONS = {
    "compilerOptions": {
        "strict": True,
        "target": "es2022",
        "module": "esnext",
        "moduleResolution": "bundler",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": [],
        "rootDir": "src",
        "outDir": "out",
    },
    "angularCompilerOptions": {"strictTemplates": True},
    "files": ["src/main.ts"],
}

# Of a component with a plain property: what doc/frameworks.md says of markForCheck.
PLAIN = """
import { ChangeDetectorRef, Component, inject, type OnInit } from "@angular/core";
import { Uploader } from "incoming-upload";
import { chosen } from "./chosen";

@Component({ selector: "app-plain", template: `<output>{{ state }}</output>` })
export class PlainComponent implements OnInit {
    protected state = "";
    private readonly changes = inject(ChangeDetectorRef);

    ngOnInit() {
        const uploader = Uploader(chosen.ticket, chosen.file);
        uploader.subscribe(({ state_msg }) => {
            this.state = state_msg;
            this.changes.markForCheck();
        });
        uploader.start();
    }
}
"""

MAIN = """
import "@angular/compiler";
import "./server";
import { Component, provideZoneChangeDetection, signal } from "@angular/core";
import { bootstrapApplication } from "@angular/platform-browser";
import { chosen } from "./chosen";
import { ControlComponent } from "./control.component";
import { PlainComponent } from "./plain.component";
import { UploadComponent } from "./upload.component";

@Component({
    selector: "app-root",
    imports: [ControlComponent, PlainComponent, UploadComponent],
    template: `
        @if (page === "control") { <app-control /> } @else { <input type="file" (change)="choose($event)" /> }
        @if (ready() && page === "films") { <app-upload [ticket]="chosen.ticket" [file]="chosen.file" /> }
        @if (ready() && page === "plain") { <app-plain /> }`,
})
class Root {
    protected readonly page = new URLSearchParams(location.search).get("page") ?? "films";
    protected readonly chosen = chosen;
    protected readonly ready = signal(false);

    protected async choose(event: Event) {
        const [file] = (event.target as HTMLInputElement).files ?? [];
        if (!file) return;
        const answer = await fetch("/ticket", { method: "POST", body: new URLSearchParams({ filename: file.name }) });
        Object.assign(chosen, { file, ticket: await answer.text() });
        this.ready.set(true);
    }
}

bootstrapApplication(Root, { providers: "Zone" in window ? [provideZoneChangeDetection()] : [] });
"""

CHOSEN = 'export const chosen = { ticket: "", file: new File([], "") };\n'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    """The folder with the pages."""
    if not (ANGULAR / "@angular").is_dir():
        unavailable("Angular is not installed: run make wide")
    esbuild = require_node_package("esbuild") / "bin" / "esbuild"
    project = Project(tmp_path_factory.mktemp("angular"), installed, ANGULAR)
    shown = {path.partition("/")[2]: content for path, content in FILES.items() if path.startswith("angular/")}
    own = {"main.ts": MAIN, "plain.component.ts": PLAIN, "chosen.ts": CHOSEN, "server.ts": SERVER}
    assert len(shown) == 2
    for name, content in {**shown, **{f"src/{name}": content for name, content in own.items()}}.items():
        project.write(name, content)
    project.write("tsconfig.json", json.dumps(OPTIONS))
    project.run("node", str(ANGULAR / "@angular" / "compiler-cli" / "bundles" / "src" / "bin" / "ngc.js"))
    bundle = ["--bundle", "--format=esm", "--splitting", "--outdir=dist", "--out-extension:.js=.js"]
    project.run(str(esbuild), "application=out/main.js", *bundle)
    project.write("dist/zone.js", (ANGULAR / "zone.js" / "bundles" / "zone.umd.min.js").read_text())
    project.write("dist/without.html", PAGE % APPLICATION)
    project.write("dist/zone.html", PAGE % ('<script src="/zone.js"></script>' + APPLICATION))
    return project.folder / "dist"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    with IncomingServer(tmp_path_factory.mktemp("server") / "storage") as server:
        yield server
    server.assert_quiet()


@pytest.fixture
def film(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.bin", 3 * MIB + 7)


@pytest.mark.parametrize("component", ["films", "plain"])
@pytest.mark.parametrize("name", ["zone.html", "without.html"])
def test_a_component_in_angular_uploads_and_shows_the_states(
    name: str, component: str, built: Path, quiet_page: Page, server: IncomingServer, film: KnownFile
) -> None:
    with BuiltApp(server.base_url, built) as app:
        app.terms = {"maxRate": str(MIB)}
        show(quiet_page, app, server, name, page=component)
        quiet_page.locator("input[type=file]").set_input_files(film.path)
        expect(quiet_page.locator("output")).to_have_text("transfer file chunks to upload server", timeout=DONE_WITHIN)
        if component == "films":
            quiet_page.wait_for_function("0 < document.querySelector('progress').value")
            expect(quiet_page.locator("button")).to_be_enabled()
        expect(quiet_page.locator("output")).to_have_text("all done", timeout=DONE_WITHIN)
        app.assert_received(app.tickets[film.path.name], film)
        if component == "films":
            expect(quiet_page.locator("button")).to_be_disabled()


@pytest.mark.parametrize("name", ["zone.html", "without.html"])
def test_the_element_in_angular_uploads_and_its_events_arrive(
    name: str, built: Path, quiet_page: Page, server: IncomingServer, film: KnownFile
) -> None:
    with BuiltApp(server.base_url, built) as app:
        show(quiet_page, app, server, name, page="control")
        quiet_page.locator("input[type=file]").first.set_input_files(film.path)
        finished(quiet_page, 1)
        expect(quiet_page.locator("app-control")).to_contain_text("1 uploaded")
        app.assert_received(app.tickets[film.path.name], film)
