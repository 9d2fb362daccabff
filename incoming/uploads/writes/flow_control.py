"""Flow control: bound the bytes that are received but not committed, per connection and per worker.

Decides when a connection is read no further, so that TCP slows the sender. Knows neither how bytes arrive nor how they
are stored.
"""

from __future__ import annotations

import asyncio
import logging
import math
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
MEDIUM_READ = 256 * 1024
"""Bytes. After a smaller read the kernel gathers more, if more than that is expected: each read costs a wake-up, and
Python about as much time as 256 KiB cost the kernel.
"""

GATHERED = 32 * 1024
"""Bytes that it gathers, half of the receive window of a new connection. The kernel enlarges the window as fast as the
bytes are read: a fast connection that is read late stays slow.
"""

SHORTEST_PAUSE = 0.001
LONGEST_PAUSE = 0.02
"""Seconds between two reads."""

IDLE_BUFFER_SECONDS = 10.0
"""Seconds without received bytes after which the buffer pool is emptied."""


class ReadPacing:
    """The pauses between the reads of one connection."""

    __slots__ = ("_read_at",)

    def __init__(self) -> None:
        self._read_at = -math.inf

    async def pause(self, count: int, left: int) -> None:
        """Pause after a read that brought `count` bytes, while `left` more are expected."""
        now = asyncio.get_running_loop().time()
        elapsed, self._read_at = now - self._read_at, now
        if count < MEDIUM_READ <= left or count < SMALL_READ <= left:
            await asyncio.sleep(_time_to_gather(count, elapsed))


def _time_to_gather(count: int, elapsed: float) -> float:
    """Return the seconds in which GATHERED bytes arrive, as `count` did in `elapsed`, within the limits.

    After a silence the rate is unknown, and the next read tells it.
    """
    if elapsed > 2 * LONGEST_PAUSE:
        return SHORTEST_PAUSE
    return min(max(SHORTEST_PAUSE, GATHERED * elapsed / max(count, 1)), LONGEST_PAUSE)


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
