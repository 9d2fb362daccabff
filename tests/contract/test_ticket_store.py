"""What every TicketStore promises, asked of each kind through the Protocol alone."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from incoming.core.errors import FileTooLarge, ServerShutdown, StorageFailed, TakenOver, TooBusy, UnknownTicket
from incoming.core.extents import Extents
from incoming.core.service_time import ServiceTime
from incoming.core.ticket import Callback, Event, Identity, Location, State, Ticket
from incoming.storage.quotas import StoreLimits
from incoming.storage.ticket_store import Change, Records
from tests.contract.conftest import OpenTickets
from tests.contract.ticket_databases import DATABASES, Store
from tests.support.stores import Clock, until
from tests.unit.storage.tickets import NOW, any_ticket, new, owing

HOUR = 3600.0

steps = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(Event)) | st.none()), max_size=30)


async def uploading(tickets: Store, size: int | None = 1000) -> Ticket:
    await tickets.create(ticket := new())
    return await tickets.update(
        ticket.id, lambda known: replace(known, state=State.UPLOADING, identity=Identity("a", size), session="s")
    )


def stored(start: int, end: int) -> Change:
    return lambda known: known.store([(start, end)], None, NOW)


async def progress(tickets: Store, believed: Ticket, change: Change) -> Ticket:
    return await tickets.update(believed.id, change, durable=False, quiet=True, believed=believed)


def unversioned(ticket: Ticket | None) -> Ticket:
    assert ticket is not None
    return replace(ticket, version=0)


# --- one ticket -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", DATABASES)
@given(known=any_ticket)
@settings(max_examples=30)
def test_what_was_created_is_there(tmp_path_factory: pytest.TempPathFactory, kind: str, known: Ticket) -> None:
    async def through() -> None:
        store = await DATABASES[kind](tmp_path_factory.mktemp("db")).open()
        await store.create(known)
        assert unversioned(await store.get(known.id)) == replace(known, version=0)
        await store.close()

    asyncio.run(through())


async def test_an_id_is_given_once(tickets: Store) -> None:
    ticket = new()
    await tickets.create(ticket)
    with pytest.raises(StorageFailed):
        await tickets.create(replace(ticket, reason="another"))
    known = await tickets.get(ticket.id)
    assert known is not None
    assert known.reason == ""


async def test_several_are_created_together_or_not_at_all(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=StoreLimits(tickets=3))
    first, second, third, fourth = (new() for _ in range(4))
    await tickets.create(first, second)
    with pytest.raises(TooBusy):
        await tickets.create(third, fourth)
    with pytest.raises(StorageFailed):
        await tickets.create(third, first)
    with pytest.raises(StorageFailed):
        await tickets.create(third, third)
    assert [await tickets.get(ticket.id) is not None for ticket in (first, second, third)] == [True, True, False]
    await tickets.create(third)
    assert {ticket.id for ticket in await tickets.find()} == {first.id, second.id, third.id}


async def test_update(tickets: Store) -> None:
    await tickets.create(ticket := new())
    opened = await tickets.update(ticket.id, lambda known: known.open("session1", None, NOW))
    assert (opened.state, opened.epoch) == (State.UPLOADING, 1)
    assert await tickets.get(ticket.id) == opened
    stored = await tickets.update(ticket.id, lambda known: known.store([(0, 5)], 1, NOW), durable=False)
    assert await tickets.get(ticket.id) == stored
    assert stored.extents == Extents([(0, 5)])


async def test_a_change_to_nothing_is_none(tickets: Store) -> None:
    await tickets.create(ticket := new())
    before = await tickets.get(ticket.id)
    changed: list[str] = []
    tickets.watch(changed.append)
    assert await tickets.update(ticket.id, lambda known: known) == before
    await tickets.create(last := new())
    await until(lambda: changed, "later news")
    assert changed == [last.id]


async def test_unknown(tickets: Store) -> None:
    with pytest.raises(UnknownTicket):
        await tickets.update("nobody", lambda known: known)


async def test_a_change_that_raises_changes_nothing(tickets: Store) -> None:
    await tickets.create(ticket := new())
    before = await tickets.get(ticket.id)

    def refuse(known: Ticket) -> Ticket:
        raise TakenOver("no")

    def crash(known: Ticket) -> Ticket:
        raise ZeroDivisionError

    for change, error in ((refuse, TakenOver), (crash, ZeroDivisionError)):
        with pytest.raises(error):
            await tickets.update(ticket.id, change)
    assert await tickets.get(ticket.id) == before


async def test_a_change_gives_no_ticket_another_id(tickets: Store) -> None:
    one, other = new(), new()
    await tickets.create(one)
    await tickets.create(other)
    before = await tickets.get(one.id), await tickets.get(other.id)
    for ticket_id in ("nobody", other.id):
        with pytest.raises(ValueError, match="another id"):
            await tickets.update(one.id, lambda known, ticket_id=ticket_id: replace(known, id=ticket_id))
    assert (await tickets.get(one.id), await tickets.get(other.id)) == before


async def test_changes_of_one_ticket_come_one_after_the_other(tickets: Store) -> None:
    await tickets.create(ticket := new(state=State.UPLOADING))
    await asyncio.gather(
        *(
            tickets.update(ticket.id, lambda known, i=i: known.store([(i, i + 1)], None, NOW), durable=bool(i % 2))
            for i in range(500)
        )
    )
    known = await tickets.get(ticket.id)
    assert known is not None
    assert known.extents == Extents([(0, 500)])


async def test_ten_thousand_ranges(tickets: Store) -> None:
    extents = Extents((i * 10, i * 10 + 5) for i in range(10_000))
    await tickets.create(ticket := new(state=State.UPLOADING, extents=extents))
    known = await tickets.update(ticket.id, lambda known: known.checkpoint(extents))
    assert known.synced == extents
    assert unversioned(await tickets.get(ticket.id)) == replace(ticket, synced=extents)


async def test_forget(tickets: Store) -> None:
    await tickets.create(ticket := new())
    await tickets.forget(ticket.id)
    await tickets.forget(ticket.id)
    assert await tickets.get(ticket.id) is None
    assert (await tickets.counts())[State.NEW] == 0


# --- what is believed -------------------------------------------------------------------------------------------------


async def test_an_old_belief_loses_nothing(open_tickets: OpenTickets) -> None:
    here, elsewhere = await open_tickets(), await open_tickets()
    ticket = await uploading(here)
    await elsewhere.update(ticket.id, stored(0, 10))
    both = await progress(here, ticket, stored(20, 30))
    assert both.extents == Extents([(0, 10), (20, 30)])
    assert await elsewhere.get(ticket.id) == both


async def test_changes_at_once_give_a_version_one_meaning(tickets: Store) -> None:
    """Else the next change that believes it takes back what was committed, and clients were told."""
    believed = await uploading(tickets)
    changes: tuple[Change, ...] = (
        lambda known: known.open("", None, NOW + 1),
        stored(0, 10),
        lambda known: known.checkpoint(known.extents),
        stored(10, 20),
    )
    together = await asyncio.gather(*(progress(tickets, believed, change) for change in changes))
    meanings = {ticket.version: ticket for ticket in together}
    assert all(ticket == meanings[ticket.version] for ticket in together)
    for ticket in together:
        assert (await progress(tickets, ticket, stored(20, 30))).extents == Extents([(0, 30)])


async def test_the_newest_version_decides_what_may_be_done(tickets: Store) -> None:
    """Neither an error nor a success of the version that was believed counts."""
    ticket = await uploading(tickets)
    newer = await tickets.update(ticket.id, lambda known: known.open("other", None, NOW))

    def store(epoch: int) -> Callable[[Ticket], Ticket]:
        return lambda known: known.store([(0, 10)], epoch, NOW)

    with pytest.raises(TakenOver):
        await progress(tickets, ticket, store(ticket.epoch))
    assert await tickets.get(ticket.id) == newer
    assert (await progress(tickets, ticket, store(newer.epoch))).extents == Extents([(0, 10)])


async def test_a_ticket_that_is_gone_does_not_come_back(tickets: Store) -> None:
    ticket = await uploading(tickets)
    await tickets.forget(ticket.id)
    with pytest.raises(UnknownTicket):
        await progress(tickets, ticket, stored(0, 10))
    assert await tickets.get(ticket.id) is None


# --- what belongs to a ticket -----------------------------------------------------------------------------------------


async def test_records_change_with_their_ticket(open_tickets: OpenTickets) -> None:
    tickets, other = await open_tickets(), await open_tickets()
    ticket = await uploading(tickets)
    assert await tickets.records(ticket.id) == {}
    ticket = await tickets.update(
        ticket.id, stored(0, 10), records=lambda after: {"part/2": "b", "part/1": str(after.extents.size)}
    )
    assert await other.records(ticket.id) == {"part/1": "10", "part/2": "b"}
    assert list(await other.records(ticket.id)) == ["part/1", "part/2"]
    await tickets.update(
        ticket.id,
        stored(10, 20),
        records=lambda after: {"part/1": None, "part/2": "c", "part/9": None},
        believed=ticket,
    )
    assert await other.records(ticket.id) == {"part/2": "c"}
    assert (await other.get(ticket.id)).extents == Extents([(0, 20)])  # type: ignore[union-attr]


async def test_of_a_ticket_and_its_records_both_change_or_neither(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets(limits=StoreLimits(quota=1000))
    ticket = await uploading(tickets, 100)
    ticket = await tickets.update(ticket.id, stored(0, 10), records=lambda after: {"name": "before"})

    def refuse(known: Ticket) -> Ticket:
        raise TakenOver

    def crash(after: Ticket) -> dict[str, str | None]:
        raise ZeroDivisionError

    def too_large(known: Ticket) -> Ticket:
        return replace(known, identity=Identity("a", 5000))

    never: Records = lambda after: {"name": "never"}  # noqa: E731
    for change, records, error in (
        (refuse, never, TakenOver),
        (stored(10, 20), crash, ZeroDivisionError),
        (too_large, never, FileTooLarge),
    ):
        with pytest.raises(error):
            await tickets.update(ticket.id, change, records=records)
    assert await tickets.update(ticket.id, lambda known: known, records=never) == ticket
    with pytest.raises(UnknownTicket):
        await tickets.update("nobody", stored(0, 1), records=never)
    assert await tickets.get(ticket.id) == ticket
    assert await tickets.records(ticket.id) == {"name": "before"}
    assert await tickets.records("nobody") == {}


async def test_records_are_of_one_ticket_and_end_with_it(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets()
    one, other = await uploading(tickets), await uploading(tickets)
    for ticket in (one, other):
        await tickets.update(ticket.id, stored(0, 10), records=lambda after: {"whose": after.id})
    await tickets.forget(one.id)
    assert await tickets.records(one.id) == {}
    await tickets.create(new(one.id))
    assert await tickets.records(one.id) == {}
    assert await tickets.records(other.id) == {"whose": other.id}
    await tickets.close()
    assert await (await open_tickets()).records(other.id) == {"whose": other.id}


async def test_many_workers_lose_no_record(open_tickets: OpenTickets) -> None:
    stores = [await open_tickets() for _ in range(3)]
    ticket = await uploading(stores[0])
    await asyncio.gather(
        *(
            stores[at % 3].update(
                ticket.id, stored(at, at + 1), durable=False, records=lambda after, at=at: {f"{at:03}": "x"}
            )
            for at in range(60)
        )
    )
    assert len(await stores[0].records(ticket.id)) == 60


# --- the outbox -------------------------------------------------------------------------------------------------------


async def test_claims_are_leased(tickets: Store, clock: Clock) -> None:
    await tickets.create(late := owing(NOW - 5))
    await tickets.create(later := owing(NOW))
    await tickets.create(owing(NOW + 1))
    await tickets.create(new())
    claimed = await tickets.claim(60, 10, HOUR)
    assert [ticket.id for ticket in claimed] == [late.id, later.id]
    assert claimed[0].callback == replace(late.callback, due_at=NOW + 60)  # type: ignore[type-var]
    assert claimed[0] == await tickets.get(late.id)
    assert await tickets.claim(60, 10, HOUR) == []
    clock.advance(61)
    assert len(await tickets.claim(60, 10, HOUR)) == 3


@pytest.mark.parametrize("is_outdated", [False, True])
async def test_an_arrival_may_be_recorded_with_the_lease_of_its_callback(
    open_tickets: OpenTickets, clock: Clock, is_outdated: bool
) -> None:
    tickets, other = await open_tickets(), await open_tickets()
    whole = await progress(tickets, await uploading(tickets, 10), stored(0, 10))
    if is_outdated:
        await other.update(whole.id, lambda known: replace(known, paused=True))
    begun = Callback("delivery", cancelled=False, since=NOW, due_at=NOW + 60, attempts=1, unanswered=True)
    arrived = await tickets.update(
        whole.id, lambda known: known.arrive(Location("file", "/path"), begun, NOW), believed=whole
    )
    assert (arrived.state, arrived.callback, arrived.paused) == (State.HANDING_OVER, begun, is_outdated)
    assert arrived == await other.get(whole.id)
    assert [entry.event for entry in arrived.timeline] == ["arrived", "handing_over"]
    for store in (tickets, other):
        assert await store.claim(60, 10, HOUR) == []
    clock.advance(60)
    [claimed] = await other.claim(60, 10, HOUR)
    assert claimed.callback == replace(begun, due_at=NOW + 120)


async def test_claims_are_limited_and_the_oldest_come_first(tickets: Store) -> None:
    for age in (3, 1, 5, 2, 4):
        await tickets.create(owing(NOW - age))
    taken = [await tickets.claim(60, 2, HOUR) for _ in range(4)]
    assert [len(claimed) for claimed in taken] == [2, 2, 1, 0]
    ids = [ticket.id for claimed in taken for ticket in claimed]
    assert len(set(ids)) == 5


async def test_a_clock_set_back_does_not_delay_callbacks(tickets: Store) -> None:
    await tickets.create(owing(NOW + 60 + 299))
    await tickets.create(future := owing(NOW + 60 + 301))
    assert [ticket.id for ticket in await tickets.claim(60, 10, 300)] == [future.id]
    assert await tickets.claim(60, 10, 300) == []


async def test_next_due(tickets: Store) -> None:
    assert await tickets.next_due() is None
    await tickets.create(new())
    assert await tickets.next_due() is None
    await tickets.create(late := owing(NOW + 5))
    await tickets.create(owing(NOW + 9))
    assert await tickets.next_due() == NOW + 5
    await tickets.update(late.id, lambda known: replace(known, callback=None))
    assert await tickets.next_due() == NOW + 9


# --- many tickets -----------------------------------------------------------------------------------------------------


async def test_find(tickets: Store) -> None:
    known = {
        name: new(state=state, active_at=NOW + active, state_since=NOW + since)
        for name, state, active, since in (
            ("a", State.NEW, 5, 1),
            ("b", State.UPLOADING, 3, 2),
            ("c", State.UPLOADING, 9, 0),
            ("d", State.FINISHED, 1, 8),
        )
    }
    for ticket in known.values():
        await tickets.create(ticket)
    names = {ticket.id: name for name, ticket in known.items()}

    async def found(*args: object, **kwargs: object) -> str:
        return "".join(names[ticket.id] for ticket in await tickets.find(*args, **kwargs))  # type: ignore[arg-type]

    assert await found() == "dbac"
    assert await found((State.UPLOADING, State.NEW)) == "bac"
    assert await found((State.UPLOADING, State.UPLOADING)) == "bc"
    assert await found(limit=2) == "db"
    assert await found(idle_since=NOW + 5) == "db"
    assert await found(state_before=NOW + 2) == "ca"
    assert await found((State.UPLOADING,), state_before=NOW + 2) == "c"
    assert await found(idle_since=NOW + 6, state_before=NOW + 2) == "a"
    assert await found(after=NOW + 3) == "bac"
    assert await found(idle_since=NOW + 9, after=NOW + 3) == "ba"
    assert await found(state_before=NOW + 8, after=NOW + 1) == "ab"
    assert await found((State.FAILED,)) == ""


@pytest.mark.parametrize("kind", DATABASES)
@given(moves=steps)
@settings(max_examples=30)
def test_counts_agree_with_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, kind: str, moves: list[tuple[int, Event | None]]
) -> None:
    async def through() -> None:
        store = await DATABASES[kind](tmp_path_factory.mktemp("db")).open()
        known = [new() for _ in range(5)]
        for ticket in known:
            await store.create(ticket)
        for index, event in moves:
            if event is None:
                await store.forget(known[index].id)
                continue
            try:
                await store.update(known[index].id, lambda ticket, event=event: ticket.move(event, NOW), durable=False)
            except Exception as error:
                assert hasattr(error, "code")  # noqa: PT017
        there = [ticket.state for ticket in await store.find()]
        assert await store.counts() == {state: there.count(state) for state in State}
        await store.close()

    asyncio.run(through())


# --- boots ------------------------------------------------------------------------------------------------------------


async def test_after_a_boot_only_synced_extents_are_believed(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets()
    synced, more = Extents([(0, 5)]), Extents([(0, 9)])
    unfinished = new(state=State.UPLOADING, extents=more, synced=synced, epoch=3, session="session1")
    whole = new(state=State.UPLOADING, extents=more, synced=more, epoch=3)
    arrived = new(state=State.ARRIVED, extents=more, synced=synced)
    for ticket in (unfinished, whole, arrived, new()):
        await tickets.create(ticket)
    assert await tickets.distrust_after_boot("first") == 1
    after = await tickets.get(unfinished.id)
    assert after is not None
    assert unversioned(after) == unfinished.distrust()
    assert unversioned(await tickets.get(whole.id)) == whole
    assert unversioned(await tickets.get(arrived.id)) == arrived
    await tickets.update(unfinished.id, lambda known: known.store([(5, 9)], None, NOW))
    other = await open_tickets()
    assert await other.distrust_after_boot("first") == 0
    assert await tickets.distrust_after_boot("second") == 1
    assert await other.distrust_after_boot("second") == 0


async def test_a_boot_of_one_host_concerns_what_was_written_on_it(open_tickets: OpenTickets) -> None:
    one, other = await open_tickets(host="one"), await open_tickets(host="one-two")
    for store in (one, other):
        await store.distrust_after_boot("first")
    hers, both, synced = [
        new(state=State.UPLOADING, extents=Extents([(0, 5)]), synced=Extents([(0, 5)])) for _ in "123"
    ]
    for ticket in (hers, both, synced):
        await one.create(ticket)
    before = await other.update(hers.id, lambda known: known.store([(5, 9)], None, NOW))
    await one.update(both.id, lambda known: known.store([(5, 7)], None, NOW))
    believed = await other.update(both.id, lambda known: known.store([(7, 9)], None, NOW))
    await one.update(synced.id, lambda known: known.store([(5, 9)], None, NOW))
    await other.update(synced.id, lambda known: known.checkpoint(Extents([(0, 9)])))
    await other.update(synced.id, lambda known: known.store([(9, 12)], None, NOW))

    assert await one.distrust_after_boot("second") == 1
    assert await other.get(hers.id) == before
    distrusted = await other.get(both.id)
    assert distrusted is not None
    assert (distrusted.extents, distrusted.epoch) == (Extents([(0, 5)]), believed.epoch + 1)
    assert await one.distrust_after_boot("second") == 0
    assert await other.distrust_after_boot("another boot of the other") == 2


async def test_progress_is_noted_as_its_hosts(open_tickets: OpenTickets) -> None:
    """By the quick way as well, which reads nothing."""
    one, other = await open_tickets(host="one"), await open_tickets(host="other")
    for store in (one, other):
        await store.distrust_after_boot("first")
    await one.create(new_ticket := new(state=State.UPLOADING))
    ticket = await one.get(new_ticket.id)
    for number, store in enumerate((one, one, other)):
        start = 10 * number
        ticket = await store.update(
            new_ticket.id,
            lambda known, start=start: known.store([(start, start + 9)], None, NOW),  # type: ignore[misc]
            believed=ticket,
        )
    assert await other.distrust_after_boot("second") == 1


# --- several workers --------------------------------------------------------------------------------------------------


async def test_one_sees_what_the_other_does(open_tickets: OpenTickets) -> None:
    one, two = await open_tickets(), await open_tickets()
    await one.create(ticket := new())
    changed = await two.update(ticket.id, lambda known: known.open("session1", None, NOW))
    assert await one.get(ticket.id) == changed
    again = await one.update(ticket.id, lambda known: known.open("session2", None, NOW))
    assert again.version > changed.version
    await two.forget(ticket.id)
    assert await one.get(ticket.id) is None


async def test_changes_elsewhere_are_told(open_tickets: OpenTickets) -> None:
    one, two, three = await open_tickets(), await open_tickets(), await open_tickets()
    heard: dict[str, list[str]] = {"one": [], "two": []}
    one.watch(heard["one"].append)
    two.watch(heard["two"].append)
    tickets = [new() for _ in range(20)]
    for ticket in tickets:
        await three.create(ticket)
    ids = {ticket.id for ticket in tickets}
    await until(lambda: set(heard["one"]) == set(heard["two"]) == ids, "news of all tickets")
    heard["one"].clear()
    await two.update(tickets[3].id, lambda known: replace(known, reason="x"))
    await until(lambda: heard["two"][-1] == tickets[3].id, "its own news")
    await until(lambda: heard["one"] == [tickets[3].id], "news of the one ticket, once")


async def test_quiet_changes_are_news_elsewhere_only(open_tickets: OpenTickets) -> None:
    one, two = await open_tickets(), await open_tickets()
    await one.create(ticket := new())
    heard: dict[str, list[str]] = {"one": [], "two": []}
    one.watch(heard["one"].append)
    two.watch(heard["two"].append)
    changed = await one.update(ticket.id, lambda known: replace(known, reason="quiet"), quiet=True)
    assert changed.version > ticket.version
    await until(lambda: ticket.id in heard["two"], "the news in the other process")
    await two.create(last := new())
    await until(lambda: last.id in heard["one"], "later news")
    assert ticket.id not in heard["one"]


async def test_own_changes_come_once_also_among_others(open_tickets: OpenTickets) -> None:
    one, two = await open_tickets(), await open_tickets()
    await one.create(mine := new())
    await two.create(theirs := new())
    heard: list[str] = []
    one.watch(heard.append)
    for turn in range(20):
        await one.update(mine.id, lambda known, turn=turn: replace(known, reason=str(turn)))
        await two.update(theirs.id, lambda known, turn=turn: replace(known, reason=str(turn)))
    await two.create(last := new())
    await until(lambda: last.id in heard, "the last news")
    assert heard.count(mine.id) == 20
    assert 1 <= heard.count(theirs.id) <= 21  # the news of its creation may come only now


async def test_a_change_rolled_back_here_hides_none_made_elsewhere(open_tickets: OpenTickets) -> None:
    """Its version numbers are given again, to another process's change."""
    one, two = await open_tickets(), await open_tickets()
    heard: list[str] = []
    one.watch(heard.append)
    await one.create(mine := new())

    def fail(known: object) -> object:
        raise ZeroDivisionError

    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await one.update(mine.id, fail)  # type: ignore[arg-type]
        await two.create(other := new())
        await until(lambda other=other: other.id in heard, "news of the other's ticket")  # type: ignore[misc]


