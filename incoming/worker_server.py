"""Tornado's HTTP server behind a door: who is not let in is told why, without a request being read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError

from incoming.core.errors import TooBusy
from incoming.handlers.door import Door

LINGER = 1.0
"""Seconds in which a client that was turned away can read why."""

THROWN_AWAY = 64 * 1024
"""Bytes of its request that are read at once, and thrown away."""


class GuardedServer(HTTPServer):
    """`door` is set before it listens."""

    door: Door

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> Awaitable[None] | None:  # type: ignore[override]
        if self.door.enter(stream, str(address[0]) if address else ""):
            super().handle_stream(stream, address)
            return None
        return _turn_away(stream)


async def _turn_away(stream: IOStream) -> None:
    """Closing at once would tear down the answer together with the request that nobody reads."""
    text = b"too many connections from this address"
    head = f"HTTP/1.1 {TooBusy.status} Service Unavailable\r\nRetry-After: {TooBusy.retry_after}\r\n"
    head += f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    with suppress(StreamClosedError, TimeoutError):
        async with asyncio.timeout(LINGER):
            await stream.write(head.encode() + text)
            while True:
                await stream.read_bytes(THROWN_AWAY, partial=True)
    stream.close()
