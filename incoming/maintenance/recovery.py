"""Reduce unfinished tickets to what the store really has: at the start, and after the end of another instance.

At the start those are examined that this instance wrote to last. Those of an instance that has gone are examined once
by another one; uploads that others serve are left alone.

After a power cut that is only what was synced, if the store syncs at all. Of a partial file that is gone, replaced,
shorter than its ticket or has holes, only the proven part counts. A file with its final name is confirmed. A partial
one is never touched, because another process may still serve it; only complete tickets are completed. Uploads that had
arrived have their callback in the outbox already, and files without a ticket are left alone. Knows no file system and
no database.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from incoming.core.errors import StorageFailed, TooBusy, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import State, Ticket
from incoming.platform import host
from incoming.storage.byte_store import BytesLost, ByteStore, SyncingStore, stores_in
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.upload_service import UploadService

log = logging.getLogger(__name__)

BATCH = 100
"""Uploads that are read at once."""

INSTANCE_TIMEOUT = 60.0
"""Seconds without a report after which an instance counts as gone; a worker reports at least every ten."""


async def recover(
    tickets: TicketStore, store: ByteStore, upload_service: UploadService, boot_id_file: Path = host.BOOT_ID
) -> tuple[int, int]:
    """Examine the unfinished uploads of this instance; return how many there are and how many had less than recorded.

    Call it before serving. Raises what the stores raise.
    """
    is_syncing = any(isinstance(one, SyncingStore) for one in stores_in(store))
    boot_id = host.boot_id(boot_id_file) if is_syncing else ""
    if is_syncing and not boot_id:
        log.warning("no boot id: cannot distinguish a power cut from a restart of the server")
    elif boot_id and (count := await tickets.distrust_after_boot(boot_id)):
        log.warning("host rebooted: discarded the unsynced ranges of %d uploads", count)
    unfinished = trimmed = 0
    batch = await tickets.unfinished_here(limit=BATCH)
    while batch:
        unfinished += len(batch)
        trimmed += await _examine(tickets, store, upload_service, batch)
        batch = await tickets.unfinished_here(batch[-1].id, BATCH)
    log.info("%d unfinished uploads, %d of them with less on the disk than recorded", unfinished, trimmed)
    return unfinished, trimmed


async def recover_abandoned(tickets: TicketStore, store: ByteStore, upload_service: UploadService) -> int:
    """Examine the uploads of instances without a report for INSTANCE_TIMEOUT, once; return how many there were.

    Raises what the TicketStore raises.
    """
    count = 0
    while batch := await tickets.adopt(INSTANCE_TIMEOUT, BATCH):
        count += len(batch)
        trimmed = await _examine(tickets, store, upload_service, batch)
        log.info("examined %d uploads of instances that have gone, %d have less than recorded", len(batch), trimmed)
    return count


async def _examine(
    tickets: TicketStore, store: ByteStore, upload_service: UploadService, batch: Iterable[Ticket]
) -> int:
    """Return how many had less than recorded."""
    trimmed = 0
    for ticket in batch:
        try:
            trimmed += await _recover(tickets, store, upload_service, ticket)
        except (StorageFailed, TooBusy) as error:
            # An unreadable one does not prevent the start: each write and the completion check again.
            log.warning("upload %s: cannot examine its file: %s; each write will check again", ticket.id, error.message)
    return trimmed


async def _recover(tickets: TicketStore, store: ByteStore, upload_service: UploadService, ticket: Ticket) -> bool:
    """Return whether there was less than recorded."""
    held = await store.stored(ticket)
    if held is None:
        known = await _confirm(tickets, store, ticket)
        if known is None:
            return await _trim(tickets, store, ticket, Extents())
        ticket, held = known, known.extents
    if ticket.complete and held == ticket.extents:
        return not await finalise(upload_service, ticket)
    return await _trim(tickets, store, ticket, held)


async def _confirm(tickets: TicketStore, store: ByteStore, ticket: Ticket) -> Ticket | None:
    """Return the ticket, complete, if its file has its final name; otherwise None.

    After a power cut the ticket may have less. A file gets its final name only when all of it is on the disk, so the
    name counts.
    """
    size = ticket.size
    if size is None:
        return None
    try:
        if await store.completed(ticket, size) is None:
            # A file of size 0 is created when it is completed.
            return ticket if size == 0 else None
    except BytesLost as lost:
        log.warning("upload %s: %s; removed it, its client will send everything again", ticket.id, lost.message)
        await store.remove(ticket)
        return None
    whole = Extents([(0, size)])

    def believe(known: Ticket) -> Ticket:
        is_same = known.state == State.UPLOADING and known.store_data == ticket.store_data
        return replace(known, extents=whole) if is_same else known

    return await tickets.update(ticket.id, believe)


async def finalise(upload_service: UploadService, ticket: Ticket) -> bool:
    """Complete a file of which every byte has arrived. Return False when the store reports that it is incomplete."""
    try:
        await upload_service.finalise(ticket.id)
    except BytesLost:
        return False  # already logged
    except UploadError as error:
        log.warning("upload %s: completion failed, will retry: %s", ticket.id, error.message)
    return True


async def _trim(tickets: TicketStore, store: ByteStore, ticket: Ticket, held: Extents) -> bool:
    """Reduce the ticket to what the store has; return whether that was less.

    The file only grows. So a ticket that was read before its file was examined, and is unchanged, claims bytes that are
    missing.
    """
    seen: Ticket | None = ticket
    while seen is not None and seen.state == State.UPLOADING:
        before = seen
        if before.extents == held and (held or not before.store_data):
            return False
        after = await tickets.update(before.id, lambda known: _trimmed(known, before, held))  # noqa: B023 - awaited here
        if after.epoch == before.epoch + 1 and after.extents == held:
            counts = (before.id, held.size, before.extents.size)
            log.warning("upload %s: %d of %d bytes are stored; its client will send the others again", *counts)
            return True
        seen = await tickets.get(before.id)
        if seen is not None:
            held = await store.stored(seen) or Extents()
    return False


def _trimmed(known: Ticket, seen: Ticket, held: Extents) -> Ticket:
    is_same = (known.state, known.extents, known.store_data) == (seen.state, seen.extents, seen.store_data)
    return known.lose(held) if is_same else known
