"""HTTP/1.1 to one object store over connections that are kept, with exactly the headers that the caller gives.

Decides when a connection is used again, and what a broken one means. It knows nothing of S3. A request is repeated once
if the connection was a kept one that ended without a byte of an answer: the server may have closed it for being idle.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tornado.http1connection import HTTP1Connection, HTTP1ConnectionParameters
from tornado.httputil import (
    HTTPHeaders,
    HTTPInputError,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError
from tornado.tcpclient import TCPClient

from incoming.storage.s3.requests.file_sender import FileRange, FileSender

CONNECT_TIMEOUT = 5.0
IDLE_TIMEOUT = 60.0
"""Seconds without a byte of an answer after which a request has failed, unless the caller allows more."""

KEPT_SECONDS = 20.0
"""A connection that was idle for longer is not used again: servers close theirs after some time, AWS after 20 s."""

MAX_KEPT = 64
FILES_AT_ONCE = 16
"""Bodies that are sent from files at once, each by a thread."""

CHUNK = 256 * 1024
MAX_TEXT = 8 * 1024 * 1024
"""Bytes of an answer that is kept in memory. The largest list of 1,000 entries has less than 1 MiB."""


class Unreachable(OSError):
    """No answer: the request may have been carried out or not."""


@dataclass(slots=True)
class Answer:
    """The complete answer. `body` is empty if the caller consumed it."""

    status: int = 0
    headers: HTTPHeaders = field(default_factory=HTTPHeaders)
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent: `length` bytes, which `read` yields in order, anew each time that it is called.

    `file` is where they are as well, if that is so: a connection without encryption sends them from there.
    """

    length: int
    read: Callable[[], AsyncIterator[bytes]]
    file: FileRange | None = None

    @staticmethod
    def of(content: bytes) -> Body:
        """Return a body of bytes in memory."""

        async def read() -> AsyncIterator[bytes]:
            if content:
                yield content

        return Body(len(content), read)


EMPTY = Body.of(b"")
_SUCCESS = range(200, 300)
Consume = Callable[[bytes], None]


