"""The promises of `TicketStore`, kept by SQLite, for one worker."""

import asyncio
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tornado.ioloop import IOLoop

from incoming.core.errors import ServerShutdown, StorageFailed, TakenOver, UnknownTicket
from incoming.core.extents import Extents
from incoming.core.service_time import ServiceTime
from incoming.core.ticket import FINAL, Event, State, Ticket
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import TicketStore
from tests.support.stores import Clock
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.tickets import NOW, any_ticket, new, owing

HOUR = 3600.0


def unversioned(ticket: Ticket | None) -> Ticket:
    assert ticket is not None
    return replace(ticket, version=0)


class Held:
    """The writing thread, held in an operation of its own, so that what is asked meanwhile goes together."""

    def __init__(self, tickets: SqliteStore) -> None:
        self._tickets = tickets
        self._go_on = threading.Event()

    async def __aenter__(self) -> None:
        started = threading.Event()

        def hold(transaction: Transaction) -> None:
            started.set()
            assert self._go_on.wait(20)

        self._task = asyncio.ensure_future(self._tickets._writer.perform(hold, durable=False))
        await asyncio.get_running_loop().run_in_executor(None, started.wait, 20)

    async def __aexit__(self, *error: object) -> None:
        await asyncio.sleep(0)  # the tasks made inside get as far as asking
        self._go_on.set()
        await self._task


def statements(tickets: SqliteStore) -> list[str]:
    """What the writing connection executes from now on, except the contents of transactions."""
    executed: list[str] = []
    words = ("BEGIN", "COMMIT", "ROLLBACK", "PRAGMA synchronous", "PRAGMA wal_checkpoint")

    def note(statement: str) -> None:
        if statement.startswith(words) and "TO operation" not in statement:
            executed.append(statement)

    tickets._writer._connection.set_trace_callback(note)
    return executed


# --- one ticket -------------------------------------------------------------------------------------------------------


async def test_keeps_the_protocol(tickets: SqliteStore) -> None:
    store: TicketStore = tickets
    assert await store.get("nobody") is None


@given(known=any_ticket)
@settings(max_examples=30)
def test_what_was_created_is_there(tmp_path_factory: pytest.TempPathFactory, known: Ticket) -> None:
    async def through() -> None:
        store = SqliteStore(tmp_path_factory.mktemp("db") / "incoming.sqlite")
        await store.create(known)
        assert unversioned(await store.get(known.id)) == replace(known, version=0)
        await store.close()

    asyncio.run(through())


async def test_an_id_is_given_once(tickets: SqliteStore) -> None:
    ticket = new()
    await tickets.create(ticket)
    with pytest.raises(StorageFailed):
        await tickets.create(replace(ticket, reason="another"))
    known = await tickets.get(ticket.id)
    assert known is not None
    assert known.reason == ""


