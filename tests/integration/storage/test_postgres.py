"""What only a database server can do to its clients: restart, crash, be read-only, lose a connection in a commit."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import ServerShutdown, StorageFailed
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket
from incoming.storage.postgres import opening, watcher
from incoming.storage.postgres.connection import outage
from incoming.storage.postgres.connection.errors import UnusableDatabase, without_password
from incoming.storage.postgres.connection.transactions import OutcomeUnknown
from incoming.storage.postgres.opening import check_postgres, open_postgres
from incoming.storage.postgres.schema import MIGRATIONS
from incoming.storage.postgres.store import PostgresStore
from tests.integration.storage.conftest import OpenStore
from tests.support.postgres_server import PostgresServer
from tests.support.stores import until
from tests.support.waiting import wait_until
from tests.unit.storage.tickets import NOW, new, owing


@pytest.fixture
def store(io_loop: IOLoop, open_store: OpenStore) -> PostgresStore:
    found: PostgresStore = io_loop.run_sync(open_store)
    return found


def stored(start: int, end: int) -> Callable[[Ticket], Ticket]:
    return lambda known: known.store([(start, end)], None, NOW)


@asynccontextmanager
async def under_load(store: PostgresStore) -> AsyncIterator[list[tuple[str, int]]]:
    """Several uploads make progress meanwhile; what is acknowledged is in the list."""
    acknowledged: list[tuple[str, int]] = []
    stop = asyncio.Event()

    async def upload(ticket: Ticket) -> None:
        at = 0
        while not stop.is_set():
            ticket = await store.update(ticket.id, stored(at, at + 1), quiet=True, believed=ticket)
            acknowledged.append((ticket.id, at))
            at += 1

    tickets = [new(state=State.UPLOADING, identity=Identity("a", 1_000_000)) for _ in range(5)]
    for ticket in tickets:
        await store.create(ticket)
    known = [await store.get(ticket.id) for ticket in tickets]
    work = [asyncio.create_task(upload(ticket)) for ticket in known if ticket is not None]
    await until(lambda: len(acknowledged) > 20, "progress")
    yield acknowledged
    before = len(acknowledged)
    await until(lambda: len(acknowledged) > before + 20, "progress afterwards")
    stop.set()
    await asyncio.gather(*work)


async def assert_kept(store: PostgresStore, acknowledged: list[tuple[str, int]]) -> None:
    for ticket_id in {ticket_id for ticket_id, _ in acknowledged}:
        ticket = await store.get(ticket_id)
        assert ticket is not None
        assert ticket.extents == Extents((at, at + 1) for known, at in acknowledged if known == ticket_id)


@pytest.mark.parametrize("is_there", [False, True])
async def test_after_a_crash_the_id_of_a_transaction_proves_nothing(
    server: PostgresServer, store: PostgresStore, is_there: bool
) -> None:
    """The ids that were not on the disk are given again, and another transaction with one may have committed."""
    transactions = store._transactions
    lost = await asyncpg.connect(server.new_schema())
    await lost.execute("CREATE TABLE lost (number int)")
    await lost.execute("BEGIN")
    await lost.execute("INSERT INTO lost VALUES (1)")
    xid = await lost.fetchval("SELECT pg_current_xact_id()::text")
    before = transactions._history.known
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, lambda: server.stop(immediately=True))
    await loop.run_in_executor(None, server.start)
    while await pg_status(store, xid) != "committed":  # until another transaction has got it
        await store.create(new())
    made: list[str] = []

    async def attempt() -> str:
        made.append("again")
        return "made again"

    async def confirm(connection: asyncpg.Connection, result: str) -> bool:
        return is_there

    outcome = await transactions._settle(OutcomeUnknown(xid, before, "was there"), attempt, confirm)
    assert (outcome, made) == (("was there", []) if is_there else ("made again", ["again"]))


async def pg_status(store: PostgresStore, xid: str) -> str | None:
    """Return what the server says of a transaction's id, None for one that it has not given yet."""

    async def ask(connection: asyncpg.Connection) -> str | None:
        if int(await connection.fetchval("SELECT pg_snapshot_xmax(pg_current_snapshot())::text")) <= int(xid):
            return None
        status: str | None = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", xid)
        return status

    return await store._transactions.read(ask)


