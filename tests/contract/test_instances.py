"""What several instances share out, for every store: leases, unfinished uploads of those that have gone, the outbox."""

import asyncio

import pytest

from incoming.core.ticket import State, Ticket
from incoming.storage.operator_store import worker_name
from tests.contract.conftest import OpenTickets
from tests.contract.test_ticket_store import owing, stored
from tests.contract.ticket_databases import Database, SqliteDatabase, Store
from tests.support.stores import Clock, until
from tests.unit.storage.tickets import NOW, new

SILENT = 60.0


@pytest.fixture
def shared(database: Database) -> None:
    """For tests about several machines, which one SQLite file never has."""
    if isinstance(database, SqliteDatabase):
        pytest.skip("a SQLite database has one machine")


async def written(store: Store, **how: object) -> Ticket:
    """An upload whose bytes came through this store."""
    await store.create(ticket := new(state=State.UPLOADING, **how))
    return await store.update(ticket.id, stored(0, 10))


async def reports(store: Store, instance: str) -> None:
    await store.note(worker_name(instance, 1, "t"), "{}", {})


# --- leases -----------------------------------------------------------------------------------------------------------


async def test_a_lease_has_one_holder(open_tickets: OpenTickets, clock: Clock) -> None:
    one, two = await open_tickets(), await open_tickets()
    assert await one.lease("duty", 60)
    assert not await two.lease("duty", 60)
    assert await two.lease("another", 60)
    clock.advance(59)
    assert not await two.lease("duty", 60)
    assert await one.lease("duty", 60), "renewed"
    clock.advance(59)
    assert not await two.lease("duty", 60)
    clock.advance(2)
    assert await two.lease("duty", 60), "it has ended"
    assert not await one.lease("duty", 60)


async def test_a_lease_that_is_given_back_is_free_at_once(open_tickets: OpenTickets) -> None:
    one, two = await open_tickets(), await open_tickets()
    assert await one.lease("duty", 60)
    assert not await two.lease("duty", 0), "nobody gives back what another one holds"
    assert not await two.lease("duty", 60)
    assert await one.lease("duty", 0)
    assert await two.lease("duty", 60)


async def test_of_many_that_ask_at_once_one_gets_the_lease(open_tickets: OpenTickets) -> None:
    stores = [await open_tickets() for _ in range(6)]
    for number in range(5):
        assert sum(await asyncio.gather(*(store.lease(f"duty {number}", 60) for store in stores))) == 1


async def test_an_earlier_reading_of_the_clock_takes_no_lease_away(open_tickets: OpenTickets, clock: Clock) -> None:
    """Processes estimate the time of a database, and their requests may overtake each other."""
    one, two = await open_tickets(), await open_tickets()
    assert await one.lease("duty", 60)
    clock.advance(-5)
    assert not await two.lease("duty", 60)
    assert await one.lease("duty", 60)


async def test_a_clock_set_back_prolongs_no_lease(open_tickets: OpenTickets, clock: Clock) -> None:
    one, two = await open_tickets(), await open_tickets()
    assert await one.lease("duty", 60)
    clock.advance(-3600)
    assert await two.lease("duty", 60)


# --- unfinished uploads -----------------------------------------------------------------------------------------------


async def test_each_instance_has_what_it_wrote_to_last(open_tickets: OpenTickets, shared: None) -> None:
    one, two = await open_tickets(instance="one"), await open_tickets(instance="two")
    mine, theirs = await written(one), await written(two)
    await one.create(new())
    assert [ticket.id for ticket in await one.unfinished_here()] == [mine.id]
    assert [ticket.id for ticket in await two.unfinished_here()] == [theirs.id]
    await two.update(mine.id, stored(10, 20), believed=await two.get(mine.id))
    assert await one.unfinished_here() == []
    assert {ticket.id for ticket in await two.unfinished_here()} == {mine.id, theirs.id}


