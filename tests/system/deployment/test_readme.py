"""The application in the README is run as it stands there, with other ports, and a file goes through it in Chromium."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file, sha256_of
from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

README = (ROOT / "README.md").read_text()


def snippet(language: str) -> str:
    [found] = re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    return str(found)


@pytest.fixture
def app(server: IncomingServer, tmp_path: Path) -> Iterator[str]:
    """The application's URL; it runs in `tmp_path/app`."""
    port = free_port()
    directory = tmp_path / "app"
    directory.mkdir()
    for name, language in (("app.py", "python"), ("page.html", "html")):
        text = snippet(language).replace("localhost:4000", server.host).replace("localhost:8000", f"127.0.0.1:{port}")
        (directory / name).write_text(text.replace("port=8000", f"port={port}"))
    with (tmp_path / "app.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-u", "app.py"], cwd=directory, stdout=log, stderr=log)
    try:
        wait_until(lambda: accepts_connections(port), "the application to listen")
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(20)


@pytest.mark.promise(1, 2, 9, 10, 55, 69)
def test_the_application_in_the_readme_works(app: str, page: Page, page_errors: list[str], tmp_path: Path) -> None:
    file = make_file(tmp_path / "some file.bin", 3_000_000, seed=7)
    page.goto(app)
    page.set_input_files("#file", file.path)
    expect(page.locator("#state")).to_have_text("The application has the file.", timeout=30_000)
    assert page.evaluate("document.getElementById('bar').value") == 1
    [taken] = (tmp_path / "app" / "uploads").iterdir()
    assert sha256_of(taken) == file.sha256
    assert f"some file.bin is now uploads/{taken.name}" in (tmp_path / "app.log").read_text()
    # Browsers ask every host for an icon, and so short an application has none.
    assert [error for error in page_errors if "favicon.ico" not in error] == []


def test_the_commands_in_the_readme_are_the_projects() -> None:
    assert re.findall(r"^    make (\w+)$", README, re.MULTILINE) == ["run", "test"]
