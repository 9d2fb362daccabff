"""Connecting to the server: settings of every connection, waiting for a server that starts, and the first look at it.

Decides what is waited for and what is said at once: a wrong password does not become right by waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import asyncpg

from incoming.core.errors import StorageFailed
from incoming.core.steady_clock import StoreClock
from incoming.storage.postgres.errors import FINAL_AT_START, TRANSIENT, DatabaseFaults
from incoming.storage.postgres.schema import MIGRATIONS, migrate, version_of
from incoming.storage.postgres.store import PostgresStore
from incoming.storage.postgres.transactions import CONNECTIONS
from incoming.storage.postgres.watcher import ServerTime, Watcher
from incoming.storage.quotas import NO_LIMITS, StoreLimits

log = logging.getLogger(__name__)

START_PATIENCE = 60.0
"""Seconds to wait at the start for a server that is away."""

OLDEST = 14
"""The oldest PostgreSQL that is tried by the tests' statements."""

SERVER_SETTINGS = {
    "application_name": "incoming",
    # A process that is frozen in a transaction must not hold rows for longer than its callers wait.
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "10s",
    "statement_timeout": "30s",
}


async def open_postgres(
    dsn: str,
    *,
    host: str,
    instance: str = "",
    limits: StoreLimits = NO_LIMITS,
    clock: StoreClock | None = None,
) -> PostgresStore:
    """Return a store on the database that `dsn` names, with its tables up to date.

    `host` names this machine, also after a restart, and `instance` this server, by default like the host. Raises
    StorageFailed if the database cannot be used.
    """
    faults = DatabaseFaults(dsn)
    own: set[int] = set()
    pool = await _pool(dsn, faults, own)
    try:
        async with pool.acquire() as connection:
            await _examine(connection, faults)
            await migrate(connection)
        server_time = ServerTime()
        store = PostgresStore(pool, faults, clock or StoreClock(server_time), host, limits, instance)
        told = store.heard, store.heard_of_callbacks
        watcher = Watcher(lambda: _connect(dsn), faults, server_time, own.__contains__, *told)
        await watcher.start()
        store.watcher = watcher
    except BaseException as error:
        pool.terminate()
        if isinstance(error, asyncpg.PostgresError):
            raise _unusable(faults, error) from error
        raise
    return store


async def check_postgres(dsn: str) -> None:
    """Raise StorageFailed unless the database is there and of this release; change nothing."""
    faults = DatabaseFaults(dsn)
    try:
        connection = await _connect(dsn)
    except (asyncpg.PostgresError, *TRANSIENT) as error:
        raise _unusable(faults, error) from error
    try:
        found = await version_of(connection)
    finally:
        await connection.close()
    if found != len(MIGRATIONS):
        raise StorageFailed(f"{faults.name} has version {found}, this release uses {len(MIGRATIONS)}")


async def _pool(dsn: str, faults: DatabaseFaults, own: set[int]) -> asyncpg.Pool:
    async def note(connection: asyncpg.Connection) -> None:
        pid = connection.get_server_pid()
        own.add(pid)
        connection.add_termination_listener(lambda _: own.discard(pid))

    deadline = time.monotonic() + START_PATIENCE
    said = False
    while True:
        try:
            await (await _connect(dsn)).close()
            break
        except (asyncpg.PostgresError, *TRANSIENT) as error:
            if isinstance(error, tuple(FINAL_AT_START)) or time.monotonic() > deadline:
                raise _unusable(faults, error) from error
            if not said:
                log.warning("ticket database %s does not answer yet (%s); waiting", faults.name, error)
                said = True
        await asyncio.sleep(1.0)
    # It keeps no connection by itself: where the server has gone is for those to find out who need it.
    return await asyncpg.create_pool(dsn, min_size=0, max_size=CONNECTIONS, init=note, **_settings())


async def _connect(dsn: str) -> asyncpg.Connection:
    return await asyncpg.connect(dsn, **_settings())


def _settings() -> dict[str, Any]:
    return {
        "timeout": 10.0,
        "command_timeout": 30.0,
        "target_session_attrs": "primary",
        "server_settings": SERVER_SETTINGS,
    }


async def _examine(connection: asyncpg.Connection, faults: DatabaseFaults) -> None:
    version = connection.get_server_version()
    if version.major < OLDEST:
        raise StorageFailed(f"{faults.name} is PostgreSQL {version.major}, at least {OLDEST} is needed")


def _unusable(faults: DatabaseFaults, error: BaseException) -> StorageFailed:
    cure = next(
        (cure for kind, cure in FINAL_AT_START.items() if isinstance(error, kind)),
        "see that it runs and can be reached",
    )
    detail = str(error) or type(error).__name__
    return StorageFailed(f"the ticket database {faults.name} cannot be used ({detail}): {cure}")
