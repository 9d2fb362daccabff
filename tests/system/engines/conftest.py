"""Fixtures: three browser engines, one of each for a module, and the recording page in each of them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHROMIUM_ARGUMENTS
from tests.support.browser_tab import Engine, Tab
from tests.support.incoming_server import IncomingServer
from tests.support.tools import chromium_path, require_tool, unavailable
from tests.support.webdriver_bidi import Firefox
from tests.support.webdriver_classic import MINI_BROWSERS, WebKit
from tests.system.e2e.conftest import remove_large_files
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage

OpenTab = Callable[[str], Tab]


@contextmanager
def chromium(home: Path) -> Iterator[Engine]:
    executable = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield Chromium(browser)
        browser.close()


class Chromium:
    """Chromium, driven by Playwright."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser

    def new_tab(self) -> Page:
        return self._browser.new_context().new_page()


def firefox(home: Path) -> AbstractContextManager[Engine]:
    return Firefox(require_tool("firefox-esr"), home)


def webkit(home: Path) -> AbstractContextManager[Engine]:
    browser = next((path for path in MINI_BROWSERS if Path(path).exists()), None)
    if browser is None:
        unavailable("WebKitGTK's MiniBrowser is not installed: run tools/system_packages.sh")
    return WebKit(require_tool("WebKitWebDriver"), browser, require_tool("Xvfb"), home)


ENGINES = {"chromium": chromium, "firefox": firefox, "webkit": webkit}


@pytest.fixture(scope="module")
def open_tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenTab]:
    """Function that starts an engine by its name, and opens a tab, when it is first asked for it.

    The tab serves all tests of a module: each has an application with a port, and so an origin, of its own.
    """
    tabs: dict[str, Tab] = {}
    with ExitStack() as running:

        def start(name: str) -> Tab:
            if name not in tabs:
                home = tmp_path_factory.mktemp(name)
                tabs[name] = running.enter_context(ENGINES[name](home)).new_tab()
            return tabs[name]

        yield start


@pytest.fixture
def tab(open_tab: OpenTab, engine: str) -> Iterator[Tab]:
    """The tab of the engine that the test's parameter `engine` names."""
    tab = open_tab(engine)
    yield tab
    tab.goto("about:blank")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    """One server with default options for all tests of a module."""
    directory = tmp_path_factory.mktemp("server")
    with IncomingServer(directory / "storage") as server:
        yield server
    remove_large_files(directory)
    server.assert_quiet()


@pytest.fixture
def app(server: IncomingServer) -> Iterator[UploadApp]:
    """A web application that gets its tickets from `server` and answers "done"."""
    with UploadApp(server.base_url) as app:
        yield app
        app.release()


@pytest.fixture
def transport() -> str:
    """What pages use. Tests with `over_both` run once with each."""
    return "auto"


@pytest.fixture
def upload_page(tab: Tab, app: UploadApp, server: IncomingServer, transport: str) -> UploadPage:
    """The recording page, loaded from `app`, with the library of `server`."""
    return UploadPage(tab, app, server.host).open(transport=transport)
