"""SHA-256 of whole files, for apps that asked for it: computed while bytes arrive, along the part without a gap.

Reads the bytes back from the store after they were written: so the digest is of what is stored, and bytes that arrived
out of order are read only once. The state of a computation is in memory; after a restart the file is read again from
its beginning. Decides how much is read at a time and when a computation restarts. Knows neither clients nor apps.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections import OrderedDict
from collections.abc import Callable

from incoming.core.errors import StorageFailed, UploadError
from incoming.core.ticket import RECEIVING, Ticket
from incoming.storage.byte_store import ByteStore, ReadableStore, store_of

log = logging.getLogger(__name__)

READ_SIZE = 16 * 1024 * 1024
"""Bytes that one call of the store reads: about 20 ms of a thread."""

MIN_READ = 4 * 1024 * 1024
"""Bytes that one read covers at least, except at the end of the file."""

MAX_READS = 2
"""Concurrent reads, so that threads of the store stay free for writes."""

MAX_COMPUTATIONS = 1000
"""Computations that are kept. The file of an upload whose computation was dropped is read again."""


class _Computation:
    """One file's. `hash` has the first `position` bytes of what the ticket's `store_data` and `losses` stand for."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.turn = asyncio.Lock()
        self.task: asyncio.Task[None] | None = None
        self.begin(ticket)

    def begin(self, ticket: Ticket) -> None:
        self.hash = hashlib.sha256()
        self.position = 0
        self.source = _source(ticket)


class FileDigests:
    """Those of one worker."""

    def __init__(self, store: ByteStore) -> None:
        self._store = store
        self._computations: OrderedDict[str, _Computation] = OrderedDict()
        self._places = asyncio.Semaphore(MAX_READS)
        self._closed = False

    def follow(self, ticket: Ticket) -> None:
        """Continue in the background, up to the last byte without a gap."""
        if not ticket.options.digest or ticket.parts or self._closed or ticket.state not in RECEIVING:
            return
        computation = self._computation(ticket)
        behind = ticket.extents.prefix - (computation.position if computation.source == _source(ticket) else 0)
        if computation.task is None and behind >= MIN_READ:
            computation.task = asyncio.get_running_loop().create_task(self._follow(computation))

    async def _follow(self, computation: _Computation) -> None:
        try:
            await self._advance(computation, lambda: computation.ticket.extents.prefix)
        except UploadError as error:  # `finish` will report it
            log.debug("upload %s: digest not computed yet: %s", computation.ticket.id, error.message)
        finally:
            computation.task = None

    async def finish(self, ticket: Ticket, size: int) -> str:
        """Return the digest of the complete file in hexadecimal digits; empty if the app did not ask for one.

        Raises StorageFailed if the file cannot be read, and what the store raises.
        """
        if not ticket.options.digest:
            return ""
        computation = self._computation(ticket)
        await self._advance(computation, lambda: size)
        return computation.hash.hexdigest()

    def forget(self, ticket_id: str) -> None:
        """Drop the computation of an upload that has ended."""
        if (computation := self._computations.pop(ticket_id, None)) is not None and computation.task is not None:
            computation.task.cancel()

    async def close(self) -> None:
        """Cancel the computations in the background."""
        self._closed = True
        tasks = [computation.task for computation in self._computations.values() if computation.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _computation(self, ticket: Ticket) -> _Computation:
        computation = self._computations.pop(ticket.id, None) or _Computation(ticket)
        computation.ticket = ticket
        self._computations[ticket.id] = computation
        while len(self._computations) > MAX_COMPUTATIONS:
            self.forget(next(iter(self._computations)))
        return computation

    async def _advance(self, computation: _Computation, upto: Callable[[], int]) -> None:
        async with computation.turn:
            while True:
                ticket, end = computation.ticket, upto()
                if computation.source != _source(ticket):
                    computation.begin(ticket)
                if computation.position >= end:
                    return
                await self._read(computation, ticket, min(end, computation.position + READ_SIZE))

    async def _read(self, computation: _Computation, ticket: Ticket, end: int) -> None:
        store = store_of(self._store, ticket)
        if not isinstance(store, ReadableStore):
            raise StorageFailed("the storage of the server cannot be read back for a digest")
        count, start = 0, computation.position
        try:
            async with self._places:
                count = await store.read(ticket, start, end, computation.hash.update)
        finally:
            if count == end - start:
                computation.position = end
            else:
                computation.begin(ticket)  # how much of it was hashed is unknown
        if count != end - start:
            raise StorageFailed(f"of the file only {start + count} bytes could be read, not {end}")


def _source(ticket: Ticket) -> tuple[str, int]:
    """Return what changes when bytes that had arrived may be others. The first stored bytes change nothing."""
    return ticket.store_data if ticket.extents else "", ticket.losses
