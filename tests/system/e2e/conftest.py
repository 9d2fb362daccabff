"""Fixtures: the real server, real examples and a recording page in a real browser."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.support.incoming_server import IncomingServer
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage
from tests.system.examples.example_app import ExampleApp

StartExample = Callable[..., ExampleApp]

_LARGE = 1 << 20


@pytest.fixture(autouse=True)
def no_large_files_left(tmp_path: Path) -> Iterator[None]:
    """pytest keeps the directories of its last runs; gigabytes need not be among that."""
    yield
    remove_large_files(tmp_path)


def remove_large_files(directory: Path) -> None:
    for path in directory.rglob("*"):
        if path.is_file() and path.stat().st_size > _LARGE:
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
def upload_page(page: Page, app: UploadApp, server: IncomingServer, transport: str) -> UploadPage:
    """The recording page, loaded from `app`, with the library of `server`."""
    return UploadPage(page, app, server.host).open(transport=transport)


@pytest.fixture
def start_example(tmp_path: Path, server: IncomingServer) -> Iterator[StartExample]:
    """Function that starts example `number` with the options it needs to find `server`, and further ones."""
    with ExitStack() as running:

        def start(number: int, *options: str) -> ExampleApp:
            hosts = ["--internal_incoming_host", server.host, "--incoming_storage_dir", str(server.storage_dir)]
            return running.enter_context(ExampleApp(number, tmp_path / f"app-{number}", *hosts, *options))

        yield start
