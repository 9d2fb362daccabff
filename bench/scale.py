"""Many slow uploads at once over the WebSocket, from one process: ack latency, memory and the server's loop lag.

Each sends a chunk a second at its rate, without waiting for others; the time from the last byte of a chunk to its ack
is the lag of a user's progress bar. The generator shares the machine with the server, so it does as little as can be:
bare asyncio protocols instead of a WebSocket library, frames whose mask is zero and whose payload is the same bytes for
all, one timer a chunk, and of what comes back only acks, errors and the end are looked at. Acks and the server's costs
are measured while all of them send, when nobody connects and no file is completed; the first and the last ack of an
upload, which wait for its ticket to be claimed and its file to be completed, are told apart.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import time
import urllib.request
import uuid
from collections.abc import Callable
from dataclasses import dataclass

from browser import digest
from cost import cost
from native import CHUNK_HEADER, frame_head, handshake
from servers import Servers

MASK = bytes(4)
CONNECTING = 10.0
"""Seconds over which the uploads begin, and end: so many users do not come within the same second."""


@dataclass(frozen=True)
class Crowd:
    """`uploads` at once, each at `rate` bytes a second for `seconds`. Latencies in seconds, memory in bytes.

    `first_99` and `last_99` are those of each upload's first and last chunk, the others those while all send.
    """

    uploads: int
    rate: int
    seconds: int
    latency_median: float
    latency_99: float
    first_99: float
    last_99: float
    server_cpu: float
    cpu_per_chunk: float
    memory: int
    memory_per_upload: float
    loop_lag_99: float | None


Latency = tuple[float, int, float]
"""When a chunk was sent, by the event loop's clock, its number, and the seconds until its ack."""


