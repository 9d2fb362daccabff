"""Two workers accept from one listening socket: each gets its share of the connections that come at once."""

import socket
import statistics
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until

AT_ONCE = 64
ROUNDS = 9
MOST = 40
"""Connections of AT_ONCE that one of two workers may get, in the median of the rounds: the machine may be busy."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IncomingServer]:
    with IncomingServer(tmp_path / "incoming", "--workers", "2") as server:
        wait_until(lambda: len(workers(server)) == 2 and min(shares(server)) > 0, "two workers that accept", 60)
        yield server
    server.assert_quiet()


def workers(server: IncomingServer) -> list[int]:
    """Return the processes that serve, which are children of the supervisor."""
    return [int(pid) for pid in Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()]


def inodes(pid: int) -> set[str]:
    """Return the inodes of the sockets that a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            kind, _, inode = str(descriptor.readlink()).partition(":")
        except FileNotFoundError:  # closed meanwhile
            continue
        if kind == "socket":
            found.add(inode.strip("[]"))
    return found


def accepted(server: IncomingServer, clients: set[int]) -> list[int]:
    """Return how many of the connections from these ports each worker has; [] while some are not accepted."""
    ends = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    theirs = {
        inode
        for _, local, remote, *_, inode in (fields[:10] for fields in ends)
        if int(local[9:], 16) == server.port and int(remote[9:], 16) in clients
    }
    counts = [len(theirs & inodes(pid)) for pid in workers(server)]
    return counts if sum(counts) == len(clients) else []


def shares(server: IncomingServer) -> list[int]:
    """Connect AT_ONCE times; return how many of the connections each worker has accepted."""
    with ExitStack() as connections:
        ends = [connections.enter_context(socket.create_connection(("127.0.0.1", server.port))) for _ in range(AT_ONCE)]
        clients = {end.getsockname()[1] for end in ends}
        return wait_until(lambda: accepted(server, clients), "every connection to be accepted")


def test_neither_of_two_workers_accepts_most_of_what_connects_at_once(server: IncomingServer) -> None:
    rounds = [shares(server) for _ in range(ROUNDS)]
    assert statistics.median(map(max, rounds)) <= MOST, rounds
