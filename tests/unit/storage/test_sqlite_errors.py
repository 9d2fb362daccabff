"""A database that fails: nobody is told of success who had none, and when it is well again all goes on."""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from incoming.core.errors import StorageFailed, StorageFull
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket
from incoming.storage.sqlite import errors, group_commit
from incoming.storage.sqlite.errors import DatabaseFaults
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.sqlite.schema import connect, retry_while_busy
from incoming.storage.sqlite.store import SqliteStore
from tests.support.stores import until
from tests.unit.storage.conftest import OpenTickets
from tests.unit.storage.test_sqlite import Held, statements
from tests.unit.storage.tickets import NOW, new, owing


def sqlite_error(code: int) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode = code
    error.sqlite_errorname = f"code {code}"
    return error


IOERR = sqlite_error(sqlite3.SQLITE_IOERR_FSYNC)


class FaultyConnection:
    """A real connection, of which statements fail on order. `hits` are those that did."""

    def __init__(self, real: sqlite3.Connection) -> None:
        self._real = real
        self._orders: list[tuple[str, sqlite3.Error, bool]] = []
        self.hits: list[str] = []

    def fail(self, beginning: str, error: sqlite3.Error = IOERR, *, losing_all: bool = False) -> None:
        """The next statement that begins so; with `losing_all` SQLite rolls back the whole transaction by itself."""
        self._orders.append((beginning, error, losing_all))

    def execute(self, sql: str, *args: Any) -> sqlite3.Cursor:
        for order in self._orders:
            beginning, error, losing_all = order
            if sql.startswith(beginning):
                self._orders.remove(order)
                self.hits.append(sql)
                if losing_all:
                    self._real.execute("ROLLBACK")
                raise error
        return self._real.execute(sql, *args)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


@pytest.fixture
def faulty(monkeypatch: pytest.MonkeyPatch, open_tickets: OpenTickets) -> tuple[SqliteStore, FaultyConnection]:
    """A store and its writing connection."""
    made: list[FaultyConnection] = []

    def connect_faulty(path: Path) -> FaultyConnection:
        made.append(FaultyConnection(connect(path)))
        return made[-1]

    monkeypatch.setattr(group_commit, "connect", connect_faulty)
    return open_tickets(), made[0]


Faulty = tuple[SqliteStore, FaultyConnection]


async def batch_of_four(tickets: SqliteStore, ticket: Ticket, order: Callable[[], None]) -> list[object]:
    """Three creations and an update in one transaction, in the midst of which `order` is called; what came of each."""

    def change(known: Ticket) -> Ticket:
        order()
        return replace(known, reason="x")

    async with Held(tickets):
        update = asyncio.ensure_future(tickets.update(ticket.id, change))
        await asyncio.sleep(0)
        creations = [asyncio.ensure_future(tickets.create(new(f"id{i}"))) for i in range(3)]
    return await asyncio.gather(update, *creations, return_exceptions=True)


async def states(tickets: SqliteStore) -> list[bool]:
    return [await tickets.get(f"id{i}") is not None for i in range(3)]


# --- commits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (sqlite3.SQLITE_IOERR_FSYNC, StorageFailed),
        (sqlite3.SQLITE_FULL, StorageFull),
        (sqlite3.SQLITE_NOMEM, StorageFailed),
    ],
)
async def test_a_failed_commit_fails_every_request_in_it(faulty: Faulty, code: int, error: type[Exception]) -> None:
    tickets, connection = faulty
    await tickets.create(ticket := new())
    before = await tickets.get(ticket.id)
    told: list[str] = []
    tickets.watch(told.append)
    outcome = await batch_of_four(tickets, ticket, lambda: connection.fail("COMMIT", sqlite_error(code)))
    assert [type(each) for each in outcome] == [error] * 4
    assert len({id(each) for each in outcome}) == 4
    assert connection.hits == ["COMMIT"]
    assert await tickets.get(ticket.id) == before
    assert await states(tickets) == [False] * 3
    assert told == []
    await batch_of_four(tickets, ticket, lambda: None)
    assert await states(tickets) == [True] * 3
    assert sorted(told) == sorted([ticket.id, "id0", "id1", "id2"])


