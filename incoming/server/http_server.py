"""Tornado's HTTP server with a limiter before it: refused connections get an answer before a request is read.

A connection that comes when descriptors are short may be served health checks and backend functions only; everything
else is refused as soon as its header has arrived. The connection limiter decides which connections are refused.
"""

from __future__ import annotations

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from copy import copy
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.httputil import (
    HTTPConnection,
    HTTPHeaders,
    HTTPMessageDelegate,
    RequestStartLine,
    ResponseStartLine,
)
from tornado.iostream import IOStream, StreamClosedError

from incoming.core.errors import TooBusy
from incoming.handlers.client_stream import MAX_DISCARDED, ClientStream, last_words
from incoming.handlers.connection_limiter import Admission, ConnectionLimiter
from incoming.handlers.routes import PREFIX
from incoming.server.listener import Listener
from incoming.server.occasional_log import OccasionalLog

log = logging.getLogger(__name__)

LINGER = 1.0
"""Seconds in which a refused client can read the answer."""

READ_SIZE = 256 * 1024
"""Bytes received at once without a receive buffer: Tornado allocates them for each read."""

NO_DESCRIPTOR = "the server has no file descriptor left for another connection"

_ESSENTIAL = re.compile(PREFIX + "/(health|metrics|status|backend)(/.*)?", re.DOTALL)
"""URLs of operators and backends."""


class GuardedServer(HTTPServer):
    """`limiter` and `refused` are set before it listens."""

    limiter: ConnectionLimiter
    refused: Callable[[], None]
    """Called for each connection that is refused, for the counters."""
    write_timeout = 0.0
    """Seconds without any progress after which a client that reads no answer is disconnected; 0 means never."""
    shares_sockets = False
    """Whether other workers accept from the same listening sockets."""
    most_lingering = 64
    """Refused connections kept open at the same time until their answer has been read."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        super().initialize(*args, **kwargs)
        self._listeners: list[Listener] = []
        self._lingering = 0
        self._shortages = OccasionalLog()

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        shared = self.shares_sockets
        self._listeners += [Listener(listening, self._accepted, is_shared=shared) for listening in sockets]

    def stop(self) -> None:
        for listener in self._listeners:
            listener.stop()

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        delegate = super().start_request(server_conn, request_conn)
        stream: IOStream | None = getattr(request_conn, "stream", None)
        if self.limiter.is_essential(stream):
            return _EssentialOnly(self, delegate, request_conn, stream)
        return delegate

    def _accepted(self, connection: socket.socket, address: Any) -> None:
        stream = ClientStream(
            connection,
            max_buffer_size=self.max_buffer_size,
            read_chunk_size=READ_SIZE,
            write_timeout=self.write_timeout,
        )
        match self.limiter.enter(stream, str(address[0]) if address else ""):
            case Admission.SERVED:
                self.handle_stream(stream, address)
            case Admission.ESSENTIAL:
                self._handle_once(stream, address)
            case Admission.NO_DESCRIPTOR:
                self.out_of_descriptors()
                self._turn_away(stream, NO_DESCRIPTOR)
            case Admission.TOO_MANY:
                self.refused()
                limit = self.limiter.per_client
                self._turn_away(stream, f"this address has {limit} connections, which is the limit")

    def _handle_once(self, stream: IOStream, address: Any) -> None:
        """Serve one request and close, because descriptors are scarce."""
        usual, self.conn_params = self.conn_params, copy(self.conn_params)
        try:
            self.conn_params.no_keep_alive = True
            self.handle_stream(stream, address)
        finally:
            self.conn_params = usual

    def out_of_descriptors(self) -> None:
        """Count, and log occasionally, that a client was refused because descriptors are short."""
        self.refused()
        if count := self._shortages.due():
            log.warning(
                "out of file descriptors for clients: new connections are refused; raise the limit (LimitNOFILE) or "
                "lower the number of connections",
                extra={"refused": count},
            )

    def _turn_away(self, stream: IOStream, text: str) -> None:
        answer = last_words(f"{TooBusy.status} Service Unavailable", text, f"Retry-After: {TooBusy.retry_after}\r\n")
        if self._lingering >= self.most_lingering:
            with suppress(OSError):
                stream.socket.send(answer)
            stream.close()
            return
        self._lingering += 1
        task = asyncio.ensure_future(_say(stream, answer))
        task.add_done_callback(self._turned_away)

    def _turned_away(self, task: asyncio.Future[None]) -> None:
        self._lingering -= 1
        task.result()


async def _say(stream: IOStream, answer: bytes) -> None:
    """Write the answer and wait until the client closes; closing first would discard it with the unread request."""
    with suppress(StreamClosedError, TimeoutError):
        async with asyncio.timeout(LINGER):
            await stream.write(answer)
            while True:
                await stream.read_bytes(MAX_DISCARDED, partial=True)
    stream.close()


class _EssentialOnly(HTTPMessageDelegate):
    """Pass on an essential request; answer any other one directly, before its body is read."""

    def __init__(
        self, server: GuardedServer, delegate: HTTPMessageDelegate, connection: HTTPConnection, stream: IOStream | None
    ) -> None:
        self._server = server
        self._delegate: HTTPMessageDelegate | None = delegate
        self._connection = connection
        self._stream = stream

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        self._server.limiter.asks(self._stream)
        path = start_line.path.partition("?")[0] if isinstance(start_line, RequestStartLine) else ""
        if self._delegate is not None and _ESSENTIAL.fullmatch(path):
            return self._delegate.headers_received(start_line, headers)
        self._delegate = None
        self._server.out_of_descriptors()
        text = NO_DESCRIPTOR.encode()
        about = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(text)), "Server": "Incoming"}
        about |= {"Retry-After": str(TooBusy.retry_after), "Connection": "close"}
        line = ResponseStartLine("HTTP/1.1", TooBusy.status, "Service Unavailable")
        self._connection.write_headers(line, HTTPHeaders(about), text)
        self._connection.finish()
        return None

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk) if self._delegate is not None else None

    def finish(self) -> None:
        if self._delegate is not None:
            self._delegate.finish()

    def on_connection_close(self) -> None:
        if self._delegate is not None:
            self._delegate.on_connection_close()
