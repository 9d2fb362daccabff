"""Tornado's HTTP server behind a door: who is not let in is told why, without a request being read, and so is who sends
a header without end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError

from incoming.core.errors import TooBusy
from incoming.handlers.client_stream import THROWN_AWAY, ClientStream, last_words
from incoming.handlers.connection_limiter import ConnectionLimiter

LINGER = 1.0
"""Seconds in which a client that was turned away can read why."""

READ_SIZE = 256 * 1024
"""Bytes received at once of what goes into no receive buffer: Tornado allocates them anew for each read."""


class GuardedServer(HTTPServer):
    """`door` is set before it listens."""

    door: ConnectionLimiter
    write_timeout = 0.0
    """Seconds without any progress after which a client that reads no answer is disconnected; 0 means never."""

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> Awaitable[None] | None:  # type: ignore[override]
        # Nothing was read yet, so another stream can have its socket.
        own = ClientStream(
            stream.socket,
            max_buffer_size=stream.max_buffer_size,
            read_chunk_size=READ_SIZE,
            write_timeout=self.write_timeout,
        )
        if self.door.enter(own, str(address[0]) if address else ""):
            super().handle_stream(own, address)
            return None
        return _turn_away(own, self.door.per_client)


async def _turn_away(stream: IOStream, limit: int) -> None:
    """Closing at once would tear down the answer together with the request that nobody reads."""
    status = f"{TooBusy.status} Service Unavailable"
    text = f"this address has {limit} connections, which is the limit"
    answer = last_words(status, text, f"Retry-After: {TooBusy.retry_after}\r\n")
    with suppress(StreamClosedError, TimeoutError):
        async with asyncio.timeout(LINGER):
            await stream.write(answer)
            while True:
                await stream.read_bytes(THROWN_AWAY, partial=True)
    stream.close()
