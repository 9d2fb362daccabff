"""A request whose body is taken as it arrives: watched over, bounded, and answered so that the client gets to see it.

A browser that is still sending does not read an answer, and closing on it destroys the answer on its way. So what needs
no body is answered after the rest of it was thrown away, if that is not too much. This file does not know what a
request is about.
"""

from __future__ import annotations

from collections.abc import Callable

from tornado.iostream import IOStream
from tornado.web import stream_request_body

from incoming.core.errors import BadRequest, TooSlow, UploadError
from incoming.handlers.base import Handler, answer_error
from incoming.handlers.client_stream import ClientStream
from incoming.handlers.services import Services
from incoming.handlers.upload.stall_watchdog import StallWatchdog
from incoming.uploads.receive_buffer import ReceiveBuffer
from incoming.wire.messages import MAX_SIZE

DRAINED = 64 * 1024 * 1024
"""Bytes of a body that are read and thrown away, so that a browser can read the answer instead of a reset."""


@stream_request_body
class StreamingHandler(Handler):
    """What subclasses say: `admit` by the headers alone, `take` for the body's parts, `let_go` at the end."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._conclusion: Callable[[], None] | None = None
        self._received = 0
        self._needless = 0
        self._watchdog = StallWatchdog(services.settings, services.monotonic)
        self._ended = False
        self._stream: IOStream | None = None

    async def admit(self) -> None:
        """Before the body is read. Raises what the request is to be refused with."""

    async def take(self, data: bytes) -> None:
        """A part of the body. Raises what the request is to be refused with; the rest of it is thrown away then."""
        if self._received > DRAINED:
            raise BadRequest(f"{self.request.method} has no body here")

    def let_go(self) -> None:
        """The request has ended, one way or the other. May be called twice."""

    def receive_into(self, receive_buffer: ReceiveBuffer | None) -> None:
        """Where the body that is read next is received, so that `take` need not copy it; None for nowhere special."""
        if isinstance(self._stream, ClientStream):
            self._stream.receive_buffer = receive_buffer

    @property
    def is_busy(self) -> bool:
        """Whether it is the server who keeps the body waiting."""
        return False

    # --- the body -----------------------------------------------------------------------------------------------------

    @property
    def has_body(self) -> bool:
        """Whether the headers announce a body, be it an empty one."""
        return "Content-Length" in self.request.headers or "Transfer-Encoding" in self.request.headers

    @property
    def body_length(self) -> int | None:
        """What the headers tell; None for a chunked body (RFC 9112 section 6). Raises BadRequest."""
        told = self.request.headers.get("Content-Length")
        chunked = "Transfer-Encoding" in self.request.headers
        if told is None:
            return None if chunked else 0
        if chunked:
            raise BadRequest("Content-Length and Transfer-Encoding exclude each other")
        if not (told.isascii() and told.isdigit()) or len(told) > 16:
            raise BadRequest("Content-Length is not a number of bytes")
        return int(told)

    async def prepare(self) -> None:
        self._stream = getattr(self.request.connection, "stream", None)
        # Tornado's own limit is for the bodies that it gathers, and its refusal tells a browser nothing.
        self.request.connection.set_max_body_size(MAX_SIZE)  # type: ignore[union-attr]
        self.request.connection.set_body_timeout(None)  # type: ignore[union-attr] # watched below, by its progress
        try:
            await self.admit()
        except UploadError as error:
            self.refuse(error)
        if self._ended:
            self.let_go()
        else:
            self._watch()

    async def data_received(self, chunk: bytes) -> None:
        self._watchdog.hear()
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
        """Whatever the body still brings, this is the answer."""

        def answer() -> None:
            self.logged |= {"error": error.name, "reason": error.message}
            answer_error(self, error)

        self.conclude(answer)

    def conclude(self, answer: Callable[[], None]) -> None:
        """Whatever the body still brings, `answer` is the answer: after its end if that is near, otherwise at once."""
        self._conclusion = answer
        try:
            left = (self.body_length or 0) - self._received
        except BadRequest:
            left = DRAINED + 1  # nobody knows where it ends
        # Who asks for permission has not sent anything of the body yet (RFC 9110 section 10.1.1).
        asks = self._received == 0 and self.request.headers.get("Expect", "").lower() == "100-continue"
        if asks or left > DRAINED:
            self._answer_now()

    def _answer_now(self) -> None:
        """In the middle of the body: the connection cannot be used any more."""
        if self._conclusion is not None and not self._finished:
            self.set_header("Connection", "close")
            self._conclusion()

    def concluded(self) -> bool:
        """For each method to ask first, the body being complete: whether the answer has been given by this."""
        self._watchdog.stop()
        if self._conclusion is None:
            return False
        if not self._finished:
            self._conclusion()
        return True

    # --- life and death -----------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        self._watchdog.look_in(self.services.settings.dead_after / 2, self._look_after)

    @property
    def heard(self) -> float:
        """When a part of the body last came, by the monotonic clock."""
        return self._watchdog.heard

    def _look_after(self) -> None:
        """A body that stalls is given up when no byte of it has come for `dead_after`, or too few; what arrived is
        kept.
        """
        if self._ended or self._stream is None or self._stream.socket is None:
            return
        if error := self._watchdog.verdict(self._stream.socket, self._received, busy=self.is_busy):
            self._give_up(error)
        else:
            self._watch()

    def _give_up(self, error: TooSlow) -> None:
        """Ends the request, and the connection with it."""
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
        self.let_go()
