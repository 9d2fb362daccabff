"""Many slow uploads at once over the WebSocket, from one process: ack latency, memory and the server's loop lag.

Each sends a chunk a second at its rate, without waiting for others; the time from the last byte of a chunk to its ack
is what a user's progress bar lags behind.
"""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
import uuid
from dataclasses import dataclass

from cost import cost
from servers import Servers
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

HEADER = b"\x01" + bytes(7)


@dataclass(frozen=True)
class Crowd:
    """`uploads` at once, each at `rate` bytes a second for `seconds`. Latencies in seconds, memory in bytes."""

    uploads: int
    rate: int
    seconds: int
    latency_median: float
    latency_99: float
    server_cpu: float
    memory: int
    memory_per_upload: float
    loop_lag_99: float | None


async def one(servers: Servers, ticket: str, rate: int, seconds: int, start: float, latencies: list[float]) -> None:
    """One upload; its file is exactly what it sends, so that it is handed over and done."""
    size = rate * seconds
    url = f"ws://{servers.host}:{servers.incoming_port}/incoming/0.1/frontend/upload_ws?ticket={ticket}"
    await asyncio.sleep(max(0.0, start - time.monotonic()))
    socket = await websocket_connect(HTTPRequest(url), subprotocols=["incoming.1"])
    hello = {"type": "hello", "session": uuid.uuid4().hex, "name": "crowd", "size": size}
    await socket.write_message(json.dumps(hello))
    sent: dict[int, float] = {}

    async def read() -> None:
        while (message := await socket.read_message()) is not None:
            told = json.loads(message)
            if told["type"] == "error":
                raise RuntimeError(told["message"])
            if told["type"] == "ack":
                now = time.monotonic()
                latencies.extend(now - sent.pop(begin) for begin, _ in told["chunks"])
            if told["type"] == "state" and told["state"] == "finished":
                return

    reader = asyncio.create_task(read())
    payload = bytes(rate)
    for number in range(seconds):
        await asyncio.sleep(max(0.0, start + number - time.monotonic()))
        offset = number * rate
        sent[offset] = time.monotonic()
        await socket.write_message(HEADER + offset.to_bytes(8, "big") + payload, binary=True)
    await asyncio.wait_for(reader, 60)
    socket.close()


async def _run(servers: Servers, tickets: list[str], rate: int, seconds: int) -> list[float]:
    latencies: list[float] = []
    start = time.monotonic() + 2
    spread = [start + index / len(tickets) for index in range(len(tickets))]
    await asyncio.gather(
        *(one(servers, ticket, rate, seconds, begin, latencies) for ticket, begin in zip(tickets, spread, strict=True))
    )
    return latencies


def crowd(servers: Servers, uploads: int, rate: int = 50_000, seconds: int = 20) -> Crowd:
    """Measures one crowd. The server must be on this host, where its backend functions may be called."""
    pid = servers.pids["incoming"]
    idle = cost(pid).resident
    tickets = [servers.ticket_here() for _ in range(uploads)]
    before = cost(pid)
    latencies = sorted(asyncio.run(_run(servers, tickets, rate, seconds)))
    after = cost(pid)
    return Crowd(
        uploads,
        rate,
        seconds,
        latencies[len(latencies) // 2],
        latencies[int(len(latencies) * 0.99)],
        after.cpu - before.cpu,
        after.peak,
        max(0.0, (after.peak - idle) / uploads),
        _loop_lag(servers),
    )


def _loop_lag(servers: Servers) -> float | None:
    """The 99th percentile of the server's loop lag as its metrics tell it, None when they are not installed."""
    try:
        with urllib.request.urlopen(f"{servers.origin(servers.incoming_port)}/incoming/metrics") as answer:
            text = answer.read().decode()
    except OSError:
        return None
    buckets = [
        (float(line.split('le="')[1].split('"')[0]), float(line.rsplit(" ", 1)[1]))
        for line in text.splitlines()
        if line.startswith("incoming_loop_lag_seconds_bucket")
    ]
    total = max((count for _, count in buckets), default=0.0)
    return next((bound for bound, count in sorted(buckets) if total and count >= 0.99 * total), None)
