"""A request whose body is processed while it arrives, with a stall watchdog and with answers that reach the client.

A browser that is still sending does not read an answer, and closing the connection destroys an answer in transit. So a
request that is answered early is answered after the rest of its body was discarded, if that is not too much. Knows
nothing of what a request is about.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tornado.iostream import IOStream
from tornado.web import stream_request_body

from incoming.core.errors import BadRequest, UploadError
from incoming.handlers import cors
from incoming.handlers.base import Handler, methods_of
from incoming.handlers.client_stream import ClientStream
from incoming.handlers.services import Services
from incoming.handlers.upload.stall_watchdog import StallWatchdog
from incoming.handlers.upload.upload_request import check_page
from incoming.uploads.writes.receive_buffer import ReceiveBuffer
from incoming.wire.messages import MAX_SIZE

DRAINED = 64 * 1024 * 1024
"""Bytes of a body that are read and discarded, so that a browser can read the answer instead of a reset."""


@stream_request_body
class StreamingHandler(Handler):
    """Subclasses implement `admit` for the headers, `take` for the parts of the body, and `release` for the end."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._conclusion: Callable[[], None] | None = None
        self._received = 0
        self._needless = 0
        self._watchdog = StallWatchdog(services.settings, services.monotonic)
        self._ended = False
        self._stream: IOStream | None = None
        self._cors: dict[str, str] = {}

    def admit_page(self) -> None:
        """Check the origin; let the page read what is answered, which is never cached. Raise Forbidden."""
        headers = self.request.headers
        check_page(headers, self.services.settings)
        self._cors = cors.cors(headers, methods_of(self))
        self._let_page_read()
        self.set_header("Cache-Control", "no-store")

    def _let_page_read(self) -> None:
        for name, value in self._cors.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Set the CORS headers again, which Tornado has cleared; without them a page could not read the error."""
        self._let_page_read()
        super().write_error(status_code, **kwargs)

    async def admit(self) -> None:
        """Check the headers, before the body is read. Raise the UploadError to refuse the request with."""

    async def take(self, data: bytes) -> None:
        """Process a part of the body. Raise the UploadError to refuse the request with; the rest is discarded then."""
        if self._received > DRAINED:
            raise BadRequest(f"{self.request.method} has no body here")

    def release(self) -> None:
        """Release what the request holds; it has ended. May be called twice."""

    def receive_into(self, receive_buffer: ReceiveBuffer | None) -> None:
        """Receive the body into this buffer, so that `take` need not copy it; None for none."""
        if isinstance(self._stream, ClientStream):
            self._stream.receive_buffer = receive_buffer

    @property
    def is_busy(self) -> bool:
        """Whether the body waits for the server, not for the client."""
        return False

    # --- the body -----------------------------------------------------------------------------------------------------

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body, be it an empty one."""
        return "Content-Length" in self.request.headers or "Transfer-Encoding" in self.request.headers

    @property
    def body_length(self) -> int | None:
        """The announced length in bytes; None for a chunked body (RFC 9112 section 6). Raise BadRequest."""
        declared = self.request.headers.get("Content-Length")
        chunked = "Transfer-Encoding" in self.request.headers
        if declared is None:
            return None if chunked else 0
        if chunked:
            raise BadRequest("Content-Length and Transfer-Encoding exclude each other")
        if not (declared.isascii() and declared.isdigit()) or len(declared) > 16:
            raise BadRequest("Content-Length is not a number of bytes")
        return int(declared)

    async def prepare(self) -> None:
        self._stream = getattr(self.request.connection, "stream", None)
        # Tornado's own limit is for bodies that it buffers, and a browser cannot read its refusal.
        self.request.connection.set_max_body_size(MAX_SIZE)  # type: ignore[union-attr]
        self.request.connection.set_body_timeout(None)  # type: ignore[union-attr] # the watchdog goes by progress
        try:
            await self.admit()
        except UploadError as error:
            self.refuse(error)
        if self._ended:
            self.release()
        else:
            self._watch()

    async def data_received(self, chunk: bytes) -> None:
        self._watchdog.input_received()
        self._received += len(chunk)
        if self._conclusion is None:
            try:
                await self.take(chunk)
            except UploadError as error:
                self.refuse(error)
            return
        self._needless += len(chunk)
        if self._needless > DRAINED:
            self._answer_now()

    def refuse(self, error: UploadError) -> None:
        """Answer with this error, whatever the rest of the body is."""

        def answer() -> None:
            self.logged |= {"error": error.name, "reason": error.message}
            self.answer_error(error)

        self.conclude(answer)

    def conclude(self, answer: Callable[[], None]) -> None:
        """Call `answer` to answer the request: after the end of the body if that is near, otherwise at once."""
        self._conclusion = answer
        try:
            left = (self.body_length or 0) - self._received
        except BadRequest:
            left = DRAINED + 1  # its end is unknown
        # A client that expects 100 has not sent anything of the body yet (RFC 9110 section 10.1.1).
        asks = self._received == 0 and self.request.headers.get("Expect", "").lower() == "100-continue"
        if asks or left > DRAINED:
            self._answer_now()

    def _answer_now(self) -> None:
        """Answer in the middle of the body, after which the connection cannot be used any more."""
        if self._conclusion is not None and not self._finished:
            self.set_header("Connection", "close")
            self._conclusion()

    def concluded(self) -> bool:
        """Answer if `conclude` was called; return whether it was. Each method calls this first."""
        self._watchdog.stop()
        if self._conclusion is None:
            return False
        if not self._finished:
            self._conclusion()
        return True

    # --- stalls and the end -------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._watchdog.schedule(self.services.settings.dead_after / 2, self._check_client)

    @property
    def last_input_at(self) -> float:
        """When a part of the body last arrived, by the monotonic clock."""
        return self._watchdog.last_input_at

    def _check_client(self) -> None:
        """Give a stalled body up: no byte for `dead_after`, or too few. What arrived is kept."""
        if self._ended or self._stream is None or self._stream.socket is None:
            return
        if error := self._watchdog.verdict(self._stream.socket, self._received, busy=self.is_busy):
            self.end_with(error)
        else:
            self._watch()

    def end_with(self, error: UploadError) -> None:
        """End the request with this error, and the connection with it, wherever its body is."""
        if self._conclusion is None:
            self.refuse(error)
        self._answer_now()

    def on_finish(self) -> None:
        self._end()
        super().on_finish()

    def on_connection_close(self) -> None:
        self._end()
        super().on_connection_close()

    def _end(self) -> None:
        self._ended = True
        self._watchdog.stop()
        self.release()
