"""At start: makes every unfinished ticket claim only what is really there.

After a power cut that is only what was synced. A partial file that is shorter than its ticket says, or gone, is asked
for again from there; one that is whole is completed. What had arrived before has its callback in the outbox already,
and what the TicketStore does not know is left alone. This file knows no file system and no database.
"""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

from incoming.core.errors import StorageFailed, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import State, Ticket
from incoming.maintenance.ticket_scan import older
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.upload_service import UploadService

log = logging.getLogger(__name__)

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Names this boot of the machine; see random(4)."""


async def recover(
    tickets: TicketStore, store: ByteStore, upload_service: UploadService, boot_id_file: Path = BOOT_ID
) -> tuple[int, int]:
    """Looks at every unfinished upload; returns how many there are and how many had less than was noted.

    To be called before anybody is served. Raises what the stores raise.
    """
    boot_id = _read_boot_id(boot_id_file)
    if boot_id and (count := await tickets.distrust_after_boot(boot_id)):
        log.warning("the machine has booted: of %d uploads only what was synced is believed", count)
    unfinished = trimmed = 0
    async for ticket in older(tickets, (State.UPLOADING,), math.inf, breath=0.0):
        unfinished += 1
        held = await store.present(ticket.id)
        whole = ticket.complete or (held is None and await _is_complete(tickets, store, ticket))
        if not (whole and await finalise(upload_service, ticket)):
            trimmed += await _trim(tickets, store, ticket, held or 0)
    log.info("%d unfinished uploads, %d of them with less on the disk than noted", unfinished, trimmed)
    return unfinished, trimmed


def _read_boot_id(boot_id_file: Path) -> str:
    try:
        return boot_id_file.read_text(encoding="ascii").strip()
    except OSError as error:
        log.warning("a power cut cannot be told from a restart of the server: no boot id (%s)", error.strerror)
        return ""


async def _is_complete(tickets: TicketStore, store: ByteStore, ticket: Ticket) -> bool:
    """Whether a file without a partial one has its final name, although the ticket knows of less: completed, and then
    the power failed.

    A file gets that name only when all of it is on the disk, so it is believed whatever the ticket says.
    """
    size = ticket.size
    if size is None:
        return False
    try:
        await store.complete(ticket.id, size)
    except StorageFailed:
        return False  # there is no file at all
    whole = Extents([(0, size)])
    after = await tickets.update(
        ticket.id, lambda known: replace(known, extents=whole) if known.state == State.UPLOADING else known
    )
    return after.complete


async def finalise(upload_service: UploadService, ticket: Ticket) -> bool:
    """Completes a file of which every byte has arrived. False when the store says that it is not whole."""
    try:
        await upload_service.finalise(ticket.id)
    except StorageFailed as error:
        log.warning("upload %s: the whole file is not there: %s", ticket.id, error.message)
        return False
    except UploadError as error:
        log.warning("upload %s: cannot be completed now: %s", ticket.id, error.message)
    return True


async def _trim(tickets: TicketStore, store: ByteStore, ticket: Ticket, held: int) -> bool:
    """Lets the ticket believe only what fits into the partial file, `held` bytes; says whether that was less.

    The file only grows. So a ticket that was read before the file's length was taken, and is still the same, claims
    what is not there.
    """
    seen: Ticket | None = ticket
    while seen is not None and seen.state == State.UPLOADING:
        extents = seen.extents
        believed = extents.clip(held)
        if believed == extents:
            return False
        after = await tickets.update(ticket.id, lambda known: _trimmed(known, extents, held))  # noqa: B023 - awaited here
        if after.extents == believed:
            log.warning("upload %s: %d of %d bytes are there", ticket.id, believed.size, extents.size)
            return True
        seen = await tickets.get(ticket.id)
        held = await store.present(ticket.id) or 0
    return False


def _trimmed(known: Ticket, seen: Extents, held: int) -> Ticket:
    if known.state != State.UPLOADING or known.extents != seen:
        return known
    believed = replace(known, synced=seen.clip(held)).distrust()
    return replace(believed, synced=known.synced.clip(held))
