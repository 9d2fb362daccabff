"""Parts that clients send straight to an object store: who gets URLs, for what, and which parts count.

A part counts when the store was seen to have it, in the epoch that holds the ticket. Knows neither messages nor how a
URL is signed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from incoming.core.errors import TakenOver, UploadError
from incoming.core.extents import Extents, Range
from incoming.core.ticket import RECEIVING, Event, Ticket
from incoming.storage.byte_store import BytesLost, ByteStore, DirectStore, SignedPart, Written, store_of
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.active_upload import MAX_EXTENTS, ActiveUpload
from incoming.uploads.writes.submitted_writes import StoredRanges, with_stored

log = logging.getLogger(__name__)

REFRESH_TIMEOUT = 5.0
"""Seconds that a hello waits for the object store."""


class DirectUploads:
    """For one worker. `learned` is called with each ticket that has more bytes, `completed` with one that has all."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ByteStore,
        learned: Callable[[Ticket], None],
        completed: Callable[[str], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._learned = learned
        self._completed = completed
        self._sleep = sleep
        self._stores: dict[str, DirectStore | None] = {}
        """By `destType`: whether a store has the functions of a Protocol takes longer to find out than a signature."""

    def offered(self, ticket: Ticket) -> bool:
        """Return whether clients of this ticket may send parts themselves."""
        return self._direct_store(ticket) is not None and ticket.state in RECEIVING and bool(ticket.part_size)

    def _direct_store(self, ticket: Ticket) -> DirectStore | None:
        if not ticket.options.direct:
            return None
        dest_type = ticket.options.dest_type
        if dest_type not in self._stores:
            named = store_of(self._store, ticket)
            self._stores[dest_type] = named if isinstance(named, DirectStore) else None
        store = self._stores[dest_type]
        return store if store is not None and store.offers_direct else None

    async def sign(self, upload: ActiveUpload, epoch: int, numbers: Sequence[int]) -> AsyncIterator[list[SignedPart]]:
        """Yield URLs for those of these parts that are missing, each as soon as the upload's rate allows its bytes.

        None is signed before that: its time would run while it waits. Raises TakenOver for another epoch than the
        present one, the outcome of an upload that has ended, BadRange, or what the stores raise.
        """
        ticket = upload.ticket
        if ticket.epoch != epoch or ticket.state not in RECEIVING or not ticket.store_data:
            ticket = await self._rightful(upload, epoch)
        store = self._direct_store(ticket)
        if store is None:
            return
        if not ticket.store_data:
            ticket = await self._commit(upload, await store.begin_direct(ticket), epoch)
        left = deque(numbers)
        while left:
            while wait := upload.allowance.wait:
                await self._sleep(wait)
            signed = await store.sign_parts(ticket, _affordable(upload, ticket, left))
            # Nobody gets a URL before the ticket was read after it was signed.
            ticket = await self._rightful(upload, epoch)
            yield [part for part in signed if not ticket.extents.covers(*part.range)]

    async def look(self, upload: ActiveUpload, epoch: int, after: int = 0) -> Extents:
        """Ask the store which parts after this number it has, commit them, and return what has arrived.

        Raises like `sign`, and BytesLost when the store has none of them any more.
        """
        ticket = await self._rightful(upload, epoch)
        if self._direct_store(ticket) is not None and ticket.store_data:
            written = await upload.checkpoints.seen_parts(after)
            if written.durable:
                await self._commit(upload, written, epoch)
        return upload.ticket.extents

    async def refresh(self, upload: ActiveUpload) -> None:
        """Count what was sent before: a client may have left without a word. Raises BytesLost like `look`.

        A store that does not answer soon is asked later.
        """
        if not self.offered(upload.ticket) or not upload.ticket.store_data:
            return
        try:
            async with asyncio.timeout(REFRESH_TIMEOUT):
                await self.look(upload, upload.ticket.epoch)
        except BytesLost:
            raise
        except (UploadError, TimeoutError) as error:
            log.info("upload %s: not looked for parts in the object store yet: %s", upload.ticket.id, error)

    async def _rightful(self, upload: ActiveUpload, epoch: int) -> Ticket:
        """Return the ticket as it is now, if this epoch holds it."""
        ticket = await self._tickets.get(upload.ticket.id) or upload.ticket
        upload.adopt(ticket)
        if ticket.state not in RECEIVING:
            raise ticket.rejection(Event.STORE)
        if ticket.epoch != epoch:
            raise TakenOver
        return ticket

    async def _commit(self, upload: ActiveUpload, written: Written, epoch: int) -> Ticket:
        stored = StoredRanges(tuple(written.durable), epoch, written.data, tuple(written.records))
        now = self._tickets.clock.now
        ticket = await self._tickets.update(
            upload.ticket.id,
            lambda known: with_stored(known, stored, now(), MAX_EXTENTS, synced=True),
            durable=True,
            quiet=bool(written.durable),
            records=stored.records_of if stored.records else None,
        )
        self._learned(ticket)
        if ticket.epoch != epoch and ticket.state in RECEIVING:
            raise TakenOver
        if ticket.complete:
            self._completed(ticket.id)
        return ticket


def _affordable(upload: ActiveUpload, ticket: Ticket, left: deque[int]) -> list[int]:
    """Take from `left` the parts that the upload's rate allows now, at least one, and spend their bytes."""
    taken: list[int] = []
    while left and not (taken and upload.allowance.wait):
        number = left.popleft()
        taken.append(number)
        for start, end in parts_in(ticket, [number]).values():
            if not ticket.extents.covers(start, end):
                upload.allowance.spend(end - start)
    return taken


def parts_in(ticket: Ticket, numbers: Sequence[int]) -> dict[int, Range]:
    """Return the ranges of parts by number, those that the file has."""
    size, part = ticket.size or 0, ticket.part_size
    ranges = {number: ((number - 1) * part, min(number * part, size)) for number in numbers}
    return {number: one for number, one in ranges.items() if one[0] < one[1]}
