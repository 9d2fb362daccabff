"""Which work shares a transaction: what may wait goes with others, what is urgent goes at once and takes it along."""

import asyncio
from pathlib import Path

import pytest

from incoming.storage.sqlite import group_commit
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.sqlite.store import SqliteStore
from tests.unit.storage.test_sqlite import Held, statements
from tests.unit.storage.tickets import new


def change(transaction: Transaction) -> int:
    return transaction.change("somebody", quiet=True)


async def asking(tickets: SqliteStore, count: int, *, patient: bool) -> "list[asyncio.Task[int]]":
    """So many calls that have got as far as asking."""
    tasks = [
        asyncio.ensure_future(tickets._writer.perform(change, durable=False, patient=patient)) for _ in range(count)
    ]
    await asyncio.sleep(0)
    return tasks


@pytest.fixture
def endless_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "COMMIT_INTERVAL", 3600.0)


@pytest.mark.usefixtures("endless_interval")
async def test_an_idle_writer_commits_at_once(tickets: SqliteStore) -> None:
    tickets._writer._turn_at -= 3600
    assert await asyncio.wait_for(tickets._writer.perform(change, durable=False, patient=True), 20)


async def test_requests_that_may_wait_share_the_next_commit(
    tickets: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "COMMIT_INTERVAL", 0.2)
    await tickets.create(new())
    executed = statements(tickets)
    versions = await asyncio.gather(*await asking(tickets, 100, patient=True))
    assert versions == sorted(set(versions))
    assert executed.count("COMMIT") == 1


@pytest.mark.usefixtures("endless_interval")
async def test_an_urgent_request_commits_the_waiting_ones_too(tickets: SqliteStore) -> None:
    await tickets.create(new())
    executed = statements(tickets)
    waiting = await asking(tickets, 10, patient=True)
    assert executed == []
    urgent = await asking(tickets, 1, patient=False)
    versions = await asyncio.wait_for(asyncio.gather(*waiting, *urgent), 20)
    assert versions == sorted(versions)  # in the order in which they were asked
    assert executed.count("COMMIT") == 1


@pytest.mark.usefixtures("endless_interval")
async def test_a_transaction_has_a_bounded_size(tickets: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_OPERATIONS", 10)
    await tickets.create(new())
    waiting = await asking(tickets, 25, patient=True)
    executed = statements(tickets)
    urgent = await asking(tickets, 1, patient=False)
    await asyncio.wait_for(asyncio.gather(*waiting, *urgent), 20)
    assert executed.count("COMMIT") == 3


@pytest.mark.usefixtures("endless_interval")
async def test_closing_does_not_wait_for_the_interval(tmp_path: Path) -> None:
    tickets = SqliteStore(tmp_path / "incoming.sqlite")
    await tickets.create(new())
    waiting = await asking(tickets, 3, patient=True)
    await asyncio.wait_for(tickets.close(), 20)
    assert len(set(await asyncio.gather(*waiting))) == 3


async def test_quick_work_that_does_nothing_or_fails_is_done_the_other_way(tickets: SqliteStore) -> None:
    def fail(transaction: Transaction) -> str:
        transaction.change("never")
        raise ValueError("what it assumed was wrong")

    def nothing(transaction: Transaction) -> str | None:
        transaction.change("never")
        return None

    told: list[str] = []
    tickets.watch(told.append)
    perform = tickets._writer.perform
    async with Held(tickets):
        tasks = [
            asyncio.ensure_future(perform(lambda transaction: "work", durable=False, quick=quick))
            for quick in (fail, nothing, lambda transaction: "quick")
        ]
    assert await asyncio.gather(*tasks) == ["work", "work", "quick"]
    assert told == []
