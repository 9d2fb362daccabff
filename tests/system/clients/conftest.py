"""Fixtures: an application with a ticket, a large file, and a line that breaks when told to."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartProxy, StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.page_app import PageApp

MIB = 1 << 20


@pytest.fixture
def server(start_server: StartServer) -> IncomingServer:
    """One that at its end does not wait long for requests under way."""
    return start_server("--drain-timeout", "1")


@pytest.fixture
def app(server: IncomingServer) -> Iterator[PageApp]:
    """A web application that gets its tickets from `server` and answers "done"."""
    with PageApp(server.base_url) as app:
        yield app
        app.release()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[KnownFile]:
    """More than 50 MB, and no whole number of anybody's pieces. Removed again: pytest keeps what the last runs left."""
    file = make_file(tmp_path / "film.mp4", 50 * MIB + 12_345)
    yield file
    file.path.unlink()


@pytest.fixture
def ordeal(server: IncomingServer, app: PageApp, start_proxy: StartProxy, file: KnownFile) -> Ordeal:
    return Ordeal(server, app, start_proxy(server.port), file)
