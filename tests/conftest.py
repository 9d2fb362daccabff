"""Fixtures for everybody: servers, web applications, bad networks, a real browser."""

import asyncio
import os
from collections.abc import Callable, Iterator
from inspect import iscoroutinefunction
from pathlib import Path

import hypothesis
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright
from tornado.ioloop import IOLoop

from tests.support.app_stub import AppStub
from tests.support.ceph_cluster import CephCluster, ceph_cluster
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.rerun_limit import RerunLimit
from tests.support.tools import chromium_path

# No test asserts speed; and CI tries the same examples every time, while at home new ones are found.
hypothesis.settings.register_profile("incoming", deadline=None, derandomize=os.environ.get("CI") == "true")
hypothesis.settings.load_profile("incoming")

# As long as wait_until waits; Playwright's own five seconds are short on a busy machine.
expect.set_options(timeout=20_000)

StartServer = Callable[..., IncomingServer]
StartProxy = Callable[..., FaultProxy]

# Chromium as root and in containers, without its own traffic to the outside.
CHROMIUM_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

# Real browsers, proxies and bad networks may lose a race on a busy machine; everything else fails the first time.
MAY_BE_RERUN = Path(__file__).parent / "system"


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(RerunLimit())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give every coroutine test a loop of its own, named among its arguments or not, and mark what needs a browser.

    Tests of the whole system get a second try, which the summary lists. What fails twice fails. A soak gets none: what
    it finds in hours may not come again.
    """
    for item in items:
        if item.path.is_relative_to(MAY_BE_RERUN) and item.get_closest_marker("soak") is None:
            item.add_marker(pytest.mark.flaky(reruns=1))
        if not isinstance(item, pytest.Function):
            continue
        if iscoroutinefunction(item.obj) and "io_loop" not in item.fixturenames:
            item.fixturenames.insert(0, "io_loop")
        if {"chromium", "open_tab"} & set(item.fixturenames):
            item.add_marker("browser")


@pytest.fixture
def io_loop() -> Iterator[IOLoop]:
    """pytest-tornasync's fixture of this name calls what Tornado has deprecated; the same without that."""
    loop = IOLoop(make_current=False)
    asyncio.set_event_loop(loop.asyncio_loop)
    yield loop
    # A task that is destroyed before its end is logged, whenever that is: in the middle of a later test.
    if left := asyncio.all_tasks(loop.asyncio_loop):
        for task in left:
            task.cancel()
        loop.asyncio_loop.run_until_complete(asyncio.wait(left, timeout=5))
    asyncio.set_event_loop(None)
    loop.close(all_fds=True)


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[StartServer]:
    """Function that starts a server with the given options; all end with the test, and their logs must be quiet.

    Without `storage_dir` the first gets `<tmp_path>/storage-0`, the next `storage-1`, ...
    """
    servers: list[IncomingServer] = []

    def start(*options: str, storage_dir: Path | None = None, **others: object) -> IncomingServer:
        directory = storage_dir or tmp_path / f"storage-{len(servers)}"
        server = IncomingServer(directory, *options, **others)  # type: ignore[arg-type]
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.kill()
    for server in servers:
        server.assert_quiet()


@pytest.fixture
def server(start_server: StartServer) -> IncomingServer:
    """A server with default options."""
    return start_server()


@pytest.fixture
def app_stub() -> Iterator[AppStub]:
    """A web application that answers "done"."""
    with AppStub() as stub:
        yield stub
        stub.release()


@pytest.fixture
def start_proxy() -> Iterator[StartProxy]:
    """Function that puts a fault proxy in front of a port: `start_proxy(server.port)`."""
    proxies: list[FaultProxy] = []

    def start(upstream_port: int, **others: int) -> FaultProxy:
        proxies.append(FaultProxy(upstream_port, **others))
        return proxies[-1].start()

    yield start
    for proxy in proxies:
        proxy.stop()


@pytest.fixture(scope="session")
def ceph() -> Iterator[CephCluster]:
    """A real Ceph with an S3 gateway, which all processes of the test run share."""
    cluster = ceph_cluster()
    yield cluster
    cluster.leave()


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The system's Chromium, driven through Playwright's synchronous interface.

    One per module, not per session: as long as it runs, Playwright keeps an event loop in this thread, and no coroutine
    test can have one. So a module has browser tests or coroutine tests.
    """
    executable = chromium_path()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def browser_context(chromium: Browser) -> Iterator[BrowserContext]:
    """A fresh profile: no storage, no cache."""
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def page(browser_context: BrowserContext) -> Page:
    """A new tab in a fresh profile."""
    return browser_context.new_page()


@pytest.fixture
def page_errors(page: Page) -> list[str]:
    """What `page` reported so far: uncaught exceptions and console errors (failed loads are among them)."""
    errors: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(f"console: {message.text} ({message.location.get('url', '')})")

    page.on("console", on_console)
    page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
    return errors


@pytest.fixture
def quiet_page(page: Page, page_errors: list[str]) -> Iterator[Page]:
    """`page`, in which the test fails if there were errors."""
    yield page
    assert not page_errors, "\n".join(page_errors)