@pytest.mark.parametrize("immediately", [False, True])
async def test_a_restart_of_the_server_is_only_a_delay(
    server: PostgresServer, store: PostgresStore, immediately: bool
) -> None:
    loop = asyncio.get_running_loop()
    async with under_load(store) as acknowledged:
        await loop.run_in_executor(None, lambda: server.stop(immediately=immediately))
        await loop.run_in_executor(None, server.start)
    await assert_kept(store, acknowledged)


async def test_connections_that_the_server_ends_cost_nothing(server: PostgresServer, store: PostgresStore) -> None:
    loop = asyncio.get_running_loop()
    async with under_load(store) as acknowledged:
        for _ in range(5):
            await loop.run_in_executor(
                None,
                server.execute,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'incoming'",
            )
            count = len(acknowledged)
            await until(lambda count=count: len(acknowledged) > count, "progress")  # type: ignore[misc]
    await assert_kept(store, acknowledged)


async def test_a_server_that_stays_away_is_a_failure_that_passes(
    server: PostgresServer, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = await open_store()
    monkeypatch.setattr(store._transactions._outage, "timeout", 0.3)
    await store.create(ticket := new())
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, server.stop)
    try:
        # A crowd does not wait one after the other for what is known to be away.
        crowd = (store.update(ticket.id, lambda known: replace(known, reason="x")) for _ in range(1000))
        async with asyncio.timeout(60):
            failures = await asyncio.gather(*crowd, return_exceptions=True)
        assert {type(failure) for failure in failures} == {StorageFailed}
        assert failures[0].retry  # type: ignore[union-attr]
    finally:
        await loop.run_in_executor(None, server.start)
    await until(lambda: answers(store), "the store to answer again")


async def answers(store: PostgresStore) -> bool:
    try:
        await store.check()
    except StorageFailed:
        return False
    return True


async def test_a_primary_that_is_read_only_is_waited_for(server: PostgresServer, store: PostgresStore) -> None:
    await store.create(ticket := new())
    loop = asyncio.get_running_loop()

    def allow_writing(allowed: bool) -> None:
        setting = "off" if allowed else "on"
        server.execute(f"ALTER SYSTEM SET default_transaction_read_only = {setting}")
        server.execute("SELECT pg_reload_conf()")
        wait_until(lambda: server.execute("SHOW default_transaction_read_only") == setting, "the new setting")
        # Each connection learns of it in its own time; new ones begin with it.
        others = "datname = 'uploads' AND pid <> pg_backend_pid()"
        server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")

    await loop.run_in_executor(None, allow_writing, False)
    changing = asyncio.ensure_future(store.update(ticket.id, lambda known: replace(known, reason="written")))
    try:
        await asyncio.sleep(0.5)
        assert not changing.done()
    finally:
        await loop.run_in_executor(None, allow_writing, True)
    assert (await changing).reason == "written"


