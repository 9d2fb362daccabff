"""One real server for each module, and its log."""

from collections.abc import Callable, Iterator

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.hostile.wire import OPEN, ask, request

LogLines = Callable[[], list[str]]
MARKER = "POST /incoming/backend/cancel_upload 400 "


@pytest.fixture(scope="module")
def options() -> tuple[str, ...]:
    """Options of the module's server."""
    return ()


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory: pytest.TempPathFactory, options: tuple[str, ...]) -> Iterator[IncomingServer]:
    """A server of one worker, which must exit cleanly, with a quiet log."""
    directory = tmp_path_factory.mktemp("hostile") / "storage"
    with IncomingServer(directory, "--workers", "1", *options) as running:
        yield running
        assert running.stop() == 0
        running.assert_quiet()


@pytest.fixture(autouse=True)
def close_connections() -> Iterator[None]:
    """Close all connections after each test."""
    yield
    while OPEN:
        OPEN.pop().socket.close()


@pytest.fixture
def log_lines(hostile_server: IncomingServer) -> LogLines:
    """Return a function for the lines logged since the test began or since its last call."""
    read = len(hostile_server.log)

    def lines() -> list[str]:
        nonlocal read
        ask(hostile_server, request("POST /incoming/backend/cancel_upload"))
        wait_until(lambda: MARKER in hostile_server.log[read:], "the last call's line in the log")
        new = hostile_server.log[read:]
        read += len(new)
        return [line for line in new.splitlines() if MARKER not in line]

    return lines
