"""Resumable Uploads for HTTP, the IETF's draft, on a ticket's URL (doc/resumable-upload.md).

Decides the answers of that dialect. What the interop versions differ in is in the table of wire/resumable_upload.py;
who may send, what is stored and when the file is complete is decided below.
"""

from __future__ import annotations

import json
from http.client import responses
from typing import Final

from incoming.core.errors import (
    BadRange,
    FileChanged,
    FileTooLarge,
    OffsetMismatch,
    ServerShutdown,
    TakenOver,
    TooSlow,
    UploadError,
    WrongState,
)
from incoming.core.size_limit import check_size
from incoming.core.ticket import RECEIVING, Identity, Ticket
from incoming.handlers.base import methods_of
from incoming.handlers.services import Services
from incoming.handlers.upload.offset_protocols.append_resource import AppendResource, check_outcome
from incoming.handlers.upload.offset_protocols.interim_answers import InterimAnswers, interim_allowed
from incoming.handlers.upload.upload_request import UPLOAD_METHODS, check_encoding, check_is_file, expires_at
from incoming.settings.settings import Settings
from incoming.wire import messages
from incoming.wire import resumable_upload as draft
from incoming.wire.http.content_digest import digest_of
from incoming.wire.http.content_disposition import file_name
from incoming.wire.messages import MAX_MEDIA_TYPE, MAX_REASON

STATUSES: Final[dict[type[UploadError], int]] = {
    FileChanged: 400,
    TakenOver: 403,  # with 409, clients would take the upload back
    TooSlow: 503,  # with 4xx, clients would give up
    WrongState: 403,
}
"""Where the draft has another status than the error."""

RETRY_AFTER: Final = 1
"""Seconds after which a client that was too slow may come back."""