class LostCommits:
    """Ends the connection in the next COMMIT, `before` the server has it or after. Counts in `hit`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, before: bool) -> None:
        self.hit = 0
        self._real = asyncpg.transaction.Transaction.commit
        self._before = before
        lost = self

        async def commit(transaction: asyncpg.transaction.Transaction) -> None:
            await lost._commit(transaction)

        monkeypatch.setattr(asyncpg.transaction.Transaction, "commit", commit)

    async def _commit(self, transaction: asyncpg.transaction.Transaction) -> None:
        if self.hit:
            await self._real(transaction)
            return
        self.hit += 1
        if not self._before:
            await self._real(transaction)
        transaction._connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("belief", ["none", "true", "outdated"])
async def test_a_commit_whose_answer_was_lost_is_made_exactly_once(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, before: bool, belief: str
) -> None:
    await store.create(ticket := new())
    believed = None if belief == "none" else await store.get(ticket.id)
    if belief == "outdated":
        await store.update(ticket.id, lambda known: replace(known, reason="meanwhile"))
    lost = LostCommits(monkeypatch, before=before)
    changed = await store.update(ticket.id, lambda known: replace(known, epoch=known.epoch + 1), believed=believed)
    assert changed.reason == ("meanwhile" if belief == "outdated" else "")
    assert lost.hit == 1
    assert changed.epoch == 1
    assert await store.get(ticket.id) == changed


@pytest.mark.parametrize("before", [True, False])
async def test_progress_whose_answer_was_lost_is_made_once(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch, before: bool
) -> None:
    """Its statement is a transaction by itself, which is made again: it finds what was committed."""
    await store.create(ticket := new(state=State.UPLOADING, identity=Identity("a", 1000)))
    known = await store.get(ticket.id)
    real, hit = asyncpg.Connection.fetch, 0

    async def fetch(connection: asyncpg.Connection, query: str, *values: object, **options: object) -> object:
        nonlocal hit
        if "UPDATE progress" not in query or hit:
            return await real(connection, query, *values, **options)
        hit += 1
        if not before:
            await real(connection, query, *values, **options)
        connection.terminate()
        raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    monkeypatch.setattr(asyncpg.Connection, "fetch", fetch)
    advanced = await store.update(ticket.id, stored(0, 100), believed=known)
    assert hit == 1
    assert advanced.extents == Extents([(0, 100)])
    assert await store.get(ticket.id) == advanced
    again = await store.update(ticket.id, stored(100, 200), believed=advanced)
    assert await store.get(ticket.id) == again


async def test_a_change_of_what_is_as_believed_reads_nothing(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.create(ticket := new())
    believed = await store.get(ticket.id)
    asked: list[str] = []
    real = asyncpg.Connection.fetchrow

    async def fetchrow(connection: asyncpg.Connection, query: str, *values: object) -> object:
        asked.append(query.split()[0])
        return await real(connection, query, *values)

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", fetchrow)
    changed = await store.update(ticket.id, lambda known: replace(known, reason="new"), believed=believed)
    assert asked == ["WITH"]
    again = await store.update(ticket.id, lambda known: replace(known, reason="newer"), believed=believed)
    assert asked == ["WITH", "WITH", "SELECT", "WITH"], "it was another one than believed"
    assert await store.get(ticket.id) == again
    assert again.version > changed.version


async def test_tickets_that_are_wanted_at_once_are_read_by_one_query(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = [new() for _ in range(20)]
    await store.create(*tickets)
    queries: list[list[str]] = []
    real = store._reads._query

    async def query(ids: list[str]) -> Mapping[str, Sequence[Any]]:
        queries.append(ids)
        return await real(ids)

    monkeypatch.setattr(store._reads, "_query", query)
    ids = [ticket.id for ticket in tickets]
    found = await asyncio.gather(*(store.get(ticket_id) for ticket_id in [*ids, "nobody", ids[0]]))
    assert [ticket and ticket.id for ticket in found] == [*ids, None, ids[0]]
    assert queries == [[*ids, "nobody"]]

    async def fail(ids: list[str]) -> Mapping[str, Sequence[Any]]:
        raise StorageFailed("the ticket database is away")

    monkeypatch.setattr(store._reads, "_query", fail)
    failed = await asyncio.gather(*(store.get(ticket_id) for ticket_id in ids), return_exceptions=True)
    assert {str(error) for error in failed} == {"the ticket database is away"}
    assert len(set(map(id, failed))) == 20, "an error each"


async def test_progress_that_may_wait_goes_together(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes within the interval waits for its end, and takes along; what may not wait does not."""
    monkeypatch.setattr("incoming.storage.postgres.progress.COMMIT_INTERVAL", 3600.0)
    tickets = [new(state=State.UPLOADING, identity=Identity("a", 1000)) for _ in range(3)]
    await store.create(*tickets)
    first, second, third = [await store.get(ticket.id) for ticket in tickets]
    assert first is not None
    assert second is not None
    assert third is not None
    await store.update(first.id, stored(0, 1), believed=first, patient=True)
    waiting = asyncio.ensure_future(store.update(second.id, stored(0, 2), believed=second, patient=True))
    assert not (await asyncio.wait([waiting], timeout=0.2))[0]
    await store.update(third.id, stored(0, 3), believed=third)
    assert (await waiting).extents == Extents([(0, 2)])


