"""What every OperatorStore promises, asked of each kind through the Protocols alone."""

from dataclasses import replace

from incoming.core.ticket import State
from incoming.storage.operator_store import REPORT_KEPT_FOR, TRAFFIC_SLOT, TRAFFIC_SLOTS
from tests.contract.conftest import OpenTickets
from tests.contract.ticket_databases import Store
from tests.support.stores import Clock
from tests.unit.storage.tickets import NOW, new


async def test_counts_are_added_and_facts_replaced(tickets: Store, clock: Clock) -> None:
    await tickets.note("b", "long ago", {"x": 3})
    clock.advance(50)
    await tickets.note("a", "old", {"x": 1, "y": 0.5})
    clock.advance(1)
    await tickets.note("a", "new", {"x": 2})
    notes = await tickets.notes(50)
    assert notes.facts == {"a": "new"}
    assert notes.counted == {"x": 6, "y": 0.5}
    assert notes.traffic == {}
    await tickets.note("a", None, {})
    assert set((await tickets.notes(51)).facts) == {"b"}


async def test_a_worker_that_died_without_a_word_is_forgotten(tickets: Store, clock: Clock) -> None:
    await tickets.note("dead", "facts", {})
    clock.advance(REPORT_KEPT_FOR + 1)
    await tickets.note("alive", "facts", {})
    assert set((await tickets.notes(REPORT_KEPT_FOR + 60)).facts) == {"alive"}


async def test_what_all_workers_noted_is_one_sum(open_tickets: OpenTickets) -> None:
    one, other = await open_tickets(), await open_tickets()
    await one.note("one", "1", {"x": 1}, traffic=10)
    await other.note("other", "2", {"x": 2}, traffic=5)
    await one.close()
    notes = await other.notes(60)
    assert (notes.facts, notes.counted) == ({"one": "1", "other": "2"}, {"x": 3})
    assert notes.traffic == {int(NOW // TRAFFIC_SLOT): 15}


async def test_traffic_is_kept_for_an_hour(tickets: Store, clock: Clock) -> None:
    for _ in range(3):
        await tickets.note("a", "facts", {}, traffic=1)
        clock.advance(TRAFFIC_SLOT)
    assert len((await tickets.notes(60)).traffic) == 3
    clock.advance((TRAFFIC_SLOTS - 2) * TRAFFIC_SLOT)
    await tickets.note("a", "facts", {}, traffic=7)
    assert sorted((await tickets.notes(60)).traffic.values()) == [1, 7]


async def test_every_state_entered_is_counted(tickets: Store) -> None:
    known = [new() for _ in range(3)]
    for ticket in known:
        await tickets.create(ticket)
    ids = [ticket.id for ticket in known]
    for ticket_id, state in ((ids[0], State.UPLOADING), (ids[1], State.UPLOADING), (ids[0], State.CANCELLED)):
        await tickets.update(ticket_id, lambda known, state=state: replace(known, state=state))  # type: ignore[misc]
    await tickets.update(ids[1], lambda known: replace(known, reason="in the same state"))
    await tickets.forget(ids[0])
    assert (await tickets.notes(60)).counted == {"entered/new": 3, "entered/uploading": 2, "entered/cancelled": 1}


async def test_latest(tickets: Store) -> None:
    states = (State.NEW, State.UPLOADING, State.FINISHED, State.UPLOADING, State.WAITING)
    known = [new(state=state, active_at=NOW + number) for number, state in enumerate(states)]
    for ticket in known:
        await tickets.create(ticket)
    wanted = (State.UPLOADING, State.WAITING)
    assert [ticket.id for ticket in await tickets.latest(wanted, 10)] == [known[n].id for n in (4, 3, 1)]
    assert [ticket.id for ticket in await tickets.latest(wanted, 2)] == [known[n].id for n in (4, 3)]
    assert await tickets.latest((), 2) == []


async def test_matching(tickets: Store) -> None:
    known = [new() for _ in range(5)]
    for ticket in known:
        await tickets.create(ticket)
    for ticket in known:
        assert [found.id for found in await tickets.matching(ticket.id[:8], 2)] == [ticket.id]
        assert [found.id for found in await tickets.matching(ticket.id, 2)] == [ticket.id]
    assert await tickets.matching("%", 2) == []
    assert await tickets.matching("_", 2) == []
    assert len(await tickets.matching("", 3)) == 3
