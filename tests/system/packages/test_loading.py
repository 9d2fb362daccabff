"""An application whose bundler has named the file that sends the uploads, which cannot be loaded at first."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.app_stub import DROP, Answer, Callback
from tests.support.browser_tab import Tab
from tests.support.incoming_server import IncomingServer
from tests.support.tools import require_tool
from tests.support.waiting import wait_until
from tests.support.webdriver_bidi import Firefox
from tests.system.packages.applications import BuiltApp, build
from tests.system.packages.project import Project

ATTEMPTS_THAT_FAIL = 3


class FlakyApp(BuiltApp):
    """Ends the connection of the first attempts to load the file; `met` and `served` are the attempts."""

    def __init__(self, backend: str, folder: Path) -> None:
        super().__init__(backend, folder)
        self.met: list[int] = []
        self.served: list[int] = []

    def answer(self, callback: Callback) -> Answer:
        if re.search(r"/incoming-transfer[\w.-]*\.js$", callback.path):
            attempt = int(callback.query.get("attempt", "1"))
            if attempt <= ATTEMPTS_THAT_FAIL:
                self.met.append(attempt)
                return DROP
            self.served.append(attempt)
        return super().answer(callback)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, installed: Path) -> Path:
    """The built application in Vue."""
    return build(Project(tmp_path_factory.mktemp("vue"), installed), "vue")


@pytest.fixture
def app(server: IncomingServer, folder: Path) -> Iterator[FlakyApp]:
    with FlakyApp(server.base_url, folder) as app:
        yield app


def upload(tab: Page | Tab, app: FlakyApp, server: IncomingServer) -> None:
    tab.goto(f"{app.page_url}?server=http://{server.host}")
    choose = """() => {
        const input = document.querySelector("input[type=file]");
        const files = new DataTransfer();
        files.items.add(new File(["a film"], "film.bin"));
        input.files = files.files;
        input.dispatchEvent(new Event("change", { bubbles: true }));
    }"""
    wait_until(lambda: tab.evaluate("() => document.querySelector('input[type=file]') !== null"), "the page")
    wait_until(lambda: app.met, "the fault to be met")
    tab.evaluate(choose)
    shown = "() => document.querySelector('output')?.textContent"
    wait_until(lambda: tab.evaluate(shown) == "all done", "the end of the upload", timeout=60)
    (ticket,) = app.tickets.values()
    app.wait_for(1, ticket)
    assert app.receipts[ticket].size == len("a film")
    assert set(app.met) == {1, 2, 3}
    assert app.served == [4]


def test_an_upload_waits_for_it_in_chromium(page: Page, app: FlakyApp, server: IncomingServer) -> None:
    upload(page, app, server)


def test_an_upload_waits_for_it_in_firefox(app: FlakyApp, server: IncomingServer, tmp_path: Path) -> None:
    with Firefox(require_tool("firefox-esr"), tmp_path) as firefox:
        upload(firefox.new_tab(), app, server)
