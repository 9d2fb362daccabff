"""What holds an instance up: locks, limits, standbys, cut lines, poolers, and tables of another release or program."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace

import asyncpg
import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed
from incoming.core.ticket import State
from incoming.storage.postgres import opening, schema
from incoming.storage.postgres.connection import connector
from incoming.storage.postgres.connection.errors import UnusableDatabase
from incoming.storage.postgres.opening import open_postgres, upgrade_postgres
from incoming.storage.postgres.schema import MIGRATIONS, Migration
from incoming.storage.postgres.statements import quotas
from incoming.storage.postgres.watcher import ServerTime
from incoming.storage.quotas import StoreLimits
from tests.integration.storage.conftest import OpenStore
from tests.integration.storage.test_postgres_failover import Pair, begun, stored
from tests.support.fault_proxy import FaultProxy
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer
from tests.support.stores import until
from tests.support.tools import ROOT
from tests.support.waiting import wait_until
from tests.unit.storage.tickets import new

# --- locks and limits -------------------------------------------------------------------------------------------------

FREEZE = """
import asyncio, os, signal, sys
from dataclasses import replace
from incoming.storage.postgres.opening import open_postgres

async def main():
    store = await open_postgres(sys.argv[1], host="frozen")
    frozen = 0

    def change(known):
        nonlocal frozen
        frozen += 1
        if frozen == 1:
            print("frozen", flush=True)
            os.kill(os.getpid(), signal.SIGSTOP)
        return replace(known, reason=known.reason + "+late")

    changed = await store.update(sys.argv[2], change)
    print(frozen, changed.reason, flush=True)
    await store.close()