async def test_no_two_get_the_same_callback(open_tickets: OpenTickets) -> None:
    stores = [await open_tickets() for _ in range(4)]
    for number in range(100):
        await stores[number % 4].create(owing(NOW - number))
    taken = await asyncio.gather(*(store.claim(60, 10, 3600) for _ in range(5) for store in stores))
    ids = [ticket.id for claimed in taken for ticket in claimed]
    assert len(ids) == len(set(ids)) == 100


async def test_exactly_one_wins(open_tickets: OpenTickets) -> None:
    stores = [await open_tickets() for _ in range(4)]
    await stores[0].create(ticket := new(state=State.UPLOADING))

    async def arrive(store: Store, number: int) -> bool:
        def change(known):  # type: ignore[no-untyped-def]
            place = Location("file", f"/{number}")
            return known.arrive(place, owing(NOW).callback, NOW) if known.state == State.UPLOADING else known

        return (await store.update(ticket.id, change)).location.address == f"/{number}"

    won = await asyncio.gather(*(arrive(store, number) for number, store in enumerate(stores * 5)))
    assert won.count(True) == 1


async def test_nothing_is_lost_between_workers(open_tickets: OpenTickets) -> None:
    stores = [await open_tickets() for _ in range(3)]
    await stores[0].create(ticket := new(state=State.UPLOADING))
    await asyncio.gather(
        *(
            store.update(ticket.id, lambda known, at=at: known.store([(at, at + 1)], None, NOW), durable=False)
            for number, store in enumerate(stores)
            for at in range(number, 600, 3)
        )
    )
    known = await stores[0].get(ticket.id)
    assert known is not None
    assert known.extents == Extents([(0, 600)])


