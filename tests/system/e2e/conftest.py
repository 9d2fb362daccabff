"""Fixtures: the real server, real examples and a recording page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import StartProxy
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage
from tests.system.examples.example_app import ExampleApp

StartExample = Callable[..., ExampleApp]

MIB = 1 << 20


@pytest.fixture(autouse=True)
def no_large_files_left(tmp_path: Path) -> Iterator[None]:
    """pytest keeps the directories of its last runs; gigabytes need not be among that."""
    yield
    remove_large_files(tmp_path)


def remove_large_files(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size > MIB:
            path.unlink()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    """One server with default options for all tests of a module: who stops or restarts a server starts his own."""
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
def host(server: IncomingServer) -> str:
    """Where pages reach the server. A module whose pages come through `proxy` says `proxy.host`."""
    return server.host


@pytest.fixture
def upload_page(page: Page, app: UploadApp, host: str, transport: str) -> UploadPage:
    """The recording page, loaded from `app`, with the library of `server`."""
    return UploadPage(page, app, host).open(transport=transport)


@pytest.fixture
def file_size() -> int:
    """Bytes of `file`; a module that needs longer uploads says more."""
    return 8 * MIB


@pytest.fixture
def file(tmp_path: Path, file_size: int) -> KnownFile:
    return make_file(tmp_path / "file.bin", file_size)


@pytest.fixture
def ticket(app: UploadApp) -> str:
    return app.new_ticket()


@pytest.fixture
def proxy(server: IncomingServer, start_proxy: StartProxy) -> FaultProxy:
    """A line to `server` that fails on command."""
    return start_proxy(server.port)


@pytest.fixture
def upload(upload_page: UploadPage, file: KnownFile, ticket: str) -> PageUpload:
    """An upload of `file` that has not begun."""
    return upload_page.upload(ticket, file.path)


@pytest.fixture
def slow(upload: PageUpload) -> PageUpload:
    """An upload in progress that stays slow until its `max_rate` is set to 0."""
    return upload.start_slowly()


@pytest.fixture
def start_example(tmp_path: Path, server: IncomingServer) -> Iterator[StartExample]:
    """Function that starts example `number` with the options it needs to find `server`, and further ones."""
    with ExitStack() as running:

        def start(number: int, *options: str) -> ExampleApp:
            hosts = ["--internal_incoming_host", server.host, "--incoming_storage_dir", str(server.storage_dir)]
            return running.enter_context(ExampleApp(number, tmp_path / f"app-{number}", *hosts, *options))

        yield start
