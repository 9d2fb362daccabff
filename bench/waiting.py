"""Connections whose uploads wait for their app: `python bench/waiting.py [CONNECTIONS]` prints what each takes.

Each sends a small file over its WebSocket with the headers of a browser, gets the state `waiting`, and answers pings.
The worker's resident memory is compared with that before them, after it has served others; its CPU time is that of
SECONDS in which nothing happens but pings.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import tempfile
import uuid
from pathlib import Path

from cost import cost
from native import CHUNK_HEADER, frame_head, handshake
from servers import Servers

SETTLING = 45.0
"""Seconds after the last one: two intervals of pings."""

SECONDS = 40.0
WARMING = 100
"""Connections that come and leave before, so that what a worker makes once is not counted."""

AT_ONCE = 20
CONTENT = bytes(1000)
BROWSER = (
    "Pragma: no-cache",
    "Cache-Control: no-cache",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
    "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
)
"""Further lines of the header of a browser's handshake."""


class Waiting(asyncio.Protocol):
    """One connection, from its handshake to the state `waiting`."""

    transport: asyncio.Transport

    def __init__(self, host: str, ticket: str) -> None:
        self.waits: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._host = host
        self._ticket = ticket
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.transport.write(handshake(self._host, self._ticket, *BROWSER, f"Origin: http://{self._host}"))
        self._send(0x81, json.dumps({"type": "hello", "session": uuid.uuid4().hex, "name": "a", "size": 1000}).encode())
        self._send(0x82, CHUNK_HEADER.pack(1, 0) + CONTENT)

    def _send(self, first: int, payload: bytes) -> None:
        self.transport.write(frame_head(first, len(payload)) + bytes(4) + payload)

    def data_received(self, data: bytes) -> None:
        if b'"ping"' in data:
            self._send(0x81, b'{"type": "pong"}')
        if not self.waits.done():
            self._came += data
            if b'"waiting"' in self._came:
                self._came = b""
                self.waits.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.waits.done():
            self.waits.set_exception(exc or RuntimeError("the server has closed the connection"))


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The app: `wait` for everything, over kept connections."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.partition(b"content-length: ")[2].split(b"\r\n")[0]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nwait")
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _connect(servers: Servers, app: str, count: int) -> list[Waiting]:
    loop, slots, connections = asyncio.get_running_loop(), asyncio.Semaphore(AT_ONCE), list[Waiting]()

    async def one() -> None:
        async with slots:
            ticket = await asyncio.to_thread(servers.ticket_here, signalFinishURL=app)
            host = f"{servers.host}:{servers.incoming_port}"
            _, made = await loop.create_connection(lambda: Waiting(host, ticket), servers.host, servers.incoming_port)
            connections.append(made)
            await made.waits

    await asyncio.gather(*(one() for _ in range(count)))
    return connections


async def measure(servers: Servers, count: int) -> tuple[float, float]:
    """Return the bytes of each connection, and the share of a core that all of them take."""
    pid = servers.pids["incoming"]
    app = await asyncio.start_server(_answer, servers.host, 0)
    url = servers.origin(app.sockets[0].getsockname()[1])
    for connection in await _connect(servers, url, WARMING):
        connection.transport.close()
    await asyncio.sleep(5)
    before = cost(pid)
    connections = await _connect(servers, url, count)
    await asyncio.sleep(SETTLING)
    settled = cost(pid)
    await asyncio.sleep(SECONDS)
    load = (cost(pid).cpu - settled.cpu) / SECONDS
    if any(connection.transport.is_closing() for connection in connections):
        raise RuntimeError("the server has closed connections that were to wait")
    return (settled.resident - before.resident) / count, load


def main() -> None:
    """Start a server, measure, and print."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        servers = Servers("127.0.0.1", Path(directory))
        with servers.product():
            size, load = asyncio.run(measure(servers, count))
    sys.stdout.write(f"{count} waiting connections: {size / 1000:.1f} KB each, {load:.2%} of a core for all\n")


if __name__ == "__main__":
    main()
