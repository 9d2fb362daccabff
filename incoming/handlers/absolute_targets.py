"""Request targets in absolute-form, as clients that take the server for a proxy send them.

Gives Tornado, which finds no handler for them, the origin-form instead. Knows no URL.
"""

from __future__ import annotations

from collections.abc import Awaitable

from tornado.httputil import HTTPConnection, HTTPHeaders, HTTPMessageDelegate, RequestStartLine, ResponseStartLine
from tornado.web import Application

from incoming.wire.http.request_target import split_absolute


class _OriginForm(HTTPMessageDelegate):
    """Makes the origin-form of a target in absolute-form, which counts instead of the Host header (RFC 9112 section
    3.2.2). Two Host headers, or none, stay the error that they are.
    """

    def __init__(self, delegate: HTTPMessageDelegate) -> None:
        self._delegate = delegate

    def headers_received(
        self, start_line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders
    ) -> Awaitable[None] | None:
        if isinstance(start_line, RequestStartLine) and (split := split_absolute(start_line.path)):
            authority, path = split
            start_line = start_line._replace(path=path)
            if "," not in headers.get("Host", ","):
                headers["Host"] = authority
        return self._delegate.headers_received(start_line, headers)

    def data_received(self, chunk: bytes) -> Awaitable[None] | None:
        return self._delegate.data_received(chunk)

    def finish(self) -> None:
        self._delegate.finish()

    def on_connection_close(self) -> None:
        self._delegate.on_connection_close()


class UploadApplication(Application):
    """Tornado's application, which by itself finds no handler for a target in absolute-form."""

    def start_request(self, server_conn: object, request_conn: HTTPConnection) -> HTTPMessageDelegate:
        return _OriginForm(super().start_request(server_conn, request_conn))