async def test_after_a_failed_commit_the_log_is_restarted(faulty: Faulty) -> None:
    """A failed fsync may have left holes in the log, behind which nothing would be found after a power cut."""
    tickets, connection = faulty
    await tickets.create(ticket := new())
    connection.fail("COMMIT")
    with pytest.raises(StorageFailed):
        await tickets.check()
    connection.fail("PRAGMA wal_checkpoint")
    with pytest.raises(StorageFailed):
        await tickets.check()
    executed = statements(tickets)
    await tickets.check()
    await tickets.check()
    commit = ["BEGIN IMMEDIATE", "COMMIT"]
    assert executed == ["PRAGMA wal_checkpoint(TRUNCATE)", *commit, *commit]
    assert await tickets.get(ticket.id) is not None


async def test_the_new_log_waits_for_readers_of_the_old_one(faulty: Faulty, tmp_path: Path) -> None:
    tickets, connection = faulty
    await tickets.create(new())
    reader = connect(tmp_path / "incoming.sqlite")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM meta").fetchall()
    await tickets.create(new())
    connection.fail("COMMIT")
    with pytest.raises(StorageFailed):
        await tickets.check()
    executed = statements(tickets)
    check = asyncio.ensure_future(tickets.check())
    await until(lambda: executed.count("PRAGMA wal_checkpoint(TRUNCATE)") > 1, "a second try")
    assert not check.done()
    reader.execute("COMMIT")
    await check
    reader.close()


async def test_a_transaction_that_cannot_begin_fails_its_requests(faulty: Faulty) -> None:
    tickets, connection = faulty
    await tickets.create(ticket := new())
    connection.fail("BEGIN")
    with pytest.raises(StorageFailed):
        await tickets.check()
    assert await tickets.get(ticket.id) is not None
    await tickets.check()


async def test_requests_that_sqlite_rolled_back_are_retried_one_by_one(faulty: Faulty) -> None:
    """On a full disk or an I/O error it drops the whole transaction, also what others had done in it."""
    tickets, connection = faulty
    await tickets.create(ticket := new())
    told: list[str] = []
    tickets.watch(told.append)
    orders = iter([True])

    def order() -> None:
        if next(orders, False):
            # It meets the first creation, and then that one again when it is alone.
            for _ in range(2):
                connection.fail("INSERT INTO tickets", sqlite_error(sqlite3.SQLITE_FULL), losing_all=True)

    outcome = await batch_of_four(tickets, ticket, order)
    assert [type(each) for each in outcome] == [Ticket, StorageFull, type(None), type(None)]
    assert await states(tickets) == [False, True, True]
    assert told == [ticket.id, "id1", "id2"]
    assert len(connection.hits) == 2


MOVE_ON = "UPDATE tickets SET version = ?, active_at = ?, extents = ?"
WHOLE_WAY = "UPDATE tickets SET version = ?, active_at = ?, state_since = ?"


async def progress_of_three(tickets: SqliteStore, order: Callable[[], None]) -> list[object]:
    """Progress of three uploads in one transaction, in which `order` is called first; each outcome is what is kept."""
    uploads = []
    for _ in range(3):
        await tickets.create(ticket := new(state=State.UPLOADING, identity=Identity("a", 100)))
        uploads.append(await tickets.get(ticket.id))
    orders = [order]

    def gain(known: Ticket) -> Ticket:
        if orders:
            orders.pop()()
        return replace(known, extents=Extents([(0, 10)]))

    async with Held(tickets):
        under_way = [
            asyncio.ensure_future(tickets.update(ticket.id, gain, quiet=True, believed=ticket))
            for ticket in uploads
            if ticket is not None
        ]
        await asyncio.sleep(0)
        tickets._writer._give_turn()
    outcome = await asyncio.gather(*under_way, return_exceptions=True)
    for before, told in zip(uploads, outcome, strict=True):
        assert before is not None
        assert await tickets.get(before.id) == (told if isinstance(told, Ticket) else before)
    return list(outcome)


