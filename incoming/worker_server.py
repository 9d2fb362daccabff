"""Tornado's HTTP server behind a door: who is not let in is told why, without a request being read, and so is who sends
a header without end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

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
        # Nothing was read yet, so another stream can have its socket.
        own = TellingStream(
            stream.socket, max_buffer_size=stream.max_buffer_size, read_chunk_size=stream.read_chunk_size
        )
        if self.door.enter(own, str(address[0]) if address else ""):
            super().handle_stream(own, address)
            return None
        return _turn_away(own, self.door.per_client)


class TellingStream(IOStream):
    """Says why before it closes on a header that passes its limit; Tornado just closes."""

    _header_limit = 0
    """Bytes, while a request's header is what is read; otherwise 0."""

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._header_limit = max_bytes or 0
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._header_limit = 0  # of a chunked body's next chunk
        return super().read_until(delimiter, max_bytes)

    def close(self, exc_info: Any = False) -> None:
        if isinstance(exc_info, UnsatisfiableReadError) and self._header_limit and not self.closed():
            text = f"the request's header has more than {self._header_limit} bytes, which is the limit"
            with suppress(OSError):
                self.socket.send(_last_words("431 Request Header Fields Too Large", text))
                self.socket.recv(THROWN_AWAY)  # what was left unread would tear the answer down
        super().close(exc_info)


async def _turn_away(stream: IOStream, limit: int) -> None:
    """Closing at once would tear down the answer together with the request that nobody reads."""
    status = f"{TooBusy.status} Service Unavailable"
    text = f"this address has {limit} connections, which is the limit"
    answer = _last_words(status, text, f"Retry-After: {TooBusy.retry_after}\r\n")
    with suppress(StreamClosedError, TimeoutError):
        async with asyncio.timeout(LINGER):
            await stream.write(answer)
            while True:
                await stream.read_bytes(THROWN_AWAY, partial=True)
    stream.close()


def _last_words(status: str, text: str, more: str = "") -> bytes:
    """A whole answer, after which the connection is closed."""
    head = f"HTTP/1.1 {status}\r\nServer: Incoming\r\n{more}Content-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
