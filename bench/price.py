"""The cost of a GiB for a server, sent by a client with minimal cost."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import native
from browser import digest
from cost import cost
from servers import Servers

GIB = 1 << 30


@dataclass(frozen=True)
class Way:
    """`send` uploads once to the server whose main process is `pid`, and returns the path of the file."""

    name: str
    pid: int
    send: Callable[[], Path]


@dataclass(frozen=True)
class Price:
    """`cpu_per_gib` in CPU seconds, `peak` in bytes of memory."""

    way: str
    cpu_per_gib: float
    peak: int


def pay(way: Way, size: int, expected: str) -> Price:
    """Measure one upload of `size` bytes. Raises if the file that arrived differs."""
    before = cost(way.pid)
    received = way.send()
    spent = cost(way.pid) - before
    if digest(received) != expected:
        raise RuntimeError(f"{way.name}: the file that arrived is not the one that was sent")
    received.unlink()
    return Price(way.name, spent.cpu * GIB / size, spent.peak)


def ways(servers: Servers, plain: Servers, data: memoryview) -> Iterator[Way]:
    """Measure each running server with the same `data`; `plain` is Incoming without its extra `fast`."""
    size = len(data)

    def websocket(at: Servers, frame: int) -> Path:
        ticket = at.ticket()
        client = native.WebSocketClient(at.host, at.incoming_port, ticket, frame=frame)
        client.upload(data, 0, size, size, uuid.uuid4().hex)
        return at.received("incoming", ticket)

    def put() -> Path:
        ticket = servers.ticket()
        path = f"/incoming/0.1/frontend/upload/{ticket}?filename=bench"
        native.put(servers.host, servers.incoming_port, path, data, size)
        return servers.received("incoming", ticket)

    def nginx(location: str) -> Path:
        native.put(servers.host, servers.nginx_port, f"/{location}/file", data, size)
        return servers.received("put", "file")

    def tus(server: str, port: int) -> Path:
        return servers.received(server, native.tus(servers.host, port, "/files", data, size))

    def incoming_tus() -> Path:
        ticket = servers.ticket()
        endpoint = f"/incoming/0.1/frontend/tus/{ticket}"
        return servers.received("incoming", native.tus(servers.host, servers.incoming_port, endpoint, data, size))

    pids = servers.pids
    framed = "WebSocket, frames as Chromium's"
    yield Way(framed, pids["incoming"], lambda: websocket(servers, native.CHROMIUM_FRAME))
    yield Way("WebSocket, whole messages", pids["incoming"], lambda: websocket(servers, 0))
    yield Way(f"{framed}, without `fast`", plain.pids["incoming"], lambda: websocket(plain, native.CHROMIUM_FRAME))
    yield Way("PUT", pids["incoming"], put)
    yield Way("tus PATCH", pids["incoming"], incoming_tus)
    yield Way("nginx DAV PUT", pids["nginx"], lambda: nginx("put"))
    yield Way("nginx DAV PUT, body buffer of 1 MiB", pids["nginx"], lambda: nginx("buffered"))
    yield Way("@tus/server PATCH", pids["tus"], lambda: tus("tus", servers.tus_port))
    if "tusd" in pids:
        yield Way("tusd PATCH", pids["tusd"], lambda: tus("tusd", servers.tusd_port))
