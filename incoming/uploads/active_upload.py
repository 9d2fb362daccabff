"""One upload's bytes on their way through this worker: queued, written, durable, committed, acknowledged.

Two stages run side by side, so that the store writes the next batch while the last one is being committed, and all that
has queued up meanwhile goes together (group commit). Decides which bytes of an overlap are new. Which may be
acknowledged is submitted_writes.py's decision, when the store flushes flush_schedule.py's, when it syncs
checkpointer.py's. It knows nothing of connections, sessions' liveness or transports.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from incoming.core.errors import AlreadyComplete, BadRange, ServerShutdown, StorageFailed, TakenOver, UploadError
from incoming.core.extents import Extents
from incoming.core.size_limit import check_size
from incoming.core.ticket import RECEIVING, Event, Ticket
from incoming.core.token_bucket import RateLimiter
from incoming.settings.settings import Settings
from incoming.storage.byte_store import Buffer, BufferingStore, ByteStore, SpoolingStore, has_ability
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.writes.checkpointer import Checkpointer
from incoming.uploads.writes.commit_schedule import COMMIT_INTERVAL, CommitSchedule
from incoming.uploads.writes.flush_schedule import FlushSchedule
from incoming.uploads.writes.pending_write import PendingWrite, as_upload_error, new_parts
from incoming.uploads.writes.received_reports import ReceivedReports
from incoming.uploads.writes.submitted_writes import SubmittedWrites, with_stored

MAX_EXTENTS = 2000
"""Separate ranges that one upload may consist of. An uploader has about as many as connections; one that sends the MiBs
of an 8 GB file in random order has as many.
"""

ACTIVE_SECONDS = 5.0
"""Seconds between two commits of an upload of which only known bytes come: that its sender is active, and no more."""

BATCH = 32 * 1024 * 1024
"""Bytes that one write to the store may gather, so that a batch takes tens of milliseconds, not seconds."""

NOT_KEPT = "the storage of the server did not keep the bytes"


class ActiveUpload:
    """State of one upload in this worker, while it has connections or bytes that are not yet safe."""

    def __init__(
        self,
        ticket: Ticket,
        tickets: TicketStore,
        store: ByteStore,
        settings: Settings,
        clock: Callable[[], float],
        rates: RateLimiter,
        failed: Callable[[UploadError], None],
        completed: Callable[[str], None],
    ) -> None:
        """Have `failed` called when acknowledged bytes may be lost, `completed` when the last byte is committed."""
        self.ticket = ticket
        """The newest version that this worker has seen."""
        self.users = 0
        self.closed = False
        """Set when the last connection has left and nothing is pending: the store holds nothing open for it."""
        self.checkpoints = Checkpointer(self, tickets, store, settings)
        self.allowance = rates.allowance(ticket.id, ticket.options.max_rate)
        self._tickets = tickets
        self._settings = settings
        self._clock = clock
        self._queue: deque[PendingWrite] = deque()
        self._submitted = SubmittedWrites()
        self._is_buffering = has_ability(store, BufferingStore)
        self._spool = store if has_ability(store, SpoolingStore) else None
        self._collect_wanted = False
        self._flushes = FlushSchedule(settings.park_after)
        if self._spool is not None:
            self._spool.listen(ticket.id, self._stored_more)
        self.reports = ReceivedReports()
        self._commits = CommitSchedule()
        self._write_task: asyncio.Task[None] | None = None
        self._failed = failed
        self._completed = completed

    @property
    def busy(self) -> bool:
        """Whether bytes are pending or not yet synced."""
        return bool(self._queue or self._submitted or self._running() or self.checkpoints.owed)

    @property
    def received(self) -> Extents:
        """The bytes of this epoch that the store buffers: they are lost if the process dies."""
        return self._submitted.unsafe(self.ticket) if self._is_buffering else Extents()

    def _plan_report(self) -> None:
        if self._is_buffering:
            self.reports.plan(lambda: (self.ticket.extents, self.received))

    @property
    def has_spooled(self) -> bool:
        """Whether the spool holds bytes of incomplete parts."""
        return self._spool is not None and bool(self._submitted.buffered(self.ticket.epoch))

    def adopt(self, ticket: Ticket) -> bool:
        """Note a newer version of the ticket; return False when it is not newer than the one known."""
        if ticket.version <= self.ticket.version:
            return False
        before, self.ticket = self.ticket, ticket
        if self._submitted and (ticket.epoch != before.epoch or ticket.state != before.state):
            self._plan_commit(0.0)  # what was written before has its answer by that
        return True

    def write(
        self,
        offset: int,
        data: Buffer,
        epoch: int | None = None,
        *,
        within: float = COMMIT_INTERVAL,
        on_settled: Callable[[], None] | None = None,
        held: bool = False,
    ) -> asyncio.Future[None]:
        """Done when every byte of `data` is committed at `offset`, that is, may be acked. No task of its own waits.

        `within` are the seconds that the commit may wait for what else comes, 0 if the sender does nothing until then.
        `on_settled` is called once, when the bytes are durable or never will be: they count until then. A `held` one,
        which needs an epoch, is done when it is written; it counts only if `commit_held` is called for it.

        Fails with BadRange outside the file, TakenOver for an epoch that is no longer current, the ticket's outcome
        when it receives nothing any more, StorageFull or StorageFailed. The caller bounds how much it has under way.
        """
        piece = PendingWrite(offset, data, epoch, asyncio.get_running_loop().create_future(), within, on_settled, held)
        return self._settle(piece, self._put)

    def commit_held(self, start: int, end: int, epoch: int) -> asyncio.Future[None]:
        """Commit [start, end), all of which was written by held writes of this epoch, or was there. Done as `write`."""
        piece = PendingWrite(start, b"", epoch, asyncio.get_running_loop().create_future(), 0.0, None)
        piece.end, piece.written_at = end, epoch
        return self._settle(piece, self._commit_written)

    def _settle(self, piece: PendingWrite, accept: Callable[[PendingWrite], None]) -> asyncio.Future[None]:
        """Acknowledge bytes that are there already; have others accepted. Return what is done or fails with them."""
        try:
            if self.closed:
                # From a connection that has ended: its bytes are not acknowledged, and the client sends them again.
                raise ServerShutdown("the connection of these bytes has ended")
            if self._is_there(piece):
                piece.ack()
            else:
                accept(piece)
        except UploadError as error:
            piece.fail(error)
        return piece.acked

    def _commit_written(self, piece: PendingWrite) -> None:
        self.checkpoints.wrote(piece.end - piece.offset)  # a checkpoint since it was written does not include it
        self._submitted.add([piece], self.ticket)
        if not (piece.durable or self._is_buffering):
            self._submitted.remove([piece])
            raise StorageFailed(NOT_KEPT)
        self.flush()
        self._plan_commit(piece.within)

    def _put(self, piece: PendingWrite) -> None:
        self._queue.append(piece)
        self._start_writing()

    def _start_writing(self) -> None:
        if self._write_task is None:
            self._write_task = asyncio.get_running_loop().create_task(self._write_all())

    def _is_there(self, piece: PendingWrite) -> bool:
        """Return whether its bytes are committed already. Raises why the piece cannot be accepted."""
        ticket = self.ticket
        end = piece.range[1]
        if ticket.room is not None and end > ticket.room:
            raise BadRange(f"the chunk ends at byte {end}, the file at {ticket.size}")
        outcome = None if ticket.state in RECEIVING else ticket.rejection(Event.STORE)
        if piece.is_stale(ticket) and (outcome is None or isinstance(outcome, AlreadyComplete)):
            raise TakenOver  # even if the range is there: another session has sent it, perhaps with other bytes
        if isinstance(outcome, AlreadyComplete) and ticket.extents.covers(*piece.range):
            return True
        if outcome is not None:
            raise outcome
        check_size(end, ticket.options.max_size, self._settings.max_size, at_least=True)
        return self._is_active and not self.checkpoints.suspect and ticket.extents.covers(*piece.range)

    @property
    def _is_active(self) -> bool:
        """Whether the recorded time of the last activity is recent enough."""
        return self._clock() - self.ticket.active_at < min(ACTIVE_SECONDS, self._settings.idle_timeout / 4)

    # --- first stage: to the store ------------------------------------------------------------------------------------

    async def _write_all(self) -> None:
        try:
            while True:
                if self._queue:
                    await self._write_batch(self._next_batch())
                elif self._collect_wanted:
                    await self._collect()
                elif self._must_flush():
                    await self._flush()
                else:
                    break
        finally:
            self._write_task = None
            if self._is_buffering:
                self._flushes.plan(self.flush, self._submitted.buffered(self.ticket.epoch))
            self._plan_report()

    def _next_batch(self) -> list[PendingWrite]:
        """Return queued writes that are still allowed: the upload may have ended or been taken over meanwhile."""
        batch: list[PendingWrite] = []
        length = 0
        while self._queue and (not batch or length + len(self._queue[0].data) <= BATCH):
            if batch and self._queue[0].held != batch[0].held:
                break  # what may never count must not stand in for the same bytes of another sender
            piece = self._queue.popleft()
            try:
                if self._is_there(piece):
                    piece.ack()
                    continue
            except UploadError as error:
                piece.fail(error)
                continue
            piece.written_at, piece.written_on = self.ticket.epoch, asyncio.get_running_loop().time()
            batch.append(piece)
            length += len(piece.data)
        return batch

    async def _write_batch(self, batch: list[PendingWrite]) -> None:
        if not batch:
            return
        epoch, before = self.ticket.epoch, self._submitted.ranges(self.ticket.epoch)
        try:
            if news := new_parts(batch, before, self.ticket):
                self._submitted.report(await self.checkpoints.write(news), epoch, self.ticket)
                news.clear()
        except Exception as error:
            await self._refuse(batch, as_upload_error(error, "write", self.ticket.id))
            return
        for piece in batch:
            piece.ack() if piece.held else piece.drop()
            if self._spool is not None:
                piece.settled()  # it uses no memory any more
        if batch[0].held:
            return
        within = min(piece.within for piece in batch)
        self._submitted.add(batch, self.ticket)
        self._flushes.wanted |= within == 0
        if not self._is_buffering:
            await self._refuse_buffered(epoch, StorageFailed(NOT_KEPT))
        self._plan_commit(within)

    # --- what the store buffers ---------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Ask the store to make durable what it buffers, after what is queued now."""
        if self._is_buffering:
            self._flushes.wanted = True
            self._start_writing()

    def blocked(self, is_blocked: Callable[[], bool]) -> AbstractContextManager[None]:
        """Note for the duration that a sender receives nothing while `is_blocked`: the store must not wait for more."""
        if self._is_buffering:
            self._start_writing()
        return self._flushes.blocked(is_blocked)

    def _stored_more(self) -> None:
        self._collect_wanted = True
        self._start_writing()

    async def _collect(self) -> None:
        self._collect_wanted = False
        epoch = self.ticket.epoch
        try:
            self._submitted.report(await self.checkpoints.collect(), epoch, self.ticket)
        except Exception as error:
            await self._refuse_buffered(epoch, as_upload_error(error, "write", self.ticket.id))
        self._plan_commit(0.0)

    def _must_flush(self) -> bool:
        ticket = self.ticket
        if not self._is_buffering or not self._submitted.buffered(ticket.epoch):
            self._flushes.wanted = False
            return False
        come = ticket.extents | self._submitted.ranges(ticket.epoch)
        return self._flushes.due or (ticket.size is not None and come.covers(0, ticket.size))

    async def _flush(self) -> None:
        self._flushes.wanted = False
        epoch = self.ticket.epoch
        try:
            self._submitted.report(await self.checkpoints.flush(), epoch, self.ticket)
        except Exception as error:
            await self._refuse_buffered(epoch, as_upload_error(error, "flush", self.ticket.id))
        else:
            await self._refuse_buffered(epoch, StorageFailed(NOT_KEPT))
        self._plan_commit(0.0)

    async def _refuse_buffered(self, epoch: int, error: UploadError) -> None:
        if refused := self._submitted.not_kept(epoch, self.ticket):
            self._submitted.remove(refused)
            await self._refuse(refused, error)

    # --- second stage: to the ticket ----------------------------------------------------------------------------------

    def _plan_commit(self, within: float) -> None:
        self._commits.plan(within, self._commit_and_report, lambda: len(self.ticket.extents))

    async def _commit_and_report(self, *, patient: bool) -> None:
        await self._commit(patient=patient)
        if self.ticket.complete:
            self._completed(self.ticket.id)
        else:
            self.checkpoints.plan()

    async def _commit(self, *, patient: bool) -> None:
        power = self._settings.durability == "power"
        synced = power or not self.checkpoints.needed
        selection, stored = self._submitted.ready(self.ticket.epoch)
        if not selection and self._is_active and not self._submitted.has_records(self.ticket):
            return  # all is buffered
        try:
            if power and stored.ranges:
                await self.checkpoints.sync()
            elif self.checkpoints.suspect:
                await self.checkpoints.clear()
            with self.checkpoints.storage_time.committing:
                ticket = await self._tickets.update(
                    self.ticket.id,
                    lambda known: with_stored(known, stored, self._clock(), MAX_EXTENTS, synced=synced),
                    durable=power,
                    quiet=True,  # only the sender needs to know about more bytes
                    patient=patient,
                    believed=self.ticket,
                    records=stored.records_of if stored.records else None,
                )
        except Exception as error:
            writes = [write for write, _, _ in selection]
            self._submitted.remove(writes)
            await self._refuse(writes, as_upload_error(error, "commit", self.ticket.id))
        else:
            self.adopt(ticket)
            self._submitted.settle(selection, stored, ticket)
            if self._spool is not None:
                self._spool.recorded(ticket)
            self._plan_report()

    # --- what cannot be kept ------------------------------------------------------------------------------------------

    async def _refuse(self, batch: Sequence[PendingWrite], error: UploadError) -> None:
        """Fail the writes, or acknowledge or repeat them where a newer version of the ticket allows it."""
        try:
            fresh = await self._tickets.get(self.ticket.id)
        except UploadError:
            fresh = None  # then the senders get `error`
        if fresh is not None:
            self.adopt(fresh)
        if self.ticket.state not in RECEIVING:
            error = self.ticket.rejection(Event.STORE)
        is_whole = isinstance(error, AlreadyComplete) and self.ticket.complete
        if isinstance(error, AlreadyComplete) and self.ticket.state in RECEIVING and not is_whole:
            error = StorageFailed("another file has the name of this upload in the storage of the server")
        for piece in batch:
            is_stale = piece.is_stale(self.ticket)
            if is_whole and not is_stale and self.ticket.extents.covers(*piece.range):
                piece.ack()
            elif is_stale or not isinstance(error, TakenOver):
                piece.fail(TakenOver() if is_stale and is_whole else error)
            elif fresh is not None and piece.can_be_written:
                self._put(piece)  # its sender has no session: it is written in the new epoch
            else:
                piece.fail(StorageFailed("the upload was taken up anew meanwhile; ask for what has arrived"))

    def lose(self, error: UploadError) -> None:
        """Report a failed sync. The epoch will rise, so that nothing written before is committed any more."""
        self._failed(error)

    # --- the end ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Accept nothing more: the last connection has ended and nothing is pending."""
        self.closed = True
        self.checkpoints.stop()
        if self._spool is not None:
            self._spool.listen(self.ticket.id, None)

    def _running(self) -> list[asyncio.Task[None]]:
        tasks = (self._write_task, self._commits.task, self.checkpoints.task)
        return [task for task in tasks if task is not None]

    async def settle(self) -> None:
        """Return when nothing is pending: what arrived is committed, or its sender got the error."""
        while True:
            if self._submitted.buffered(self.ticket.epoch):
                self.flush()
            if not (tasks := self._running()):
                return
            await asyncio.wait(tasks)
