"""Measure many small files: from programs over kept connections, and from one page in Chromium.

A program does as little as can be, so that the server is measured: bare asyncio protocols that write prepared requests.
The files are handed over to an app as well, and what that takes behind the last answer is told apart. Every file has
bytes of its own; all that arrive are compared by SHA-256 with those that were sent.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost import cost
from playwright.sync_api import Browser
from servers import Servers

SETTLING = 1_500
"""Milliseconds from the loading of a page to its uploads; see browser.py."""

PATIENCE = 300_000
"""Milliseconds after which the uploads of a page are abandoned."""

HANDOVER_PATIENCE = 60.0
"""Seconds for the app to get its last callback."""

BATCH = 100
"""Tickets that one request gets, the most that `count` may be."""


@dataclass(frozen=True)
class Load:
    """`count` files of `size` bytes each."""

    count: int
    size: int

    def make(self, directory: Path) -> list[Path]:
        """Create the files, each of other bytes."""
        directory.mkdir()
        paths = [directory / f"{number:04}.bin" for number in range(self.count)]
        for path in paths:
            path.write_bytes(os.urandom(self.size))
        return paths


LOADS = (Load(1000, 10_000), Load(200, 1_000_000))


@dataclass(frozen=True)
class Sent:
    """One way's turn with one load. `rate` in files a second until the client knows that the last one is safe, and
    `handed_over` until the app has accepted the last one, None where nothing is handed over. CPU seconds for each file.
    """

    way: str
    count: int
    size: int
    rate: float
    handed_over: float | None
    server_cpu: float
    client_cpu: float


@dataclass(frozen=True)
class Program:
    """Sends files to the server of that name over `connections`, each one after the other."""

    server: str
    connections: int
    batched: bool = False
    """Whether tickets come BATCH in one answer, instead of one before each file."""


PROGRAMS = {
    "program, ticket and PUT": Program("incoming", 1),
    "program, ticket and PUT, 16 at once": Program("incoming", 16),
    "program, PUT, tickets in batches, 16 at once": Program("incoming", 16, batched=True),
    "program, POST and PATCH, @tus/server": Program("tus", 1),
    "program, POST and PATCH, @tus/server, 16 at once": Program("tus", 16),
    "program, POST and PATCH, tusd": Program("tusd", 1),
    "program, POST and PATCH, tusd, 16 at once": Program("tusd", 16),
}


@dataclass(frozen=True)
class Page:
    """Sends all files with one library to the server of that name."""

    server: str
    library: str
    concurrency: int


PAGES = {
    "page, Incoming!!, 3 at once (default)": Page("incoming", "incoming", 3),
    "page, Incoming!!, 16 at once": Page("incoming", "incoming", 16),
    "page, Uppy, @tus/server, 20 at once (default)": Page("tus", "uppy", 20),
    "page, Uppy, tusd, 20 at once (default)": Page("tusd", "uppy", 20),
}


LAST_CHUNK = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """A keep-alive connection for one request at a time, whose answers have a Content-Length, or no body but perhaps in
    chunked coding.
    """

    def __init__(self) -> None:
        self._came = bytearray()
        self._answered: asyncio.Future[tuple[int, bytes, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    async def ask(self, head: str, body: bytes) -> tuple[int, bytes, bytes]:
        """Send a request; return status, header and body of its answer."""
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        self._came += data
        end = self._came.find(b"\r\n\r\n")
        if end < 0 or self._answered is None:
            return
        head = bytes(self._came[:end])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        chunked = LAST_CHUNK if re.search(rb"(?i)\r\ntransfer-encoding: *chunked", head) else b""
        whole = end + 4 + (int(length[1]) if length else len(chunked))
        if len(self._came) < whole:
            return
        body = bytes(self._came[end + 4 : whole])
        del self._came[:whole]
        answered, self._answered = self._answered, None
        answered.set_result((int(head[9:12]), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(exc or RuntimeError("the server has closed the connection"))

    def close(self) -> None:
        self._transport.close()


async def connected(host: str, port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, host, port)
    return connection


async def to_incoming(servers: Servers, program: Program, queue: deque[bytes], names: list[tuple[bytes, str]]) -> None:
    """Send files of the queue over one connection until it is empty; add each one's bytes and ticket to `names`."""
    connection = await connected(servers.host, servers.incoming_port)
    tickets: deque[str] = deque()
    body = servers.ticket_request(**({"count": str(BATCH)} if program.batched else {})).encode()
    new_upload = (
        f"POST /incoming/0.1/backend/new_upload HTTP/1.1\r\nHost: {servers.host}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
    )
    while queue:
        data = queue.popleft()
        if not tickets:
            status, _, told = await connection.ask(new_upload, body)
            expect(status, told, 200)
            tickets.extend(told.decode().split())
        ticket = tickets.popleft()
        head = f"PUT /incoming/0.1/frontend/upload/{ticket}?filename=small HTTP/1.1\r\nHost: {servers.host}\r\n"
        status, _, told = await connection.ask(head, data)
        expect(status, told, 200)
        names.append((data, ticket))
    connection.close()


