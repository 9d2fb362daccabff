"""Decides when an upload's file is synced, and which ranges remain after a failed sync or a loss of bytes.

The kernel may drop the pages that it could not write, and the next fsync succeeds all the same. So a failed sync is
never retried and then trusted: what was not synced before it is lost, the ticket records that, and until then nothing
more is written or committed. The same holds for bytes that the store no longer has. Knows nothing of chunks,
acknowledgements and connections.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import RECEIVING, State, Ticket
from incoming.monitoring.path_figures import StorageTime
from incoming.settings.settings import Settings
from incoming.storage.byte_store import (
    Buffer,
    BufferingStore,
    BytesLost,
    ByteStore,
    DirectStore,
    JoiningStore,
    SpoolingStore,
    SyncingStore,
    Written,
    has_ability,
)
from incoming.storage.ticket_store import Change, TicketStore

log = logging.getLogger(__name__)


class Subject(Protocol):
    """The upload, as far as syncing goes."""

    ticket: Ticket

    def adopt(self, ticket: Ticket) -> bool: ...

    def lose(self, error: UploadError) -> None: ...


class Checkpointer:
    """Checkpoints of one upload in one worker. `suspect` while a failed sync or a loss is not recorded."""

    def __init__(self, subject: Subject, tickets: TicketStore, store: ByteStore, settings: Settings) -> None:
        self.task: asyncio.Task[None] | None = None
        self.committed: Callable[[Ticket], None] = lambda ticket: None
        """Called with the ticket after each commit that has not completed the file."""
        self.storage_time = StorageTime()
        """Here for its `writing`; its `committing` runs for the upload's commits."""
        self._unrecorded: list[Change] = []
        self._sync_failed = False
        """Whether the store keeps others from syncing until the loss is recorded."""
        self._subject: Subject = weakref.proxy(subject)  # it has us: a cycle would be left to the garbage collector
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._syncing = store if has_ability(store, SyncingStore) else None
        self.needed = self._syncing is not None
        """Whether bytes that were committed can be lost in a power cut."""
        self._unsynced = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()

    @property
    def suspect(self) -> bool:
        return bool(self._unrecorded)

    @property
    def owed(self) -> bool:
        """Whether something is not yet synced or not yet recorded, or a sync or its record is under way."""
        return bool(self._unsynced) or self.suspect or self._turn.locked()

    async def write(self, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        """Store the pieces; return what the store reports. Raises what the stores raise.

        While it is not yet recorded that bytes are lost, nothing is written.
        """
        return await self._unless_lost(lambda ticket: self._store.write(ticket, pieces))

    async def flush(self) -> Written:
        """Make all that was written durable; return what the store reports. Raises like `write`."""
        store = self._store
        if not isinstance(store, BufferingStore):
            return Written([], self._subject.ticket.store_data)
        return await self._unless_lost(store.flush)

    async def collect(self) -> Written:
        """Return what a store that buffers by itself has made durable meanwhile. Raises like `flush`."""
        store = self._store
        if not isinstance(store, SpoolingStore):
            return Written([], "")
        return await self._unless_lost(store.collect)

    async def seen_parts(self, after: int) -> Written:
        """Return what clients have sent to the store themselves. Raises like `write`."""
        store = self._store
        if not isinstance(store, DirectStore):
            return Written([], "")
        return await self._unless_lost(lambda ticket: store.seen_parts(ticket, after))

    async def _unless_lost(self, call: Callable[[Ticket], Awaitable[Written]]) -> Written:
        if self.suspect:
            await self.clear()
            raise StorageFailed("bytes sent before were lost; ask for what has arrived")
        ticket = self._subject.ticket
        try:
            with self.storage_time.writing:
                written = await call(ticket)
        except BytesLost as lost:
            async with self._turn:
                await self._clear()
                await self._lose(lost, ticket)
            raise
        self.wrote(sum(end - start for start, end in written.durable))
        return written

    def wrote(self, count: int) -> None:
        """Count bytes as not synced that were written before."""
        if self.needed:
            self._unsynced += count

    def plan(self) -> None:
        """Note a commit: a checkpoint is due after `checkpoint_bytes` or `checkpoint_seconds`."""
        self.committed(self._subject.ticket)
        if self._unsynced >= self._settings.checkpoint_bytes:
            self._start()
        elif self._unsynced and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settings.checkpoint_seconds, self._start)

    def _start(self) -> None:
        self._stop_timer()
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.take(patient=True)
        except UploadError as error:
            if not isinstance(error, BytesLost):  # which is in the log
                log.warning("upload %s: checkpoint failed: %s", self._subject.ticket.id, error.message)
        finally:
            self.task = None

    async def take(self, *, patient: bool = False) -> None:
        """Sync the file and record the ranges that survive a power cut. Raises what the stores raise.

        With `patient` the record may be delayed, so that it is committed together with others.
        """
        async with self._turn:
            await self._clear()
            if not self._unsynced or self._subject.ticket.state not in RECEIVING:
                self._unsynced = 0
                return
            await self._checkpoint(patient=patient)

    async def _checkpoint(self, *, patient: bool) -> None:
        believed = self._subject.ticket
        await self._sync()
        recorded = False
        try:
            after = await self._tickets.update(
                believed.id,
                lambda known: known.checkpoint(believed.extents, believed.epoch),
                durable=True,  # else a power cut takes the record of the sync
                patient=patient,
                quiet=True,
                believed=self._subject.ticket,
            )
            self._subject.adopt(after)
            recorded = after.epoch == believed.epoch
        finally:
            if not recorded:
                self._unsynced += 1  # the next checkpoint records it

    async def sync(self) -> None:
        """Sync all that was written before. Raises what the stores raise."""
        async with self._turn:
            await self._clear()
            await self._sync()

    async def clear(self) -> None:
        """Record all failures. Raises what the TicketStore raises."""
        async with self._turn:
            await self._clear()

    async def complete(self, size: int) -> Location:
        """Complete the whole file durably and return its location. Raises what the stores raise."""
        # No other sync may run meanwhile: the kernel reports a write error only once.
        async with self._turn:
            await self._clear()
            self._stop_timer()
            ticket = self._subject.ticket
            if ticket.is_rearranged:
                return await self._join(size)
            try:
                location = await self._store.complete(ticket, size)
            except BytesLost as lost:
                await self._lose(lost, ticket)
                known = self._subject.ticket
                if lost.discard and known.state == State.UPLOADING and not known.complete:
                    await self._store.remove(ticket)
                raise
            except (StorageFull, StorageFailed) as error:
                # Without a partial file it has its final name already, or is gone; the next attempt finds out.
                if self.needed and await self._is_partial(ticket):
                    await self._distrust(error)
                raise
            self._unsynced = 0
            return location

    async def _join(self, size: int) -> Location:
        """Complete a rearranged file. A failed copy loses no parts, which are synced first, and is retried."""
        await self._sync()
        ticket = self._subject.ticket
        if not isinstance(self._store, JoiningStore):
            raise StorageFailed("this storage cannot put the parts of a file into their order")
        try:
            return await self._store.join(ticket, size)
        except BytesLost as lost:
            await self._lose(lost, ticket)
            raise

    async def _is_partial(self, ticket: Ticket) -> bool:
        """Return whether there is a partial file; True as well if a failing disk gives no answer."""
        try:
            return await self._store.stored(ticket) is not None
        except UploadError:
            return True

    async def _sync(self) -> None:
        if self._syncing is None:
            return
        unsynced, self._unsynced = self._unsynced, 0
        ticket = self._subject.ticket
        try:
            await self._syncing.sync(ticket)
        except BytesLost as lost:
            await self._lose(lost, ticket)
            raise
        except (StorageFull, StorageFailed) as error:
            await self._distrust(error)
            raise
        except BaseException:
            self._unsynced += unsynced
            raise

    async def _distrust(self, error: UploadError) -> None:
        self._unrecorded.append(_distrusted)
        self._sync_failed = True
        self._subject.lose(error)
        await self._clear()

    async def _lose(self, lost: BytesLost, ticket: Ticket) -> None:
        self._unrecorded.append(lambda known: _without(known, ticket, lost.kept))
        try:
            await self._clear()
        finally:
            if self._subject.ticket.state in RECEIVING:  # else it was cancelled and its file removed
                before = ticket.extents.size
                counts = (before - (ticket.extents & lost.kept).size, before)
                log.warning("upload %s: %s; %d of %d bytes must be sent again", ticket.id, lost.message, *counts)
                self._subject.lose(lost)

    async def _clear(self) -> None:
        while self._unrecorded:
            self._subject.adopt(await self._tickets.update(self._subject.ticket.id, self._unrecorded[0]))
            del self._unrecorded[0]
        if self._sync_failed and self._syncing is not None:
            self._sync_failed = False
            await self._syncing.loss_recorded(self._subject.ticket)

    def stop(self) -> None:
        """Cancel the next checkpoint: one was taken, or nothing needs one."""
        self._stop_timer()
        self._unsynced = 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _distrusted(known: Ticket) -> Ticket:
    return known.distrust() if known.state == State.UPLOADING else known


def _without(known: Ticket, seen: Ticket, kept: Extents) -> Ticket:
    """Return the ticket without the lost bytes, unless that is recorded already and others have arrived since."""
    if known.state != State.UPLOADING or known.store_data not in ("", seen.store_data):
        return known
    # A file that no longer exists is lost for a later session as well.
    is_same = known.epoch == seen.epoch or bool(not kept and known.store_data)
    return known.lose(kept) if is_same else known
