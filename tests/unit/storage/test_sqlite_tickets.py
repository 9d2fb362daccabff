"""Progress of a ticket that the caller believes to know: one statement if so, the whole way if not."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import pytest

from incoming.core.errors import FileTooLarge, TakenOver
from incoming.core.extents import Extents
from incoming.core.ticket import Callback, Identity, State, Ticket
from incoming.storage.quotas import StoreLimits
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.sqlite.tickets import save
from tests.support.stores import until
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.test_sqlite import Held
from tests.unit.storage.tickets import NOW, new


async def uploading(tickets: SqliteStore, size: int | None = 1000) -> Ticket:
    await tickets.create(ticket := new())
    return await tickets.update(
        ticket.id, lambda known: replace(known, state=State.UPLOADING, identity=Identity("a", size), session="s")
    )


def stored(start: int, end: int, now: float = NOW) -> Callable[[Ticket], Ticket]:
    return lambda known: known.store([(start, end)], None, now)


async def progress(tickets: SqliteStore, believed: Ticket, change: Callable[[Ticket], Ticket]) -> Ticket:
    return await tickets.update(believed.id, change, durable=False, quiet=True, believed=believed)


def asked(tickets: SqliteStore) -> list[str]:
    """What the writing connection executes on tickets from now on."""
    found: list[str] = []
    tickets._writer._connection.set_trace_callback(
        lambda statement: found.append(statement.split()[0]) if "tickets" in statement else None
    )
    return found


async def test_progress_reads_nothing_and_is_kept(tickets: SqliteStore) -> None:
    ticket = await uploading(tickets)
    executed = asked(tickets)
    first = await progress(tickets, ticket, stored(0, 10, NOW + 1))
    second = await progress(tickets, first, lambda known: stored(20, 30)(known).checkpoint(Extents([(0, 10)])))
    assert executed == ["UPDATE", "UPDATE"]
    assert await tickets.get(ticket.id) == second
    assert (second.extents, second.synced) == (Extents([(0, 10), (20, 30)]), Extents([(0, 10)]))
    assert ticket.version < first.version < second.version
    assert (first.active_at, second.active_at) == (NOW + 1, NOW)


async def test_two_of_one_upload_in_one_transaction_build_on_each_other(tickets: SqliteStore) -> None:
    """As a commit and a checkpoint do, both of which believe the version before."""
    ticket = await uploading(tickets)
    executed = asked(tickets)
    async with Held(tickets):
        under_way = [
            asyncio.ensure_future(progress(tickets, ticket, change))
            for change in (stored(0, 10), lambda known: known.checkpoint(Extents([(0, 5)])))
        ]
        await asyncio.sleep(0)
        tickets._writer._give_turn()
    first, second = await asyncio.gather(*under_way)
    assert executed == ["UPDATE", "UPDATE"]
    assert (second.extents, second.synced) == (first.extents, Extents([(0, 5)]))
    assert await tickets.get(ticket.id) == second


async def test_what_was_undone_is_not_built_upon(tickets: SqliteStore) -> None:
    ticket = await uploading(tickets)

    def undone(transaction: Transaction) -> None:
        save(transaction, ticket, replace(ticket, reason="undone"))
        raise ValueError("so it is rolled back")

    async with Held(tickets):
        failing = asyncio.ensure_future(tickets._writer.perform(undone, durable=False))
        await asyncio.sleep(0)
        gaining = asyncio.ensure_future(progress(tickets, ticket, stored(0, 10)))
        await asyncio.sleep(0)
        tickets._writer._give_turn()
    with pytest.raises(ValueError, match="rolled back"):
        await failing
    assert (await gaining).reason == ""
    assert await tickets.get(ticket.id) == await gaining


async def test_a_change_of_a_known_version_reads_nothing_either(tickets: SqliteStore) -> None:
    owed: list[bool] = []
    tickets.watch_outbox(lambda: owed.append(True))
    ticket = await uploading(tickets)
    executed = asked(tickets)
    paused = await progress(tickets, ticket, lambda known: known.pause(None, NOW))
    callback = Callback("a callback", cancelled=True, since=NOW, due_at=NOW)
    cancelled = await progress(tickets, paused, lambda known: known.cancel("enough", callback, NOW))
    assert "SELECT" not in executed
    assert paused.paused
    assert (await tickets.get(ticket.id), cancelled.callback) == (cancelled, callback)
    assert (await tickets.counts())[State.CANCELLED] == 1
    await until(lambda: owed, "the news of the outbox")


async def test_no_change_changes_nothing(tickets: SqliteStore) -> None:
    ticket = await uploading(tickets)
    assert await progress(tickets, ticket, lambda known: known) == ticket
    assert await tickets.get(ticket.id) == ticket


async def test_a_change_of_another_version_is_made_to_the_newest_one(tickets: SqliteStore) -> None:
    old = await uploading(tickets)
    newest = await tickets.update(old.id, stored(0, 10))
    paused = await progress(tickets, old, lambda known: known.pause(None, NOW))
    assert (paused.paused, paused.extents) == (True, newest.extents)
    assert await tickets.get(old.id) == paused


async def test_a_change_that_would_exceed_the_quota_leaves_the_ticket_as_it_was(open_tickets: OpenTickets) -> None:
    tickets = open_tickets(limits=StoreLimits(quota=1000))
    ticket = await uploading(tickets, None)
    with pytest.raises(FileTooLarge):
        await progress(tickets, ticket, lambda known: replace(known, identity=Identity("a", 1001), reason="large"))
    assert await tickets.get(ticket.id) == ticket
    allowed = await progress(tickets, ticket, lambda known: replace(known, identity=Identity("a", 1000)))
    assert await tickets.get(ticket.id) == allowed


async def test_the_quota_counts_what_has_come_of_a_file_of_unknown_size(open_tickets: OpenTickets) -> None:
    tickets = open_tickets(limits=StoreLimits(quota=1000))
    ticket = await progress(tickets, await uploading(tickets, None), stored(0, 1000))
    with pytest.raises(FileTooLarge):
        await progress(tickets, ticket, stored(1000, 1001))
    assert await tickets.get(ticket.id) == ticket


async def test_one_failure_in_a_batch_fails_no_other(tickets: SqliteStore) -> None:
    uploads = [await uploading(tickets) for _ in range(5)]

    def fail(known: Ticket) -> Ticket:
        raise TakenOver("not yours")

    changes = [stored(0, 10), fail, stored(0, 10), stored(0, 10), stored(0, 10)]
    async with Held(tickets):
        under_way = [
            asyncio.ensure_future(progress(tickets, ticket, change))
            for ticket, change in zip(uploads, changes, strict=True)
        ]
        await asyncio.sleep(0)
        tickets._writer._give_turn()
    outcome = await asyncio.gather(*under_way, return_exceptions=True)
    assert [type(each) for each in outcome] == [Ticket, TakenOver, Ticket, Ticket, Ticket]
    assert [(await tickets.get(ticket.id)).extents.size for ticket in uploads] == [10, 0, 10, 10, 10]  # type: ignore[union-attr]


async def test_counted_columns_are_set_only_when_they_change(tickets: SqliteStore) -> None:
    """A statement that sets one has its pages copied because of the triggers: of many in one transaction, each costs
    more than the one before.
    """
    ticket = await uploading(tickets)
    await progress(tickets, ticket, stored(0, 500))
    statements: list[str] = []
    tickets._writer._connection.set_trace_callback(statements.append)

    def counted() -> bool:
        [found] = {" reserved = " in statement for statement in statements if statement.startswith("UPDATE tickets")}
        statements.clear()
        return found

    assert await tickets.distrust_after_boot("another boot") == 1
    assert not counted()
    await tickets.update(ticket.id, lambda known: known.open("another session", None, NOW))
    assert not counted()
    await tickets.update(ticket.id, lambda known: replace(known, identity=Identity("a", 2000)))
    assert counted()
    await tickets.update(ticket.id, lambda known: known.cancel("enough", None, NOW))
    assert counted()
    assert (await tickets.counts())[State.CANCELLED] == 1