class Uploader(asyncio.Protocol):
    """One upload, whose file is what it sends, so that it is handed over and `finished`."""

    transport: asyncio.Transport

    def __init__(self, servers: Servers, ticket: str, payload: bytes, seconds: int, latencies: list[Latency]) -> None:
        self.finished: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._host = f"{servers.host}:{servers.incoming_port}"
        self._ticket = ticket
        self._payload = payload
        self._seconds = seconds
        self._latencies = latencies
        self._came = bytearray()
        self._welcome = False
        self._sent: dict[int, float] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        size = len(self._payload) * self._seconds
        hello = {"type": "hello", "session": uuid.uuid4().hex, "name": "crowd", "size": size}
        self.transport.write(handshake(self._host, self._ticket))
        self._send(0x81, json.dumps(hello).encode())

    def start(self, number: int = 0) -> None:
        """Send the chunk of this number, and each later one a second after the previous one."""
        if self.finished.done():
            return
        offset = number * len(self._payload)
        self._sent[offset] = time.monotonic()
        self._send(0x82, CHUNK_HEADER.pack(1, offset), self._payload)
        if number + 1 < self._seconds:
            asyncio.get_running_loop().call_later(1 - time.monotonic() + self._due(number), self.start, number + 1)

    def _due(self, number: int) -> float:
        """Return the due time of the chunk of this number: one delay must not shift the others."""
        if number == 0:
            self._began = self._sent[0]
        return self._began + number

    def _send(self, first: int, *parts: bytes) -> None:
        self.transport.write(b"".join((frame_head(first, sum(map(len, parts))), MASK, *parts)))

    def data_received(self, data: bytes) -> None:
        self._came += data
        if not self._welcome:
            end = self._came.find(b"\r\n\r\n")
            if end < 0:
                return
            self._welcome = True
            del self._came[: end + 4]
        while (message := self._message()) is not None:
            self._on_message(json.loads(message))

    def _message(self) -> bytes | None:
        """Return the next frame (RFC 6455 section 5.2) of a server that never sends long ones; None if incomplete."""
        came = self._came
        if len(came) < 4:
            return None
        start, length = (4, int.from_bytes(came[2:4], "big")) if came[1] == 126 else (2, came[1])
        if len(came) < start + length:
            return None
        message = bytes(came[start : start + length])
        closing = came[0] == 0x88
        del came[: start + length]
        return None if closing else message

    def _on_message(self, told: dict[str, object]) -> None:
        kind = told["type"]
        if kind == "ack":
            now = time.monotonic()
            for begin, _ in told["chunks"]:  # type: ignore[attr-defined]
                sent = self._sent.pop(begin)
                self._latencies.append((sent, begin // len(self._payload), now - sent))
        elif kind == "error":
            self.finished.set_exception(RuntimeError(str(told["message"])))
        elif kind == "state" and told["state"] == "finished":
            self.finished.set_result(None)
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.finished.done():
            self.finished.set_exception(exc or RuntimeError("the server has closed the connection"))


@dataclass(frozen=True)
class _Run:
    """The latencies of chunks that were sent `while_all` send, of the first and of the last ones; and what the server
    needed in that time.
    """

    while_all: list[float]
    first: list[float]
    last: list[float]
    cpu_per_chunk: float
    loop_lag_99: float | None


async def _run(servers: Servers, tickets: list[str], rate: int, seconds: int) -> _Run:
    loop = asyncio.get_running_loop()
    latencies: list[Latency] = []
    payload = bytes(rate)
    pid = servers.pids["incoming"]
    begin = loop.time()
    uploads = []
    for index, ticket in enumerate(tickets):
        await asyncio.sleep(begin + CONNECTING * index / len(tickets) - loop.time())
        _, upload = await loop.create_connection(
            lambda ticket=ticket: Uploader(servers, ticket, payload, seconds, latencies),  # type: ignore[misc]
            servers.host,
            servers.incoming_port,
        )
        uploads.append(upload)
        loop.call_at(begin + CONNECTING * index / len(tickets) + 1, upload.start)
    await asyncio.sleep(begin + CONNECTING + 2 - loop.time())
    lags = await asyncio.to_thread(_lags, servers)
    since, before, acked = loop.time(), cost(pid).cpu, len(latencies)
    await asyncio.sleep(begin + seconds - loop.time())
    until, cpu, count = loop.time(), cost(pid).cpu - before, len(latencies) - acked
    lag = _bucket_99(lags, await asyncio.to_thread(_lags, servers))
    async with asyncio.timeout(CONNECTING + 60):
        await asyncio.gather(*(upload.finished for upload in uploads))
    return _Run(
        sorted(latency for sent, _, latency in latencies if since <= sent < until),
        sorted(latency for _, number, latency in latencies if number == 0),
        sorted(latency for _, number, latency in latencies if number == seconds - 1),
        cpu / max(1, count),
        lag,
    )


def crowd(
    servers: Servers,
    uploads: int,
    rate: int = 50_000,
    seconds: int = 30,
    dest_type: str = "file",
    check: Callable[[list[str], bytes], None] | None = None,
) -> Crowd:
    """Measure one load. The server must be on this host, where its backend functions may be called.

    `check` raises if an upload among these tickets has not arrived with this content; without it they are files.
    """
    pid = servers.pids["incoming"]
    idle = cost(pid).resident
    tickets = [servers.ticket_here(destType=dest_type) for _ in range(uploads)]
    before = cost(pid)
    run = asyncio.run(_run(servers, tickets, rate, seconds))
    after = cost(pid)
    (check or functools.partial(_check_files, servers))(tickets, bytes(rate * seconds))
    return Crowd(
        uploads,
        rate,
        seconds,
        run.while_all[len(run.while_all) // 2],
        *(values[int(len(values) * 0.99)] for values in (run.while_all, run.first, run.last)),
        after.cpu - before.cpu,
        run.cpu_per_chunk,
        after.peak,
        max(0.0, (after.peak - idle) / uploads),
        run.loop_lag_99,
    )


def _check_files(servers: Servers, tickets: list[str], content: bytes) -> None:
    expected = hashlib.sha256(content).hexdigest()
    if any(digest(servers.received("incoming", ticket)) != expected for ticket in tickets):
        raise RuntimeError("a file that arrived is not the one that was sent")


def _lags(servers: Servers) -> dict[float, float]:
    """Return the number of measurements of the server's loop lag by upper bound in seconds; {} without the metrics
    extra.
    """
    try:
        with urllib.request.urlopen(f"{servers.origin(servers.incoming_port)}/incoming/metrics") as answer:
            text = answer.read().decode()
    except OSError:
        return {}
    return {
        float(line.split('le="')[1].split('"')[0]): float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if line.startswith("incoming_loop_lag_seconds_bucket")
    }


def _bucket_99(before: dict[float, float], after: dict[float, float]) -> float | None:
    """Return the upper bound of the quantile's bucket, None if nothing was measured."""
    counts = {bound: count - before.get(bound, 0.0) for bound, count in after.items()}
    total = max(counts.values(), default=0.0)
    return next((bound for bound in sorted(counts) if total and counts[bound] >= 0.99 * total), None)
