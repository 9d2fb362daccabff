"""Examines a database: whether it can keep uploads, what may lose commits, and what slows it down.

Decides what is a fault. Changes nothing but a note in `meta`, by which commits are measured.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator

import asyncpg

from incoming.storage.inspection import Fact, judged
from incoming.storage.postgres.connection.connector import CONNECTIONS, Connector
from incoming.storage.postgres.connection.errors import ANY, UnusableDatabase, unusable, without_password
from incoming.storage.postgres.opening import use_once
from incoming.storage.postgres.schema import MIGRATIONS, check_version, version_of
from incoming.storage.postgres.statements import maintenance
from incoming.storage.postgres.statements.quotas import counts

COMMITS = 10
SLOW_COMMIT = 0.05
"""Seconds. Each acknowledgement waits for a commit."""
CLOCK_OFF = 2.0
LONG_TRANSACTION = 600
"""Seconds. What such a transaction can still see is not cleaned up."""
MANY_UPDATES = 10_000
FEW_HOT = 0.9
NEWS_WITHIN = 5.0

_SAFE = {"fsync": "on", "full_page_writes": "on"}
_LONG = """SELECT pid, application_name, extract(epoch FROM now() - xact_start)::integer AS age FROM pg_stat_activity
    WHERE xact_start < now() - make_interval(secs => $1) AND backend_type = 'client backend' AND pid != pg_backend_pid()
    ORDER BY xact_start LIMIT 1"""
_UPDATES = """SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables
    WHERE schemaname = current_schema() AND relname = 'progress'"""


async def inspect(dsn: str, direct: str, workers: int) -> list[Fact]:
    """Return what was found, for an instance with so many workers. Raises nothing: what fails is a fault."""
    found: list[Fact] = []
    connector = Connector(dsn, direct)

    async def examine(connection: asyncpg.Connection) -> None:
        async for fact in _examine(connection, connector, workers):
            found.append(fact)

    name = direct or dsn
    try:
        await use_once(connector, examine)
    except UnusableDatabase as error:
        cause, _, cure = str(error).rpartition(": ")
        found.append(Fact(f"{without_password(name)}: {cause or cure}", cure))
    except ANY as error:
        cause, _, cure = unusable(name, error).rpartition(": ")
        found.append(Fact(cause, cure))
    return found


async def _examine(connection: asyncpg.Connection, connector: Connector, workers: int) -> AsyncIterator[Fact]:
    version = await connection.fetchval("SHOW server_version")
    yield Fact(f"PostgreSQL {version} answers, and is the primary")
    for name, wanted in _SAFE.items():
        value = await connection.fetchval(f"SHOW {name}")
        cure = f"set it to {wanted}: a crash may damage the database"
        yield judged(f"{name} is {value}", cure, is_good=value == wanted)
    synchronous = await connection.fetchval("SHOW synchronous_commit")
    cure = "set it to on for this database: a crash loses what was acknowledged"
    yield judged(f"synchronous_commit is {synchronous}", cure, is_good=synchronous != "off")
    yield await _standbys(connection)
    yield await _room(connection, workers)
    off = await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())::float8") - time.time()
    if abs(off) > CLOCK_OFF:
        yield Fact(f"the clock of the database, which counts, is {off:+.1f} s from this machine's", is_note=True)
    autovacuum = await connection.fetchval("SHOW autovacuum")
    yield judged(f"autovacuum is {autovacuum}", "set it to on: tables grow without end", is_good=autovacuum == "on")
    if (row := await connection.fetchrow(_LONG, float(LONG_TRANSACTION))) is not None:
        what = f"a transaction of {row['application_name'] or 'a program'} (process {row['pid']}) is {row['age']} s old"
        yield Fact(what, "end it: nothing that it can see is cleaned up, and tables grow")
    found, needs = await version_of(connection)
    if not found:
        yield Fact("it has no tables yet; a first start creates them", is_note=True)
        return
    check_version(found, needs)
    cure = "start the server once, or run `incoming database upgrade`"
    yield judged(f"its tables have version {found} of {len(MIGRATIONS)}", cure, is_good=found >= len(MIGRATIONS))
    if found >= len(MIGRATIONS):
        async for fact in _examine_tables(connection, connector):
            yield fact


async def _standbys(connection: asyncpg.Connection) -> Fact:
    rows = await connection.fetch("SELECT sync_state FROM pg_stat_replication")
    waited_for = sum(row["sync_state"] in ("sync", "quorum") for row in rows)
    text = f"it has {len(rows)} standbys, of which {waited_for} are synchronous"
    if rows and not waited_for:
        text += ": a failover may lose the last commits; see synchronous_standby_names"
    return Fact(text, is_note=True)


async def _room(connection: asyncpg.Connection, workers: int) -> Fact:
    most = int(await connection.fetchval("SHOW max_connections"))
    used = await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'")
    needed = workers * (CONNECTIONS + 1)
    text = f"{used} of {most} connections are in use, this instance has up to {needed}"
    return judged(text, "raise max_connections, or use a pooler (database_direct)", is_good=most >= needed + 5)


async def _examine_tables(connection: asyncpg.Connection, connector: Connector) -> AsyncIterator[Fact]:
    number = sum((await counts(connection)).values())
    yield Fact(f"it keeps {number} tickets")
    times = []
    for _ in range(COMMITS):
        begin = time.perf_counter()
        await maintenance.note(connection, key="checked", value="")
        times.append(time.perf_counter() - begin)
    median = statistics.median(times)
    cure = "use a faster disk or a nearer server; see what else uses it"
    yield judged(f"a commit takes {1000 * median:.1f} ms", cure, is_good=median < SLOW_COMMIT)
    updates = await connection.fetchrow(_UPDATES)
    if updates is not None and updates["n_tup_upd"] > MANY_UPDATES:
        share = updates["n_tup_hot_upd"] / updates["n_tup_upd"]
        cure = "look for long transactions, and let autovacuum run more often (autovacuum_naptime)"
        yield judged(f"{share:.0%} of the progress was written without an index (HOT)", cure, is_good=share > FEW_HOT)
    yield await _news(connection, connector)


async def _news(connection: asyncpg.Connection, connector: Connector) -> Fact:
    """Try whether a notification by the way of transactions arrives where the instances listen."""
    heard = asyncio.Event()
    channel = "incoming_check"

    def hear(*_: object) -> None:
        heard.set()

    await connection.add_listener(channel, hear)
    pool = await connector.pool(None)
    try:
        async with pool.acquire(timeout=NEWS_WITHIN) as other, other.transaction():
            await other.execute("SELECT pg_notify($1, '')", channel)
        async with asyncio.timeout(NEWS_WITHIN):
            await heard.wait()
    except TimeoutError:
        return Fact("no notification arrives", "name the same database in database and database_direct")
    finally:
        pool.terminate()
        await connection.remove_listener(channel, hear)
    return Fact("notifications arrive")
