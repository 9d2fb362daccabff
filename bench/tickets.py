"""Measure the cost of tickets with an empty database and with a million tombstones, which must make no difference.

Keep-alive connections fetch tickets as fast as they are given out; then, one after the other, what an operator, an app
and a user wait for is timed. Tombstones are written by the product's own code in the database's own layout, all in one
transaction, and are as old as those of a server that has run for days.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from cost import cost
from native import WebSocketClient
from servers import Servers

from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket, TicketOptions
from incoming.storage.sqlite.schema import open_database
from incoming.storage.ticket_row import COLUMNS, to_row

BACKENDS = 32
"""Connections that request tickets in parallel, each in sequence."""

ASKED = 20
"""Repetitions of each other measurement; the median counts."""

AT_REST = 35.0
"""Seconds over which an idle server is measured: longer than the interval between the janitor's rounds.
"""

SIZE = 1_000_000
SMALL = 50_000
DAY = 86_400


@dataclass(frozen=True)
class Desk:
    """Times in seconds. `start` is from the processes' beginning until they listen, `rest` the cores that a server uses
    which nobody asks anything, `rate` new_upload calls a second; `upload` is a small file's whole way over a
    WebSocket, from connecting until it has arrived.
    """

    tombstones: int
    start: float
    rest: float
    rate: float
    latency_99: float
    cores: float
    upload: float
    status: float
    metrics: float
    memory: int


def bury(database: Path, count: int) -> None:
    """Insert finished uploads, from a minute to six days old. The server must not run."""
    database.parent.mkdir()
    open_database(database, 0o600)
    connection = sqlite3.connect(database, isolation_level=None)
    for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}")
    last = time.time() - 120
    insert = f"INSERT INTO tickets ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    connection.execute("BEGIN")
    connection.executemany(insert, map(to_row, _tombstones(count, last)))
    connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (count,))
    connection.execute("INSERT INTO meta VALUES ('swept/finished', ?)", (last,))
    connection.execute("COMMIT")
    connection.close()


def _tombstones(count: int, last: float) -> Iterator[Ticket]:
    whole = Extents([(0, SIZE)])
    known = {
        "options": TicketOptions("http://127.0.0.1:9/finished", "a secret", requested_by="127.0.0.1"),
        "state": State.FINISHED,
        "identity": Identity(name="a file.bin", size=SIZE),
        "extents": whole,
        "synced": whole,
        "epoch": 1,
        "session": uuid.uuid4().hex,
    }
    for number in range(1, count + 1):
        when = last - 6 * DAY * (1 - number / count)
        yield Ticket(
            str(uuid.uuid4()),
            created_at=when,
            active_at=when,
            state_since=when,
            version=number,
            **known,  # type: ignore[arg-type]
        )


class Backend(asyncio.Protocol):
    """A keep-alive connection that requests one ticket after the other."""

    def __init__(self, request: bytes, until: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.times: list[float] = []
        self._request = request
        self._until = until
        self._came = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._came += data
        head, found, body = self._came.partition(b"\r\n\r\n")
        if not found or len(body) < len(str(uuid.UUID(int=0))):
            return
        if not head.startswith(b"HTTP/1.1 200"):
            self.done.set_exception(RuntimeError(self._came.decode()))
            return
        self._came = b""
        now = time.perf_counter()
        self.times.append(now - self._asked)
        if now < self._until:
            self._ask()
        else:
            self.done.set_result(None)
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(exc or RuntimeError("the server has closed the connection"))


async def _ask(servers: Servers, seconds: float) -> list[float]:
    """Return the duration of each request, in ascending order."""
    body = f"signalFinishURL=http://{servers.host}:{servers.app_port}/finished"
    request = (
        f"POST /incoming/0.1/backend/new_upload HTTP/1.1\r\nHost: {servers.host}\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n\r\n{body}"
    ).encode()
    until = time.perf_counter() + seconds
    connect_one = asyncio.get_running_loop().create_connection
    backends = [
        (await connect_one(lambda: Backend(request, until), servers.host, servers.incoming_port))[1]
        for _ in range(BACKENDS)
    ]
    await asyncio.gather(*(backend.done for backend in backends))
    return sorted(each for backend in backends for each in backend.times)


def desk(servers: Servers, tombstones: int, seconds: float = 10.0) -> Desk:
    """Start the server on a database with that many tombstones and measure everything."""
    bury(servers.directory / "incoming" / "incoming.sqlite", tombstones)
    began = time.perf_counter()
    with servers.product():
        start = time.perf_counter() - began
        pid = servers.pids["incoming"]
        before = cost(pid).cpu
        time.sleep(AT_REST)
        rest = (cost(pid).cpu - before) / AT_REST
        asyncio.run(_ask(servers, 1.0))
        before = cost(pid).cpu
        times = asyncio.run(_ask(servers, seconds))
        cores = (cost(pid).cpu - before) / seconds
        origin = servers.origin(servers.incoming_port)
        return Desk(
            tombstones,
            start,
            rest,
            len(times) / seconds,
            times[int(len(times) * 0.99)],
            cores,
            _timed(lambda: _upload(servers, servers.ticket_here())),
            _timed(lambda: _get(f"{origin}/incoming/status/now")),
            _timed(lambda: _get(f"{origin}/incoming/metrics")),
            cost(pid).peak,
        )


def _timed(work: Callable[[], None]) -> float:
    """Return the median of several durations, in seconds."""
    times = []
    for _ in range(ASKED):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return median(times)


def _upload(servers: Servers, ticket: str) -> None:
    data = memoryview(bytes(SMALL))
    client = WebSocketClient(servers.host, servers.incoming_port, ticket, chunk=SMALL)
    client.upload(data, 0, SMALL, SMALL, uuid.uuid4().hex)
    if servers.received("incoming", ticket).read_bytes() != data:
        raise RuntimeError("the file that arrived is not the one that was sent")


def _get(url: str) -> None:
    with urllib.request.urlopen(url) as answer:
        answer.read()
