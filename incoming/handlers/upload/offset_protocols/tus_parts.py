"""Parallel parts of tus (the extension concatenation): a part is an upload below its ticket.

Decides the answers of `.../frontend/tus/<ticket>/<start>-<end>`. Offsets there count from the part's start.
"""

from __future__ import annotations

from typing import Final

from incoming.core import parts
from incoming.core.errors import MessageTooLarge, OffsetMismatch, WrongState
from incoming.core.extents import Range
from incoming.core.ticket import RECEIVING, Ticket
from incoming.handlers.upload.offset_protocols.append_resource import check_outcome
from incoming.handlers.upload.offset_protocols.tus import TusUpload
from incoming.wire import tus

PARTIAL: Final = "partial"


class TusPart(TusUpload):
    """One part. Its bytes are a range of the ticket's partial file."""

    @property
    def part(self) -> Range:
        return tus.part_of(self.path_args[1])

    async def admit_upload(self, ticket: Ticket) -> None:
        self._part = self.part
        check_outcome(ticket)
        parts.check_part(ticket, self.part)
        if self._method == "PATCH":
            await self._begin_append(ticket)
        elif self._method == "POST":
            raise WrongState("a part cannot be created again")

    async def _begin_append(self, ticket: Ticket) -> None:
        headers, length = self.request.headers, self.body_length
        self._check_body()
        start, (low, high) = tus.offset_of(headers), self.part
        declared = tus.number(headers, "Upload-Length")
        if declared not in (None, high - low):
            raise WrongState(f"Upload-Length is {declared}, the part has {high - low} bytes")
        if length is not None and start + length > high - low:
            raise MessageTooLarge(f"the body ends at byte {start + length}, the part at {high - low}")
        if ticket.state in RECEIVING:
            self._claimed = await self._parts.claim(ticket.id, self.part)
            ticket = self._claimed.ticket
        self._offset = parts.part_prefix(ticket, self.part)
        if start != self._offset:
            raise OffsetMismatch(f"Upload-Offset is {start}, {self._offset} bytes have arrived")
        self.receive(low + start, length, part=self.part)

    async def _answer_offset(self, ticket_id: str) -> None:
        known = await self.services.upload_service.get_ticket(ticket_id)
        if known.state in RECEIVING:
            claimed = await self._parts.claim(ticket_id, self.part)
            self.services.upload_service.leave(claimed.upload)
            known = claimed.ticket
        self.set_header("Upload-Length", str(self.part[1] - self.part[0]))
        self.set_header("Upload-Concat", PARTIAL)
        self._finish(known, 200)

    async def _cancel(self, ticket_id: str) -> None:
        await self._parts.give_up(ticket_id, self.part)
        self.set_status(204)
        self.finish()
