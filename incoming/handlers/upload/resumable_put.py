"""An upload as an HTTP resource: PUT with Content-Range, status, control messages, DELETE (doc/protocol.md).

Speaks the dialect of resumable PUT that existing clients know: 308 with the safe prefix while bytes are missing, 200
when all are there. Bodies are written while they arrive, so that what came before a lost connection is kept. Decides
only what belongs to HTTP; the upload service decides what may be stored.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Sequence
from typing import Any, ClassVar, TypeVar

from incoming.core.errors import (
    BadParameter,
    BadRange,
    BadRequest,
    LengthRequired,
    MessageTooLarge,
    TakenOver,
)
from incoming.core.size_limit import check_size
from incoming.core.ticket import RECEIVING, Event, Identity, State, Ticket
from incoming.handlers.base import methods_of
from incoming.handlers.services import Services
from incoming.handlers.upload.body_receiver import BodyReceiver
from incoming.handlers.upload.path_reports import KernelReader
from incoming.handlers.upload.upload_request import UPLOAD_METHODS, check_is_file, epoch_is_over
from incoming.handlers.upload.upload_resource import UploadResource
from incoming.monitoring.connections import ClientActivity
from incoming.uploads.active_upload import ActiveUpload
from incoming.wire import messages
from incoming.wire.http import content_range
from incoming.wire.http.content_disposition import file_name
from incoming.wire.http.content_range import ContentRange
from incoming.wire.messages import MAX_CONTROL, MAX_MEDIA_TYPE, MAX_REASON, Cancel, Hello, Pause
from incoming.wire.resumable_upload import UNVERSIONED, upload_limit

T = TypeVar("T")


class ResumablePut(UploadResource):
    """`.../frontend/upload/<ticket>`, for the requests that are not a resumable upload's of the IETF."""

    methods: ClassVar[Sequence[str]] = UPLOAD_METHODS

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._upload: ActiveUpload | None = None
        self._body: BodyReceiver | None = None
        self._sender: ClientActivity | None = None
        self._kernel: KernelReader | None = None
        self._control = bytearray()
        self._epoch: int | None = None
        self._session = ""

    async def admit(self) -> None:
        self.admit_page()
        if self.request.method == "OPTIONS":
            return
        ticket = await self.admit_ticket()
        if self.request.method == "PUT":
            await self._begin(ticket)
        elif self.request.method == "POST" and (self.body_length or 0) > MAX_CONTROL:
            raise MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes")

    # --- PUT: the headers ---------------------------------------------------------------------------------------------

    async def _begin(self, ticket: Ticket) -> None:
        headers = self.request.headers
        length = self.body_length
        check_is_file(headers, length)
        declared = headers.get("Content-Range")
        asked = ContentRange(0, None, length) if declared is None else content_range.parse(declared)
        if asked.start is not None and not self.has_body:
            raise LengthRequired("a PUT has a Content-Length, also of 0 for an empty file, or is chunked")
        asked = asked if length is None else asked.close(length)
        name = file_name(self.get_query_argument("filename", None), headers.get("Content-Disposition", ""))
        media_type = headers.get("Content-Type", "")[:MAX_MEDIA_TYPE] or None
        identity = Identity(name, asked.total, media_type=media_type)
        if ticket.state not in RECEIVING:
            self._conclude_ended(ticket, identity)
            return
        self._check_limits(ticket, asked)
        self._upload = await self._join(ticket, identity)
        if asked.start is None:
            return
        known = self._upload.ticket.size
        if known is not None and asked.end is not None and asked.end > known:
            raise BadRange(f"the Content-Range reaches byte {asked.end}, the file has {known}")
        self._receive(self._upload, asked.start, asked.end)

    def _receive(self, upload: ActiveUpload, start: int, end: int | None) -> None:
        """Receive the body as the file's bytes from `start` on; `end` is None if its length is not announced."""
        ticket_id = upload.ticket.id
        self.services.upload_connections.take(ticket_id, self, self.services.settings.connections_per_upload)
        storage_time = upload.checkpoints.storage_time
        sender = self.services.connections.enter(ticket_id, "http", self.client, storage_time)
        self._sender, self._kernel = sender, KernelReader(self._stream)
        self._body = BodyReceiver(upload, sender, self.services.memory_budget, start, end, self._epoch)
        self.receive_into(None if self.body_length is None else self._body.receive_buffer)

    def _conclude_ended(self, ticket: Ticket, identity: Identity) -> None:
        """Answer a PUT to a complete file like the one that completed it, and to an ended upload with its outcome."""
        if ticket.state in (State.CANCELLED, State.FAILED):
            raise ticket.rejection(Event.STORE)
        ticket.identify(identity)
        self.conclude(lambda: self._answer_complete(ticket))

    def _check_limits(self, ticket: Ticket, asked: ContentRange) -> None:
        """Raise FileTooLarge if the range alone is above a limit, before the body is read."""
        if asked.end is not None:
            limits = ticket.options.max_size, self.services.settings.max_size
            check_size(asked.end, *limits, at_least=asked.total is None)

    async def _join(self, ticket: Ticket, identity: Identity) -> ActiveUpload:
        """Open the upload. The library names the epoch of its welcome; other clients are accepted at any epoch."""
        epoch = self.get_query_argument("epoch", None)
        if epoch is None:
            return await self.services.upload_service.open_plain(ticket.id, identity, ticket)
        if not (epoch.isascii() and epoch.isdigit()) or len(epoch) > 16:
            raise BadParameter("'epoch' is not a number")
        self._epoch, self._session = int(epoch), self.get_query_argument("session", "")
        ticket.identify(identity, self.services.settings.max_size)
        return await self._unless_lost(self.services.upload_service.join(ticket.id, self._epoch))

    async def _unless_lost(self, step: Awaitable[T]) -> T:
        """Return what `step` returns. Raise why the epoch is over if it is."""
        try:
            return await step
        except TakenOver as error:
            ticket = await self.services.upload_service.get_ticket(self.path_args[0])
            raise epoch_is_over(ticket, self._session) from error

    # --- bodies -------------------------------------------------------------------------------------------------------

    async def take(self, data: bytes) -> None:
        if self._body is not None:
            await self._unless_lost(self._body.take(data))
        elif self.request.method == "POST":
            self._control += data
            if len(self._control) > MAX_CONTROL:
                raise MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes")
        elif self._upload is not None:
            raise BadRange("a status query has an empty body")
        else:
            await super().take(data)

    @property
    def is_busy(self) -> bool:
        return self._body is not None and self._body.busy

    def release(self) -> None:
        super().release()
        if self._body is not None:
            self.services.upload_connections.leave(self.path_args[0], self)
            self._body.release()
            self.receive_into(None)
        if self._upload is not None:
            self.services.upload_service.leave(self._upload)
            self._upload = None

    # --- the methods --------------------------------------------------------------------------------------------------

    async def put(self, ticket: str) -> None:
        # Kept here, too: the attributes are cleared when the client disconnects while this waits.
        upload, body = self._upload, self._body
        if self.concluded() or upload is None:
            return
        if body is not None:
            await self._unless_lost(body.finish())
            await self._end_of_unknown_length(upload, body)
        known = await self.services.upload_service.settled(upload)
        if self._ended:
            return  # evicted, or the client is gone
        if known.state in RECEIVING:
            self._answer_missing(known)
        elif known.state in (State.CANCELLED, State.FAILED):
            raise known.rejection(Event.STORE)
        else:
            self._answer_complete(known)

    async def _end_of_unknown_length(self, upload: ActiveUpload, body: BodyReceiver) -> None:
        """Set the size of a file that was sent whole with a chunked body (RFC 9112 section 7.1)."""
        if "Content-Range" not in self.request.headers and upload.ticket.size is None:
            whole = Identity(size=body.position)
            self.services.upload_service.leave(await self.services.upload_service.open_plain(upload.ticket.id, whole))

    def _path(self) -> dict[str, Any]:
        """Return how the bytes fare, for a client that reports what limits it (be that "" for unknown)."""
        limit = self.get_query_argument("limit", None)
        if limit is None or self._sender is None or self._kernel is None:
            return {}
        if limit:
            self._sender.reports(limit)
        self._kernel.measure(self._sender)
        return {"path": self._sender.figures(self.services.monotonic()).to_json()}

    def _answer_missing(self, ticket: Ticket) -> None:
        self.set_status(308, "Resume Incomplete")
        safe = content_range.prefix_range(ticket.extents.prefix)
        if safe is not None:
            self.set_header("Range", safe)
        if path := self._path():
            self.send_json(json.dumps(messages.describe_state(ticket) | path))
            return
        self.set_header("Content-Length", "0")
        self.clear_header("Content-Type")
        self.finish()

    def _answer_complete(self, ticket: Ticket) -> None:
        self.send_json(json.dumps(messages.status(ticket) | self._path()))

    async def post(self, ticket: str) -> None:
        """Process one control message of the WebSocket protocol, with the same answer."""
        if self.concluded():
            return
        try:
            text = self._control.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadRequest("a control message is UTF-8") from error
        message = messages.parse_control(text)
        upload_service = self.services.upload_service
        if isinstance(message, Hello):
            await self._greet(ticket, message)
        elif isinstance(message, Pause):
            await upload_service.pause(ticket, message.epoch)
            self.send_json(messages.paused())
        elif isinstance(message, Cancel):
            self.send_json(messages.state(await upload_service.cancel(ticket, message.reason, notify_app=True)))
        else:
            raise BadRequest("over HTTP the control messages are hello, pause and cancel")

    async def _greet(self, ticket: str, hello: Hello) -> None:
        upload = self._upload = await self.services.upload_service.open(ticket, hello)
        if self._ended:  # the client is gone, after which nothing else releases the upload
            self.release()
            return
        self._note_library(hello.library)
        known = await self.services.upload_service.settled(upload)
        if not self._ended:
            self.send_json(messages.welcome(known, self.services.limits(known), upload.received))

    def _note_library(self, library: str) -> None:
        """Count the client as connected from its hello on: the bodies that follow do not name their library."""
        sender = self.services.connections.enter(self.path_args[0], "http", self.client)
        sender.library = library
        sender.leave()

    async def delete(self, ticket: str) -> None:
        """Cancel the upload, for the `reason` in the query."""
        if self.concluded():
            return
        reason = self.get_query_argument("reason", "cancelled by the client")[:MAX_REASON]
        self._answer_complete(await self.services.upload_service.cancel(ticket, reason, notify_app=True))

    def options(self, ticket: str) -> None:
        if self.concluded():
            return
        self.set_status(204)
        self.set_header("Allow", ", ".join(methods_of(self)))
        settings = self.services.settings
        if limit := upload_limit(UNVERSIONED, settings.max_size, settings.max_append_size, None):
            self.set_header("Upload-Limit", limit)
        self.finish()
