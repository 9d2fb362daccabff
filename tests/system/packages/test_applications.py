"""The applications of doc/frameworks.md, built by the frameworks' own tools with the npm package, in Chromium."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.packages.applications import FILES, BuiltApp, build, write
from tests.system.packages.project import Project

MIB = 1 << 20
DONE_WITHIN = 60_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    with IncomingServer(tmp_path_factory.mktemp("server") / "storage") as server:
        yield server
    server.assert_quiet()


@pytest.fixture(scope="module")
def react(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Project:
    """The built application in React."""
    project = Project(tmp_path_factory.mktemp("react"), installed)
    build(project, "react")
    return project


@pytest.fixture
def films(tmp_path: Path) -> list[KnownFile]:
    return [make_file(tmp_path / f"film-{number}.bin", number * MIB + 7, seed=number) for number in (1, 3)]


def show(tab: Page, app: BuiltApp, server: IncomingServer, name: str = "", **query: str) -> None:
    parameters = {"server": f"http://{server.host}", **query}
    url = requests.Request("GET", f"http://127.0.0.1:{app.port}/{name}", params=parameters).prepare().url
    tab.goto(str(url))


def choose(page: Page, films: list[KnownFile]) -> None:
    page.locator("input[type=file]").first.set_input_files([film.path for film in films])


def assert_all_arrived(app: BuiltApp, films: list[KnownFile]) -> None:
    for film in films:
        app.assert_received(app.tickets[film.path.name], film)


@pytest.mark.parametrize("framework", ["vue", "svelte", "alpine"])
def test_the_files_that_a_page_of_the_framework_uploads_arrive_unchanged(
    framework: str, project: Project, quiet_page: Page, server: IncomingServer, films: list[KnownFile]
) -> None:
    with BuiltApp(server.base_url, build(project, framework)) as app:
        show(quiet_page, app, server)
        quiet_page.wait_for_load_state("networkidle")
        choose(quiet_page, films)
        expect(quiet_page.locator("output")).to_have_text(["all done", "all done"], timeout=DONE_WITHIN)
        expect(quiet_page.locator("button").first).to_be_disabled()
        assert_all_arrived(app, films)
        if framework == "vue":
            show(quiet_page, app, server, page="control")
            choose(quiet_page, films)
            finished(quiet_page, 2)
            assert_all_arrived(app, films)


def test_a_page_in_react_uploads_in_strict_mode(
    react: Project, quiet_page: Page, server: IncomingServer, films: list[KnownFile]
) -> None:
    with BuiltApp(server.base_url, react.folder / "dist") as app:
        show(quiet_page, app, server)
        choose(quiet_page, films)
        expect(quiet_page.locator("output")).to_have_text(["all done", "all done"], timeout=DONE_WITHIN)
        assert_all_arrived(app, films)


@pytest.mark.parametrize("name", ["incoming-details", "incoming-direct", "incoming-transfer"])
def test_a_bundler_keeps_what_is_loaded_on_demand_apart(name: str, react: Project) -> None:
    [chunk] = (react.folder / "dist" / "assets").glob(f"{name}-*.js")
    others = [path.read_text() for path in chunk.parent.glob("*.js") if path != chunk]
    assert any(f"import(`./{chunk.name}`)" in text or f'import("./{chunk.name}")' in text for text in others)


def test_the_element_in_react_uploads_and_speaks_a_language_of_the_applications_bundle(
    react: Project, quiet_page: Page, server: IncomingServer, films: list[KnownFile]
) -> None:
    with BuiltApp(server.base_url, react.folder / "dist") as app:
        show(quiet_page, app, server, page="control")
        quiet_page.locator("#toggle").click()
        quiet_page.evaluate("document.documentElement.lang = 'de'")
        quiet_page.locator("#toggle").click()
        expect(quiet_page.get_by_text("Dateien auswählen").first).to_be_visible()
        choose(quiet_page, films)
        finished(quiet_page, 2)
        assert_all_arrived(app, films)


def finished(page: Page, count: int) -> None:
    page.wait_for_function(
        "count => document.querySelector('incoming-uploader').value.length === count", arg=count, timeout=DONE_WITHIN
    )


@pytest.mark.parametrize("shown_by", ["films", "shared"])
def test_a_component_that_is_unmounted_pauses_its_own_uploads_and_leaves_those_of_a_store(
    shown_by: str, react: Project, quiet_page: Page, server: IncomingServer, tmp_path: Path
) -> None:
    film = make_file(tmp_path / "film.bin", 8 * MIB)
    with BuiltApp(server.base_url, react.folder / "dist") as app:
        app.terms = {"maxRate": str(MIB)}
        show(quiet_page, app, server, page=shown_by)
        choose(quiet_page, [film])
        wait_until(lambda: film.path.name in app.tickets, "a ticket")
        ticket = app.tickets[film.path.name]
        status = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}"
        wait_until(lambda: requests.get(status, timeout=30).json()["state"] == "uploading", "the upload")
        quiet_page.locator("#toggle").click()
        if shown_by == "films":
            wait_until(lambda: requests.get(status, timeout=30).json()["paused"], "the pause")
            quiet_page.locator("#toggle").click()
            choose(quiet_page, [film])  # the same file again: it continues
        app.assert_received(ticket, film)
        if shown_by == "shared":
            quiet_page.locator("#toggle").click()
        expect(quiet_page.locator("output")).to_have_text("all done")
        assert app.tickets == {film.path.name: ticket}


@pytest.mark.parametrize("resolution", ["bundler", "node16"])
def test_the_application_in_react_is_strict_typescript(resolution: str, project: Project) -> None:
    write(project, "react")
    options = {
        "strict": True,
        "noEmit": True,
        "noUncheckedIndexedAccess": True,
        "skipLibCheck": resolution == "bundler",
        "jsx": "react-jsx",
        "target": "es2022",
        "lib": ["es2022", "dom", "dom.iterable"],
        "types": [],
        "moduleResolution": resolution,
        "module": "node16" if resolution == "node16" else "esnext",
    }
    files = ["src/Films.tsx", "src/films.ts", "src/Control.tsx"]
    project.write("tsconfig.json", json.dumps({"compilerOptions": options, "files": files}))
    assert project.run_tool("tsc", "--project", ".") == ""


@pytest.mark.parametrize("name", ["served.html", "own.html"])
def test_a_plain_page_uploads(
    name: str, project: Project, quiet_page: Page, server: IncomingServer, films: list[KnownFile]
) -> None:
    page = FILES[f"plain/{name}"].replace("INCOMING_HOST", server.host)
    project.write(f"site/{name}", page.replace("</title>", '</title><link rel="icon" href="data:,">'))
    (project.folder / "site" / "incoming-upload").symlink_to(project.package)
    with BuiltApp(server.base_url, project.folder / "site") as app:
        show(quiet_page, app, server, name)
        choose(quiet_page, films)
        if name == "served.html":
            expect(quiet_page.locator("output")).to_have_text(
                "film-1.bin: all done\nfilm-3.bin: all done", timeout=DONE_WITHIN
            )
        else:
            finished(quiet_page, 2)
        assert_all_arrived(app, films)
