"""An unread log: a pipe to a stopped pager or to a blocked log driver."""

import fcntl
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until

REQUESTS = 60
"""Each logs a line of more than 200 bytes at the level `debug`: more than the pipe holds."""


@pytest.fixture
def unread_pipe() -> Iterator[int]:
    reading, writing = os.pipe()
    assert fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096) == 4096
    yield writing
    os.close(reading)
    os.close(writing)


def ask_often(server: IncomingServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"GET /{'x' * 190} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * REQUESTS)
        received = b""
        while received.count(b"no such URL") < REQUESTS:
            received += connection.recv(1_000_000)


def workers_of(server: IncomingServer) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_unread_log_blocks_neither_requests_nor_shutdown(workers: str, tmp_path: Path, unread_pipe: int) -> None:
    options = ("--workers", workers, "--log-level", "debug")
    with IncomingServer(tmp_path / "storage", *options, log_to=unread_pipe) as server:
        for _ in range(3):
            ask_often(server)
        if workers == "2":
            first = workers_of(server)
            os.kill(first[0], signal.SIGKILL)  # the supervisor logs it, and forks while its own log is blocked
            wait_until(lambda: len(set(workers_of(server)) - set(first)) == 1, "another worker")
        assert requests.get(f"{server.base_url}/incoming/health", timeout=20).status_code == 200
        assert server.stop() == 0
