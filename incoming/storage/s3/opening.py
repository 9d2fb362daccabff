"""Opens the object stores that the configuration names, in one process, with one spool for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from incoming.core.errors import UploadError
from incoming.core.ticket import Ticket
from incoming.settings.settings import Settings
from incoming.storage.s3.bucket.bucket_access import BucketAccess
from incoming.storage.s3.bucket.spool import Spool
from incoming.storage.s3.store import S3Bytes
from incoming.storage.ticket_store import TicketStore

LEASE = 30.0
"""Seconds after which another process may complete an upload, when the one that does it is silent."""

ASKED = 0.5
"""Seconds between two questions whether another process is ready."""


class CompletionLease:
    """Lets one process at a time complete an upload, also when that takes longer than the lease."""

    def __init__(self, tickets: TicketStore) -> None:
        self._tickets = tickets

    @asynccontextmanager
    async def __call__(self, ticket: Ticket) -> AsyncIterator[None]:
        name = f"complete/{ticket.id}"
        while not await self._tickets.lease(name, LEASE):  # noqa: ASYNC110 - the other one may be another process
            await asyncio.sleep(ASKED)
        renewing = asyncio.get_running_loop().create_task(self._renew(name))
        try:
            yield
        finally:
            renewing.cancel()
            with suppress(UploadError):  # it ends by itself
                await self._tickets.lease(name, 0)

    async def _renew(self, name: str) -> None:
        while True:
            await asyncio.sleep(LEASE / 3)
            with suppress(UploadError):
                await self._tickets.lease(name, LEASE)


def open_object_stores(settings: Settings, tickets: TicketStore) -> Mapping[str, S3Bytes]:
    """Return the stores by name. Raises OSError if the spool cannot be used."""
    spool = Spool(settings.storage_dir, settings.spool_size)
    lease = CompletionLease(tickets)
    return {store.name: S3Bytes(BucketAccess(store, spool), tickets.records, lease) for store in settings.object_stores}
