"""The stream of one client connection, adapted for Tornado's HTTP server.

Receives a body into a receive buffer; ignores chunk extensions and trailers; answers a malformed or too large header or
body with the reason; disconnects a client that does not read. Knows no requests.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import suppress
from typing import Any

from tornado.concurrent import Future
from tornado.httputil import HTTPInputError
from tornado.iostream import IOStream, StreamClosedError, UnsatisfiableReadError

from incoming.core.errors import BadRequest
from incoming.platform.sockets import acknowledged_by
from incoming.uploads.writes.receive_buffer import ReceiveBuffer
from incoming.wire.http.chunked_coding import MAX_SIZE_LINE, MAX_TRAILERS, check_trailer, chunk_size

log = logging.getLogger(__name__)

MAX_DISCARDED = 64 * 1024
"""Bytes of a refused request that are read at once and discarded."""

CRLF = b"\r\n"
BARE_REFUSAL = b"HTTP/1.1 400 Bad Request\r\n\r\n"
"""Tornado's answer to a malformed request, which gives no reason."""


class ClientStream(IOStream):
    """Receive a body into `receive_buffer`; Tornado would copy it three times, into new memory each time.

    Answers before it closes at a limit; Tornado only closes.

    Closes when the client acknowledges nothing for `write_timeout` seconds while data waits to be sent; 0 means never.
    """

    receive_buffer: ReceiveBuffer | None = None
    """Set while a body is read."""
    # Attributes of the class until they are set: Python keeps 31 of an object in 1.6 KB, 30 in 0.3 KB.
    _limit: tuple[str, str] | None = None
    """Status and text for a line of the header or body above its limit."""
    _malformed = "the request is malformed (RFC 9112)"
    _trailers_follow = False
    _write_watchdog: asyncio.TimerHandle | None = None

    def __init__(self, *args: Any, write_timeout: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._write_timeout = write_timeout

    # --- reading ------------------------------------------------------------------------------------------------------

    def read_until_regex(self, regex: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        # Data behind a request whose answer closed the connection is not a request (RFC 9112 section 9.6).
        if self.closed():
            raise StreamClosedError(real_error=self.error)
        text = f"the request's header has more than {max_bytes} bytes, which is the limit"
        self._limit = ("431 Request Header Fields Too Large", text)
        return super().read_until_regex(regex, max_bytes)

    def read_until(self, delimiter: bytes, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Read a chunk-size line without its extensions; Tornado reads only these in this way."""
        self._limit = ("400 Bad Request", f"a chunk-size line of the body has more than {MAX_SIZE_LINE} bytes")
        line = super().read_until(delimiter, MAX_SIZE_LINE)
        if not (isinstance(line, Future) and line.done() and line.exception() is None):
            return self._size_later(line)
        # Tornado combines chunks that are available at once, which only a Future that is done can show.
        size: Future[bytes] = Future()
        size.set_result(self._size(line.result()))
        return size

    async def _size_later(self, line: Awaitable[bytes]) -> bytes:
        return self._size(await line)

    def _size(self, line: bytes) -> bytes:
        try:
            size = chunk_size(line)
        except BadRequest as error:
            raise self._malformed_body(error) from error
        self._trailers_follow = not size.strip(b"0")
        return size + CRLF

    def read_bytes(self, num_bytes: int, partial: bool = False) -> Awaitable[Any]:
        if self._trailers_follow:
            self._trailers_follow = False
            return self._skip_trailers()
        if partial and self.receive_buffer is not None:
            return self._receive(self.receive_buffer, num_bytes)
        return super().read_bytes(num_bytes, partial)

    async def _skip_trailers(self) -> bytes:
        """Read to the end of a chunked body; return the empty line that Tornado expects."""
        text = f"the trailers of the body have more than {MAX_TRAILERS} bytes, the limit"
        self._limit = ("431 Request Header Fields Too Large", text)
        left = MAX_TRAILERS
        while (line := await super().read_until(CRLF, left)) != CRLF:
            left = max(len(CRLF), left - len(line))
            try:
                check_trailer(line)
            except BadRequest as error:
                raise self._malformed_body(error) from error
        return CRLF

    def _malformed_body(self, error: BadRequest) -> HTTPInputError:
        self._malformed = error.message
        return HTTPInputError(error.message)

    async def _receive(self, receive_buffer: ReceiveBuffer, most: int) -> memoryview:
        room = receive_buffer.room(most)
        return room[: await self.read_into(room, partial=True)]  # type: ignore[arg-type] # it takes any buffer

    # --- writing ------------------------------------------------------------------------------------------------------

    def write(self, data: bytes | memoryview) -> Future[None]:
        if data == BARE_REFUSAL:
            written = super().write(last_words("400 Bad Request", self._malformed))
            with suppress(OSError):
                self.socket.recv(MAX_DISCARDED)  # unread data would reset the connection, and destroy the answer
            return written
        written = super().write(data)
        if self._write_timeout and self._write_watchdog is None and self.writing():
            self._watch_writes()
        return written

    def _watch_writes(self) -> None:
        acknowledged = acknowledged_by(self.socket)
        loop = asyncio.get_running_loop()
        self._write_watchdog = loop.call_later(self._write_timeout, self._check_writes, acknowledged)

    def _check_writes(self, before: int | None) -> None:
        self._write_watchdog = None
        if self.closed() or not self.writing():
            return
        if before is not None and acknowledged_by(self.socket) == before:
            log.debug("client has not read for %g s; closing its connection", self._write_timeout)
            self.close(TimeoutError("the client does not read"))
        else:
            self._watch_writes()

    def close(self, exc_info: Any = False) -> None:
        if self._write_watchdog is not None:
            self._write_watchdog.cancel()
            self._write_watchdog = None
        if isinstance(exc_info, UnsatisfiableReadError) and self._limit is not None and not self.closed():
            with suppress(OSError):
                self.socket.send(last_words(*self._limit))
                self.socket.recv(MAX_DISCARDED)  # unread data would reset the connection, and destroy the answer
        super().close(exc_info)


def last_words(status: str, text: str, more: str = "") -> bytes:
    """Return a complete answer, after which the connection is closed."""
    head = f"HTTP/1.1 {status}\r\nServer: Incoming\r\n{more}Content-Type: text/plain; charset=utf-8\r\n"
    return f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n{text}".encode()