class _Receiver(HTTPMessageDelegate):
    """Collects an answer. Of a failure the body is always kept: it says why."""

    def __init__(self, consume: Consume | None) -> None:
        self.answer = Answer()
        self.is_complete = False
        self._consume = consume
        self._content = bytearray()
        self.touched: Callable[[], None] = lambda: None

    def headers_received(self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        self.touched()
        if isinstance(start_line, ResponseStartLine) and start_line.code >= 200:
            self.answer.status, self.answer.headers = start_line.code, headers

    def data_received(self, chunk: bytes) -> None:
        self.touched()
        if self._consume is not None and self.answer.status in (200, 206):
            self._consume(chunk)
        elif len(self._content) + len(chunk) > MAX_TEXT:
            raise HTTPInputError(f"the answer has more than {MAX_TEXT} bytes")
        else:
            self._content += chunk

    def finish(self) -> None:
        self.is_complete = True
        self.answer.body = bytes(self._content)


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    target: str
    headers: HTTPHeaders
    body: Body
    idle_timeout: float
    consume: Consume | None


class HttpSender:
    """The connections to one host."""

    def __init__(self, url: str, ca_file: str = "") -> None:
        parts = urlsplit(url)
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context(cafile=ca_file or None) if parts.scheme == "https" else None
        self._connector = TCPClient()
        self._files = FileSender(FILES_AT_ONCE)
        self._idle: deque[tuple[float, IOStream]] = deque()
        self._closed = False

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: Body = EMPTY,
        *,
        idle_timeout: float = IDLE_TIMEOUT,
        consume: Consume | None = None,
    ) -> Answer:
        """Make a request and return the answer, whatever its status. `target` is path and query, encoded.

        `consume` is called with the body of a 200 or 206 piece by piece. Raises Unreachable.
        """
        request = _Request(method, target, HTTPHeaders({**headers}), body, idle_timeout, consume)
        if (stream := self._kept()) is not None:
            with suppress(_ClosedWhileIdle):
                return await self._exchange(stream, request, is_kept=True)
        return await self._exchange(await self._connect(), request, is_kept=False)

    def _kept(self) -> IOStream | None:
        oldest = asyncio.get_running_loop().time() - KEPT_SECONDS
        while self._idle:
            since, stream = self._idle.pop()
            if since >= oldest and not stream.closed():
                return stream
            stream.close()
        return None

    async def _connect(self) -> IOStream:
        try:
            return await self._connector.connect(
                self._host, self._port, ssl_options=self._tls, timeout=CONNECT_TIMEOUT, max_buffer_size=2 * MAX_TEXT
            )
        except TimeoutError as error:
            raise Unreachable(f"{self._host}:{self._port}: no connection within {CONNECT_TIMEOUT:g} s") from error
        except (OSError, StreamClosedError) as error:
            cause = getattr(error, "real_error", None) or error
            text = getattr(cause, "strerror", None) or str(cause) or "connection closed"
            raise Unreachable(f"{self._host}:{self._port}: {text}") from error

    async def _exchange(self, stream: IOStream, request: _Request, *, is_kept: bool) -> Answer:
        receiver = _Receiver(request.consume)
        sent, why = False, "the connection was closed without an answer"
        try:
            async with asyncio.timeout(request.idle_timeout) as limit:
                sent = await self._send_and_receive(stream, request, receiver, limit)
        except TimeoutError as error:
            raise Unreachable(f"{self._host}:{self._port}: silent for {request.idle_timeout:g} s") from error
        except (OSError, StreamClosedError, HTTPInputError) as error:
            cause = stream.error or getattr(error, "real_error", None) or error
            why = getattr(cause, "strerror", None) or str(cause) or why
        finally:
            if sent and receiver.is_complete and self._may_keep(receiver.answer):
                self._idle.append((asyncio.get_running_loop().time(), stream))
            else:
                stream.close()
        if receiver.is_complete:
            return receiver.answer
        if is_kept and not receiver.answer.status:
            raise _ClosedWhileIdle
        raise Unreachable(f"{self._host}:{self._port}: {why}")

    def _may_keep(self, answer: Answer) -> bool:
        is_closing = answer.headers.get("Connection", "").lower() == "close"
        return not (self._closed or is_closing or len(self._idle) >= MAX_KEPT)

    def close(self) -> None:
        """Close the idle connections; those in use are closed after their request."""
        self._closed = True
        while self._idle:
            self._idle.pop()[1].close()
        self._files.close()
        self._connector.close()

    async def _send_and_receive(
        self, stream: IOStream, request: _Request, receiver: _Receiver, limit: asyncio.Timeout
    ) -> bool:
        """Send a request and receive its answer, which may come early; return whether all of the request was sent."""
        loop = asyncio.get_running_loop()
        receiver.touched = lambda: limit.reschedule(loop.time() + request.idle_timeout)
        connection = _Connection(stream, True, HTTP1ConnectionParameters(chunk_size=CHUNK, max_body_size=2**53))
        reading = asyncio.ensure_future(connection.read_response(receiver))
        try:
            sent = await self._send(connection, request, reading, receiver)
            await reading
            return sent
        finally:
            if not reading.done():
                stream.close()
                await asyncio.wait([reading])
            if not reading.cancelled():
                reading.exception()

    async def _send(
        self, connection: _Connection, request: _Request, reading: asyncio.Future[bool], receiver: _Receiver
    ) -> bool:
        """Send the request; return whether all of it was sent. An early answer ends it."""
        body = request.body
        if request.method not in ("GET", "HEAD", "DELETE") or body.length:
            request.headers["Content-Length"] = str(body.length)
        await connection.write_headers(RequestStartLine(request.method, request.target, ""), request.headers)
        if body.file is not None and self._tls is None:
            if not await self._send_file(connection, body.file, reading, receiver):
                return False
        else:
            async for chunk in body.read():
                if reading.done():
                    return False
                await connection.write(chunk)
                receiver.touched()
        connection.finish()
        return True

    async def _send_file(
        self, connection: _Connection, content: FileRange, reading: asyncio.Future[bool], receiver: _Receiver
    ) -> bool:
        sending = asyncio.ensure_future(self._files.send(connection.stream.socket, content, receiver.touched))
        try:
            either: list[asyncio.Future[Any]] = [sending, reading]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if reading.done() and receiver.answer.status not in _SUCCESS:
                return False
            await sending
        except OSError:
            await reading  # the answer may say why the store has closed the connection
            return False
        finally:
            if not sending.done():
                sending.cancel()
                await asyncio.wait([sending])
            if not sending.cancelled():
                sending.exception()  # of no interest after an answer
        connection.count(content.length)
        return True


class _Connection(HTTP1Connection):
    def count(self, length: int) -> None:
        """Note that bytes of the body were sent over the socket itself."""
        if self._expected_content_remaining is not None:
            self._expected_content_remaining -= length


class _ClosedWhileIdle(Exception):
    """The server had closed a kept connection before this request."""