asyncio.run(main())
"""


async def test_an_instance_that_is_frozen_in_a_transaction_frees_its_rows(dsn: str, open_store: OpenStore) -> None:
    store = await open_store()
    await store.create(ticket := new())
    loop = asyncio.get_running_loop()
    command = [sys.executable, "-c", FREEZE, dsn, ticket.id]
    frozen = await loop.run_in_executor(
        None, lambda: subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    )
    try:
        assert frozen.stdout is not None
        assert await loop.run_in_executor(None, frozen.stdout.readline) == "frozen\n"
        changed = await store.update(ticket.id, lambda known: replace(known, reason="first"))
        assert changed.reason == "first"
        os.kill(frozen.pid, signal.SIGCONT)
        # Its own transaction was undone: it is made again, on what is there now.
        assert await loop.run_in_executor(None, frozen.stdout.readline) == "2 first+late\n"
        assert await loop.run_in_executor(None, frozen.wait, 30) == 0
    finally:
        frozen.kill()
        frozen.communicate()


async def test_a_row_that_stays_locked_is_a_failure_that_passes(
    dsn: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connector.TRANSACTION_SETTINGS, "lock_timeout", "200ms")
    store = await open_store()
    monkeypatch.setattr(store._transactions._outage, "timeout", 0.5)
    await store.create(ticket := new())
    holder = await asyncpg.connect(dsn)
    async with holder.transaction():
        await holder.execute("SELECT 1 FROM tickets FOR UPDATE")
        with pytest.raises(StorageFailed) as failed:
            await store.update(ticket.id, lambda known: replace(known, reason="late"))
        assert isinstance(failed.value.__cause__, asyncpg.LockNotAvailableError)
        assert failed.value.retry
    await holder.close()
    assert (await store.update(ticket.id, lambda known: replace(known, reason="now"))).reason == "now"


async def test_fewer_connections_than_wanted_only_slow_it_down(server: PostgresServer, open_store: OpenStore) -> None:
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, server.execute, "CREATE ROLE few LOGIN CONNECTION LIMIT 2")
    await loop.run_in_executor(None, server.execute, "CREATE SCHEMA few AUTHORIZATION few")
    dsn = server.dsn("few").replace("incoming@", "few@")
    store = await open_store(dsn)
    tickets = [new() for _ in range(20)]
    await asyncio.gather(*(store.create(ticket) for ticket in tickets))
    assert (await store.counts())[State.NEW] == 20
    connection = await asyncpg.connect(server.dsn())
    used = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'few'"
    assert await connection.fetchval(used) == 2  # the limit was reached
    await connection.close()


async def test_no_connection_left_at_the_start_is_said_with_its_cure(
    server: PostgresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "STARTUP_TIMEOUT", 0.0)
    await asyncio.get_running_loop().run_in_executor(
        None, server.execute, "CREATE ROLE nobody_may LOGIN CONNECTION LIMIT 0"
    )
    with pytest.raises(StorageFailed, match=r"too many connections .* raise max_connections, or run fewer workers"):
        await open_postgres(server.dsn().replace("incoming@", "nobody_may@"), host="here")


@pytest.mark.parametrize("exact", [True, False])
async def test_only_exact_limits_are_counted_one_after_the_other(
    dsn: str, open_store: OpenStore, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(connector.TRANSACTION_SETTINGS, "lock_timeout", "200ms")
    store = await open_store(limits=StoreLimits(tickets=10, exact=exact))
    monkeypatch.setattr(store._transactions._outage, "timeout", 0.5)
    holder = await asyncpg.connect(dsn)
    await holder.execute("SELECT pg_advisory_lock($1)", quotas.LOCK)
    if exact:
        with pytest.raises(StorageFailed):
            await store.create(new())
    else:
        await store.create(new())
    await holder.close()


# --- lines and poolers ------------------------------------------------------------------------------------------------


async def test_a_half_open_connection_is_given_up_and_replaced(
    server: PostgresServer, dsn: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connector, "ANSWER_WITHIN", 1.0)
    loop = asyncio.get_running_loop()
    with FaultProxy(server.port) as line:
        store = await open_store(dsn.replace(f":{server.port}/", f":{line.port}/"))
        await store.create(ticket := new())
        assert await loop.run_in_executor(None, line.half_open) >= 2  # one listens, one has just worked
        changed = await store.update(ticket.id, lambda known: replace(known, reason="arrived"))
        assert changed.reason == "arrived"
        assert line.counters.half_opened >= 2
        await store.close()


async def test_a_line_that_acknowledges_nothing_is_noticed_by_tcp(open_store: OpenStore) -> None:
    store = await open_store()
    async with store._pool.acquire() as connection:
        line = connection._con._transport.get_extra_info("socket")
        assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        assert line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert await connection.fetchval("SHOW tcp_keepalives_idle") == "10"


async def test_a_failover_behind_a_pooler_is_noticed(io_loop: IOLoop) -> None:
    loop = asyncio.get_running_loop()
    pair = await loop.run_in_executor(None, Pair)
    pooler = PgBouncer(pair.primary.port)
    try:
        store = await open_postgres(pooler.dsn("uploads"), direct=pair.dsn, host="here")
        ticket = await begun(store)
        await loop.run_in_executor(None, pair.cut)
        ticket = await store.update(ticket.id, stored(100, 200, 3), believed=ticket)
        await loop.run_in_executor(None, pair.fail_over)
        pooler.lead_to(pair.standby.port)
        async with asyncio.timeout(60):
            while (found := await asyncio.gather(store.get(ticket.id), return_exceptions=True))[0] != replace(
                ticket, epoch=4, session="", version=getattr(found[0], "version", 0)
            ):
                # Reading looks at no history; the next change does.
                await asyncio.gather(store.check(), return_exceptions=True)
        await store.close()
    finally:
        pooler.remove()
        pair.remove()


# --- the start --------------------------------------------------------------------------------------------------------


async def test_a_standby_is_named_and_waited_for(io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    pair = await loop.run_in_executor(None, Pair)
    try:
        alone = pair.standby.dsn()
        with monkeypatch.context() as hurried:
            hurried.setattr(opening, "STARTUP_TIMEOUT", 0.0)
            with pytest.raises(StorageFailed, match="name the primary, or all servers"):
                await open_postgres(alone, host="here")
        starting = asyncio.ensure_future(open_postgres(alone, host="here"))
        await asyncio.sleep(0.5)
        assert not starting.done()
        await loop.run_in_executor(None, pair.fail_over)
        store = await starting
        await store.create(new())
        await store.close()
    finally:
        pair.remove()


async def test_a_database_that_is_read_only_at_the_start_is_waited_for(
    server: PostgresServer, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    schema = dsn.rpartition("=")[2]
    for statement in (
        "CREATE ROLE reader LOGIN",
        f"GRANT ALL ON SCHEMA {schema} TO reader",
        "ALTER ROLE reader SET default_transaction_read_only = on",
    ):
        await loop.run_in_executor(None, server.execute, statement)
    as_reader = dsn.replace("incoming@", "reader@")
    with monkeypatch.context() as hurried:
        hurried.setattr(opening, "STARTUP_TIMEOUT", 0.0)
        with pytest.raises(StorageFailed) as failed:
            await open_postgres(as_reader, host="here")
    assert str(failed.value).endswith("name the primary, or allow writing (default_transaction_read_only)")
    assert "postgresql://reader@127.0.0.1" in str(failed.value)
    assert "\n" not in str(failed.value)
    starting = asyncio.ensure_future(open_postgres(as_reader, host="here"))
    await asyncio.sleep(0.1)
    assert not starting.done()
    await loop.run_in_executor(None, server.execute, "ALTER ROLE reader RESET default_transaction_read_only")
    await (await starting).close()


async def test_a_wrong_password_ends_the_start_and_is_not_shown(server: PostgresServer) -> None:
    loop = asyncio.get_running_loop()

    def guard() -> None:
        server.execute("CREATE ROLE guarded LOGIN PASSWORD 'right'")
        rules = server._data / "pg_hba.conf"
        rules.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
        server.execute("SELECT pg_reload_conf()")
        wait_until(
            lambda: server.execute("SELECT count(*) FROM pg_hba_file_rules WHERE 'guarded' = ANY(user_name)") == "1",
            "the rule",
        )

    await loop.run_in_executor(None, guard)
    dsn = server.dsn().replace("incoming@", "guarded:wrong-one@")
    with pytest.raises(UnusableDatabase) as failed:
        await open_postgres(dsn, host="here")
    assert "password authentication failed" in str(failed.value)
    assert "give the right user name and password" in str(failed.value)
    assert "wrong-one" not in str(failed.value)
    assert "\n" not in str(failed.value)


async def test_a_server_that_is_too_old_is_named(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "OLDEST", 99)
    with pytest.raises(UnusableDatabase, match=r"cannot be used: it is PostgreSQL \d+; upgrade it to 99 or later"):
        await open_postgres(dsn, host="here")


@pytest.mark.parametrize("table", ["tickets (title text)", "schema_version (version text, installed_by text)"])
async def test_tables_of_another_program_are_left_alone(server: PostgresServer, dsn: str, table: str) -> None:
    name = dsn.rpartition("=")[2]
    await asyncio.get_running_loop().run_in_executor(None, server.execute, f"CREATE TABLE {name}.{table}")
    with pytest.raises(UnusableDatabase, match=r"another program's tables are in it .*: name an empty database"):
        await open_postgres(dsn, host="here")
    query = f"SELECT count(*) FROM information_schema.tables WHERE table_schema = '{name}'"
    assert await asyncio.get_running_loop().run_in_executor(None, server.execute, query) == "1"


async def test_a_connection_over_which_nothing_can_be_listened_to_is_closed(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[asyncpg.Connection] = []
    connect, standbys = connector.Connector.connect, 3

    async def noted(self: connector.Connector) -> asyncpg.Connection:
        made.append(await connect(self))
        return made[-1]

    async def examine(_: asyncpg.Connection) -> None:
        nonlocal standbys
        if standbys:
            standbys -= 1
            raise asyncpg.ReadOnlySQLTransactionError("the server is a standby, which accepts no writes")

    monkeypatch.setattr(connector.Connector, "connect", noted)
    store = await open_store()
    assert store.watcher is not None
    monkeypatch.setattr(store._history, "examine", examine)
    made[-1].terminate()
    made.clear()
    await until(lambda: store.watcher is not None and store.watcher.reconnections, "the next connection")
    assert [connection.is_closed() for connection in made] == [True, True, True, False]


async def test_a_start_that_fails_leaves_no_connection(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[asyncpg.Connection] = []
    connect = connector.Connector.connect

    async def noted(self: connector.Connector) -> asyncpg.Connection:
        made.append(await connect(self))
        return made[-1]

    async def no_answer(self: ServerTime, connection: asyncpg.Connection) -> None:
        raise TimeoutError

    monkeypatch.setattr(opening, "STARTUP_TIMEOUT", 0.0)
    monkeypatch.setattr(connector.Connector, "connect", noted)
    monkeypatch.setattr(ServerTime, "measure", no_answer)
    with pytest.raises(StorageFailed):
        await open_postgres(dsn, host="here")
    assert [connection.is_closed() for connection in made] == [True, True, True]


async def test_a_server_that_goes_away_during_the_start_is_waited_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover in the moment in which an instance starts must not end it."""
    measure, lost = ServerTime.measure, []

    async def lost_once(self: ServerTime, connection: asyncpg.Connection) -> None:
        if not lost:
            lost.append(connection)
            connection.terminate()
        await measure(self, connection)

    monkeypatch.setattr(opening, "RETRY_INTERVAL", 0.01)
    monkeypatch.setattr(ServerTime, "measure", lost_once)
    store = await open_postgres(dsn, host="here")
    await store.create(new())
    await store.close()
    assert len(lost) == 1


