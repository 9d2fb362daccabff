"""Where bytes gather: nothing is lost or mixed up, and no memory is used again that somebody still looks at."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incoming.uploads.writes.receive_buffer import (
    LARGEST_BUFFER,
    MAX_POOLED,
    SMALLEST_BUFFER,
    BufferPool,
    ReceiveBuffer,
)


def received(receive_buffer: ReceiveBuffer, data: bytes) -> None:
    """Comes from a socket."""
    with receive_buffer.room(len(data)) as room:
        assert len(room) == len(data)
        room[:] = data
    receive_buffer.fill(len(data))


def stream() -> Iterator[int]:
    """Bytes that do not repeat at any size of a buffer."""
    number = 1
    while True:
        number = number * 48271 % 0x7FFFFFFF
        yield number & 0xFF


def test_received_bytes_are_not_copied() -> None:
    receive_buffer = ReceiveBuffer(BufferPool())
    room = receive_buffer.room(SMALLEST_BUFFER)
    room[:] = bytes(range(256)) * (SMALLEST_BUFFER // 256)
    assert receive_buffer.holds(room[:100])
    receive_buffer.fill(SMALLEST_BUFFER)
    assert receive_buffer.full
    part = receive_buffer.take()
    assert isinstance(part, memoryview)
    assert part.obj is room.obj
    assert not receive_buffer.holds(part), "what was taken is another's"
    assert receive_buffer.length == 0


@pytest.mark.parametrize("other", [b"x", memoryview(b"x")], ids=["bytes", "view"])
def test_what_came_elsewhere_is_told_apart(other: bytes | memoryview) -> None:
    receive_buffer = ReceiveBuffer(BufferPool())
    receive_buffer.room(1)
    assert not receive_buffer.holds(other)


def test_room_grows_while_it_is_filled_and_shrinks_while_it_is_not() -> None:
    receive_buffer = ReceiveBuffer(BufferPool())
    sizes = []
    for _ in range(5):
        sizes.append(len(receive_buffer.room(LARGEST_BUFFER)))
        receive_buffer.fill(sizes[-1])
        receive_buffer.take()
    assert sizes == [SMALLEST_BUFFER, 4 * SMALLEST_BUFFER, 16 * SMALLEST_BUFFER, LARGEST_BUFFER, LARGEST_BUFFER]
    for size in (LARGEST_BUFFER, 16 * SMALLEST_BUFFER, 4 * SMALLEST_BUFFER, SMALLEST_BUFFER):
        assert len(receive_buffer.room(LARGEST_BUFFER)) == size
        receive_buffer.fill(1)
        receive_buffer.take()


def test_little_is_copied_so_that_it_keeps_no_large_buffer() -> None:
    receive_buffer = ReceiveBuffer(BufferPool())
    received(receive_buffer, bytes(SMALLEST_BUFFER // 2 - 1))
    assert isinstance(receive_buffer.take(), bytes)
    received(receive_buffer, bytes(SMALLEST_BUFFER // 2))
    assert isinstance(receive_buffer.take(), memoryview)


def test_room_that_is_being_received_into_stays_where_it_is() -> None:
    """Bytes are taken by a timer while the socket is still waited for."""
    receive_buffer = ReceiveBuffer(BufferPool())
    received(receive_buffer, b"first")
    room = receive_buffer.room(6)
    assert receive_buffer.take() == b"first"
    room[:] = b"second"
    assert receive_buffer.holds(room)
    receive_buffer.fill(6)
    assert receive_buffer.take() == b"second"
    received(receive_buffer, b"third")
    assert receive_buffer.take() == b"third"


def test_a_partly_used_buffer_is_not_restarted() -> None:
    receive_buffer = ReceiveBuffer(BufferPool())
    received(receive_buffer, b"a" * (SMALLEST_BUFFER // 2))
    room = receive_buffer.room(1)
    first = receive_buffer.take()
    assert isinstance(first, memoryview)
    room[:] = b"b"
    receive_buffer.fill(1)
    assert receive_buffer.take() == b"b"
    received(receive_buffer, b"c" * 100)
    assert first == b"a" * (SMALLEST_BUFFER // 2)


def test_a_buffer_with_live_views_is_not_reused() -> None:
    buffers = BufferPool()
    first = buffers.get()
    assert len(first) == LARGEST_BUFFER
    view = memoryview(first)[5:10]
    second = buffers.get()
    assert second is not first
    with memoryview(second):
        view.release()
        assert buffers.get() is first


def test_the_pool_keeps_a_bounded_number_of_buffers() -> None:
    buffers = BufferPool()
    views = [memoryview(buffers.get()) for _ in range(MAX_POOLED + 3)]
    assert len({id(view.obj) for view in views}) == MAX_POOLED + 3
    for view in views:
        view.release()
    held = [memoryview(buffers.get()) for _ in range(MAX_POOLED)]
    again = {id(view.obj) for view in held}
    assert len(again) == MAX_POOLED
    buffers.forget()
    with memoryview(buffers.get()) as other:
        assert id(other.obj) not in again


class Connection:
    """What comes over one, and what became of it so far."""

    def __init__(
        self, buffers: BufferPool, source: Iterator[int], kept: list[tuple[bytes | memoryview, bytes]]
    ) -> None:
        self.receive_buffer = ReceiveBuffer(buffers)
        self._source = source
        self._gathered = bytearray()
        self._kept = kept

    def new(self, count: int) -> bytes:
        return bytes(next(self._source) for _ in range(min(count, 64)))

    def receive(self, count: int) -> None:
        self._receive(self.receive_buffer.room(count))

    def take_while_waiting(self, count: int) -> None:
        room = self.receive_buffer.room(count)
        self.take()
        self._receive(room)

    def _receive(self, room: memoryview) -> None:
        data = self.new(len(room))
        room[: len(data)] = data
        self.receive_buffer.fill(len(data))
        self._gathered += data

    def pour(self, count: int) -> None:
        data = self.new(count)
        self._gathered += data[: self.receive_buffer.pour(data)]

    def take(self, _: int = 0) -> None:
        assert self.receive_buffer.length == len(self._gathered)
        if self._gathered:
            self._kept.append((self.receive_buffer.take(), bytes(self._gathered)))
            self._gathered.clear()

    def drop(self, count: int) -> None:
        """Somebody does not need any more what he was handed."""
        if self._kept:
            del self._kept[count % len(self._kept)]


STEPS = (Connection.receive, Connection.take_while_waiting, Connection.pour, Connection.take, Connection.drop)


@settings(max_examples=1000)
@given(
    steps=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(STEPS), st.integers(1, SMALLEST_BUFFER)), max_size=60)
)
def test_every_byte_comes_out_once_and_unchanged(
    steps: list[tuple[int, Callable[[Connection, int], None], int]],
) -> None:
    """Of two connections that share buffers, whoever keeps what he was handed for however long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("incoming.uploads.writes.receive_buffer.SMALLEST_BUFFER", 256)
        patch.setattr("incoming.uploads.writes.receive_buffer.LARGEST_BUFFER", 1024)
        kept: list[tuple[bytes | memoryview, bytes]] = []
        buffers, source = BufferPool(), stream()
        connections = [Connection(buffers, source, kept) for _ in range(2)]
        for which, step, count in steps:
            step(connections[which], count)
            if connections[which].receive_buffer.full:
                connections[which].take()
            for part, expected in kept:
                assert part == expected
