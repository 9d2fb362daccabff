"""The tus resumable upload protocol 1.0.0 on a ticket (doc/tus.md): its URL is the creation endpoint and the upload.

Decides the answers of tus. Who may send, what is stored and when the file is complete is decided below.
"""

from __future__ import annotations

from typing import Final

from tornado.httputil import format_timestamp

from incoming.core import parts
from incoming.core.errors import (
    BadRange,
    BadRequest,
    ChecksumMismatch,
    FileChanged,
    MessageTooLarge,
    MethodNotAllowed,
    NotFound,
    OffsetMismatch,
    TakenOver,
    TooSlow,
    UnsupportedVersion,
    UploadError,
    WrongState,
)
from incoming.core.extents import Range
from incoming.core.size_limit import check_size
from incoming.core.ticket import RECEIVING, Identity, Ticket, canonical_id
from incoming.handlers.base import answer_error, methods_of
from incoming.handlers.services import Services
from incoming.handlers.upload.offset_protocols.append_resource import AppendResource, check_outcome
from incoming.handlers.upload.upload_request import check_encoding, expires_at
from incoming.wire import tus

STATUSES: Final[dict[type[UploadError], int]] = {
    BadRange: 413,  # the body is longer than the rest of the file
    ChecksumMismatch: tus.MISMATCH_STATUS,
    FileChanged: 400,
    TakenOver: 403,  # with 409, clients would take the upload back
    TooSlow: 503,  # with 4xx, clients would give up
    WrongState: 403,
}
"""Where tus has another status than the error; final for clients or not as it must be."""

CANCELLED: Final = "cancelled by the client"
"""The reason that the application is given."""

RETRY_AFTER: Final = "1"
"""Seconds after which a client that was too slow may come back."""

DISCARDED: Final = 1024 * 1024
"""Bytes of a body at another offset that are read and discarded. Browsers repeat a request by themselves when a kept
connection breaks. To end the repeated one costs less than to read it, and without an answer clients ask for the offset.
"""