async def test_progress_that_fails_is_one_uploads_failure(faulty: Faulty) -> None:
    tickets, connection = faulty

    def order() -> None:
        connection.fail(MOVE_ON)
        connection.fail(WHOLE_WAY)

    outcome = await progress_of_three(tickets, order)
    assert [type(each) for each in outcome] == [StorageFailed, Ticket, Ticket]
    assert len(connection.hits) == 2


async def test_progress_in_a_lost_transaction_is_redone(faulty: Faulty) -> None:
    tickets, connection = faulty
    outcome = await progress_of_three(tickets, lambda: connection.fail(MOVE_ON, losing_all=True))
    assert [type(each) for each in outcome] == [Ticket] * 3
    assert len(connection.hits) == 1


async def test_a_failed_commit_makes_no_version_that_could_be_believed(faulty: Faulty) -> None:
    tickets, connection = faulty
    outcome = await progress_of_three(tickets, lambda: connection.fail("COMMIT"))
    assert [type(each) for each in outcome] == [StorageFailed] * 3


async def test_a_failed_rollback_stores_nothing(faulty: Faulty) -> None:
    tickets, connection = faulty
    await tickets.create(ticket := new())

    def order() -> None:
        connection.fail("INSERT INTO tickets")
        connection.fail("ROLLBACK TO operation")

    outcome = await batch_of_four(tickets, ticket, order)
    assert [type(each) for each in outcome] == [StorageFailed] * 4
    connection.fail("COMMIT")
    connection.fail("ROLLBACK")
    with pytest.raises(StorageFailed):
        await tickets.check()
    assert len(connection.hits) == 4
    assert await states(tickets) == [False] * 3


async def test_any_failing_statement_leaves_the_store_consistent(faulty: Faulty) -> None:
    """The n-th statement of a transaction, n = 1, 2, 3 ... until none is hit: all or nothing, and then all is well."""
    tickets, connection = faulty
    await tickets.create(ticket := new(state=State.UPLOADING))
    count = 0

    async def step(number: int) -> Ticket:
        end = 10 * number
        return await tickets.update(ticket.id, lambda known: known.store([(end - 10, end)], None, 1.0), durable=False)

    await step(1)
    real, point, hit = connection.execute, 0, True
    while hit:
        point += 1
        seen, hit = 0, False

        def execute(sql: str, *args: Any, doomed: int = point) -> sqlite3.Cursor:
            nonlocal seen, hit
            seen += 1
            if seen == doomed:
                hit = True
                raise sqlite_error(sqlite3.SQLITE_IOERR_WRITE)
            return real(sql, *args)

        connection.execute = execute  # type: ignore[method-assign]
        before = await tickets.get(ticket.id)
        try:
            after = await step(point + 1)
        except StorageFailed:
            assert hit
            assert await tickets.get(ticket.id) == before
            connection.execute = real  # type: ignore[method-assign]
            after = await step(point + 1)
            count += 1
        connection.execute = real  # type: ignore[method-assign]
        assert after.extents.prefix == 10 * (point + 1)
        assert await tickets.get(ticket.id) == after
    assert count >= 7


# --- real faults ------------------------------------------------------------------------------------------------------


async def test_a_full_disk_fails_writes_and_recovers(tickets: SqliteStore) -> None:
    """SQLite's own limit of pages fails as a full disk does."""
    await tickets.create(ticket := new())

    def limit(pages: int) -> Callable[[Transaction], None]:
        return lambda transaction: transaction.connection.execute(f"PRAGMA max_page_count = {pages}").fetchall()  # type: ignore[return-value]

    await tickets._writer.perform(limit(1), durable=False)  # no fewer than there are
    long = "x" * 100_000
    with pytest.raises(StorageFull, match="no space"):
        await tickets.create(new(reason=long))
    async with Held(tickets):
        small = asyncio.ensure_future(tickets.update(ticket.id, lambda known: replace(known, epoch=5)))
        large = asyncio.ensure_future(tickets.update(ticket.id, lambda known: replace(known, reason=long)))
    with pytest.raises(StorageFull):
        await large
    assert (await small).epoch == 5
    assert (await tickets.get(ticket.id)) == await small
    await tickets._writer.perform(limit(1_000_000), durable=False)
    await tickets.create(new(reason=long))


