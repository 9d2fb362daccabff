"""Opening a store on the server: waiting for one that starts, bringing the tables up to date, wiring the parts.

Decides what is waited for and what is reported at once: a wrong password does not become right by waiting.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

import asyncpg

from incoming.core.errors import StorageFailed
from incoming.core.steady_clock import StoreClock
from incoming.storage.postgres.connection.connector import Connector
from incoming.storage.postgres.connection.errors import (
    ANY,
    FINAL_AT_START,
    TRANSIENT,
    DatabaseFaults,
    UnusableDatabase,
    is_pooler,
    unusable,
    without_password,
)
from incoming.storage.postgres.connection.history import HistoryWatch
from incoming.storage.postgres.schema import MIGRATIONS, check_version, migrate, version_of
from incoming.storage.postgres.store import PostgresStore
from incoming.storage.postgres.watcher import ServerTime, Watcher
from incoming.storage.quotas import NO_LIMITS, StoreLimits

log = logging.getLogger(__name__)

STARTUP_TIMEOUT = 60.0
"""Seconds to wait at the start for a server that is away."""

RETRY_INTERVAL = 1.0

OLDEST = 14
"""The oldest PostgreSQL whose functions are enough."""

T = TypeVar("T")
Use = Callable[[asyncpg.Connection], Awaitable[None]]


async def open_postgres(
    dsn: str,
    *,
    host: str,
    instance: str = "",
    direct: str = "",
    limits: StoreLimits = NO_LIMITS,
    clock: StoreClock | None = None,
) -> PostgresStore:
    """Return a store on the database that `dsn` names, with its tables up to date.

    `direct` names it without the transaction pooler that `dsn` leads to, if it does. `host` names this machine, also
    after a restart, and `instance` this server, by default like the host. Raises UnusableDatabase, or StorageFailed if
    the server stays away.
    """
    faults = DatabaseFaults(dsn)
    connector = Connector(dsn, direct)
    await use_with_retries(connector, migrate, direct or dsn)

    async def start() -> PostgresStore:
        history = HistoryWatch()
        await use_once(connector, history.examine)
        # A connection to a pooler has no server yet that could be examined.
        pool = await connector.pool(None if connector.is_pooled else history.examine)
        server_time = ServerTime()
        who = clock or StoreClock(server_time), host, instance or host
        store = PostgresStore(connector, pool, faults, history, *who, limits)
        store.watcher = Watcher(connector.connect, faults, server_time, history, store)
        try:
            await store.watcher.start()
            if connector.is_pooled:
                await store.counts()  # the pooler must be there as well
        except BaseException:
            await store.watcher.stop()
            pool.terminate()
            raise
        return store

    return await _with_retries(start, direct or dsn)


async def use_with_retries(connector: Connector, use: Use, name: str, timeout: float | None = None) -> None:
    """Connect and call `use`, tried again while waiting may help. Raises like `open_postgres`."""
    await _with_retries(partial(use_once, connector, use), name, timeout)


async def _with_retries(attempt: Callable[[], Awaitable[T]], name: str, timeout: float | None = None) -> T:
    deadline = time.monotonic() + (STARTUP_TIMEOUT if timeout is None else timeout)
    is_reported = False
    while True:
        try:
            return await attempt()
        except ANY as error:
            if isinstance(error, tuple(FINAL_AT_START)) or not isinstance(error, TRANSIENT) or is_pooler(error):
                raise UnusableDatabase(unusable(name, error)) from error
            if time.monotonic() > deadline:
                raise StorageFailed(unusable(name, error)) from error
            if not is_reported:
                log.warning("%s; waiting for it", unusable(name, error))
                is_reported = True
        except UnusableDatabase as error:
            raise UnusableDatabase(f"the ticket database {without_password(name)} cannot be used: {error}") from error
        await asyncio.sleep(RETRY_INTERVAL)


async def check_postgres(dsn: str, direct: str = "") -> None:
    """Raise UnusableDatabase or StorageFailed unless the database is there and of this release; change nothing."""

    async def check(connection: asyncpg.Connection) -> None:
        found, needs = await version_of(connection)
        check_version(found, needs)
        if found < len(MIGRATIONS):
            raise UnusableDatabase(
                f"its tables have version {found}, this release uses {len(MIGRATIONS)}: start the server once, "
                "or run `incoming database upgrade`"
            )

    await use_with_retries(Connector(dsn, direct), check, direct or dsn, timeout=0)


async def upgrade_postgres(dsn: str, direct: str = "") -> str:
    """Bring the tables up to date, whatever older instances can work with; return the name of the database."""
    name = direct or dsn
    await use_with_retries(Connector(dsn, direct), partial(migrate, upgrade=True), name, timeout=0)
    return without_password(name)


async def use_once(connector: Connector, use: Use) -> None:
    """Connect, and call `use` unless the server is too old. Raises asyncpg's errors, OSError and UnusableDatabase."""
    connection = await connector.connect()
    try:
        version = connection.get_server_version()
        if version.major < OLDEST:
            raise UnusableDatabase(f"it is PostgreSQL {version.major}; upgrade it to {OLDEST} or later")
        await use(connection)
    finally:
        await connection.close(timeout=5)
