"""How much one sender, and all of a worker together, may have under way; each piece is answered once."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import pytest

from incoming.core.errors import InternalError, StorageFull, UploadError
from incoming.core.extents import Range
from incoming.core.token_bucket import RateLimiter
from incoming.monitoring.connections import Connections
from incoming.monitoring.metrics import WorkerCounters
from incoming.storage.byte_store import Buffer
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.writes.flow_control import (
    LONGEST_PAUSE,
    MEDIUM_READ,
    OVERHEAD,
    SHORTEST_PAUSE,
    MemoryBudget,
    ReadPacing,
    UploadWriter,
)
from tests.support.waiting import until_idle

PIECE = bytes(1000)
COST = 1000 + OVERHEAD


class HeldUpload:
    """Stores nothing before it is told to."""

    def __init__(self) -> None:
        self.allowance = RateLimiter().allowance("ticket", 0)
        self.go_on = asyncio.Event()
        self.commit = asyncio.Event()
        self.commit.set()
        self.error: Exception | None = None
        self.written: list[tuple[int, int, int | None]] = []

    def write(
        self, offset: int, data: Buffer, epoch: int | None, *, within: float, on_settled: Callable[[], None]
    ) -> asyncio.Future[None]:
        self.written.append((offset, len(data), epoch))
        return asyncio.ensure_future(self._write(on_settled))

    def flush(self) -> None:
        """Nothing is buffered."""

    def blocked(self, is_blocked: Callable[[], bool]) -> AbstractContextManager[None]:
        return nullcontext()

    async def _write(self, on_settled: Callable[[], None]) -> None:
        await self.go_on.wait()
        on_settled()
        if self.error is not None:
            raise self.error
        await self.commit.wait()


class Sending:
    """One sender of an upload."""

    def __init__(self, upload: HeldUpload, memory: MemoryBudget, limit: int = 10**9) -> None:
        self.acked: list[Range] = []
        self.failed: list[UploadError] = []
        sender = Connections(WorkerCounters()).enter("ticket", "websocket", "client")
        self.writer = UploadWriter(cast(ActiveUpload, upload), sender, memory, limit, 7)

    def submit(self, offset: int, data: bytes) -> None:
        def done(error: UploadError | None) -> None:
            if error is None:
                self.acked.append((offset, offset + len(data)))
            else:
                self.failed.append(error)

        self.writer.submit(offset, data, done=done)

    def room(self) -> "asyncio.Task[None]":
        return asyncio.create_task(self.writer.wait_writable())


async def test_each_piece_is_acked_once_it_is_stored() -> None:
    upload, memory = HeldUpload(), MemoryBudget(10**9)
    sending = Sending(upload, memory)
    for offset in (0, 1000):
        sending.submit(offset, PIECE)
    await until_idle()
    assert (sending.acked, sending.writer.busy, memory.used) == ([], True, 2 * COST)
    assert upload.written == [(0, 1000, 7), (1000, 1000, 7)]
    upload.go_on.set()
    await sending.writer.drain()
    await until_idle()
    assert (sending.acked, sending.writer.busy, memory.used) == ([(0, 1000), (1000, 2000)], False, 0)


async def test_what_is_written_takes_no_memory_while_it_waits_for_its_commit() -> None:
    upload, memory = HeldUpload(), MemoryBudget(10**9)
    upload.commit.clear()
    upload.go_on.set()
    sending = Sending(upload, memory, limit=2 * OVERHEAD)
    sending.submit(0, PIECE)
    sending.submit(1000, PIECE)
    await asyncio.wait_for(sending.writer.wait_writable(), 5)
    await until_idle()
    assert (sending.acked, sending.writer.busy, memory.used) == ([], True, 2 * OVERHEAD)
    upload.commit.set()
    await sending.writer.drain()
    await until_idle()
    assert (len(sending.acked), memory.used) == (2, 0)


async def test_one_sender_is_limited() -> None:
    upload = HeldUpload()
    sending = Sending(upload, MemoryBudget(10**9), limit=2 * COST)
    for _ in range(2):
        sending.submit(0, PIECE)
        await asyncio.wait_for(sending.writer.wait_writable(), 5)
    sending.submit(0, PIECE)
    waiting = sending.room()
    await until_idle()
    assert not waiting.done()
    upload.go_on.set()
    await asyncio.wait_for(waiting, 5)


async def test_tiny_pieces_count_for_what_they_cost() -> None:
    sending = Sending(HeldUpload(), MemoryBudget(10**9), limit=10 * OVERHEAD)
    for _ in range(10):
        sending.submit(0, b"x")
    waiting = sending.room()
    await until_idle()
    assert not waiting.done()
    waiting.cancel()


async def test_all_senders_together_are_limited() -> None:
    held, quick = HeldUpload(), HeldUpload()
    quick.go_on.set()
    memory = MemoryBudget(2 * COST)
    many = [Sending(held, memory) for _ in range(3)]
    for sending in many:
        sending.submit(0, PIECE)
    waiting = [sending.room() for sending in many]
    await until_idle()
    assert not any(task.done() for task in waiting)
    # Who has nothing under way may receive a piece: what it takes is bounded by the number of senders.
    other = Sending(quick, memory)
    await asyncio.wait_for(other.writer.wait_writable(), 5)
    held.go_on.set()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert memory.used == 0


@pytest.mark.parametrize("error", [StorageFull("full"), ZeroDivisionError()])
async def test_a_failed_piece_is_reported_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    upload, memory = HeldUpload(), MemoryBudget(10**9)
    upload.error = error
    upload.ticket = type("Ticket", (), {"id": "ticket"})  # type: ignore[attr-defined]
    sending = Sending(upload, memory)
    sending.submit(0, PIECE)
    upload.go_on.set()
    await sending.writer.drain()
    await until_idle()
    [failure] = sending.failed
    assert isinstance(failure, StorageFull if isinstance(error, StorageFull) else InternalError)
    assert (sending.acked, memory.used) == ([], 0)
    assert bool([r for r in caplog.records if r.levelno >= logging.ERROR]) == isinstance(error, ZeroDivisionError)


async def test_a_sender_above_the_tickets_rate_is_delayed_without_an_error() -> None:
    upload = HeldUpload()
    upload.go_on.set()
    clock = iter(range(100, 200, 10))
    upload.allowance = RateLimiter(lambda: float(next(clock))).allowance("ticket", 100)
    upload.allowance.spend(10**6)
    sending = Sending(upload, MemoryBudget(10**9))
    waiting = asyncio.create_task(sending.writer.wait_allowed())
    await until_idle()
    assert not waiting.done()
    assert sending.writer.busy, "it is the server who keeps the sender waiting"
    waiting.cancel()


async def test_a_new_request_waits_for_the_debt_of_its_upload() -> None:
    now = 1000.0
    limiter = RateLimiter(lambda: now)
    for _ in range(10):
        upload = HeldUpload()
        upload.go_on.set()
        upload.allowance = limiter.allowance("ticket", 100)
        sending = Sending(upload, MemoryBudget(10**9))
        waiting = asyncio.create_task(sending.writer.wait_allowed())
        await until_idle()
        if not waiting.done():
            break
        sending.submit(0, PIECE)
        await sending.writer.drain()
    waiting.cancel()
    assert upload.written == []
    assert limiter.allowance("ticket", 100).wait > 0


class Clock:
    """The time of a loop in which only pauses and packets take time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.pauses: list[float] = []
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now)
        monkeypatch.setattr(asyncio, "sleep", self.sleep)

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