async def test_what_changes_no_byte_makes_nobody_the_last_writer(open_tickets: OpenTickets, shared: None) -> None:
    one, two = await open_tickets(instance="one"), await open_tickets(instance="two")
    mine = await written(one)
    await two.update(mine.id, lambda known: known.open("session", None, NOW))
    await two.update(mine.id, lambda known: known.checkpoint(known.extents, known.epoch))
    assert [ticket.id for ticket in await one.unfinished_here()] == [mine.id]
    assert await two.unfinished_here() == []


async def test_unfinished_uploads_come_in_batches(open_tickets: OpenTickets) -> None:
    store = await open_tickets(instance="one")
    known = sorted([(await written(store)).id for _ in range(7)])
    await written(other := await open_tickets(instance="one"))
    first = await store.unfinished_here(limit=5)
    rest = await other.unfinished_here(first[-1].id, limit=5)
    assert [len(first), len(rest)] == [5, 3]
    found = [ticket.id for ticket in (*first, *rest)]
    assert found == sorted(found)
    assert set(known) < set(found)


async def test_uploads_of_a_silent_instance_are_adopted_once(
    open_tickets: OpenTickets, shared: None, clock: Clock
) -> None:
    one, two, three = [await open_tickets(instance=name) for name in ("one", "two", "three")]
    left = {(await written(one)).id for _ in range(5)}
    await reports(one, "one")
    clock.advance(SILENT)
    assert await two.adopt(SILENT) == [], "it has reported in time"
    clock.advance(1)
    await reports(two, "two")
    await reports(three, "three")
    taken = [await two.adopt(SILENT, limit=2), await three.adopt(SILENT), await two.adopt(SILENT)]
    assert [len(batch) for batch in taken] == [2, 3, 0]
    assert {ticket.id for batch in taken for ticket in batch} == left
    assert await one.unfinished_here() == []
    assert await two.adopt(SILENT) == await three.adopt(SILENT) == []


async def test_a_report_is_of_one_instance(open_tickets: OpenTickets, shared: None) -> None:
    """No other name begins like it."""
    one, two = await open_tickets(instance="up-1"), await open_tickets(instance="two")
    mine = await written(one)
    await reports(two, "up-10")
    assert [ticket.id for ticket in await two.adopt(SILENT)] == [mine.id]


async def test_what_is_taken_over_by_writing_is_not_adopted(
    open_tickets: OpenTickets, shared: None, clock: Clock
) -> None:
    one, two, three = [await open_tickets(instance=name) for name in ("one", "two", "three")]
    mine = await written(one)
    clock.advance(SILENT + 1)
    await reports(two, "two")
    await two.update(mine.id, stored(10, 20))
    assert await three.adopt(SILENT) == []


async def test_adopting_changes_no_version(open_tickets: OpenTickets, shared: None) -> None:
    one, two = await open_tickets(instance="one"), await open_tickets(instance="two")
    mine = await written(one)
    [adopted] = await two.adopt(SILENT)
    assert adopted == mine
    after = await one.update(mine.id, stored(10, 20), believed=mine)
    assert after.extents.size == 20


# --- the outbox -------------------------------------------------------------------------------------------------------


async def test_callbacks_are_news_of_their_own_everywhere(open_tickets: OpenTickets) -> None:
    one, two = await open_tickets(), await open_tickets()
    heard = {"one": 0, "two": 0}

    def listen(name: str) -> None:
        heard[name] += 1

    one.watch_outbox(lambda: listen("one"))
    two.watch_outbox(lambda: listen("two"))
    await one.create(owing(NOW + 10))
    await until(lambda: heard["one"] and heard["two"], "news of a callback in both processes")


async def test_progress_is_no_news_of_the_outbox(open_tickets: OpenTickets) -> None:
    one, two = await open_tickets(), await open_tickets()
    heard: list[str] = []
    changed: list[str] = []
    one.watch_outbox(lambda: heard.append("one"))
    two.watch_outbox(lambda: heard.append("two"))
    two.watch(changed.append)
    ticket = await written(one)
    for number in range(1, 20):
        ticket = await one.update(ticket.id, stored(10 * number, 10 * number + 10), believed=ticket)
    ticket = await one.update(ticket.id, lambda known: known.pause(None, NOW))
    await one.create(last := new())
    await until(lambda: last.id in changed, "news of the last ticket")
    assert heard == []