async def test_update(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    opened = await tickets.update(ticket.id, lambda known: known.open("session1", None, NOW))
    assert (opened.state, opened.epoch) == (State.UPLOADING, 1)
    assert await tickets.get(ticket.id) == opened
    stored = await tickets.update(ticket.id, lambda known: known.store([(0, 5)], 1, NOW), durable=False)
    assert await tickets.get(ticket.id) == stored
    assert stored.extents == Extents([(0, 5)])


async def test_every_change_has_a_higher_version(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    first = await tickets.get(ticket.id)
    assert first is not None
    async with Held(tickets):
        changes = [
            asyncio.ensure_future(tickets.update(ticket.id, lambda known: replace(known, epoch=known.epoch + 1)))
            for _ in range(10)
        ]
    versions = [first.version, *(changed.version for changed in await asyncio.gather(*changes))]
    assert versions == sorted(set(versions))
    assert first.version > 0


async def test_a_change_to_nothing_is_none(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    before = await tickets.get(ticket.id)
    changed: list[str] = []
    tickets.watch(changed.append)
    assert await tickets.update(ticket.id, lambda known: known) == before
    assert changed == []


async def test_unknown(tickets: SqliteStore) -> None:
    with pytest.raises(UnknownTicket):
        await tickets.update("nobody", lambda known: known)


async def test_a_change_that_raises_changes_nothing(tickets: SqliteStore) -> None:
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


async def test_a_change_gives_no_ticket_another_id(tickets: SqliteStore) -> None:
    one, other = new(), new()
    await tickets.create(one)
    await tickets.create(other)
    before = await tickets.get(one.id), await tickets.get(other.id)
    for ticket_id in ("nobody", other.id):
        with pytest.raises(ValueError, match="another id"):
            await tickets.update(one.id, lambda known, ticket_id=ticket_id: replace(known, id=ticket_id))
    assert (await tickets.get(one.id), await tickets.get(other.id)) == before


async def test_changes_of_one_ticket_come_one_after_the_other(tickets: SqliteStore) -> None:
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


async def test_ten_thousand_ranges(tickets: SqliteStore) -> None:
    extents = Extents((i * 10, i * 10 + 5) for i in range(10_000))
    await tickets.create(ticket := new(state=State.UPLOADING, extents=extents))
    known = await tickets.update(ticket.id, lambda known: known.checkpoint(extents))
    assert known.synced == extents
    assert unversioned(await tickets.get(ticket.id)) == replace(ticket, synced=extents)


async def test_forget(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    await tickets.forget(ticket.id)
    await tickets.forget(ticket.id)
    assert await tickets.get(ticket.id) is None
    assert (await tickets.counts())[State.NEW] == 0


# --- transactions -----------------------------------------------------------------------------------------------------


async def test_what_is_asked_together_is_committed_together(tickets: SqliteStore) -> None:
    executed = statements(tickets)
    async with Held(tickets):
        creations = [asyncio.ensure_future(tickets.create(new())) for _ in range(100)]
    await asyncio.gather(*creations)
    assert executed.count("COMMIT") == 2  # the held one and the hundred


async def test_the_failure_of_one_is_not_that_of_another(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    executed = statements(tickets)
    async with Held(tickets):
        fine = [asyncio.ensure_future(tickets.create(new())) for _ in range(3)]
        unknown = asyncio.ensure_future(tickets.update("nobody", lambda known: known))
        twice = asyncio.ensure_future(tickets.create(ticket))
        late = asyncio.ensure_future(tickets.update(ticket.id, lambda known: replace(known, reason="late")))
    with pytest.raises(UnknownTicket):
        await unknown
    with pytest.raises(StorageFailed):
        await twice
    await asyncio.gather(*fine)
    assert await late == await tickets.get(ticket.id)
    assert (await tickets.counts())[State.NEW] == 4
    assert executed.count("COMMIT") == 2


async def test_synced_only_when_somebody_wants_it(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    executed = statements(tickets)
    touch: Callable[[Ticket], Ticket] = lambda known: replace(known, reason=known.reason + "x")  # noqa: E731
    for durable in (False, False, True, True, False):
        await tickets.update(ticket.id, touch, durable=durable)
    async with Held(tickets):
        both = [asyncio.ensure_future(tickets.update(ticket.id, touch, durable=durable)) for durable in (False, True)]
    await asyncio.gather(*both)
    commit = ["BEGIN IMMEDIATE", "COMMIT"]
    normal, full = (f"PRAGMA synchronous = {word}" for word in ("NORMAL", "FULL"))
    # The first may have to leave what the creation had set; the held one comes before the last two.
    assert executed == [normal, *commit, *commit, full, *commit, *commit, normal, *commit, *commit, full, *commit]


async def test_nobody_waiting_for_the_answer_any_more(tickets: SqliteStore) -> None:
    async with Held(tickets):
        given_up = asyncio.ensure_future(tickets.create(ticket := new()))
        await asyncio.sleep(0)
        given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    await tickets.check()
    assert await tickets.get(ticket.id) is not None


async def test_an_endless_stream_does_not_hold_back_the_first(tickets: SqliteStore) -> None:
    executed = statements(tickets)
    async with Held(tickets):
        checks = [asyncio.ensure_future(tickets.check()) for _ in range(2500)]
    await asyncio.gather(*checks)
    assert executed.count("COMMIT") == 4


async def test_the_loop_goes_on_during_a_long_transaction(tickets: SqliteStore) -> None:
    turns = 0
    async with Held(tickets):
        waiting = asyncio.ensure_future(tickets.check())
        for _ in range(100):
            turns += 1
            await asyncio.sleep(0)
        assert not waiting.done()
        assert await tickets.get("nobody") is None  # nor do readers wait
    await waiting
    assert turns == 100


# --- the outbox -------------------------------------------------------------------------------------------------------


async def test_claims_are_leased(tickets: SqliteStore, clock: Clock) -> None:
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


async def test_claims_are_limited_and_the_oldest_come_first(tickets: SqliteStore) -> None:
    for age in (3, 1, 5, 2, 4):
        await tickets.create(owing(NOW - age))
    taken = [await tickets.claim(60, 2, HOUR) for _ in range(4)]
    assert [len(claimed) for claimed in taken] == [2, 2, 1, 0]
    ids = [ticket.id for claimed in taken for ticket in claimed]
    assert len(set(ids)) == 5


async def test_a_clock_set_back_does_not_delay_callbacks(tickets: SqliteStore) -> None:
    await tickets.create(owing(NOW + 60 + 299))
    await tickets.create(future := owing(NOW + 60 + 301))
    assert [ticket.id for ticket in await tickets.claim(60, 10, 300)] == [future.id]
    assert await tickets.claim(60, 10, 300) == []


async def test_next_due(tickets: SqliteStore) -> None:
    assert await tickets.next_due() is None
    await tickets.create(new())
    assert await tickets.next_due() is None
    await tickets.create(late := owing(NOW + 5))
    await tickets.create(owing(NOW + 9))
    assert await tickets.next_due() == NOW + 5
    await tickets.update(late.id, lambda known: replace(known, callback=None))
    assert await tickets.next_due() == NOW + 9


# --- many tickets -----------------------------------------------------------------------------------------------------


async def test_find(tickets: SqliteStore) -> None:
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


steps = st.lists(st.tuples(st.integers(0, 4), st.sampled_from(list(Event)) | st.none()), max_size=30)


@given(steps)
@settings(max_examples=30)
def test_counts_agree_with_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, Event | None]]
) -> None:
    async def through() -> None:
        store = SqliteStore(tmp_path_factory.mktemp("db") / "incoming.sqlite")
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


async def test_after_a_boot_only_synced_extents_are_believed(open_tickets: OpenTickets) -> None:
    tickets = open_tickets()
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
    other = open_tickets()
    assert await other.distrust_after_boot("first") == 0
    assert await tickets.distrust_after_boot("second") == 1
    assert await other.distrust_after_boot("second") == 0


async def test_a_boot_of_one_host_concerns_what_was_written_on_it(open_tickets: OpenTickets) -> None:
    one, other = open_tickets(host="one"), open_tickets(host="one-two")
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


async def test_writes_that_were_not_noted_are_believed_after_no_boot(open_tickets: OpenTickets) -> None:
    """A worker of an earlier release, which is still running during an update, notes no host."""
    tickets = open_tickets()
    await tickets.distrust_after_boot("first")
    await tickets.create(ticket := new(state=State.UPLOADING, extents=Extents([(0, 9)]), synced=Extents()))
    await tickets._writer.perform(
        lambda transaction: transaction.connection.execute("UPDATE tickets SET written_by = ''"), durable=True
    )
    assert await tickets.distrust_after_boot("second") == 1
    after = await tickets.get(ticket.id)
    assert after is not None
    assert not after.extents


async def test_progress_is_noted_as_its_hosts(open_tickets: OpenTickets) -> None:
    """By the quick way as well, which reads nothing."""
    one, other = open_tickets(host="one"), open_tickets(host="other")
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


# --- listeners --------------------------------------------------------------------------------------------------------


async def test_own_changes_are_told_once(tickets: SqliteStore) -> None:
    told: list[str] = []
    tickets.watch(told.append)
    tickets.watch(lambda ticket_id: told.append("again"))
    await tickets.create(ticket := new())
    assert told == [ticket.id, "again"]
    await tickets.update(ticket.id, lambda known: replace(known, reason="x"))
    await tickets.forget(ticket.id)
    assert told == [ticket.id, "again"] * 3


async def test_changes_that_were_refused_are_not_told(tickets: SqliteStore) -> None:
    await tickets.create(ticket := new())
    told: list[str] = []
    tickets.watch(told.append)
    with pytest.raises(StorageFailed):
        await tickets.create(ticket)
    assert told == []


async def test_a_listener_that_fails_is_alone_with_it(tickets: SqliteStore, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    def fail(ticket_id: str) -> None:
        raise ZeroDivisionError

    tickets.watch(fail)
    tickets.watch(told.append)
    await tickets.create(ticket := new())
    assert told == [ticket.id]
    assert "listener" in caplog.text


# --- the store itself -------------------------------------------------------------------------------------------------


async def test_check_really_writes(tickets: SqliteStore) -> None:
    executed = statements(tickets)
    await tickets.check()
    assert executed[-2:] == ["BEGIN IMMEDIATE", "COMMIT"]
    assert tickets._reading.execute("SELECT value FROM meta WHERE key = 'checked'").fetchone() == (1,)


async def test_the_files_are_not_for_everybody(tickets: SqliteStore, tmp_path: Path) -> None:
    await tickets.create(new())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("incoming.sqlite*")}
    assert modes == dict.fromkeys(("incoming.sqlite", "incoming.sqlite-wal", "incoming.sqlite-shm"), 0o640)


async def test_all_is_there_when_opened_again(open_tickets: OpenTickets) -> None:
    tickets = open_tickets()
    await tickets.create(ticket := new())
    before = await tickets.get(ticket.id)
    await tickets.close()
    assert await open_tickets().get(ticket.id) == before


async def test_closed(open_tickets: OpenTickets) -> None:
    tickets = open_tickets()
    last = asyncio.ensure_future(tickets.create(ticket := new()))
    await asyncio.sleep(0)
    await tickets.close()
    await last
    for attempt in (tickets.get(ticket.id), tickets.check(), tickets.counts()):
        with pytest.raises(ServerShutdown):
            await attempt
    await tickets.close()
    assert await open_tickets().get(ticket.id) is not None


def test_a_loop_that_ended_takes_nobody_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The writing thread has an answer for somebody who is gone; others still get theirs."""
    go_on = threading.Event()

    async def ask() -> SqliteStore:
        store = SqliteStore(tmp_path / "incoming.sqlite")
        work = asyncio.ensure_future(store._writer.perform(lambda transaction: go_on.wait(20), durable=False))
        await asyncio.sleep(0)
        work.cancel()
        return store

    store = asyncio.run(ask())
    go_on.set()

    async def go_on_elsewhere() -> None:
        await store.create(ticket := new())
        assert await store.get(ticket.id) is not None
        await store.close()

    asyncio.run(go_on_elsewhere())
    assert "the event loop ended" in caplog.text


def test_threads_end_with_the_store(io_loop: IOLoop, tmp_path: Path) -> None:
    async def live() -> None:
        store = SqliteStore(tmp_path / "incoming.sqlite")
        store.watch(lambda ticket_id: None)
        await store.create(new())
        await store.get("nobody")
        await store.close()

    before = set(threading.enumerate())
    io_loop.run_sync(live)
    assert set(threading.enumerate()) == before


def plan(tickets: SqliteStore, query: str, *values: object) -> str:
    rows = tickets._reading.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
    return " / ".join(row[3] for row in rows)


async def test_every_question_has_an_index(tickets: SqliteStore) -> None:
    """A million tombstones slow none of them; a scan or a sort would."""
    asked: list[str] = []
    tickets._reading.set_trace_callback(asked.append)
    tickets._writer._connection.set_trace_callback(asked.append)
    await tickets.create(ticket := owing(NOW))
    await tickets.get(ticket.id)
    await tickets.claim(60, 10, HOUR)
    await tickets.next_due()
    await tickets.counts()
    await tickets.distrust_after_boot("boot")
    for bounds in ({}, {"idle_since": NOW}, {"state_before": NOW + 1}, {"idle_since": NOW, "state_before": NOW}):
        await tickets.find(tuple(FINAL), after=NOW - 1, **bounds)
        await tickets.find((), **bounds)
    tickets._reading.set_trace_callback(None)
    plans = {query: plan(tickets, query) for query in asked if query.startswith("SELECT") and "tickets" in query}
    assert len(plans) > 10
    slow = {query: steps for query, steps in plans.items() if "SCAN tickets" in steps or "TEMP B-TREE" in steps}
    # MIN() walks to the first entry of the index and ends there, which SQLite calls a search or a scan of it.
    assert {query for query in slow if "MIN(due_at)" not in query} == set()


async def test_the_service_time_outlives_the_process(open_tickets: OpenTickets, clock: Clock) -> None:
    first = open_tickets()
    assert await first.note_service() == ServiceTime(NOW)
    clock.now = NOW + 60
    assert await first.note_service() == ServiceTime(NOW + 60)
    await first.close()
    clock.now = NOW + 9000
    night = ServiceTime(NOW + 9000, ((NOW + 60, NOW + 9000),))
    assert await open_tickets().note_service() == night
    other = open_tickets()
    clock.now = NOW + 9001
    assert await other.note_service() == ServiceTime(NOW + 9001, night.outages)
    # A damaged note is as good as none.
    await other._writer.perform(
        lambda transaction: transaction.connection.execute("UPDATE meta SET value = 'x' WHERE key = 'service'"),
        durable=False,
    )
    clock.now = NOW + 9999
    assert await other.note_service() == ServiceTime(NOW + 9999)
