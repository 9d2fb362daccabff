"""The application in the README, run unchanged except for the ports, with uploads from Chromium."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file, sha256_of
from tests.support.tools import ROOT
from tests.support.waiting import wait_until
from tests.system.examples.example_app import ReadmeApp


@pytest.fixture
def app(server: IncomingServer, tmp_path: Path) -> Iterator[ReadmeApp]:
    with ReadmeApp(tmp_path / "app", server.host) as app:
        yield app


@pytest.mark.promise(1, 2, 9, 10, 55, 69)
def test_the_application_in_the_readme_works(
    app: ReadmeApp, server: IncomingServer, page: Page, page_errors: list[str], tmp_path: Path
) -> None:
    """Also for a second file in the same page, which is the first one again, and for a third."""
    page.goto(app.url)
    assert page.title() == "Upload a file"
    assert page.get_by_role("button", name="Upload a file").get_attribute("id") == "file"
    assert page.evaluate("document.documentElement.lang") == "en"
    expect(page.get_by_role("progressbar", name="Progress")).to_have_attribute("id", "bar")
    file, other = (make_file(tmp_path / f"some file {n}.bin", 3_000_000, seed=n) for n in (1, 2))
    seen: set[Path] = set()
    for chosen in (file, file, other):
        expect(page.locator("#file")).to_be_enabled()
        page.set_input_files("#file", chosen.path)
        wait_until(lambda: app.is_at_rest() and len(list(app.uploads.iterdir())) > len(seen), "the file to be taken")
        expect(page.locator("#state")).to_have_text("The application has the file.", timeout=30_000)
        assert page.evaluate("document.getElementById('bar').value") == 1
        [taken] = set(app.uploads.iterdir()) - seen
        assert sha256_of(taken) == chosen.sha256
        assert f"{chosen.path.name} is now uploads/{taken.name}" in app.log
        seen.add(taken)
    wait_until(lambda: not list(server.storage_dir.glob("??/*")), "the server to be rid of them")
    # Browsers ask every host for an icon, and so short an application has none.
    assert [error for error in page_errors if "favicon.ico" not in error] == []


def test_the_page_in_the_readme_reports_an_application_that_is_down(app: ReadmeApp, page: Page, tmp_path: Path) -> None:
    page.goto(app.url)
    app.stop()
    file = make_file(tmp_path / "file.bin", 1000)
    page.set_input_files("#file", file.path)
    away = "The application does not answer. Please choose the file again later."
    expect(page.get_by_role("status")).to_have_text(away)
    app.start()
    page.set_input_files("#file", file.path)
    expect(page.get_by_role("status")).to_have_text("The application has the file.", timeout=30_000)


def test_the_page_of_three_lines_in_the_readme_works(
    server: IncomingServer, page: Page, page_errors: list[str], tmp_path: Path
) -> None:
    files = [make_file(tmp_path / f"some file {n}.bin", 300_000, seed=n) for n in (1, 2)]
    with ReadmeApp(tmp_path / "short", server.host, short=True) as app:
        page.goto(app.url)
        page.locator("incoming-uploader input[type=file]").first.set_input_files([str(file.path) for file in files])
        expect(page.locator("incoming-row[data-state=finished]")).to_have_count(2, timeout=30_000)
        assert {sha256_of(taken) for taken in app.uploads.iterdir()} == {file.sha256 for file in files}
    assert [error for error in page_errors if "favicon.ico" not in error] == []


def test_the_commands_in_the_readme_are_the_projects() -> None:
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"^    make (\w+)$", readme, re.MULTILINE) == ["run", "test"]