class TusUpload(AppendResource):
    """`.../frontend/tus/<ticket>`; some clients resolve its Location to `<ticket>/<ticket>`."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._method = self.request.method or ""
        self._part: Range | None = None
        """The part that this is about, if it is not the file as a whole."""
        self._concat: tus.Concat | None = None
        self._parts = services.parts

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Tus-Resumable", tus.VERSION)

    def answer_error(self, error: UploadError) -> None:
        if isinstance(error, OffsetMismatch):
            self.set_header("Upload-Offset", str(self._offset))
        if isinstance(error, UnsupportedVersion):
            self.set_header("Tus-Version", tus.VERSION)
        if isinstance(error, MethodNotAllowed):
            self.set_header("Allow", ", ".join(methods_of(self)))
        if isinstance(error, TooSlow):
            self.set_header("Retry-After", RETRY_AFTER)
        reason = tus.MISMATCH_REASON if isinstance(error, ChecksumMismatch) else None
        answer_error(self, error, STATUSES.get(type(error), 0), reason)

    # --- the headers --------------------------------------------------------------------------------------------------

    async def admit(self) -> None:
        headers = self.request.headers
        self.admit_page()
        self._method = tus.method_of(self._method, headers)
        if self._method == "OPTIONS":
            return
        if self._method == "PUT":
            raise MethodNotAllowed("PUT is not a method of this URL")
        if self._method != "GET":
            tus.check_version(headers)
        await self.admit_upload(await self.admit_ticket())

    async def admit_upload(self, ticket: Ticket) -> None:
        """Check the headers of a request about this ticket, and claim what is to be sent."""
        if any(canonical_id(name) != ticket.id for name in self.path_args[1:]):
            raise NotFound("no such upload")
        if self._method == "PATCH":
            await self._begin_append(ticket)
        elif self._method == "POST":
            self._concat = tus.concat_of(self.request.headers)
            if self._concat is None:
                await self._begin_creation(ticket)
            elif self._concat.urls is None:
                await self._begin_part(ticket)
            elif self.body_length != 0:
                raise BadRequest("with Upload-Concat: final there is no body")

    async def _begin_creation(self, ticket: Ticket) -> None:
        headers, length = self.request.headers, self.body_length
        declared = tus.identity_of(headers, tus.length_of_creation(headers))
        self._check_body(sent=length != 0)
        ticket = await self._begin(ticket, declared, 0, length)
        if ticket.state in RECEIVING:
            self.receive(0, length)
        else:
            self.conclude(lambda: self._answer_created(ticket))

    async def _begin_part(self, ticket: Ticket) -> None:
        """Create one of the parts that make the file later; it is an upload below this one."""
        headers, length = self.request.headers, self.body_length
        size = tus.length_of_creation(headers)
        if size is None:
            raise BadRequest("a part has an Upload-Length")
        tus.identity_of(headers, None)
        self._check_body(sent=length != 0)
        if length is not None and length > size:
            raise MessageTooLarge(f"the body has {length} bytes, the part {size}")
        check_outcome(ticket)
        self._claimed = await self._parts.add(ticket.id, size)
        self._part = self._claimed.ticket.parts[-1]
        self.receive(self._part[0], length, part=self._part)

    def _check_body(self, *, sent: bool = True) -> None:
        """Check the headers of the body; note the checksum that it must have."""
        check_encoding(self.request.headers)
        if sent:
            tus.check_body_type(self.request.headers)
        self._checksum = tus.checksum_of(self.request.headers)

    async def _begin_append(self, ticket: Ticket) -> None:
        headers, length = self.request.headers, self.body_length
        self._check_body()
        if ticket.order:
            raise WrongState("the file is put together of its parts; nothing can be added")
        start = tus.offset_of(headers)
        declared = tus.identity_of(headers, tus.number(headers, "Upload-Length"))
        ticket = await self._begin(ticket, declared, start, length)
        self._offset = self._offset_of(ticket) or 0
        repeated = start < self._offset and tus.repeats_chunks(headers)
        if start != self._offset and not repeated:
            raise OffsetMismatch(f"Upload-Offset is {start}, {self._offset} bytes have arrived")
        if ticket.state in RECEIVING:
            self.receive(start, length)
        elif repeated and length is not None and start + length <= self._offset:
            self.conclude(lambda: self._answer_appended(ticket))
        elif length:
            raise MessageTooLarge(f"the file is complete with {ticket.size} bytes; nothing more is taken")

    async def _begin(self, ticket: Ticket, declared: Identity, start: int, length: int | None) -> Ticket:
        """Check state and limits, and claim the upload. Return the ticket as it is then."""
        check_outcome(ticket)
        size = ticket.identify(declared, self.services.settings.max_size).size
        if length is not None and size is not None and start + length > size and ticket.state in RECEIVING:
            raise MessageTooLarge(f"the body ends at byte {start + length}, the file at {size}")
        check_size(start + (length or 0), self.services.settings.max_size, ticket.options.max_size, at_least=True)
        if ticket.state in RECEIVING:
            ticket = await self.claim(ticket, declared)
        return ticket

    def refuse(self, error: UploadError) -> None:
        super().refuse(error)
        if isinstance(error, OffsetMismatch) and (self.body_length or 0) > DISCARDED:
            self._answer_now()

    # --- the body -----------------------------------------------------------------------------------------------------

    async def take(self, data: bytes) -> None:
        if self._append is None and self._method == "PATCH":  # a chunked body whose length was not announced
            raise MessageTooLarge("the file is complete; nothing more is taken")
        await super().take(data)

    # --- the methods --------------------------------------------------------------------------------------------------

    async def post(self, ticket: str, *more: str) -> None:
        if self.concluded():
            return
        if self._method == "HEAD":
            await self._answer_offset(ticket)
        elif self._method == "DELETE":
            await self._cancel(ticket)
        elif self._concat is not None and self._concat.urls is not None:
            await self._join(ticket, self._concat)
        elif (known := await self._stored(ticket)) is not None:
            if self._method == "POST":
                self._answer_created(known)
            else:
                self._answer_appended(known)

    head = patch = delete = post

    async def _stored(self, ticket_id: str) -> Ticket | None:
        """Return the ticket when the body is safe, and the file complete if that was its end; None if all is over."""
        claimed = self._claimed  # cleared when the client disconnects while this waits
        await self.finish_body()
        if claimed is None:
            known = await self.services.upload_service.get_ticket(ticket_id)
        else:
            known = await self.services.upload_service.settled(claimed.upload)
        if self._ended:
            return None
        check_outcome(known)
        return known

    async def _answer_offset(self, ticket_id: str) -> None:
        known = await self.services.upload_service.get_ticket(ticket_id)
        check_outcome(known)
        if known.state in RECEIVING and not known.parts:
            known = await self.claim_to_ask(ticket_id)
        if known.size is None:
            self.set_header("Upload-Defer-Length", "1")
        else:
            self.set_header("Upload-Length", str(known.size))
        if known.identity.metadata is not None:
            self.set_header("Upload-Metadata", known.identity.metadata)
        if known.order:
            names = (self.location("tus", part_name(known.id, part)) for part in known.order)
            self.set_header("Upload-Concat", f"final;{' '.join(names)}")
        self._finish(known, 200)

    async def _cancel(self, ticket_id: str) -> None:
        await self.cancel(ticket_id, CANCELLED)

    async def _join(self, ticket_id: str, concat: tus.Concat) -> None:
        """Complete the file from its parts."""
        known = await self.services.upload_service.get_ticket(ticket_id)
        check_outcome(known)
        declared = tus.identity_of(self.request.headers, None)
        known = await self._parts.join(known, concat.order(known.id), declared)
        if self._ended:
            return
        check_outcome(known)
        self._answer_created(known)

    def _answer_created(self, ticket: Ticket) -> None:
        name = ticket.id if self._part is None else part_name(ticket.id, self._part)
        self.set_header("Location", self.location("tus", name))
        self._finish(ticket, 201)

    def _answer_appended(self, ticket: Ticket) -> None:
        self._finish(ticket, 204)

    def _finish(self, ticket: Ticket, status: int) -> None:
        self.set_status(status)
        if (offset := self._offset_of(ticket)) is not None:
            self.set_header("Upload-Offset", str(offset))
        if (expires := expires_at(ticket, self.services.settings)) is not None:
            self.set_header("Upload-Expires", format_timestamp(expires))
        self.clear_header("Content-Type")
        self.finish()

    def _offset_of(self, ticket: Ticket) -> int | None:
        """Return where the next append begins; None while the parts are put into their order."""
        if self._part is not None:
            return parts.part_prefix(ticket, self._part)
        if ticket.state not in RECEIVING and ticket.size is not None:
            return ticket.size
        if ticket.parts:
            return None if ticket.order else 0
        return ticket.extents.prefix

    def options(self, *path: str) -> None:
        if self.concluded():
            return
        self.set_header("Allow", ", ".join(methods_of(self)))
        self.set_header("Tus-Version", tus.VERSION)
        extensions = f"{tus.EXTENSIONS},{tus.CONCATENATION}" if self._parts.possible else tus.EXTENSIONS
        self.set_header("Tus-Extension", extensions)
        self.set_header("Tus-Checksum-Algorithm", tus.ALGORITHMS)
        if self.services.settings.max_size:
            self.set_header("Tus-Max-Size", str(self.services.settings.max_size))
        self.set_header("Content-Length", "0")
        self.clear_header("Content-Type")
        self.finish()


def part_name(ticket_id: str, part: Range) -> str:
    """Return a part's path below `.../frontend/tus/`."""
    return f"{ticket_id}/{part[0]}-{part[1]}"
