"""One client's connection, as Tornado's HTTP server reads it: a body is received where it is to lie, and who sends a
header without end is told why that is the end.
"""

from __future__ import annotations

from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from incoming.uploads.receive_buffer import ReceiveBuffer

THROWN_AWAY = 64 * 1024
"""Bytes of a refused request that are read at once, and thrown away."""


class ClientStream(IOStream):
    """Says why before it closes on a header that passes its limit; Tornado just closes. Receives a body into the
    `receive_buffer` of whoever takes it; Tornado would copy it three times, into new memory each time.
    """

    receive_buffer: ReceiveBuffer | None = None
    """Set while a body is read for it."""

    _header_limit = 0
    """Bytes, while a request's header is what is read; otherwise 0."""

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        # What was read behind a request whose answer closed the connection is none any more (RFC 9112 section 9.6).
        if self.closed():
            raise StreamClosedError(real_error=self.error)
        self._header_limit = max_bytes or 0
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        self._header_limit = 0  # of a chunked body's next chunk
        return super().read_until(delimiter, max_bytes)

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[Any]:
        if partial and self.receive_buffer is not None:
            return self._receive(self.receive_buffer, num_bytes)
        return super().read_bytes(num_bytes, partial)

    async def _receive(self, receive_buffer: ReceiveBuffer, most: int) -> memoryview:
        room = receive_buffer.room(most)
        return room[: await self.read_into(room, partial=True)]  # type: ignore[arg-type] # it takes any buffer

    def close(self, exc_info: Any = False) -> None:
        if isinstance(exc_info, UnsatisfiableReadError) and self._header_limit and not self.closed():
            text = f"the request's header has more than {self._header_limit} bytes, which is the limit"
            with suppress(OSError):
                self.socket.send(last_words("431 Request Header Fields Too Large", text))
                self.socket.recv(THROWN_AWAY)  # what was left unread would tear the answer down
        super().close(exc_info)


def last_words(status: str, text: str, more: str = "") -> bytes:
    """A whole answer, after which the connection is closed."""
    head = f"HTTP/1.1 {status}\r\nServer: Incoming\r\n{more}Content-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