# --- releases beside each other ---------------------------------------------------------------------------------------

LATER = Migration(("ALTER TABLE tickets ADD COLUMN later text NOT NULL DEFAULT ''",))


async def test_an_additive_release_upgrades_while_the_older_one_serves(
    open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = await open_store()
    await older.create(first := new())
    with monkeypatch.context() as later:
        later.setattr(schema, "MIGRATIONS", (*MIGRATIONS, LATER))
        newer = await open_store()
        await newer.create(second := new())
    await older.update(second.id, lambda known: replace(known, reason="by the older one"))
    assert (await newer.get(second.id)).reason == "by the older one"  # type: ignore[union-attr]
    assert await newer.get(first.id) is not None
    again = await open_store()  # the older release also starts on it
    assert (await again.counts())[State.NEW] == 2


async def test_what_older_instances_cannot_serve_beside_needs_the_command(
    dsn: str, open_store: OpenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await open_store()
    with monkeypatch.context() as later:
        later.setattr(schema, "MIGRATIONS", (*MIGRATIONS, LATER._replace(additive=False)))
        with pytest.raises(UnusableDatabase, match="stop all instances, back it up, and run `incoming database upg"):
            await open_postgres(dsn, host="here")
        assert await upgrade_postgres(dsn) == dsn.partition("?")[0]
        await (await open_postgres(dsn, host="here")).close()
    with pytest.raises(UnusableDatabase, match="run the release that it was used with last, or a later one"):
        await open_postgres(dsn, host="here")