async def test_a_failed_query_is_an_error(tickets: SqliteStore, tmp_path: Path) -> None:
    other = connect(tmp_path / "incoming.sqlite")
    other.execute("ALTER TABLE counts RENAME TO elsewhere")
    with pytest.raises(StorageFailed, match="no such table"):
        await tickets.counts()
    other.execute("ALTER TABLE elsewhere RENAME TO counts")
    other.close()
    assert await tickets.counts() == dict.fromkeys(State, 0)


async def test_a_damaged_record_affects_no_other(
    tickets: SqliteStore, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, whole = owing(NOW, synced=Extents([(0, 1)])), owing(NOW)
    await tickets.create(damaged)
    await tickets.create(whole)
    other = connect(tmp_path / "incoming.sqlite")
    other.execute("UPDATE tickets SET rest = '{' WHERE id = ?", (damaged.id,))
    other.close()
    for attempt in (tickets.get(damaged.id), tickets.update(damaged.id, lambda known: replace(known, reason="x"))):
        with pytest.raises(StorageFailed, match="damaged"):
            await attempt
    assert [ticket.id for ticket in await tickets.find(limit=1)] == [whole.id]
    assert [ticket.id for ticket in await tickets.claim(60, 1, 3600)] == [whole.id]
    assert await tickets.distrust_after_boot("boot") == 0
    assert damaged.id[:8] in caplog.text
    assert damaged.id not in caplog.text
    await tickets.update(whole.id, lambda known: replace(known, reason="x"))
    await tickets.forget(damaged.id)


# --- waiting for others -----------------------------------------------------------------------------------------------


async def test_a_locked_database_is_waited_for(tickets: SqliteStore, tmp_path: Path) -> None:
    other = connect(tmp_path / "incoming.sqlite")
    other.execute("BEGIN IMMEDIATE")
    executed = statements(tickets)
    creation = asyncio.ensure_future(tickets.create(ticket := new()))
    await until(lambda: executed.count("BEGIN IMMEDIATE") > 2, "a third try")
    assert not creation.done()
    assert await tickets.get(ticket.id) is None  # readers do not wait
    other.execute("COMMIT")
    other.close()
    await creation


def test_waiting_for_a_locked_database_is_bounded() -> None:
    tries = 0

    def busy() -> None:
        nonlocal tries
        tries += 1
        raise sqlite_error(sqlite3.SQLITE_BUSY_RECOVERY)

    with pytest.raises(sqlite3.OperationalError):
        retry_while_busy(busy, 0.05)
    assert tries > 1


def test_other_errors_are_not_waited_for() -> None:
    tries = 0

    def broken() -> None:
        nonlocal tries
        tries += 1
        raise IOERR

    with pytest.raises(sqlite3.OperationalError):
        retry_while_busy(broken)
    assert tries == 1


# --- what the codes mean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "free", "error"),
    [
        (sqlite3.SQLITE_FULL, 2**40, StorageFull),
        (sqlite3.SQLITE_IOERR_WRITE, 2**40, StorageFailed),
        (sqlite3.SQLITE_IOERR_SHMSIZE, 4096, StorageFull),
        (sqlite3.SQLITE_CORRUPT, 0, StorageFailed),
    ],
)
def test_errors_name_their_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    code: int, free: int, error: type[Exception],
) -> None:  # fmt: skip
    real = os.statvfs(tmp_path)

    def statvfs(path: object) -> os.statvfs_result:
        return os.statvfs_result((1, 1, real.f_blocks, free, free, *real[5:]))

    monkeypatch.setattr(errors.os, "statvfs", statvfs)
    faults = DatabaseFaults(tmp_path / "incoming.sqlite")
    blamed = faults.blame(sqlite_error(code))
    assert type(blamed) is error
    assert str(tmp_path) not in blamed.message
    assert str(tmp_path) in caplog.text
    faults.blame(sqlite_error(code))
    assert len(caplog.records) == 1


def test_errors_without_a_file_system_name_their_cause(tmp_path: Path) -> None:
    faults = DatabaseFaults(tmp_path / "gone" / "incoming.sqlite")
    assert type(faults.blame(IOERR)) is StorageFailed
