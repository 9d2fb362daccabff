"""104 (Upload Resumption Supported): what a client learns of its upload while it still sends.

Decides when such an answer may be sent. nginx takes any interim answer but 100 and 103 for the final one, and is then
out of step with the connection: another client may get the next answer. So none is sent where anything shows a proxy,
unless the operator says that all proxies pass it. Knows neither ticket nor body.
"""

from __future__ import annotations

from collections.abc import Callable

from tornado.httputil import HTTPServerRequest
from tornado.iostream import IOStream

from incoming.handlers.caller_access import shows_proxy
from incoming.settings.settings import Settings
from incoming.wire.resumable_upload import VERSION_FIELD, Version

STATUS_LINE = "HTTP/1.1 104 Upload Resumption Supported"

INTERIM_INTERVAL = 1.0
"""Seconds between two interim answers."""


def interim_allowed(request: HTTPServerRequest, version: Version, settings: Settings) -> bool:
    """Return whether interim answers may be sent to this request."""
    if version.number is None or not version.has_interim or request.version != "HTTP/1.1":
        return False
    if settings.interim_answers == "auto":
        return not shows_proxy(request)
    return settings.interim_answers == "true"


class InterimAnswers:
    """Those of one request. `clock` is a monotonic one, in seconds."""

    def __init__(self, stream: IOStream, version: Version, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._version = version
        self._clock = clock
        self._sent_at = clock()

    def begin(self, location: str, limit: str | None) -> None:
        """Send the upload's location and limits, before its body is read."""
        self._send({"Location": location} | ({} if limit is None else {"Upload-Limit": limit}))

    def progress(self, offset: int) -> None:
        """Send the number of safe bytes, unless one was sent just now or the client has not read it."""
        if not self._version.has_progress or self._clock() - self._sent_at < INTERIM_INTERVAL or self._stream.writing():
            return
        self._send({"Upload-Offset": str(offset)})

    def _send(self, fields: dict[str, str]) -> None:
        if self._stream.closed():
            return
        self._sent_at = self._clock()
        lines = [STATUS_LINE, f"{VERSION_FIELD}: {self._version.number}"]
        lines += [f"{name}: {value}" for name, value in fields.items()]
        self._stream.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1"))
