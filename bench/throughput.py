"""Measure several fast uploads at once, and the idle rest of the machine: whether a second worker is worth a second
core.

Clients share the machine with the server, so each is a process of its own that does as little as can be: a PUT's body
goes from the page cache to the socket by sendfile, a WebSocket's in whole messages whose mask is zero. How much of the
machine was idle meanwhile tells whether a core was left that another worker could have used.

Small pieces, each a request of its own with its answer, cost the server's Python most and the clients next to nothing.
"""

from __future__ import annotations

import asyncio
import http.client
import multiprocessing
import resource
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from browser import digest
from cost import cost, machine
from native import WebSocketClient
from servers import Servers

CLIENTS = 6
"""Enough that each of two workers gets some."""

PIECE = 16 * 1024
PIECEMEAL = 64
"""Uploads at once that come in pieces, from one process."""


@dataclass(frozen=True)
class Rush:
    """`rate` in MB/s over all clients; `server_cores` and `client_cores` are the processors that they kept busy, `idle`
    the idle share of the whole machine.
    """

    way: str
    workers: int
    rate: float
    server_cores: float
    client_cores: float
    idle: float


def put(servers: Servers, tickets: Sequence[str], source: Path) -> None:
    [ticket] = tickets
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


def websocket(servers: Servers, tickets: Sequence[str], source: Path) -> None:
    [ticket] = tickets
    data = memoryview(source.read_bytes())
    client = WebSocketClient(servers.host, servers.incoming_port, ticket, frame=0)
    client.upload(data, 0, len(data), len(data), uuid.uuid4().hex)


def put_pieces(servers: Servers, tickets: Sequence[str], source: Path) -> None:
    asyncio.run(_in_pieces(servers, tickets, source.read_bytes()))


class Piecemeal(asyncio.Protocol):
    """A keep-alive connection that sends a file in small requests, each after the answer to the previous one."""

    def __init__(self, host: str, ticket: str, data: bytes) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines = f"PUT /incoming/0.1/frontend/upload/{ticket}?filename=rush HTTP/1.1\r\nHost: {host}\r\n"
        self._data = data
        self._sent = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        start, size = self._sent, len(self._data)
        self._sent = end = min(start + PIECE, size)
        told = f"Content-Range: bytes {start}-{end - 1}/{size}\r\nContent-Length: {end - start}\r\n\r\n"
        self._transport.write((self._lines + told).encode() + self._data[start:end])

    def data_received(self, answer: bytes) -> None:
        """Receive an answer, which is small and arrives at once."""
        last = self._sent == len(self._data)
        if not answer.startswith(b"HTTP/1.1 200" if last else b"HTTP/1.1 308"):
            self.done.set_exception(RuntimeError(f"a piece was answered {answer!r}"))
        elif last:
            self.done.set_result(None)
            self._transport.close()
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError("the server has closed the connection"))


async def _in_pieces(servers: Servers, tickets: Sequence[str], data: bytes) -> None:
    connect = asyncio.get_running_loop().create_connection
    uploads = []
    for ticket in tickets:
        upload = Piecemeal(servers.host, ticket, data)
        await connect(lambda upload=upload: upload, servers.host, servers.incoming_port)  # type: ignore[misc]
        uploads.append(upload)
    await asyncio.gather(*(upload.done for upload in uploads))


@dataclass(frozen=True)
class Way:
    """How `clients` processes send `each` files at once, and their size in MiB."""

    send: Callable[[Servers, Sequence[str], Path], None]
    clients: int
    each: int
    size: int


WAYS = {
    "PUT": Way(put, CLIENTS, 1, 256),
    "WebSocket": Way(websocket, CLIENTS, 1, 256),
    "PUTs of 16 KiB": Way(put_pieces, 1, PIECEMEAL, 2),
}


def rush(servers: Servers, name: str, source: Path, expected: str) -> Rush:
    """Upload `source` several times at once. Raises if a file that arrived differs."""
    sent = send(name, [servers] * WAYS[name].clients, source, expected)
    return Rush(name, servers.workers, sent.rate, sent.server_cores, sent.client_cores, sent.idle)


@dataclass(frozen=True)
class Sent:
    """`rate` in MB/s; the processors that servers and clients kept busy, and the idle share of the machine."""

    seconds: float
    rate: float
    server_cores: float
    client_cores: float
    idle: float


def send(name: str, targets: Sequence[Servers], source: Path, expected: str) -> Sent:
    """Upload `source` to each target at once, by a process each. Raises if a file that arrived differs."""
    way = WAYS[name]
    clients, tickets = [], []
    for servers in targets:
        given = [servers.ticket_here() for _ in range(way.each)]
        clients.append(multiprocessing.get_context("fork").Process(target=way.send, args=(servers, given, source)))
        tickets += given
    pids = {servers.pids["incoming"] for servers in targets}
    server, children = sum(cost(pid).cpu for pid in pids), _of_children()
    whole, began = machine(), time.monotonic()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.monotonic() - began
    busy, idle = (after - before for after, before in zip(machine(), whole, strict=True))
    server_cpu, client_cpu = sum(cost(pid).cpu for pid in pids) - server, _of_children() - children
    if any(client.exitcode for client in clients):
        raise RuntimeError(f"{name}: a client has failed")
    arrived = [targets[0].received("incoming", ticket) for ticket in tickets]
    for received in arrived:
        if digest(received) != expected:
            raise RuntimeError(f"{name}: the file that arrived is not the one that was sent")
        received.unlink()
    rate = len(arrived) * source.stat().st_size / took / 1e6
    return Sent(took, rate, server_cpu / took, client_cpu / took, idle / (busy + idle))


def _of_children() -> float:
    """Return the CPU seconds of this process's children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