async def to_tus(servers: Servers, server: str, queue: deque[bytes], names: list[tuple[bytes, str]]) -> None:
    """The same by creation and PATCH of the tus protocol 1.0."""
    port = servers.tus_port if server == "tus" else servers.tusd_port
    connection = await connected(servers.host, port)
    common = f"HTTP/1.1\r\nHost: {servers.host}:{port}\r\nTus-Resumable: 1.0.0\r\n"
    endpoint = "/files" if server == "tus" else "/files/"
    while queue:
        data = queue.popleft()
        status, head, told = await connection.ask(f"POST {endpoint} {common}Upload-Length: {len(data)}\r\n", b"")
        expect(status, told, 201)
        [name] = re.findall(rb"(?i)\r\nlocation: *\S*/files/([^\s/]+)", head)
        patch = f"PATCH /files/{name.decode()} {common}Upload-Offset: 0\r\n"
        status, _, told = await connection.ask(f"{patch}Content-Type: application/offset+octet-stream\r\n", data)
        expect(status, told, 204)
        names.append((data, name.decode()))
    connection.close()


def expect(status: int, body: bytes, wanted: int) -> None:
    if status != wanted:
        raise RuntimeError(f"answered {status}: {body!r}")


async def all_at_once(servers: Servers, program: Program, queue: deque[bytes]) -> list[tuple[bytes, str]]:
    names: list[tuple[bytes, str]] = []
    if program.server == "incoming":
        senders = [to_incoming(servers, program, queue, names) for _ in range(program.connections)]
    else:
        senders = [to_tus(servers, program.server, queue, names) for _ in range(program.connections)]
    await asyncio.gather(*senders)
    return names


def send(servers: Servers, way: str, load: Load, paths: list[Path]) -> Sent:
    """Send all files by a program. Raises if one that arrived differs."""
    program = PROGRAMS[way]
    queue = deque(path.read_bytes() for path in paths)
    pid, before = servers.pids[program.server], servers.handed_over()
    server, began = cost(pid).cpu, time.monotonic()

    def run() -> tuple[list[tuple[bytes, str]], float, float]:
        names = asyncio.run(all_at_once(servers, program, queue))
        return names, time.monotonic() - began, time.thread_time()

    with ThreadPoolExecutor(1) as thread:  # Playwright has an event loop in this one
        names, took, used = thread.submit(run).result()
    handed = None
    if program.server == "incoming":
        handed = load.count / (wait_for_handover(servers, before + load.count) - began)
    spent = cost(pid).cpu - server
    for data, name in names:
        received = servers.received(program.server, name)
        if received.read_bytes() != data:
            raise RuntimeError(f"{way}: the file that arrived is not the one that was sent")
        received.unlink()
    return Sent(way, load.count, load.size, load.count / took, handed, spent / load.count, used / load.count)


def wait_for_handover(servers: Servers, wanted: int) -> float:
    """Return when the app has accepted so many files."""
    deadline = time.monotonic() + HANDOVER_PATIENCE
    while (count := servers.handed_over()) < wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the app has got {count} of {wanted} files")
        time.sleep(0.02)
    return time.monotonic()


def send_from_page(browser: Browser, servers: Servers, way: str, load: Load, paths: list[Path]) -> Sent:
    """Send all files from one fresh page. Raises if one that arrived differs."""
    how = PAGES[way]
    directory = (
        servers.received(how.server, "00").parent if how.server != "incoming" else servers.directory / "incoming"
    )
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{servers.origin(servers.nginx_port)}/page.html")
    page.set_input_files("#files", [str(path) for path in paths])
    page.wait_for_timeout(SETTLING)
    pid = servers.pids[how.server]
    server, client = cost(pid).cpu, cost(os.getpid()).cpu
    told: dict[str, Any] = {"way": "small", "library": how.library, "concurrency": how.concurrency}
    told |= {"script": "uppy.js", "count": load.count, "patience": PATIENCE}
    if how.server == "incoming":
        origin = servers.origin(servers.incoming_port)
        told |= {"script": f"{origin}/incoming/0.1/frontend/incoming.js", "host": origin.partition("//")[2]}
    else:
        port = servers.tus_port if how.server == "tus" else servers.tusd_port
        told |= {"endpoint": f"{servers.origin(port)}/files/"}
    seconds = float(page.evaluate("told => window.upload(told)", told))
    spent, used = cost(pid).cpu - server, cost(os.getpid()).cpu - client
    context.close()
    verify(directory, paths, way)
    rate = load.count / seconds
    handed = rate if how.server == "incoming" else None
    return Sent(way, load.count, load.size, rate, handed, spent / load.count, (used - spent) / load.count)


def verify(directory: Path, paths: list[Path], way: str) -> None:
    """Compare the files below the directory with those that were sent, and remove them."""
    wanted = sorted(hashlib.sha256(path.read_bytes()).digest() for path in paths)
    # What tus servers note about a file lies beside it, with a suffix.
    files = [
        path for path in directory.rglob("*") if path.is_file() and not path.suffix and path.parent.name != ".incoming"
    ]
    arrived = sorted(hashlib.sha256(path.read_bytes()).digest() for path in files)
    if arrived != wanted:
        raise RuntimeError(f"{way}: of {len(wanted)} files {len(arrived)} arrived, or others")
    for path in files:
        path.unlink()