# --- listeners --------------------------------------------------------------------------------------------------------


async def test_own_changes_are_told_once(tickets: Store) -> None:
    told: list[str] = []
    tickets.watch(told.append)
    tickets.watch(lambda ticket_id: told.append("again"))
    await tickets.create(ticket := new())
    await until(lambda: told == [ticket.id, "again"], "the first news")
    await tickets.update(ticket.id, lambda known: replace(known, reason="x"))
    await tickets.forget(ticket.id)
    await until(lambda: told == [ticket.id, "again"] * 3, "news of each change")


async def test_changes_that_were_refused_are_not_told(tickets: Store) -> None:
    await tickets.create(ticket := new())
    told: list[str] = []
    tickets.watch(told.append)
    with pytest.raises(StorageFailed):
        await tickets.create(ticket)
    await tickets.create(last := new())
    await until(lambda: told, "later news")
    assert told == [last.id]


async def test_a_listener_that_fails_is_alone_with_it(tickets: Store, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def fail(ticket_id: str) -> None:
        raise ZeroDivisionError

    tickets.watch(fail)
    tickets.watch(told.append)
    await tickets.create(ticket := new())
    await until(lambda: told == [ticket.id], "the news")
    assert "listener" in caplog.text


# --- the store itself -------------------------------------------------------------------------------------------------


async def test_all_is_there_when_opened_again(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets()
    await tickets.create(ticket := new())
    before = await tickets.get(ticket.id)
    await tickets.close()
    assert await (await open_tickets()).get(ticket.id) == before


async def test_closed(open_tickets: OpenTickets) -> None:
    tickets = await open_tickets()
    last = asyncio.ensure_future(tickets.create(ticket := new()))
    await asyncio.sleep(0)
    await tickets.close()
    await last
    for attempt in (tickets.get(ticket.id), tickets.check(), tickets.counts()):
        with pytest.raises(ServerShutdown):
            await attempt
    await tickets.close()
    assert await (await open_tickets()).get(ticket.id) is not None


async def test_what_was_swept_is_noted_by_state(open_tickets: OpenTickets) -> None:
    one, other = await open_tickets(), await open_tickets()
    assert await one.swept(State.FAILED) is None
    await one.note_swept(State.FAILED, NOW + 0.25)
    await one.note_swept(State.FINISHED, NOW)
    await one.close()
    assert await other.swept(State.FAILED) == NOW + 0.25
    assert await other.swept(State.CANCELLED) is None


async def test_the_service_time_is_that_of_all_workers(open_tickets: OpenTickets, clock: Clock) -> None:
    first = await open_tickets()
    assert await first.note_service() == ServiceTime(NOW)
    clock.advance(60)
    assert await first.note_service() == ServiceTime(NOW + 60)
    await first.close()
    clock.now = NOW + 9000
    night = ServiceTime(NOW + 9000, ((NOW + 60, NOW + 9000),))
    assert await (await open_tickets()).note_service() == night
    clock.advance(1)
    assert await (await open_tickets()).note_service() == ServiceTime(NOW + 9001, night.outages)


async def test_a_store_that_can_be_written_to_says_so(tickets: Store) -> None:
    await tickets.check()


async def test_nobody_waiting_for_the_answer_any_more_is_no_failure(tickets: Store) -> None:
    given_up = asyncio.ensure_future(tickets.create(ticket := new()))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)
    await tickets.check()
    if await tickets.get(ticket.id) is None:
        await tickets.create(ticket)
    await tickets.update(ticket.id, lambda known: replace(known, reason="x"))


async def test_the_clock_is_the_one_that_leases_end_by(tickets: Store, clock: Clock) -> None:
    await tickets.create(owing(NOW))
    [claimed] = await tickets.claim(60, 10, HOUR)
    assert claimed.callback is not None
    assert claimed.callback.due_at == tickets.clock.now() + 60 == clock() + 60
