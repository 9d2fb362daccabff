"""One upload's bytes on their way through this worker: queued, written, committed, acked, synced.

Two stages run side by side, so that the disk writes the next batch while the last one is being committed, and all that
has queued up meanwhile goes together (group commit). Decides which bytes of an overlap are new and when a checkpoint is
due. It knows nothing of connections, sessions' liveness or transports.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from incoming.config import Settings
from incoming.core.errors import AlreadyComplete, BadRange, FileTooLarge, StorageFailed, TakenOver, UploadError
from incoming.core.extents import Range
from incoming.core.ticket import RECEIVING, Event, Ticket
from incoming.storage.base import Buffer, ByteStore, TicketStore

log = logging.getLogger("incoming.upload")

MAX_EXTENTS = 10_000
"""Separate ranges that one upload may consist of; an honest uploader has about as many as connections."""

BATCH = 32 * 1024 * 1024
"""Bytes that one write to the store may gather, so that a batch takes tens of milliseconds, not seconds."""


@dataclass(eq=False, slots=True)
class Piece:
    """A chunk or a part of a body on its way: written first, acked when its extent is committed."""

    offset: int
    data: Buffer
    epoch: int | None
    acked: asyncio.Future[None]

    @property
    def range(self) -> Range:
        return self.offset, self.offset + len(self.data)


class Upload:
    """What this worker knows of one upload while somebody here is connected to it or bytes of it are not yet safe."""

    def __init__(
        self, ticket: Ticket, tickets: TicketStore, store: ByteStore, settings: Settings, clock: Callable[[], float]
    ) -> None:
        self.ticket = ticket
        self.users = 0
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._clock = clock
        self._claimed = ticket.extents
        self._queue: list[Piece] = []
        self._written: list[Piece] = []
        self._write_task: asyncio.Task[None] | None = None
        self._commit_task: asyncio.Task[None] | None = None
        self._checkpoint_task: asyncio.Task[None] | None = None
        self._checkpoint_timer: asyncio.TimerHandle | None = None
        self._unsynced = 0
        self._generation = 0
        self._failed: Callable[[UploadError], None] = lambda error: None
        self._completed: Callable[[], None] = lambda: None

    def on(self, failed: Callable[[UploadError], None], completed: Callable[[], None]) -> None:
        """Whom to tell: `failed` when bytes acked before may be lost, `completed` when the last byte is committed."""
        self._failed = failed
        self._completed = completed

    @property
    def busy(self) -> bool:
        """Whether bytes are on their way or not yet synced."""
        return bool(self._queue or self._written or self._unsynced or self._running())

    def know(self, ticket: Ticket) -> bool:
        """Takes note of a newer version of the ticket; False when it is not newer than the one known."""
        if ticket.version <= self.ticket.version:
            return False
        lost = ticket.epoch != self.ticket.epoch and not ticket.session
        self.ticket = ticket
        self._claimed = ticket.extents if lost else self._claimed | ticket.extents
        return True

    async def write(self, offset: int, data: Buffer, epoch: int | None = None) -> None:
        """Returns when every byte of `data` is committed at `offset`, that is, may be acked.

        Raises BadRange outside the file, TakenOver for an epoch that is no longer current, the ticket's outcome when it
        receives nothing any more, StorageFull or StorageFailed. The caller bounds how much it has under way.
        """
        self._admit(offset, len(data), epoch)
        piece = Piece(offset, data, epoch, asyncio.get_running_loop().create_future())
        self._queue.append(piece)
        if self._write_task is None:
            self._write_task = self._spawn(self._write_all())
        await piece.acked

    def _admit(self, offset: int, length: int, epoch: int | None) -> None:
        ticket = self.ticket
        if epoch is not None and epoch != ticket.epoch:
            raise TakenOver("the upload goes on in another window")
        if ticket.state not in RECEIVING:
            raise ticket.outcome(Event.STORE)
        end = offset + length
        if ticket.size is not None and end > ticket.size:
            raise BadRange(f"the chunk ends at byte {end}, the file at {ticket.size}")
        for limit in (ticket.terms.max_size, self._settings.max_size):
            if limit and end > limit:
                raise FileTooLarge(f"the file has more than {limit} bytes, the limit")

    # --- first stage: to the store ------------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        try:
            while self._queue:
                batch: list[Piece] = []
                length = 0
                while self._queue and (not batch or length + len(self._queue[0].data) <= BATCH):
                    batch.append(self._queue.pop(0))
                    length += len(batch[-1].data)
                await self._write_batch(batch)
        finally:
            self._write_task = None

    async def _write_batch(self, batch: list[Piece]) -> None:
        generation = self._generation
        try:
            if self.ticket.state not in RECEIVING:
                raise self.ticket.outcome(Event.STORE)
            news = self._new_parts(batch)
            if news:
                await self._store.write(self.ticket.id, news)
            if generation != self._generation:
                raise StorageFailed("a sync failed during the write")
        except UploadError as error:
            self._lose(batch, error)
            return
        except BaseException as error:
            self._lose(batch, StorageFailed("the write was given up"))
            if not isinstance(error, asyncio.CancelledError):
                log.exception("upload %s: writing failed", self.ticket.id)
            return
        self._unsynced += sum(len(data) for _, data in news)
        self._written.extend(batch)
        if self._commit_task is None:
            self._commit_task = self._spawn(self._commit_all())

    def _new_parts(self, batch: list[Piece]) -> list[tuple[int, Buffer]]:
        """Of each piece what is not there yet: bytes once written are never overwritten, the first ones win."""
        news: list[tuple[int, Buffer]] = []
        for piece in batch:
            start, end = piece.range
            for low, high in self._claimed.missing(start, end):
                whole = (low, high) == (start, end)
                news.append((low, piece.data if whole else memoryview(piece.data)[low - start : high - start]))
            self._claimed = self._claimed.add(start, end)
        if len(self._claimed) > MAX_EXTENTS:
            raise BadRange(f"the upload would consist of more than {MAX_EXTENTS} separate ranges")
        return news

    # --- second stage: to the ticket ----------------------------------------------------------------------------------

    async def _commit_all(self) -> None:
        try:
            while self._written:
                batch, self._written = self._written, []
                await self._commit_batch(batch)
        finally:
            self._commit_task = None
        if self.ticket.complete:
            self._completed()
        elif self._unsynced >= self._settings.checkpoint_bytes:
            self._start_checkpoint()
        elif self._unsynced and self._checkpoint_timer is None:
            delay = self._settings.checkpoint_seconds
            self._checkpoint_timer = asyncio.get_running_loop().call_later(delay, self._start_checkpoint)

    async def _commit_batch(self, batch: list[Piece]) -> None:
        try:
            if self._settings.durability == "power":
                await self._sync()
            ticket = await self._tickets.update(self.ticket.id, lambda known: self._stored(known, batch), durable=False)
        except UploadError as error:
            self._lose(batch, error)
            return
        except BaseException as error:
            self._lose(batch, StorageFailed("the commit was given up"))
            if not isinstance(error, asyncio.CancelledError):
                log.exception("upload %s: committing failed", self.ticket.id)
            return
        self.know(ticket)
        for piece in batch:
            if piece.acked.done():
                continue
            if ticket.extents.covers(*piece.range):
                piece.acked.set_result(None)
            else:
                piece.acked.set_exception(TakenOver("the upload goes on in another window"))

    def _stored(self, known: Ticket, batch: list[Piece]) -> Ticket:
        rightful = [piece.range for piece in batch if piece.epoch in (None, known.epoch)]
        if not rightful:
            return known.store((), batch[0].epoch, self._clock())
        return known.store(rightful, None, self._clock())

    def _lose(self, batch: list[Piece], error: UploadError) -> None:
        """None of these is stored; nor is anything written since the last commit believed, it is written again."""
        self._claimed = self.ticket.extents
        for piece in self._written:
            self._claimed = self._claimed.add(*piece.range)
        for piece in batch:
            if not piece.acked.done():
                piece.acked.set_exception(error)

    # --- the checkpoint -----------------------------------------------------------------------------------------------

    def _start_checkpoint(self) -> None:
        if self._checkpoint_timer is not None:
            self._checkpoint_timer.cancel()
            self._checkpoint_timer = None
        if self._checkpoint_task is None:
            self._checkpoint_task = self._spawn(self._checkpoint_and_report())

    async def _checkpoint_and_report(self) -> None:
        try:
            await self.checkpoint()
        except UploadError as error:
            log.warning("upload %s: checkpoint failed: %s", self.ticket.id, error.message)
            self._failed(error)
        finally:
            self._checkpoint_task = None

    async def checkpoint(self) -> None:
        """Syncs the file and records what is now safe from a power cut. Raises StorageFailed; then it is not
        believed.
        """
        if not self._unsynced or self.ticket.state not in RECEIVING:
            self._unsynced = 0
            return
        committed = self.ticket.extents
        await self._sync()
        self.know(await self._tickets.update(self.ticket.id, lambda known: known.checkpoint(committed), durable=False))

    async def _sync(self) -> None:
        unsynced = self._unsynced
        try:
            await self._store.sync(self.ticket.id)
        except AlreadyComplete:
            return
        except UploadError as error:
            # The kernel may have dropped the pages, and the next fsync would succeed all the same: what was not synced
            # before is gone, and so is what is being written now.
            self._generation += 1
            self._unsynced = 0
            waiting, self._written = self._written, []
            self._lose(waiting, error)
            self.know(await self._tickets.update(self.ticket.id, _distrusted))
            raise
        self._unsynced -= unsynced

    # --- the end ------------------------------------------------------------------------------------------------------

    def _running(self) -> list[asyncio.Task[None]]:
        tasks = (self._write_task, self._commit_task, self._checkpoint_task)
        return [task for task in tasks if task is not None]

    async def settle(self) -> None:
        """Waits until nothing is on its way any more; what arrived is committed, or its sender knows of the failure."""
        while tasks := self._running():
            await asyncio.wait(tasks)

    def stop_timer(self) -> None:
        """No checkpoint is due any more, because one was made or nothing is worth one."""
        if self._checkpoint_timer is not None:
            self._checkpoint_timer.cancel()
            self._checkpoint_timer = None
        self._unsynced = 0

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)


def _distrusted(known: Ticket) -> Ticket:
    return known.distrust() if known.state in RECEIVING else known
