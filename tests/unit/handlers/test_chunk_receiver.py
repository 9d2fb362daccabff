"""A chunk in parts: what is handed on when, and that each is acked once, as it was sent, when all of it is safe."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import BadRequest, StorageFailed, UploadError
from incoming.core.extents import Range
from incoming.core.token_bucket import RateLimiter
from incoming.handlers.upload.websocket.chunk_receiver import CHUNKS_UNDER_WAY, PART_SECONDS, ChunkReceiver
from incoming.monitoring.connections import Connections
from incoming.monitoring.metrics import WorkerCounters
from incoming.uploads.writes.flow_control import OVERHEAD, MemoryBudget
from incoming.uploads.writes.receive_buffer import SMALLEST_BUFFER
from incoming.wire.messages import CHUNK_HEADER
from tests.support.stores import until
from tests.support.waiting import until_idle

MIB = 1024 * 1024
PART = SMALLEST_BUFFER


@pytest.fixture(autouse=True, scope="module")
def parts_of_one_size() -> Iterator[None]:
    """So that a test knows when one is handed on."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("incoming.uploads.writes.receive_buffer.LARGEST_BUFFER", PART)
        yield


@dataclass
class Write:
    """A part that is to be stored."""

    offset: int
    data: bytes
    done: "asyncio.Future[None]"

    @property
    def range(self) -> Range:
        return self.offset, self.offset + len(self.data)


class Bench:
    """Chunks of an upload whose writes end when the test says so."""

    def __init__(self, chunk_max: int = 8 * MIB) -> None:
        self.writes: list[Write] = []
        self.acked: list[Range] = []
        self.failed: list[UploadError] = []
        self.memory = MemoryBudget(1024 * MIB)
        self.allowance = RateLimiter().allowance("ticket", 0)
        stand_in: Any = self
        self.now = 0.0
        self.sender = Connections(WorkerCounters(), lambda: self.now).enter("ticket", "websocket", "client")
        self.chunks = ChunkReceiver(stand_in, self.sender, self.memory, chunk_max, 1, self, lambda: self.now)

    def ack(self, chunk: Range) -> None:
        self.acked.append(chunk)

    def fail(self, error: UploadError) -> None:
        self.failed.append(error)

    def write(
        self, offset: int, data: bytes, epoch: int | None, *, within: float, on_settled: Callable[[], None]
    ) -> "asyncio.Future[None]":
        assert epoch == 1
        one = Write(offset, bytes(data), asyncio.get_running_loop().create_future())
        one.done.add_done_callback(lambda _: on_settled())
        self.writes.append(one)
        return one.done

    def flush(self) -> None:
        """Nothing is buffered."""

    def blocked(self, is_blocked: Callable[[], bool]) -> AbstractContextManager[None]:
        return nullcontext()

    async def finish(self, *writes: Write) -> None:
        for one in writes or self.writes:
            if not one.done.done():
                one.done.set_result(None)
        if not writes:
            await self.chunks.settle()
        else:
            await until_idle()


def message(offset: int, data: bytes) -> bytes:
    return CHUNK_HEADER.pack(1, offset) + data


async def test_a_small_chunk_is_one_part() -> None:
    bench = Bench()
    await bench.chunks.take(message(7, b"abc"), last=True)
    assert [(one.offset, one.data) for one in bench.writes] == [(7, b"abc")]
    assert bench.chunks.busy
    assert bench.acked == []
    await bench.finish()
    assert bench.acked == [(7, 10)]
    assert not bench.chunks.busy
    assert bench.memory.used == 0


