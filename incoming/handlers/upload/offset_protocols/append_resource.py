"""A URL to whose upload clients append bytes at an offset: what tus and the IETF's draft have in common.

Decides how a request claims its upload, how its body is received and checked, and what is released at its end. Which
headers say so, and what is answered, is the dialect's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from incoming.core.extents import Range
from incoming.core.ticket import Event, Identity, State, Ticket
from incoming.handlers.services import Services
from incoming.handlers.upload.offset_protocols.append import Append
from incoming.handlers.upload.upload_resource import UploadResource
from incoming.uploads.claims import ClaimedUpload
from incoming.wire.http.checksum import Checksum

INLINE: Final = 64 * 1024
"""Bytes up to which a checksum is computed on the event loop, which takes less time than to ask a thread."""


class AppendResource(UploadResource):
    """A URL of a dialect that knows one offset."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._claimed: ClaimedUpload | None = None
        self._append: Append | None = None
        self._checksum: Checksum | None = None
        """What the body must come to; nothing of one that does not counts."""
        self._offset = 0
        """Where the next append must begin."""

    async def claim(self, ticket: Ticket, declared: Identity) -> Ticket:
        """Claim the upload for this request, and return its ticket as it is then. Raise like `check_outcome`."""
        self._claimed = await self.services.upload_service.claim(ticket.id, declared)
        check_outcome(self._claimed.ticket)
        return self._claimed.ticket

    async def claim_to_ask(self, ticket_id: str) -> Ticket:
        """Claim the upload for a client that asks before it sends. Return and raise like `claim`."""
        claimed = await self.services.upload_service.claim(ticket_id)
        self.services.upload_service.leave(claimed.upload)
        check_outcome(claimed.ticket)
        return claimed.ticket

    async def cancel(self, ticket_id: str, reason: str) -> None:
        """Cancel the upload and answer 204. Raise why a failed one cannot be cancelled."""
        service = self.services.upload_service
        known = await service.get_ticket(ticket_id)
        if known.state == State.FAILED:
            raise known.rejection(Event.STORE)
        await service.cancel(ticket_id, reason, notify_app=True)
        self.set_status(204)
        self.finish()

    # --- the body -----------------------------------------------------------------------------------------------------

    def receive(
        self,
        start: int,
        length: int | None,
        *,
        part: Range | None = None,
        progressed: Callable[[int], None] | None = None,
    ) -> None:
        """Store the body of the claimed upload from `start` on, if there is one. The rest is as for Append."""
        if length == 0 or self._claimed is None or self._ended:
            return
        held = self._checksum is not None
        self._append = Append(self, self._claimed, start, length, part=part, held=held, progressed=progressed)
        self.receive_into(None if length is None else self._append.receive_buffer)

    async def take(self, data: bytes) -> None:
        if self._append is None:
            await super().take(data)
            return
        if self._checksum is not None and len(data) <= INLINE:
            self._checksum.update(data)
        elif self._checksum is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._checksum.update, data)
        await self._append.take(data)

    async def finish_body(self) -> None:
        """Return when all of the body is committed. Raise ChecksumMismatch, and like `Append.finish`."""
        check = None if self._checksum is None else self._checksum.check
        if self._append is not None:
            await self._append.finish(check)
        elif check is not None:
            check()

    @property
    def is_busy(self) -> bool:
        return self._append is not None and self._append.busy

    def release(self) -> None:
        super().release()
        if self._append is not None:
            self._append.release()
            self.receive_into(None)
        if self._claimed is not None:
            self.services.upload_service.leave(self._claimed.upload)
            self._claimed = None


def check_outcome(ticket: Ticket) -> None:
    """Raise why the upload has ended without its file being taken."""
    if ticket.state in (State.CANCELLED, State.FAILED):
        raise ticket.rejection(Event.STORE)
