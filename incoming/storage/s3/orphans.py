"""Multipart uploads and parked objects that no ticket names any more, found by looking below our own prefix.

Decides what is an orphan: older than a day by the store's clock, and of no unfinished upload. Everything else is
foreign, and never touched.
"""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterable

from incoming.core.ticket import Ticket
from incoming.storage.s3.bucket.bucket_access import BucketAccess, Records
from incoming.storage.s3.parts.place import Place

log = logging.getLogger(__name__)

AGE = 86400.0
"""Seconds. What is younger may belong to an upload whose ticket tells of it in a moment."""


async def sweep_orphans(access: BucketAccess, records: Records, unfinished: AsyncIterable[Ticket]) -> int:
    """Remove them and return how many there were. Raises S3Error, StorageFailed."""
    before = access.client.signer.time().timestamp() - AGE
    uploads = await _old_uploads(access, before)
    objects = await _old_objects(access, before)
    if not uploads and not objects:
        return 0
    tickets = {ticket.id: ticket.store_data async for ticket in unfinished if ticket.store_data}
    named = {Place.parse(data).upload for data in tickets.values()}
    orphans = [(key, upload) for key, upload in uploads if upload not in named]
    for key, upload in orphans:
        await access.abort(key, upload)
    left = [
        key for key, ticket_id in objects if not (ticket_id in tickets and key in (await records(ticket_id)).values())
    ]
    await access.delete_all(left)
    if count := len(orphans) + len(left):
        log.info(
            "object store %s: removed %d multipart uploads and %d objects of no upload",
            access.store.name, len(orphans), len(left),
        )  # fmt: skip
    return count


async def _old_uploads(access: BucketAccess, before: float) -> list[tuple[str, str]]:
    async def attempt() -> list[tuple[str, str]]:
        found = access.client.list_uploads(access.store.prefix)
        return [(one.key, one.upload) async for one in found if one.started < before]

    return await access.call(attempt)


async def _old_objects(access: BucketAccess, before: float) -> list[tuple[str, str]]:
    """Return the keys of old parked ranges and probes, each with the ticket's id, which is empty for a probe."""
    prefix = access.store.prefix
    ours = re.compile(rf"{re.escape(prefix)}(?:parked/([0-9a-f-]{{36}})/\d+-\d+-[0-9a-f]{{8}}|probe/[0-9a-f-]{{36}})")

    async def attempt() -> list[tuple[str, str]]:
        found = []
        for kind in ("parked/", "probe/"):
            async for one in access.client.list_objects(prefix + kind):
                if one.modified < before and (match := ours.fullmatch(one.key)):
                    found.append((one.key, match[1] or ""))
        return found

    return await access.call(attempt)
