"""Several fast uploads at once, and what of the machine they leave: whether a second worker is worth a second core.

Clients share the machine with the server, so each is a process of its own that does as little as can be: a PUT's body
goes from the page cache to the socket by sendfile, a WebSocket's in whole messages whose mask is zero. How much of the
machine was idle meanwhile tells whether a core was left that another worker could have used.
"""

from __future__ import annotations

import http.client
import multiprocessing
import resource
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from browser import digest
from cost import cost, machine
from native import WebSocketClient
from servers import Servers

CLIENTS = 6
"""Enough that each of two workers gets some, whichever accepts first."""


@dataclass(frozen=True)
class Rush:
    """`rate` in MB/s over all clients; `server_cores` and `client_cores` are the processors that they kept busy, `idle`
    the share of the whole machine that nobody used.
    """

    way: str
    workers: int
    rate: float
    server_cores: float
    client_cores: float
    idle: float


def put(servers: Servers, ticket: str, source: Path) -> None:
    connection = http.client.HTTPConnection(servers.host, servers.incoming_port)
    connection.putrequest("PUT", f"/incoming/0.1/frontend/upload/{ticket}?filename=rush")
    connection.putheader("Content-Length", str(source.stat().st_size))
    connection.endheaders()
    with source.open("rb") as file:
        connection.sock.sendfile(file)
    answer = connection.getresponse()
    if answer.status >= 300:
        raise RuntimeError(f"PUT was answered {answer.status}: {answer.read()!r}")
    connection.close()


def websocket(servers: Servers, ticket: str, source: Path) -> None:
    data = memoryview(source.read_bytes())
    client = WebSocketClient(servers.host, servers.incoming_port, ticket, frame=0)
    client.upload(data, 0, len(data), len(data), uuid.uuid4().hex)


WAYS: dict[str, Callable[[Servers, str, Path], None]] = {"PUT": put, "WebSocket": websocket}


def rush(servers: Servers, way: str, source: Path, expected: str) -> Rush:
    """CLIENTS uploads of `source` at once. Raises when what arrived is not what was sent."""
    tickets = [servers.ticket() for _ in range(CLIENTS)]
    make = multiprocessing.get_context("fork")
    clients = [make.Process(target=WAYS[way], args=(servers, ticket, source)) for ticket in tickets]
    pid = servers.pids["incoming"]
    server, children, whole, began = cost(pid).cpu, _of_children(), machine(), time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.monotonic() - began
    busy, idle = (after - before for after, before in zip(machine(), whole, strict=True))
    server_cpu, client_cpu = cost(pid).cpu - server, _of_children() - children
    if any(client.exitcode for client in clients):
        raise RuntimeError(f"{way}: a client has failed")
    for ticket in tickets:
        received = servers.received("incoming", ticket)
        if digest(received) != expected:
            raise RuntimeError(f"{way}: the file that arrived is not the one that was sent")
        received.unlink()
    rate = CLIENTS * source.stat().st_size / took / 1e6
    return Rush(way, servers.workers, rate, server_cpu / took, client_cpu / took, idle / (busy + idle))


def _of_children() -> float:
    """CPU seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
