"""What every ByteStore must do: bytes that are reported are there, and only whole files are complete."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import AlreadyComplete, ServerShutdown
from incoming.core.extents import Extents
from incoming.core.identity import Identity
from incoming.core.ticket import State, Ticket
from incoming.storage.byte_store import (
    BoundedStore,
    Buffer,
    BufferingStore,
    BytesLost,
    ByteStore,
    FencingStore,
    SyncingStore,
    free_bytes,
)
from tests.contract.byte_stores import PLACES, RECORDS, Place
from tests.unit.storage.tickets import new

CONTENT = bytes(range(30))
SIZE = len(CONTENT)

OpenStore = Callable[[], ByteStore]


WIDE = ("versitygw",)
"""What only `make wide` tries."""


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.wide if name in WIDE else ()) for name in PLACES])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return PLACES[request.param](tmp_path / "storage")


@pytest.fixture
def open_store(io_loop: IOLoop, place: Place) -> Iterator[OpenStore]:
    """Function that opens a store on the place; several are several workers."""
    stores: list[ByteStore] = []

    def make() -> ByteStore:
        stores.append(place.open())
        return stores[-1]

    yield make
    for store in stores:
        io_loop.run_sync(store.close)


@pytest.fixture
def store(open_store: OpenStore) -> ByteStore:
    return open_store()


def ticket_of(size: int | None = SIZE) -> Ticket:
    """A new upload of a file of so many bytes."""
    return new(state=State.UPLOADING, epoch=1, identity=Identity(name="a", size=size))


async def put(store: ByteStore, ticket: Ticket, *pieces: tuple[int, Buffer], flush: bool = True) -> Ticket:
    """The ticket after these bytes were stored, as an upload counts them: what the store has reported."""
    reports = [await store.write(ticket, pieces)]
    if flush and isinstance(store, BufferingStore):
        reports.append(await store.flush(ticket))
    for written in reports:
        data = ticket.store_data or written.data
        assert written.data in ("", data), "it is one place"
        ticket = replace(ticket, extents=ticket.extents | Extents(written.durable), store_data=data)
        RECORDS.keep(ticket, written.records)
    return ticket


async def put_all(store: ByteStore, ticket: Ticket) -> Ticket:
    return await put(store, ticket, (0, CONTENT))


async def test_what_is_reported_was_written(store: ByteStore) -> None:
    ticket = await put(store, ticket_of(), (3, b"abc"), (10, b"xyz"), flush=False)
    assert ticket.extents == ticket.extents & Extents([(3, 6), (10, 13)])
    if not isinstance(store, BufferingStore):
        assert ticket.extents == Extents([(3, 6), (10, 13)])


async def test_pieces_come_in_any_order_overlap_and_come_twice(store: ByteStore, place: Place) -> None:
    ticket = ticket_of()
    for start, end in ((20, 30), (0, 12), (8, 20), (0, 3), (0, 3)):
        ticket = await put(store, ticket, (start, CONTENT[start:end]))
    assert ticket.extents == Extents([(0, SIZE)])
    assert place.read(await store.complete(ticket, SIZE)) == CONTENT


async def test_the_last_of_several_pieces_of_the_same_bytes_counts(store: ByteStore, place: Place) -> None:
    ticket = await put(store, ticket_of(2), (0, b"xx"), (0, b"ab"))
    assert place.read(await store.complete(ticket, 2)) == b"ab"


async def test_buffers_are_the_callers_again(store: ByteStore, place: Place) -> None:
    buffer = bytearray(CONTENT)
    ticket = await put(store, ticket_of(), (0, memoryview(buffer)[:13]), flush=False)
    buffer[:13] = bytes(13)
    ticket = await put(store, ticket, (13, memoryview(buffer)[13:]))
    buffer.clear()
    assert place.read(await store.complete(ticket, SIZE)) == CONTENT


async def test_uploads_are_apart(store: ByteStore, place: Place) -> None:
    one, other = ticket_of(3), ticket_of(3)
    one, other = await put(store, one, (0, b"one")), await put(store, other, (0, b"two"))
    assert place.read(await store.complete(one, 3)) == b"one"
    await store.remove(one)
    assert place.read(await store.complete(other, 3)) == b"two"


# --- what is stored ---------------------------------------------------------------------------------------------------


async def test_of_a_new_upload_nothing_is_stored(store: ByteStore) -> None:
    assert await store.stored(ticket_of()) is None
    assert await store.completed(ticket_of(), SIZE) is None
    assert not await store.kept(ticket_of())


async def test_what_was_reported_is_stored_for_every_worker(open_store: OpenStore) -> None:
    store = open_store()
    ticket = await put(store, ticket_of(), (0, CONTENT[:12]), (20, CONTENT[20:22]))
    for known in (store, open_store()):
        assert await known.stored(ticket) == ticket.extents == Extents([(0, 12), (20, 22)])


async def test_what_the_ticket_does_not_count_is_not_stored(store: ByteStore) -> None:
    ticket = await put(store, ticket_of(), (0, CONTENT))
    assert await store.stored(replace(ticket, extents=Extents([(5, 7)]))) == Extents([(5, 7)])


async def test_what_was_reported_outlives_the_store(open_store: OpenStore, place: Place) -> None:
    first = open_store()
    ticket = await put(first, ticket_of(), (0, CONTENT[:20]))
    await first.close()
    again = open_store()
    ticket = await put(again, ticket, (20, CONTENT[20:]))
    assert place.read(await again.complete(ticket, SIZE)) == CONTENT


async def test_a_store_goes_on_after_a_release(store: ByteStore, place: Place) -> None:
    ticket = ticket_of()
    await store.release(ticket)
    for start in (0, 10, 20):
        ticket = await put(store, ticket, (start, CONTENT[start : start + 10]))
        await store.release(ticket)
    assert place.read(await store.complete(ticket, SIZE)) == CONTENT


# --- the whole file ---------------------------------------------------------------------------------------------------


async def test_a_whole_file_is_complete_once_and_for_all(open_store: OpenStore, place: Place) -> None:
    store, other = open_store(), open_store()
    ticket = await put_all(store, ticket_of())
    location = await store.complete(ticket, SIZE)
    assert place.read(location) == CONTENT
    for known in (store, other):
        assert await known.complete(ticket, SIZE) == location
        assert await known.completed(ticket, SIZE) == location
        assert await known.kept(ticket)
        assert await known.stored(ticket) is None
        with pytest.raises(AlreadyComplete):
            await put(known, ticket, (0, b"x"))
    assert place.read(location) == CONTENT


async def test_a_file_without_a_byte_is_complete(store: ByteStore, place: Place) -> None:
    assert place.read(await store.complete(ticket_of(0), 0)) == b""


async def test_a_file_that_lacks_a_byte_is_not_completed(store: ByteStore) -> None:
    ticket = await put(store, ticket_of(), (0, CONTENT[:-1]))
    with pytest.raises(BytesLost) as raised:
        await store.complete(replace(ticket, extents=Extents([(0, SIZE)])), SIZE)
    assert raised.value.kept == raised.value.kept & Extents([(0, SIZE - 1)])
    assert await store.completed(ticket, SIZE) is None
    assert not await store.kept(ticket)


async def test_bytes_beyond_the_end_that_were_refused_are_not_in_the_file(store: ByteStore, place: Place) -> None:
    ticket = await put(store, ticket_of(), (0, CONTENT), (SIZE, b"more"))
    ticket = replace(ticket, extents=Extents([(0, SIZE)]))
    assert place.read(await store.complete(ticket, SIZE)) == CONTENT


async def test_an_application_may_take_the_file_away(store: ByteStore, place: Place) -> None:
    ticket = await put_all(store, ticket_of())
    place.take(await store.complete(ticket, SIZE))
    assert not await store.kept(ticket)
    assert await store.completed(ticket, SIZE) is None
    await store.remove(ticket)


async def test_several_complete_a_file_at_once(open_store: OpenStore, place: Place) -> None:
    one, two = open_store(), open_store()
    ticket = await put_all(one, ticket_of())
    locations = set(await asyncio.gather(*(store.complete(ticket, SIZE) for store in (one, two, one))))
    assert [place.read(location) for location in locations] == [CONTENT]


# --- what is gone -----------------------------------------------------------------------------------------------------


async def test_what_was_removed_is_missed(store: ByteStore) -> None:
    ticket = await put(store, ticket_of(), (0, CONTENT[:20]))
    await store.remove_partial(ticket)
    assert await store.stored(ticket) is None
    for attempt in (put(store, ticket, (20, CONTENT[20:])), store.complete(ticket, SIZE)):
        with pytest.raises(BytesLost) as raised:
            await attempt
        assert raised.value.kept == Extents()


async def test_a_file_that_was_begun_anew_has_none_of_the_bytes_before(store: ByteStore, place: Place) -> None:
    lost = await put(store, ticket_of(), (0, CONTENT[:20]))
    await store.remove_partial(lost)
    anew = replace(lost, extents=Extents(), store_data="", epoch=2)
    anew = await put(store, anew, (0, CONTENT))
    assert anew.store_data != lost.store_data
    assert await store.stored(lost) == Extents()
    assert place.read(await store.complete(anew, SIZE)) == CONTENT


async def test_a_partial_file_is_removed_and_a_complete_one_stays(store: ByteStore, place: Place) -> None:
    ticket = await put_all(store, ticket_of())
    location = await store.complete(ticket, SIZE)
    await store.remove_partial(ticket)
    assert place.read(location) == CONTENT
    await store.remove(ticket)
    assert not await store.kept(ticket)


async def test_removing_what_is_not_there_is_no_error(store: ByteStore) -> None:
    for _ in range(2):
        await store.remove(ticket_of())
        await store.remove_partial(ticket_of())


async def test_a_closed_store_does_nothing_more(store: ByteStore) -> None:
    ticket = await put(store, ticket_of(), (0, CONTENT[:20]))
    await store.close()
    for attempt in (
        put(store, ticket, (20, CONTENT[20:])),
        store.stored(ticket),
        store.complete(ticket, SIZE),
        store.completed(ticket, SIZE),
        store.kept(ticket),
        store.remove(ticket),
        store.remove_partial(ticket),
    ):
        with pytest.raises(ServerShutdown):
            await attempt


# --- what only some can do --------------------------------------------------------------------------------------------


async def test_what_was_synced_is_there_and_what_is_lost_is_reported(store: ByteStore) -> None:
    if not isinstance(store, SyncingStore):
        return
    ticket = await put(store, ticket_of(), (0, CONTENT[:20]))
    await store.sync(ticket)
    assert await store.stored(ticket) == Extents([(0, 20)])
    await store.remove_partial(ticket)
    with pytest.raises(BytesLost):
        await store.sync(ticket)


async def test_a_fence_waits_for_writes_and_lets_them_go_on(open_store: OpenStore, place: Place) -> None:
    store, other = open_store(), open_store()
    ticket = await put(store, ticket_of(), (0, CONTENT[:10]))
    if not isinstance(store, FencingStore):
        return
    async with store.fence(ticket):
        writing = asyncio.ensure_future(put(other, ticket, (10, CONTENT[10:])))
        done, _ = await asyncio.wait([writing], timeout=0.05)
        assert not done
    ticket = await writing
    assert place.read(await store.complete(ticket, SIZE)) == CONTENT


async def test_the_room_is_known_or_not(store: ByteStore) -> None:
    free = await free_bytes(store)
    assert (free is None) == (not isinstance(store, BoundedStore))
    assert free is None or free > 0
    assert await free_bytes(SimpleNamespace()) is None  # type: ignore[arg-type]


async def test_a_flush_reports_what_was_buffered_and_never_what_an_earlier_epoch_has_left(store: ByteStore) -> None:
    if not isinstance(store, BufferingStore):
        return
    ticket = ticket_of()
    assert (await store.flush(ticket)).durable == []
    assert (await store.write(ticket, [(0, b"abc")])).durable == []
    later = replace(ticket, epoch=2)
    assert (await store.write(later, [(5, b"f")])).durable == []
    await store.release(later)
    assert (await store.flush(later)).durable == [(5, 6)]
    assert (await store.flush(later)).durable == []
