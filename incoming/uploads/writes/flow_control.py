"""Flow control: bound the bytes that are received but not committed, per connection and per worker.

Decides when a connection is read no further, so that TCP slows the sender. Knows neither how bytes arrive nor how they
are stored.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Protocol

from incoming.core.errors import InternalError, UploadError
from incoming.core.ticket import Ticket
from incoming.core.token_bucket import Allowance
from incoming.monitoring.connections import ClientActivity
from incoming.storage.byte_store import Buffer
from incoming.uploads.writes.commit_schedule import COMMIT_INTERVAL
from incoming.uploads.writes.receive_buffer import BufferPool

log = logging.getLogger(__name__)

OVERHEAD = 4096
"""Bytes of memory that a write needs besides its data, roughly, so that tiny chunks are counted truthfully."""

SMALL_READ = 16 * 1024
"""Bytes. Each smaller read costs a wake-up, hundreds of times a second with many slow connections."""

SMALL_READ_DELAY = 0.02
"""Seconds in which the kernel gathers more after such a read. A slow line does not fill its window meanwhile."""

MEDIUM_READ = 256 * 1024
"""Bytes. One read costs Python about as much time as these bytes cost the kernel."""

MEDIUM_READ_DELAY = 0.001
"""Seconds between two smaller reads. The fastest line brings one or two MEDIUM_READs, and no receive window fills."""

IDLE_BUFFER_SECONDS = 10.0
"""Seconds without received bytes after which the buffer pool is emptied."""


async def pause_between_reads(count: int, left: int) -> None:
    """Pause between two reads, after one of `count` bytes while `left` more are expected."""
    if count < SMALL_READ <= left:
        await asyncio.sleep(SMALL_READ_DELAY)
    elif count < MEDIUM_READ <= left:
        await asyncio.sleep(MEDIUM_READ_DELAY)


class MemoryBudget:
    """The bytes that one worker has received and not yet stored. Each sender may exceed `limit` by one write."""

    def __init__(self, limit: int) -> None:
        self.used = 0
        self.buffers = BufferPool()
        self._limit = limit
        self._space = asyncio.Event()
        self._space.set()
        self._tidying: asyncio.TimerHandle | None = None

    def reserve(self, count: int) -> None:
        self.used += count
        if self.used > self._limit:
            self._space.clear()

    def release(self, count: int) -> None:
        self.used -= count
        if not self.used and self._tidying is None:
            self._tidying = asyncio.get_running_loop().call_later(IDLE_BUFFER_SECONDS, self._tidy)
        if self.used <= self._limit:
            self._space.set()

    @property
    def is_full(self) -> bool:
        """Whether more than the limit is in use."""
        return not self._space.is_set()

    async def wait_for_space(self) -> None:
        """Return when less than the limit is in use."""
        await self._space.wait()

    def _tidy(self) -> None:
        self._tidying = None
        if not self.used:
            self.buffers.forget()


class WriteTarget(Protocol):
    """An upload, as far as writing goes: an ActiveUpload, or HeldWrites of one."""

    @property
    def ticket(self) -> Ticket: ...

    @property
    def allowance(self) -> Allowance: ...

    def write(
        self, offset: int, data: Buffer, epoch: int | None, *, within: float, on_settled: Callable[[], None]
    ) -> asyncio.Future[None]: ...

    def flush(self) -> None: ...

    def blocked(self, is_blocked: Callable[[], bool]) -> AbstractContextManager[None]: ...


class UploadWriter:
    """Submits the writes of one connection or body. Holds no reference to the connection."""

    def __init__(
        self,
        upload: WriteTarget,
        sender: ClientActivity,
        budget: MemoryBudget,
        limit: int,
        epoch: int | None,
    ) -> None:
        self.error: UploadError | None = None
        """The first error of a write."""
        self._upload = upload
        self._sender = sender
        self._budget = budget
        self._limit = limit
        self._epoch = epoch
        self._under_way = 0
        self._held = False
        self._writable = asyncio.Event()
        self._writes: set[asyncio.Future[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether writes are pending or delayed: then the connection waits for the server, not for the sender."""
        return self._held or bool(self._writes)

    def submit(
        self,
        offset: int,
        data: Buffer,
        *,
        within: float = COMMIT_INTERVAL,
        done: Callable[[UploadError | None], None] | None = None,
    ) -> None:
        """Submit bytes for writing. Before the next call, `wait_writable` must have returned.

        `within` as for `ActiveUpload.write`. `done` is called once, with the error or, when the bytes are safe, None.
        """
        length = len(data)
        self._under_way += length + OVERHEAD
        self._budget.reserve(length + OVERHEAD)
        self._upload.allowance.spend(length)
        on_settled = partial(self._give, length)
        acked = self._upload.write(offset, data, self._epoch, within=within, on_settled=on_settled)
        self._writes.add(acked)
        settle = self._sender.received(length)
        acked.add_done_callback(lambda _: self._finish(acked, settle, done))

    def _give(self, size: int) -> None:
        self._under_way -= size
        self._budget.release(size)
        self._writable.set()

    def _finish(
        self,
        written: asyncio.Future[None],
        settle: Callable[[bool], None],
        done: Callable[[UploadError | None], None] | None,
    ) -> None:
        self._writes.discard(written)
        self._give(OVERHEAD)
        error = None if written.cancelled() else written.exception()
        settle(error is None and not written.cancelled())
        if error is not None and not isinstance(error, UploadError):
            log.error("upload %s: a write failed unexpectedly", self._upload.ticket.id, exc_info=error)
            error = InternalError()
        self.error = self.error or error
        if done is not None:
            done(error)

    async def wait_writable(self) -> None:
        """Return when more may be received."""
        if not self._is_blocked():
            return
        with self._upload.blocked(self._is_blocked), self._sender.blocked:
            while self._under_way > self._limit:
                self._writable.clear()
                await self._writable.wait()
            if self._writes:
                await self._budget.wait_for_space()

    def _is_blocked(self) -> bool:
        return self._under_way > self._limit or (bool(self._writes) and self._budget.is_full)

    async def wait_allowed(self) -> None:
        """Return when the upload's rate limit allows more. Call it before receiving: then a client gains nothing by
        reconnecting.
        """
        while wait := self._upload.allowance.wait:
            self._held = True
            with self._sender.held:
                await asyncio.sleep(wait)
        self._held = False

    async def drain(self) -> None:
        """Return when no write is pending: all is committed or has failed."""
        self._upload.flush()
        while self._writes:
            await asyncio.wait(tuple(self._writes))
