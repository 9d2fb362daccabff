"""Connections to apps that are used for one callback after the other (RFC 9112 section 9.3).

Decides which connection may be used again, how long one is kept for that, and how many. What is sent over them is
client.py's; where they may go allowlist_resolver.py's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.simple_httpclient import HTTPStreamClosedError, SimpleAsyncHTTPClient, _HTTPConnection
from tornado.tcpclient import TCPClient

from incoming.callbacks.allowlist_resolver import AllowlistResolver

IDLE = 1.5
"""Seconds that a connection waits for the next callback. Less than the 2 s after which the most impatient of the usual
app servers (Gunicorn) closes its end, so that a request seldom meets a closed one.
"""

LIFETIME = 60.0
"""Seconds after which a connection is not used again, so that a name that has moved is looked up again."""

MAX_IDLE = 100
"""Connections that wait in one worker, over all apps."""


class KeptConnectionLost(Exception):
    """The app has closed a kept connection, and sent nothing of an answer to the request that was just made on it."""


@dataclass(slots=True)
class _Open:
    """A connection, and whom it leads to: `host` as it stands in the URL, and the address that the allow-list let
    through.
    """

    key: Hashable
    host: str
    port: int
    address: str
    opened_at: float
    uses: int = 0
    timer: asyncio.TimerHandle | None = None


class KeptConnections(TCPClient):
    """Connects, or gives a connection to the same host, port and TLS context whose last request was answered whole."""

    def __init__(self, guard: AllowlistResolver, per_host: int) -> None:
        """At most `per_host` wait for one host and port."""
        super().__init__(resolver=guard)
        self.fresh = TCPClient(resolver=guard)
        """Connects anew each time."""
        self._guard = guard
        self._per_host = per_host
        self._open: WeakKeyDictionary[IOStream, _Open] = WeakKeyDictionary()
        self._waiting: dict[Hashable, deque[IOStream]] = {}
        self._closed = False

    async def connect(  # type: ignore[override]
        self,
        host: str,
        port: int,
        af: socket.AddressFamily = socket.AF_UNSPEC,
        ssl_options: ssl.SSLContext | None = None,
        **more: Any,
    ) -> IOStream:
        key = (host, port, af, ssl_options)
        if (kept := self._take(key)) is not None:
            return kept
        stream = await super().connect(host, port, af=af, ssl_options=ssl_options, **more)
        now = asyncio.get_running_loop().time()
        address = stream.socket.getpeername()[0] if stream.socket is not None else ""
        self._open[stream] = _Open(key, host, port, address, now)
        return stream

    def _take(self, key: Hashable) -> IOStream | None:
        now = asyncio.get_running_loop().time()
        waiting = self._waiting.get(key, ())
        while waiting:
            stream = waiting.pop()  # the latest, so that those that are not needed end
            known = self._leave(stream)
            is_allowed = self._guard.permits(known.host, known.port, known.address)
            if is_allowed and now - known.opened_at < LIFETIME and _is_silent(stream):
                known.uses += 1
                return stream
            self._discard(stream)
        return None

    def is_kept(self, stream: IOStream) -> bool:
        """Return whether the connection has carried another request before this one."""
        known = self._open.get(stream)
        return known is not None and known.uses > 0

    def give_back(self, stream: IOStream) -> None:
        """Keep a connection for the next request, or close it."""
        known = self._open.get(stream)
        if known is None or self._closed or not _is_silent(stream):
            self._discard(stream)
            return
        waiting = self._waiting.setdefault(known.key, deque())
        if len(waiting) >= self._per_host or sum(map(len, self._waiting.values())) >= MAX_IDLE:
            self._discard(stream)
            return
        waiting.append(stream)
        known.timer = asyncio.get_running_loop().call_later(IDLE, self._end_waiting, stream)
        stream.set_close_callback(lambda: self._end_waiting(stream))

    def _end_waiting(self, stream: IOStream) -> None:
        self._leave(stream)
        self._discard(stream)

    def _leave(self, stream: IOStream) -> _Open:
        """Take it from those that wait."""
        known = self._open[stream]
        stream.set_close_callback(None)
        if known.timer is not None:
            known.timer.cancel()
            known.timer = None
        if stream in (waiting := self._waiting.get(known.key, deque())):
            waiting.remove(stream)
        if not waiting:
            self._waiting.pop(known.key, None)
        return known

    def _discard(self, stream: IOStream) -> None:
        self._open.pop(stream, None)
        stream.close()

    def close(self) -> None:
        """Close all that wait; those in use are closed when they are given back."""
        self._closed = True
        for stream in [stream for waiting in self._waiting.values() for stream in waiting]:
            self._end_waiting(stream)
        super().close()


def _is_silent(stream: IOStream) -> bool:
    """Return whether nothing is left to write or to read. A TLS connection may carry a session ticket."""
    if stream.closed() or stream.writing() or stream._read_buffer_size:
        return False
    if stream.socket is None or isinstance(stream, SSLIOStream):
        return stream.socket is not None
    try:
        stream.socket.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False  # closed, or something that nobody has asked for


class KeptConnection(_HTTPConnection):
    """One request of Tornado's client that leaves its connection to the next one.

    It reports a reset by the app as the request's failure; Tornado's own raises it where nobody can catch it. A request
    with `Connection: close` gets a connection of its own.
    """

    tcp_client: KeptConnections
    _answer_keeps = False

    async def run(self) -> None:
        if self.request.headers.get("Connection") == "close":
            self.tcp_client = self.tcp_client.fresh  # type: ignore[assignment]
        await super().run()

    @property
    def _connections(self) -> KeptConnections | None:
        return self.tcp_client if isinstance(self.tcp_client, KeptConnections) else None

    async def headers_received(self, first_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders) -> None:
        await super().headers_received(first_line, headers)
        options = {option.strip().lower() for option in headers.get("Connection", "").split(",")}
        self._answer_keeps = first_line.version == "HTTP/1.1" and "close" not in options

    async def _write_body(self, start_read: bool) -> None:
        await super()._write_body(start_read)
        # Not in `_on_end_request`, where the answer's reader still has callbacks on the stream.
        if self._answer_keeps and self._connections is not None:
            self._connections.give_back(self.stream)
        else:
            self.stream.close()

    def _on_end_request(self) -> None:
        """The stream is closed or given back when the answer's reader has ended."""

    def on_connection_close(self) -> None:
        error = self.stream.error or HTTPStreamClosedError("Connection closed")
        self._handle_exception(type(error), error, None)

    def _handle_exception(self, typ: Any, value: BaseException | None, tb: Any) -> bool:
        self._answer_keeps = False
        is_lost = isinstance(value, StreamClosedError | HTTPStreamClosedError | ConnectionError)
        if is_lost and self.code is None and self._connections is not None and hasattr(self, "stream"):
            # Also of a line that is not complete: then the request has arrived, and this is its answer.
            is_silent = not self.stream._read_buffer_size
            if is_silent and self._connections.is_kept(self.stream):
                typ, value = KeptConnectionLost, KeptConnectionLost("the app has closed the connection meanwhile")
        return super()._handle_exception(typ, value, tb)


class KeepingClient(SimpleAsyncHTTPClient):
    """Tornado's client, with kept connections: requests say `Connection: keep-alive`, or `close` for one of theirs."""

    def initialize(self, *, connections: KeptConnections, **more: Any) -> None:  # type: ignore[override]
        super().initialize(resolver=connections.resolver, **more)
        self.tcp_client = connections

    def _connection_class(self) -> type:
        return KeptConnection