class ResumableUpload(AppendResource):
    """`.../frontend/upload/<ticket>`, for the requests that `is_resumable_upload` names."""

    methods = UPLOAD_METHODS

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._ticket: Ticket | None = None
        self._interim: InterimAnswers | None = None
        self._completes = False
        """Whether the file ends where the body does."""
        self._start = 0

    @property
    def _version(self) -> draft.Version:
        return draft.version_of(self.request.headers)

    def set_default_headers(self) -> None:
        super().set_default_headers()
        if self._version.number is not None:
            self.set_header(draft.VERSION_FIELD, str(self._version.number))

    # --- the headers --------------------------------------------------------------------------------------------------

    async def admit(self) -> None:
        self.admit_page()
        if self.request.method == "OPTIONS":
            return
        ticket = self._ticket = await self.admit_ticket()
        if self.request.method in ("HEAD", "DELETE"):
            draft.check_question(self._version, self.request.headers)
        elif self.request.method == "PATCH":
            await self._begin_append(ticket)
        elif self.request.method in ("POST", "PUT"):
            await self._begin_creation(ticket)

    async def _begin_creation(self, ticket: Ticket) -> None:
        headers, length = self.request.headers, self.body_length
        check_is_file(headers, length)
        self._checksum = digest_of("Content-Digest", headers.get("Content-Digest"))
        self._completes = draft.parse_complete(self._version, headers) is True
        size = _agreed(draft.parse_length(self._version, headers), length if self._completes else None)
        name = file_name(self.get_query_argument("filename", None), headers.get("Content-Disposition", ""))
        declared = Identity(name, size, media_type=headers.get("Content-Type", "")[:MAX_MEDIA_TYPE] or None)
        check_outcome(ticket)
        known = ticket.identify(declared, self.services.settings.max_size).size
        self._check_limits(ticket, length)
        if ticket.state in RECEIVING:
            _check_fits(known, length)
            ticket = await self.claim(ticket, declared)
        if ticket.state not in RECEIVING:
            self.conclude(lambda: self._answer_complete(ticket))
            return
        self._begin_interim(ticket, length)
        self.receive(self._start, length, progressed=self._send_progress)

    async def _begin_append(self, ticket: Ticket) -> None:
        headers, length = self.request.headers, self.body_length
        draft.check_append_type(self._version, headers.get("Content-Type", ""))
        check_encoding(headers)
        self._checksum = digest_of("Content-Digest", headers.get("Content-Digest"))
        self._start = start = draft.append_offset(headers)
        self._completes = draft.append_completes(self._version, headers)
        end = None if length is None else start + length
        size = _agreed(draft.parse_length(self._version, headers), end if self._completes else None)
        check_outcome(ticket)
        self._check_limits(ticket, end or start)
        if ticket.state in RECEIVING:
            ticket = await self.claim(ticket, Identity())
        self._offset = _offset(ticket)
        is_done = ticket.state not in RECEIVING
        if start != self._offset or (is_done and length != 0):
            raise OffsetMismatch(f"Upload-Offset is {start}, {self._offset} bytes have arrived")
        if is_done:
            self.conclude(lambda: self._answer_complete(ticket))
            return
        known = ticket.size
        if size is not None:
            known = _agreed(known, size)
            await self._set_size(size)
        _check_fits(known, end)
        self._prepare_interim(length)
        self.receive(self._start, length, progressed=self._send_progress)

    def _check_limits(self, ticket: Ticket, end: int | None) -> None:
        """Raise FileTooLarge if the body alone is above a limit, before it is read."""
        check_size(end or 0, ticket.options.max_size, self.services.settings.max_size, at_least=True)

    async def claim(self, ticket: Ticket, declared: Identity) -> Ticket:
        self._ticket = await super().claim(ticket, declared)
        return self._ticket

    async def _set_size(self, size: int) -> None:
        if self._claimed is not None and self._claimed.upload.ticket.size is None:
            await self.services.upload_service.set_size(self._claimed, size)

    def _prepare_interim(self, length: int | None) -> None:
        is_allowed = interim_allowed(self.request, self._version, self.services.settings)
        if is_allowed and length != 0 and self._stream is not None:
            self._interim = InterimAnswers(self._stream, self._version, self.services.monotonic)

    def _begin_interim(self, ticket: Ticket, length: int | None) -> None:
        self._prepare_interim(length)
        if self._interim is not None and not self._ended:
            self._interim.begin(self.location("upload", ticket.id), self._limit(ticket))

    # --- the body -----------------------------------------------------------------------------------------------------

    def _send_progress(self, offset: int) -> None:
        """Send an interim answer unless the final one is out: after it, it would belong to another request."""
        if self._interim is not None and self._conclusion is None and not self._ended:
            self._interim.progress(offset)

    def end_with(self, error: UploadError) -> None:
        """As every request; but iOS, which knows from a 104 how to resume, does so after a broken connection and not
        after a 503.
        """
        if isinstance(error, ServerShutdown) and self._interim is not None and self._stream is not None:
            self._stream.close()
        else:
            super().end_with(error)

    # --- the methods --------------------------------------------------------------------------------------------------

    async def patch(self, ticket: str) -> None:
        if self.concluded() or (known := await self._stored()) is None:
            return
        if known.state not in RECEIVING:
            self._answer_complete(known)
            return
        self._describe(known)
        if self.request.method == "PATCH":
            self.set_status(self._version.append_status)
        else:
            self.set_status(201)
            self.set_header("Location", self.location("upload", known.id))
        self._finish_empty()

    post = put = patch

    async def _stored(self) -> Ticket | None:
        """Return the ticket when the body is safe, and the file complete if that was its end; None if all is over."""
        claimed, append = self._claimed, self._append  # cleared when the client disconnects while this waits
        if claimed is None:
            return None
        await self.finish_body()
        if self._completes:
            end = self._start if append is None else append.position
            if claimed.upload.ticket.size is None:
                await self.services.upload_service.set_size(claimed, end)
            else:
                _agreed(claimed.upload.ticket.size, end)
        known = await self.services.upload_service.settled(claimed.upload)
        if self._ended:
            return None
        check_outcome(known)
        return known

    async def head(self, ticket: str) -> None:
        if self.concluded():
            return
        self._describe(await self._asked(ticket))
        self.set_status(204)
        self.finish()

    async def get(self, ticket: str, *more: str) -> None:
        """Answer with the status as JSON, like any `GET` here."""
        if self.concluded():
            return
        await self._asked(ticket)
        if (known := await self.news_of(ticket)) is not None:
            self._describe(known)
            self.send_json(json.dumps(messages.status(known, self.services.limits(known))))

    async def _asked(self, ticket_id: str) -> Ticket:
        """Return the ticket for a client that is about to send if it names an interop version."""
        known = await self.services.upload_service.get_ticket(ticket_id)
        check_outcome(known)
        if known.state in RECEIVING and draft.is_interested(self.request.headers):
            known = await self.claim_to_ask(ticket_id)
        return known

    async def delete(self, ticket: str) -> None:
        """Cancel the upload, for the `reason` in the query."""
        if self.concluded():
            return
        await self.cancel(ticket, self.get_query_argument("reason", "cancelled by the client")[:MAX_REASON])

    def options(self, ticket: str) -> None:
        """Send the limits, without reading the ticket. Apple's clients expect 200."""
        if self.concluded():
            return
        self.set_header("Allow", ", ".join(methods_of(self)))
        self._set_limit(draft.upload_limit(self._version, *_limits(self.services.settings), None))
        self._finish_empty()

    # --- answers ------------------------------------------------------------------------------------------------------

    def _answer_complete(self, ticket: Ticket) -> None:
        self._describe(ticket)
        self.clear_header("Upload-Limit")
        self.send_json(json.dumps(messages.status(ticket)))

    def _describe(self, ticket: Ticket) -> None:
        """Set the headers that say how far the upload is."""
        version, is_done = self._version, ticket.state not in RECEIVING
        self.set_header(version.complete_field, version.complete_value(complete=is_done))
        self.set_header("Upload-Offset", str(_offset(ticket)))
        if version.has_length and ticket.size is not None and self.request.method in ("HEAD", "GET"):
            self.set_header("Upload-Length", str(ticket.size))
        self._set_limit(self._limit(ticket))

    def _limit(self, ticket: Ticket) -> str | None:
        expires = expires_at(ticket, self.services.settings)
        seconds = None if expires is None else expires - self.services.tickets.clock.now()
        return draft.upload_limit(self._version, *_limits(self.services.settings, ticket), seconds)

    def _set_limit(self, limit: str | None) -> None:
        if limit is not None:
            self.set_header("Upload-Limit", limit)

    def _finish_empty(self) -> None:
        self.clear_header("Content-Type")
        if self.get_status() != 204:
            self.set_header("Content-Length", "0")
        self.finish()

    def answer_error(self, error: UploadError) -> None:
        """End the answer with a problem (RFC 9457)."""
        status, kind, members = STATUSES.get(type(error), error.status), "about:blank", {}
        self.services.counters.errors[error.name] += 1
        if isinstance(error, FileChanged):
            kind = draft.INCONSISTENT_LENGTH
        elif isinstance(error, OffsetMismatch):
            kind, members = draft.MISMATCHING_OFFSET, {"expected-offset": self._offset, "provided-offset": self._start}
            self._answer_offset()
        elif isinstance(error, FileTooLarge) and self._ticket is not None:
            self._set_limit(self._limit(self._ticket))
        retry_after = RETRY_AFTER if isinstance(error, TooSlow) else error.retry_after
        if retry_after is not None:
            self.set_header("Retry-After", str(retry_after))
        self.set_status(status)
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", draft.PROBLEM_JSON)
        self.finish(json.dumps(draft.problem(error, status, responses[status], kind, **members)))

    def _answer_offset(self) -> None:
        version, ticket = self._version, self._ticket
        self.set_header("Upload-Offset", str(self._offset))
        if version.conflict_has_complete:
            is_done = ticket is not None and ticket.state not in RECEIVING
            self.set_header(version.complete_field, version.complete_value(complete=is_done))


def _limits(settings: Settings, ticket: Ticket | None = None) -> tuple[int, int]:
    """Return the largest file and the largest body of an append, in bytes; 0 for no limit."""
    sizes = [settings.max_size, 0 if ticket is None else ticket.options.max_size]
    return min((size for size in sizes if size), default=0), settings.max_append_size


def _offset(ticket: Ticket) -> int:
    """Return where the next append begins: the end of the file when that is complete."""
    return ticket.extents.prefix if ticket.state in RECEIVING or ticket.size is None else ticket.size


def _agreed(declared: int | None, found: int | None) -> int | None:
    """Return the file's length from two sources. Raise FileChanged if they differ."""
    if declared is not None and found is not None and declared != found:
        raise FileChanged(f"the file has {declared} bytes by one statement, {found} by another")
    return found if declared is None else declared


def _check_fits(size: int | None, end: int | None) -> None:
    """Raise BadRange for a body that ends beyond the file."""
    if size is not None and end is not None and end > size:
        raise BadRange(f"the body ends at byte {end}, the file at {size}")
