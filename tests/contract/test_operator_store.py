"""What every OperatorStore promises, asked of each kind through the Protocols alone."""

from dataclasses import replace

import pytest

from incoming.core.ticket import Callback, Identity, State, TicketOptions
from incoming.core.timeline import Entry
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


SECRET = "kept-from-everybody"


async def test_search_finds_what_operators_see(tickets: Store) -> None:
    options = TicketOptions("https://Shop.example/done?key=hidden", SECRET, requested_by="10.1.2.3")
    callback = Callback("c", cancelled=False, since=NOW, due_at=NOW, last_error="connection refused")
    identity = Identity(name='Ein "Film" \u00c9\U0001f600\0/\\.MKV')
    found = replace(new(identity=identity, callback=callback, state=State.ARRIVED), options=options)
    other = new(identity=Identity(name="another.txt"), state=State.ARRIVED)
    for ticket in (found, other):
        await tickets.create(ticket)
    seen = ["film", 'N "F', "\u00c9", "\U0001f600", "\0", "\\.mkv", "shop.EXAMPLE/done", "10.1.2", "Refused"]
    for text in (*seen, found.id[3:12], found.id.upper()):
        assert [one.id for one in await tickets.search((State.ARRIVED,), text, 9)] == [found.id], text
    for text in ("\u00e9", SECRET, "hidden", "signal_finish_url", "\ud800", "%", "_f", "arrived"):
        assert await tickets.search((State.ARRIVED,), text, 9) == [], text
    assert await tickets.search((State.WAITING,), "film", 9) == []
    assert await tickets.search((), "film", 9) == []


async def test_search_returns_the_newest_first(tickets: Store) -> None:
    states = (State.UPLOADING, State.FAILED, State.UPLOADING, State.FAILED)
    known = [
        new(state=state, active_at=NOW + number, identity=Identity(name=f"a{number}"))
        for number, state in enumerate(states)
    ]
    for ticket in known:
        await tickets.create(ticket)
    wanted = (State.UPLOADING, State.FAILED)
    assert [ticket.id for ticket in await tickets.search(wanted, "A", 9)] == [known[n].id for n in (3, 2, 1, 0)]
    assert [ticket.id for ticket in await tickets.search(wanted, "a", 3)] == [known[n].id for n in (3, 2, 1)]
    assert [ticket.id for ticket in await tickets.search(wanted, "", 1)] == [known[3].id]


async def test_search_looks_at_the_latest_of_each_state(tickets: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("memory.tickets", "sqlite.store", "postgres.store"):
        monkeypatch.setattr(f"incoming.storage.{module}.SEARCHED", 2)
    for number in range(3):
        for state in (State.FINISHED, State.FAILED):
            await tickets.create(new(state=state, active_at=NOW + number, identity=Identity(name=f"n{number}")))
    found = await tickets.search((State.FINISHED, State.FAILED), "n", 9)
    assert sorted((ticket.state, ticket.identity.name) for ticket in found) == [
        *((State.FAILED, "n1"), (State.FAILED, "n2")),
        *((State.FINISHED, "n1"), (State.FINISHED, "n2")),
    ]
    assert await tickets.search((State.FINISHED,), "n0", 9) == []


async def test_the_timeline_is_kept(tickets: Store) -> None:
    await tickets.create(ticket := new())
    await tickets.update(ticket.id, lambda known: known.open("s", None, NOW + 1))
    await tickets.update(ticket.id, lambda known: known.cancel("no \u2028more", None, NOW + 2))
    known = await tickets.get(ticket.id)
    assert known is not None
    assert known.timeline == (Entry(NOW + 1, "uploading"), Entry(NOW + 2, "cancelled", "no \u2028more"))


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