async def test_changes_missed_while_disconnected_are_read_later(
    server: PostgresServer, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await open_store(), await open_store()
    heard: list[str] = []
    one.watch(heard.append)
    assert one.watcher is not None
    assert one.watcher._connection is not None
    await other.create(ticket := new())
    await until(lambda: heard == [ticket.id], "the first news")
    held = asyncio.Event()
    real = one.watcher._connect

    async def connect_later() -> asyncpg.Connection:
        await held.wait()
        return await real()

    monkeypatch.setattr(one.watcher, "_connect", connect_later)
    one.watcher._connection.terminate()
    await other.create(missed := new())
    held.set()
    await until(lambda: missed.id in heard, "the missed news")


# --- what operators see -----------------------------------------------------------------------------------------------


async def test_a_restart_is_counted(server: PostgresServer, store: PostgresStore) -> None:
    assert not any(store.events().values())
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, server.stop)
    creating = asyncio.create_task(store.create(new()))
    await until(lambda: store.events()["database/outage"] == 1, "the outage to be noticed")
    await loop.run_in_executor(None, server.start)
    await creating
    await until(lambda: store.events()["database/reconnection"] == 1, "the listener to be back")
    assert store.events()["database/failover"] == 1


async def test_duties_of_a_silent_process_are_counted_as_taken_over(open_store: OpenStore) -> None:
    one, other = await open_store(), await open_store()
    assert await one.lease("janitor", 0.1)
    await until(lambda: other.lease("janitor", 60.0), "the end of the lease")
    assert other.events()["takeovers/janitor"] == 1
    assert await other.lease("janitor", 60.0)
    assert other.events()["takeovers/janitor"] == 1, "it only goes on"
    assert not await one.lease("janitor", 60.0)
    await other.lease("janitor", 0.0)
    assert await one.lease("janitor", 60.0)
    assert "takeovers/janitor" not in one.events(), "it was given back"


async def test_uploads_of_a_silent_instance_are_counted_as_taken_over(open_store: OpenStore) -> None:
    gone, here = await open_store(instance="gone"), await open_store(instance="here")
    await gone.create(ticket := new(state=State.UPLOADING, identity=Identity("a", 1000)))
    await gone.update(ticket.id, stored(0, 100))
    assert [adopted.id for adopted in await here.adopt(60.0)] == [ticket.id]
    assert here.events()["takeovers/upload"] == 1


