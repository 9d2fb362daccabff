"""The promises of `TicketStore`, kept by SQLite, for one worker."""

import asyncio
import stat
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed, UnknownTicket
from incoming.core.extents import Extents
from incoming.core.service_time import ServiceTime
from incoming.core.ticket import FINAL, State, Ticket
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import TicketStore
from tests.support.stores import Clock
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.tickets import NOW, new, owing

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


# --- transactions -----------------------------------------------------------------------------------------------------


async def test_concurrent_requests_share_a_commit(tickets: SqliteStore) -> None:
    executed = statements(tickets)
    async with Held(tickets):
        creations = [asyncio.ensure_future(tickets.create(new())) for _ in range(100)]
    await asyncio.gather(*creations)
    assert executed.count("COMMIT") == 2  # the held one and the hundred


async def test_one_failure_does_not_fail_others(tickets: SqliteStore) -> None:
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


async def test_only_durable_requests_sync(tickets: SqliteStore) -> None:
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


async def test_a_cancelled_request_is_still_committed(tickets: SqliteStore) -> None:
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


async def test_the_event_loop_runs_during_a_long_transaction(tickets: SqliteStore) -> None:
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


# --- many tickets -----------------------------------------------------------------------------------------------------


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


# --- listeners --------------------------------------------------------------------------------------------------------


# --- the store itself -------------------------------------------------------------------------------------------------


async def test_check_really_writes(tickets: SqliteStore) -> None:
    executed = statements(tickets)
    await tickets.check()
    assert executed[-2:] == ["BEGIN IMMEDIATE", "COMMIT"]
    assert tickets._reading.execute("SELECT value FROM meta WHERE key = 'checked'").fetchone() == (1,)


async def test_the_files_are_private(tickets: SqliteStore, tmp_path: Path) -> None:
    await tickets.create(new())
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("incoming.sqlite*")}
    assert modes == dict.fromkeys(("incoming.sqlite", "incoming.sqlite-wal", "incoming.sqlite-shm"), 0o640)


def test_an_ended_event_loop_fails_no_other_caller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
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


async def test_a_lease_lasts_from_when_it_is_granted(open_tickets: OpenTickets, clock: Clock) -> None:
    """The disk may keep a request waiting for longer than the lease would last."""
    tickets, other = open_tickets(), open_tickets()
    async with Held(tickets):
        asked = asyncio.ensure_future(tickets.lease("duty", 60))
        await asyncio.sleep(0)
        clock.advance(100)
    assert await asked
    clock.advance(59)
    assert not await other.lease("duty", 60)
    clock.advance(2)
    assert await other.lease("duty", 60)