async def receive(clock: Clock, rate: float, seconds: float, segment: int = 1448) -> list[int]:
    """Read for some seconds what arrives, segment by segment, with `rate` bytes a second; return the sizes of reads."""
    pacing, reads = ReadPacing(), []
    began, taken = clock.now, 0
    while clock.now - began < seconds:
        if (count := int((clock.now - began) * rate) // segment * segment - taken) == 0:
            clock.now += (taken + segment) / rate - (clock.now - began) + 1e-6
            continue
        taken += count
        reads.append(count)
        await pacing.pause(count, 10**9)
    return reads


@pytest.mark.parametrize("rate", [300e3, 1e6, 3e6, 12.5e6])
async def test_pauses_gather_what_is_worth_a_read_and_fill_no_receive_window(
    rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = await receive(Clock(monkeypatch), rate, 2.0)
    settled = reads[3:]
    worth = min(32 * 1024, rate * LONGEST_PAUSE)
    assert sum(settled) / len(settled) > 0.8 * worth - 1448
    assert max(reads) < 48 * 1024  # of 64 KiB of a new connection


async def test_the_first_read_after_a_silence_is_followed_by_the_shortest_pause(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    pacing = ReadPacing()
    await pacing.pause(1448, 10**6)
    clock.now += 0.5
    await pacing.pause(1448, 10**6)
    assert clock.pauses == [SHORTEST_PAUSE, SHORTEST_PAUSE]
    clock.now += 0.01
    await pacing.pause(1448, 10**6)
    assert clock.pauses[2:] == [LONGEST_PAUSE]


@pytest.mark.parametrize(("count", "left"), [(1448, 1000), (MEDIUM_READ, 10**6), (20_000, 30_000)])
async def test_no_pause_before_the_last_bytes_and_after_a_large_read(
    count: int, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    await ReadPacing().pause(count, left)
    assert clock.pauses == []