async def test_time_is_that_of_the_database_server(store: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    await store.create(owing(store.clock.now()))
    [claimed] = await store.claim(60, 10, 3600)
    assert claimed.callback is not None
    async with store._pool.acquire() as connection:
        now = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8")
    assert claimed.callback.due_at == pytest.approx(now + 60, abs=30)


async def test_progress_writes_no_index(server: PostgresServer, store: PostgresStore, dsn: str) -> None:
    await store.create(ticket := new(state=State.UPLOADING, identity=Identity("a", 1_000_000)))
    known = await store.get(ticket.id)
    for at in range(200):
        known = await store.update(ticket.id, stored(at, at + 1), quiet=True, believed=known)
    schema = dsn.rpartition("=")[2]
    query = f"""SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
        WHERE schemaname = '{schema}' AND relname = 'progress'"""

    async def counted() -> list[int]:
        async with store._pool.acquire() as connection:
            await connection.execute("SELECT pg_stat_force_next_flush()")
            return [int(value) for value in await connection.fetchrow(query)]

    async def all_counted() -> bool:
        return (await counted())[0] >= 200

    await until(all_counted, "the statistics")
    updated, hot = await counted()
    assert hot >= updated * 0.99


async def test_long_progress_moves_the_time_by_which_idle_uploads_are_found(
    open_store: OpenStore,
) -> None:
    store = await open_store()
    await store.create(ticket := new(state=State.UPLOADING, identity=Identity("a", 1_000_000)))
    known = await store.get(ticket.id)
    for at, now in enumerate((NOW + 100, NOW + 1000)):
        known = await store.update(
            ticket.id,
            lambda ticket, at=at, now=now: ticket.store([(at, at + 1)], None, now),  # type: ignore[misc]
            quiet=True,
            believed=known,
        )
        await until(lambda: store._progress._task is None, "what follows the commit")
        async with store._pool.acquire() as connection:
            touched = await connection.fetchval("SELECT touched FROM tickets WHERE id = $1", ticket.id)
        assert touched == (NOW if now == NOW + 100 else NOW + 1000)
    assert await store.find(idle_since=NOW + 999) == []
    assert [found.id for found in await store.find(idle_since=NOW + 1001)] == [ticket.id]


async def test_whole_changes_and_progress_of_one_ticket_do_not_block_each_other(store: PostgresStore) -> None:
    await store.create(ticket := new(state=State.UPLOADING, identity=Identity("a", 1_000_000)))

    async def progress() -> None:
        known = await store.get(ticket.id)
        for at in range(100):
            known = await store.update(
                ticket.id,
                lambda ticket, at=at: ticket.store([(at, at + 1)], None, NOW + 1000 * at),  # type: ignore[misc]
                believed=known,
            )

    async def change() -> None:
        for number in range(100):
            await store.update(ticket.id, lambda known, number=number: replace(known, reason=str(number)))  # type: ignore[misc]

    await asyncio.gather(progress(), change(), change())
    after = await store.get(ticket.id)
    assert after is not None
    assert (after.extents, after.reason) == (Extents([(0, 100)]), "99")
    async with store._pool.acquire() as connection:
        assert await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = 'uploads'") == 0


async def test_the_epoch_can_be_read_on_a_thread(store: PostgresStore) -> None:
    await store.create(ticket := new())
    await store.update(ticket.id, lambda known: replace(known, epoch=7))
    loop = asyncio.get_running_loop()
    assert await loop.run_in_executor(None, store.epochs_of, [ticket.id, "nobody"]) == {ticket.id: 7}


async def test_several_instances_may_start_at_the_same_time(dsn: str) -> None:
    stores = await asyncio.gather(*(open_postgres(dsn, host=f"host-{number}") for number in range(4)))
    await stores[0].create(ticket := new())
    assert await stores[3].get(ticket.id) is not None
    await asyncio.gather(*(store.close() for store in stores))
    with pytest.raises(ServerShutdown):
        await stores[0].get(ticket.id)


# --- bad input --------------------------------------------------------------------------------------------------------


async def test_a_missing_database_is_reported_at_once(server: PostgresServer) -> None:
    missing = f"postgresql://incoming:secret@127.0.0.1:{server.port}/nowhere"
    with pytest.raises(UnusableDatabase) as failed:
        await open_postgres(missing, host="here")
    assert f"postgresql://incoming@127.0.0.1:{server.port}/nowhere cannot be used" in str(failed.value)
    assert "create the database, or name another one" in str(failed.value)
    assert "secret" not in str(failed.value)


async def test_a_server_that_is_not_there_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "STARTUP_TIMEOUT", 0.1)
    with pytest.raises(StorageFailed, match="see that it runs and can be reached"):
        await open_postgres("postgresql://incoming@127.0.0.1:9/uploads", host="here")


async def test_a_schema_of_a_later_release_is_refused_and_left_alone(server: PostgresServer, dsn: str) -> None:
    await (await open_postgres(dsn, host="here")).close()
    schema, later = dsn.rpartition("=")[2], len(MIGRATIONS) + 1
    await asyncio.get_running_loop().run_in_executor(
        None, server.execute, f"UPDATE {schema}.schema_version SET version = {later}, needs = {later}"
    )
    with pytest.raises(UnusableDatabase, match="run the release that it was used with last, or a later one"):
        await open_postgres(dsn, host="here")
    with pytest.raises(UnusableDatabase, match=f"have version {later}"):
        await check_postgres(dsn)


async def test_the_command_line_creates_no_tables(server: PostgresServer) -> None:
    with pytest.raises(UnusableDatabase, match="have version 0"):
        await check_postgres(dsn := server.new_schema())
    await (await open_postgres(dsn, host="here")).close()
    await check_postgres(dsn)


def test_no_password_is_logged() -> None:
    assert without_password("postgresql://a:b@db:5432/uploads?password=c") == "postgresql://a@db:5432/uploads"


def test_callers_have_their_answer_before_clients_give_up() -> None:
    assert outage.OUTAGE_TIMEOUT <= 10
    assert watcher.HEARTBEAT <= 10


async def test_a_database_that_does_not_tell_the_epoch_is_no_fault_of_the_files(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_answer(ticket_ids: Sequence[str]) -> dict[str, int]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr(store, "_epochs", no_answer)
    monkeypatch.setattr("incoming.storage.postgres.store.OUTAGE_TIMEOUT", 0.01)
    with pytest.raises(StorageFailed, match="ticket database"):
        await asyncio.to_thread(store.epochs_of, ["any"])
