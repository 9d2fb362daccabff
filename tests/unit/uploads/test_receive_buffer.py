"""Where bytes gather: nothing is lost or mixed up, and no memory is used again that somebody still looks at."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incoming.uploads.receive_buffer import LARGEST, SMALLEST, SPARE, Basin, Buffers


def received(basin: Basin, data: bytes) -> None:
    """Comes from a socket."""
    with basin.room(len(data)) as room:
        assert len(room) == len(data)
        room[:] = data
    basin.fill(len(data))


def stream() -> Iterator[int]:
    """Bytes that do not repeat at any size of a buffer."""
    number = 1
    while True:
        number = number * 48271 % 0x7FFFFFFF
        yield number & 0xFF


def test_what_is_received_into_it_is_not_copied() -> None:
    basin = Basin(Buffers())
    room = basin.room(SMALLEST)
    room[:] = bytes(range(256)) * (SMALLEST // 256)
    assert basin.holds(room[:100])
    basin.fill(SMALLEST)
    assert basin.full
    part = basin.take()
    assert isinstance(part, memoryview)
    assert part.obj is room.obj
    assert not basin.holds(part), "what was taken is another's"
    assert basin.length == 0


@pytest.mark.parametrize("other", [b"x", memoryview(b"x")], ids=["bytes", "view"])
def test_what_came_elsewhere_is_told_apart(other: bytes | memoryview) -> None:
    basin = Basin(Buffers())
    basin.room(1)
    assert not basin.holds(other)


def test_room_grows_while_it_is_filled_and_shrinks_while_it_is_not() -> None:
    basin = Basin(Buffers())
    sizes = []
    for _ in range(5):
        sizes.append(len(basin.room(LARGEST)))
        basin.fill(sizes[-1])
        basin.take()
    assert sizes == [SMALLEST, 4 * SMALLEST, 16 * SMALLEST, LARGEST, LARGEST]
    for size in (LARGEST, 16 * SMALLEST, 4 * SMALLEST, SMALLEST):
        assert len(basin.room(LARGEST)) == size
        basin.fill(1)
        basin.take()


def test_little_is_copied_so_that_it_keeps_no_large_buffer() -> None:
    basin = Basin(Buffers())
    received(basin, bytes(SMALLEST // 2 - 1))
    assert isinstance(basin.take(), bytes)
    received(basin, bytes(SMALLEST // 2))
    assert isinstance(basin.take(), memoryview)


def test_room_that_is_being_received_into_stays_where_it_is() -> None:
    """Bytes are taken by a timer while the socket is still waited for."""
    basin = Basin(Buffers())
    received(basin, b"first")
    room = basin.room(6)
    assert basin.take() == b"first"
    room[:] = b"second"
    assert basin.holds(room)
    basin.fill(6)
    assert basin.take() == b"second"
    received(basin, b"third")
    assert basin.take() == b"third"


def test_a_buffer_of_which_a_part_was_handed_on_is_not_begun_anew() -> None:
    basin = Basin(Buffers())
    received(basin, b"a" * (SMALLEST // 2))
    room = basin.room(1)
    first = basin.take()
    assert isinstance(first, memoryview)
    room[:] = b"b"
    basin.fill(1)
    assert basin.take() == b"b"
    received(basin, b"c" * 100)
    assert first == b"a" * (SMALLEST // 2)


def test_no_buffer_is_used_again_while_somebody_looks_at_it() -> None:
    buffers = Buffers()
    first = buffers.get()
    assert len(first) == LARGEST
    view = memoryview(first)[5:10]
    second = buffers.get()
    assert second is not first
    with memoryview(second):
        view.release()
        assert buffers.get() is first


def test_no_more_is_kept_than_that() -> None:
    buffers = Buffers()
    views = [memoryview(buffers.get()) for _ in range(SPARE + 3)]
    assert len({id(view.obj) for view in views}) == SPARE + 3
    for view in views:
        view.release()
    held = [memoryview(buffers.get()) for _ in range(SPARE)]
    again = {id(view.obj) for view in held}
    assert len(again) == SPARE
    buffers.forget()
    with memoryview(buffers.get()) as other:
        assert id(other.obj) not in again


class Connection:
    """What comes over one, and what became of it so far."""

    def __init__(self, buffers: Buffers, source: Iterator[int], kept: list[tuple[bytes | memoryview, bytes]]) -> None:
        self.basin = Basin(buffers)
        self._source = source
        self._gathered = bytearray()
        self._kept = kept

    def new(self, count: int) -> bytes:
        return bytes(next(self._source) for _ in range(min(count, 64)))

    def receive(self, count: int) -> None:
        self._receive(self.basin.room(count))

    def take_while_waiting(self, count: int) -> None:
        room = self.basin.room(count)
        self.take()
        self._receive(room)

    def _receive(self, room: memoryview) -> None:
        data = self.new(len(room))
        room[: len(data)] = data
        self.basin.fill(len(data))
        self._gathered += data

    def pour(self, count: int) -> None:
        data = self.new(count)
        self._gathered += data[: self.basin.pour(data)]

    def take(self, _: int = 0) -> None:
        assert self.basin.length == len(self._gathered)
        if self._gathered:
            self._kept.append((self.basin.take(), bytes(self._gathered)))
            self._gathered.clear()

    def drop(self, count: int) -> None:
        """Somebody does not need any more what he was handed."""
        if self._kept:
            del self._kept[count % len(self._kept)]


STEPS = (Connection.receive, Connection.take_while_waiting, Connection.pour, Connection.take, Connection.drop)


@settings(max_examples=1000)
@given(steps=st.lists(st.tuples(st.integers(0, 1), st.sampled_from(STEPS), st.integers(1, SMALLEST)), max_size=60))
def test_everything_comes_out_once_and_stays_as_it_was(
    steps: list[tuple[int, Callable[[Connection, int], None], int]],
) -> None:
    """Of two connections that share buffers, whoever keeps what he was handed for however long."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("incoming.uploads.receive_buffer.SMALLEST", 256)
        patch.setattr("incoming.uploads.receive_buffer.LARGEST", 1024)
        kept: list[tuple[bytes | memoryview, bytes]] = []
        buffers, source = Buffers(), stream()
        connections = [Connection(buffers, source, kept) for _ in range(2)]
        for which, step, count in steps:
            step(connections[which], count)
            if connections[which].basin.full:
                connections[which].take()
            for part, expected in kept:
                assert part == expected
