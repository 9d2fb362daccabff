"""An upload as an HTTP resource: PUT with Content-Range, status, control messages, DELETE (doc/protocol.md).

Speaks the dialect of resumable PUT that existing clients know: 308 with the safe prefix while bytes are missing, 200
when all are there. Bodies go to the assembler as they arrive, so that what came before a cut is kept. Decides only
what belongs to HTTP; what may be stored the assembler decides.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from tornado.web import stream_request_body

from incoming.core import content_range, messages
from incoming.core.content_range import ContentRange
from incoming.core.errors import (
    BadParameter,
    BadRequest,
    Forbidden,
    MessageTooLarge,
    UnsupportedEncoding,
    UploadError,
)
from incoming.core.messages import MAX_CONTROL, MAX_REASON, MAX_SIZE, Cancel, Hello, Pause
from incoming.core.ticket import RECEIVING, Event, Identity, State, Ticket
from incoming.handlers import origins
from incoming.handlers.base import Handler, answer_error
from incoming.handlers.body import Body
from incoming.handlers.disposition import file_name
from incoming.handlers.liveness import silent_for
from incoming.handlers.services import Services
from incoming.upload import Upload

LONG_POLL = 25.0
"""Seconds that a status request may wait at most: below the 30 s after which some proxies lose patience."""

DRAINED = 64 * 1024 * 1024
"""Bytes of a refused body that are read and thrown away, so that a browser can read the refusal instead of a reset."""


@stream_request_body
class UploadResource(Handler):
    """`.../frontend/upload/<ticket>`."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._upload: Upload | None = None
        self._range: ContentRange | None = None
        self._body: Body | None = None
        self._control = bytearray()
        self._problem: UploadError | None = None
        self._thrown_away = 0
        self._epoch: int | None = None
        self._heard = time.monotonic()
        self._watchdog: asyncio.TimerHandle | None = None
        self._cors: dict[str, str] = {}

    async def prepare(self) -> None:
        origin = self.request.headers.get("Origin")
        if not origins.allowed(origin, self.services.settings.allowed_origins):
            raise Forbidden("pages of this origin may not upload here")
        self._cors = origins.cors(self.request.headers, origin)
        self._let_page_read()
        self.set_header("Cache-Control", "no-store")
        if self.request.method == "OPTIONS":
            return
        try:
            await self._admit(origin)
        except UploadError as error:
            self._refuse(error)

    def _let_page_read(self) -> None:
        for name, value in self._cors.items():
            self.set_header(name, value)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Tornado has cleared all headers by now; without these a page of another host could not read the refusal."""
        self._let_page_read()
        super().write_error(status_code, **kwargs)

    async def _admit(self, origin: str | None) -> None:
        ticket_id = self.path_args[0]
        ticket = await self.services.assembler.look(ticket_id)
        if not origins.allowed(origin, ticket.terms.allowed_origins):
            raise Forbidden("pages of this origin may not use this ticket")
        if self.request.method == "PUT":
            await self._begin(ticket)

    # --- PUT: the headers ---------------------------------------------------------------------------------------------

    async def _begin(self, ticket: Ticket) -> None:
        headers = self.request.headers
        if headers.get("Content-Encoding", "identity").lower() != "identity":
            raise UnsupportedEncoding(f"Content-Encoding {headers['Content-Encoding']!r}: only identity is taken")
        length = self._content_length()
        told = headers.get("Content-Range")
        asked = ContentRange(0, None, length) if told is None else content_range.parse(told)
        self._range = asked = asked if length is None else asked.close(length)
        identity = Identity(name=file_name(self.get_query_argument("filename", None), headers), size=asked.total)
        if ticket.state not in RECEIVING:
            self._see_outcome(ticket, identity)
            return
        self._upload = await self._join(ticket, identity)
        if asked.start is None:
            return
        known = self._upload.ticket.size
        end = asked.end if asked.end is not None else known
        self._allow((MAX_SIZE if end is None else end) - asked.start)
        sender = self.services.connections.enter(ticket.id, "http", self.client)
        self._body = Body(self._upload, sender, asked.start, end, self._epoch)
        self._watch()

    def _content_length(self) -> int | None:
        told = self.request.headers.get("Content-Length")
        if told is None:
            return None if "Transfer-Encoding" in self.request.headers else 0
        if not (told.isascii() and told.isdigit()) or len(told) > 16:
            raise BadRequest("Content-Length is not a number of bytes")
        return int(told)

    def _see_outcome(self, ticket: Ticket, identity: Identity) -> None:
        """A PUT to a complete file is answered as the one that completed it was; to an ended one with its outcome."""
        if ticket.state in (State.CANCELLED, State.FAILED):
            raise ticket.outcome(Event.STORE)
        ticket.identify(identity)

    async def _join(self, ticket: Ticket, identity: Identity) -> Upload:
        """The library's pieces name the epoch they were welcomed with; other clients are taken at any."""
        epoch = self.get_query_argument("epoch", None)
        if epoch is None:
            return await self.services.assembler.open_plain(ticket.id, identity)
        if not (epoch.isascii() and epoch.isdigit()) or len(epoch) > 16:
            raise BadParameter("'epoch' is not a number")
        self._epoch = int(epoch)
        ticket.identify(identity)
        return await self.services.assembler.join(ticket.id, self._epoch)

    # --- bodies -------------------------------------------------------------------------------------------------------

    async def data_received(self, chunk: bytes) -> None:
        self._heard = time.monotonic()
        if self._body is not None and self._problem is None:
            await self._body.take(chunk)
            self._problem = self._body.problem
        elif self.request.method == "POST" and self._problem is None:
            self._control += chunk
            if len(self._control) > MAX_CONTROL:
                self._refuse(MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes"))
        else:
            self._thrown_away += len(chunk)
            if self._thrown_away > DRAINED and not self._finished:
                self._answer_and_close(self._problem or BadRequest("this request has no body"))

    def _refuse(self, error: UploadError) -> None:
        """Answers at the end of a body that is short enough to be read; otherwise at once, and closes."""
        self._problem = error
        length = self.request.headers.get("Content-Length", "0")
        if not length.isdigit() or len(length) > 16 or int(length) > DRAINED:
            self._answer_and_close(error)
        else:
            self._allow(DRAINED)

    def _allow(self, length: int) -> None:
        """The server's small limit for bodies is for the others."""
        self.request.connection.set_max_body_size(length)  # type: ignore[union-attr]

    def _answer_and_close(self, error: UploadError) -> None:
        self.set_header("Connection", "close")
        answer_error(self, error)

    def _watch(self) -> None:
        self._watchdog = asyncio.get_running_loop().call_later(self.services.settings.dead_after / 2, self._look_after)

    def _look_after(self) -> None:
        """A body that stalls is given up when no byte of it has come for `dead_after`; what arrived is kept."""
        stream = getattr(self.request.connection, "stream", None)
        if self._finished or stream is None or stream.socket is None:
            return
        if silent_for(stream.socket, time.monotonic() - self._heard) >= self.services.settings.dead_after:
            stream.close()
        else:
            self._watch()

    # --- the methods --------------------------------------------------------------------------------------------------

    async def put(self, ticket: str) -> None:
        if self._problem is not None:
            raise self._problem
        if self._upload is None:
            self._tell_complete(await self.services.assembler.look(ticket))
            return
        if self._body is not None:
            await self._body.finish()
            await self._end_of_unknown_length()
        known = await self.services.assembler.settled(self._upload)
        if known.state in RECEIVING:
            self._tell_missing(known)
        elif known.state in (State.CANCELLED, State.FAILED):
            raise known.outcome(Event.STORE)
        else:
            self._tell_complete(known)

    async def _end_of_unknown_length(self) -> None:
        """A whole file sent with a chunked body (RFC 9112 section 7.1): now that it has ended, its length is known."""
        if self._body is None or self._upload is None or "Content-Range" in self.request.headers:
            return
        if self._upload.ticket.size is None:
            whole = Identity(size=self._body.position)
            again = await self.services.assembler.open_plain(self._upload.ticket.id, whole)
            self.services.assembler.leave(again)

    def _tell_missing(self, ticket: Ticket) -> None:
        self.set_status(308, "Resume Incomplete")
        safe = content_range.prefix_range(ticket.extents.prefix)
        if safe is not None:
            self.set_header("Range", safe)
        self.set_header("Content-Length", "0")
        self.clear_header("Content-Type")
        self.finish()

    def _tell_complete(self, ticket: Ticket) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(messages.status(ticket)))

    async def get(self, ticket: str) -> None:
        """The status; with `wait=S` as soon as the state is another than `state` (default: the present one)."""
        self._raise_problem()
        known = await self.services.assembler.look(ticket)
        seconds = self._seconds(self.get_query_argument("wait", "0"))
        if seconds:
            seen = self.get_query_argument("state", known.state)
            known = await self.services.assembler.wait_for_change(ticket, seen, seconds)
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(messages.status(known, self.services.limits(known))))

    def _seconds(self, told: str) -> float:
        if not (told.isascii() and told.isdigit()) or len(told) > 4:
            raise BadParameter("'wait' is a number of seconds")
        return min(float(told), LONG_POLL)

    async def post(self, ticket: str) -> None:
        """One control message of the WebSocket's protocol, answered like there."""
        self._raise_problem()
        try:
            text = self._control.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest("a control message is UTF-8") from error
        message = messages.parse_control(text)
        assembler = self.services.assembler
        if isinstance(message, Hello):
            upload = await assembler.open(ticket, message)
            known = await assembler.settled(upload)
            assembler.leave(upload)
            answer = messages.welcome(known, self.services.limits(known))
        elif isinstance(message, Pause):
            await assembler.pause(ticket, message.epoch)
            answer = messages.paused()
        elif isinstance(message, Cancel):
            answer = messages.state(await assembler.cancel(ticket, message.reason, notify_app=True))
        else:
            raise BadRequest("over HTTP the control messages are hello, pause and cancel")
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(answer)

    async def delete(self, ticket: str) -> None:
        """Cancels, for the `reason` in the query."""
        self._raise_problem()
        reason = self.get_query_argument("reason", "cancelled by the client")[:MAX_REASON]
        self._tell_complete(await self.services.assembler.cancel(ticket, reason, notify_app=True))

    def options(self, ticket: str) -> None:
        self.set_status(204)
        self.set_header("Allow", "GET, PUT, POST, DELETE, OPTIONS")
        self.finish()

    def _raise_problem(self) -> None:
        if self._problem is not None:
            raise self._problem

    # --- the end ------------------------------------------------------------------------------------------------------

    def on_finish(self) -> None:
        self._let_go()
        super().on_finish()

    def on_connection_close(self) -> None:
        self._let_go()
        super().on_connection_close()

    def _let_go(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._upload is not None:
            self.services.assembler.leave(self._upload)
            self._upload = None
        if self._body is not None:
            self._body.let_go()