async def test_small_pieces_are_gathered() -> None:
    bench = Bench()
    whole = message(0, bytes(range(256)) * (PART // 256))
    for start in range(0, len(whole), 1000):
        await bench.chunks.take(whole[start : start + 1000], last=False)
    assert len(bench.writes) == 1
    assert len(bench.writes[0].data) == PART
    await bench.chunks.take(b"end", last=True)
    assert b"".join(one.data for one in bench.writes) == whole[CHUNK_HEADER.size :] + b"end"
    await bench.finish()
    assert bench.acked == [(0, PART + 3)]


async def test_on_a_slow_line_each_part_is_stored_after_some_time() -> None:
    """By that a client sees that its bytes arrive, long before the chunk is whole."""
    bench = Bench()
    whole = message(7, b"abcdef")
    await bench.chunks.take(whole[:16], last=False)
    bench.now += 3 * PART_SECONDS
    await bench.chunks.take(b"", last=False)
    assert bench.writes == [], "of a header nothing can be stored"
    for position in range(16, 22):
        await bench.chunks.take(whole[position : position + 1], last=False)
        bench.now += PART_SECONDS / 2
    assert [(one.offset, one.data) for one in bench.writes] == [(7, b"abc"), (10, b"def")]
    await bench.chunks.take(b"", last=True)
    await bench.finish()
    assert bench.acked == [(7, 13)]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
async def test_a_chunk_is_acked_when_its_last_part_is_safe(order: tuple[int, ...]) -> None:
    bench = Bench()
    await bench.chunks.take(message(100, bytes(PART)), last=False)
    await bench.chunks.take(bytes(PART), last=False)
    await bench.chunks.take(b"x", last=True)
    for number in order:
        assert bench.acked == []
        await bench.finish(bench.writes[number])
    assert bench.acked == [(100, 100 + 2 * PART + 1)]


async def test_a_chunk_is_not_acked_before_its_end_has_come() -> None:
    bench = Bench()
    await bench.chunks.take(message(0, bytes(PART)), last=False)
    await bench.finish()
    assert bench.acked == []
    await bench.chunks.take(b"", last=True)
    assert bench.acked == [(0, PART)]


@given(
    sent=st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 3), min_size=1, max_size=4)), max_size=6),
    data=st.data(),
)
def test_each_chunk_is_acked_once_and_only_when_it_is_safe(
    sent: list[tuple[int, list[int]]], data: st.DataObject
) -> None:
    """Also when the same ranges come several times, in the same parts or in others."""

    async def run() -> None:
        bench = Bench(64 * MIB)
        awaited: list[Range] = []
        for offset, parts in sent:
            length = sum(parts) * PART + 1
            await bench.chunks.take(message(offset * PART, b""), last=False)
            for part in parts:
                await bench.chunks.take(bytes(part * PART), last=False)
            await bench.chunks.take(b"x", last=True)
            awaited.append((offset * PART, offset * PART + length))
        waiting = list(bench.writes)
        stored: list[Range] = []
        while waiting:
            one = waiting.pop(data.draw(st.integers(0, len(waiting) - 1)))
            stored.append(one.range)
            await bench.finish(one)
            for start, end in bench.acked:
                position = start
                for low, high in sorted(stored):
                    position = max(position, high) if low <= position else position
                assert position >= end
        await bench.chunks.settle()
        assert sorted(bench.acked) == sorted(awaited)

    asyncio.run(run())


@pytest.mark.parametrize(
    "wrong", [b"", bytes(8), message(0, b""), b"\x02" + message(0, b"x")[1:], message(2**53, b"x")], ids=len
)
async def test_a_malformed_chunk_is_refused(wrong: bytes) -> None:
    bench = Bench()
    with pytest.raises(BadRequest):
        await bench.chunks.take(wrong, last=True)
    assert bench.writes == []


async def test_a_malformed_chunk_is_refused_before_its_end() -> None:
    bench = Bench()
    with pytest.raises(BadRequest):
        await bench.chunks.take(bytes(PART), last=False)


async def test_a_part_that_fails_leaves_its_chunk_without_ack() -> None:
    bench = Bench()
    await bench.chunks.take(message(0, bytes(PART)), last=False)
    await bench.chunks.take(b"x", last=True)
    bench.writes[0].done.set_exception(StorageFailed("broken"))
    await bench.finish()
    assert [error.code for error in bench.failed] == [StorageFailed.code]
    assert bench.acked == []


async def test_bytes_before_a_cut_are_stored() -> None:
    bench = Bench()
    await bench.chunks.take(message(5, bytes(PART)), last=False)
    await bench.chunks.take(b"rest", last=False)
    bench.chunks.cut()
    bench.chunks.cut()
    await until(lambda: len(bench.writes) == 2, "both parts")
    assert (bench.writes[1].offset, bench.writes[1].data) == (5 + PART, b"rest")
    await bench.finish()
    assert bench.acked == []


@pytest.mark.parametrize("came", [b"", bytes(8), message(0, b"")], ids=len)
async def test_an_incomplete_header_stores_nothing(came: bytes) -> None:
    bench = Bench()
    await bench.chunks.take(came, last=False)
    bench.chunks.cut()
    await until_idle()
    assert bench.writes == []


async def test_bytes_in_progress_are_bounded() -> None:
    bench = Bench(chunk_max=PART)
    taken = 0

    async def send() -> None:
        nonlocal taken
        await bench.chunks.take(message(0, b""), last=False)
        for _ in range(6):
            await bench.chunks.take(bytes(PART), last=False)
            taken += 1

    sending = asyncio.create_task(send())
    await until(lambda: len(bench.writes) > CHUNKS_UNDER_WAY - 1, "the first parts")
    await until_idle()
    assert taken < 3
    assert bench.memory.used <= (CHUNKS_UNDER_WAY + 1) * (PART + OVERHEAD)
    await until(lambda: bench_goes_on(bench, sending), "all of it")
    await bench.finish()


def bench_goes_on(bench: Bench, sending: "asyncio.Task[None]") -> bool:
    for one in bench.writes:
        if not one.done.done():
            one.done.set_result(None)
    return sending.done()
