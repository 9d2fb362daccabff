"""Uploads that are sent in parts: parts are added, claimed and given up, and at the end put into their order.

Decides what each of these asks of the upload service and the store. Where parts lie and which of them make the file is
decided by incoming/core/parts.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from incoming.core import parts
from incoming.core.errors import BadRequest, StorageFull
from incoming.core.extents import Range
from incoming.core.ticket import Identity, Ticket
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore, JoiningStore, free_bytes, store_of, stores_in
from incoming.uploads.claims import ClaimedUpload, new_session
from incoming.uploads.upload_service import UploadService

JOIN_WAIT = 20.0
"""Seconds that a request waits for a file whose parts are copied into their order: below the time-outs of proxies."""


def appends_of(ticket_id: str, part: Range) -> str:
    """Return under which name the appends of a part are entered."""
    return f"{ticket_id}/{part[0]}-{part[1]}"


@dataclass(frozen=True, slots=True)
class UploadParts:
    """The parts of all uploads of one worker. `clock` gives seconds since the epoch."""

    service: UploadService
    store: ByteStore
    settings: Settings
    clock: Callable[[], float]

    @property
    def possible(self) -> bool:
        """Whether the store can put parts into their order."""
        return any(isinstance(store, JoiningStore) for store in stores_in(self.store))

    async def add(self, ticket_id: str, length: int) -> ClaimedUpload:
        """Add a part, the last one of the claimed ticket. Raise like `core.parts.with_part`, or as the stores do."""
        session, limit, now = new_session(), self.settings.max_size, self.clock()

        def change(known: Ticket) -> Ticket:
            if not isinstance(store_of(self.store, known), JoiningStore):
                raise BadRequest("the storage of this upload takes no parts; send the file as one upload")
            return parts.with_part(known, length, session, limit, now)

        return await self.service.claim_by(ticket_id, change)

    async def claim(self, ticket_id: str, part: Range) -> ClaimedUpload:
        """End appends of the part. The epoch stays, because the other parts are being sent."""

        def change(known: Ticket) -> Ticket:
            parts.check_part(known, part)
            return known

        return await self.service.claim_by(ticket_id, change, appends=appends_of(ticket_id, part))

    async def give_up(self, ticket_id: str, part: Range) -> Ticket:
        """Give a part up; with the last one the upload is cancelled."""
        now = self.clock()

        def change(known: Ticket) -> Ticket:
            return parts.without_part(known, part, now)

        claimed = await self.service.claim_by(ticket_id, change, appends=appends_of(ticket_id, part))
        self.service.leave(claimed.upload)
        if all(start == end for start, end in claimed.ticket.parts):
            return await self.service.cancel(ticket_id, "cancelled by the client", notify_app=True)
        return claimed.ticket

    async def join(self, ticket: Ticket, order: tuple[Range, ...], declared: Identity) -> Ticket:
        """Make the file of its parts in this order. Return the ticket, which has arrived unless copying takes long.

        Raise like `core.parts.with_order`, StorageFull without room for a copy, or what the stores raise.
        """
        limit, now = self.settings.max_size, self.clock()

        def change(known: Ticket) -> Ticket:
            return parts.with_order(known, order, declared, limit, now)

        planned = change(ticket)
        if planned.is_rearranged and not ticket.order:
            await self._check_room(planned.size or 0)
        claimed = await self.service.claim_by(ticket.id, change)
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(JOIN_WAIT):
                    return await self.service.settled(claimed.upload)
            return claimed.upload.ticket
        finally:
            self.service.leave(claimed.upload)

    async def _check_room(self, size: int) -> None:
        free = await free_bytes(self.store)
        if free is not None and free < size + self.settings.low_space:
            raise StorageFull(f"there is no room for a copy of {size} bytes, which puts the parts into their order")
