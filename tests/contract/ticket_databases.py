"""Every kind of database of tickets, as the contract suite needs it. Several stores on one are several workers.

The suite uses what the Protocols offer and nothing else. A further store is a further class here.
"""

import atexit
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from incoming.storage.memory.tickets import MemoryDatabase, MemoryTicketStore
from incoming.storage.operator_store import OperatorStore
from incoming.storage.postgres.opening import open_postgres
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import TicketStore
from tests.support.pgbouncer import PgBouncer
from tests.support.postgres_server import PostgresServer


class Store(TicketStore, OperatorStore, Protocol):
    """Both Protocols, as one store offers them."""


class Database(Protocol):
    """One database. `open` takes `limits`, `clock`, `host` and `instance`."""

    async def open(self, **options: Any) -> Store: ...


class SqliteDatabase:
    def __init__(self, directory: Path) -> None:
        self._path = directory / "incoming.sqlite"

    async def open(self, **options: Any) -> Store:
        options.pop("instance", None)  # all its processes are of one
        return SqliteStore(self._path, **options)


class InMemory:
    def __init__(self, directory: Path) -> None:
        self._database = MemoryDatabase()

    async def open(self, **options: Any) -> Store:
        return MemoryTicketStore(self._database, **options)


@functools.cache
def postgres_server() -> PostgresServer:
    """The one server of this process of the test run."""
    server = PostgresServer()
    atexit.register(server.remove)
    return server


class PostgresDatabase:
    def __init__(self, directory: Path) -> None:
        self._dsn = postgres_server().new_schema()

    async def open(self, **options: Any) -> Store:
        return await open_postgres(self._dsn, **{"host": "here", **options})


@functools.cache
def pgbouncer() -> PgBouncer:
    """The one pooler of this process of the test run."""
    pooler = PgBouncer(postgres_server().port, pool_size=4)
    atexit.register(pooler.remove)
    return pooler


class PooledDatabase:
    """PostgreSQL behind a transaction pooler, which knows no schemas: a database for each test."""

    def __init__(self, directory: Path) -> None:
        self._name = postgres_server().new_database()

    async def open(self, **options: Any) -> Store:
        pooled, direct = pgbouncer().dsn(self._name), postgres_server().database_dsn(self._name)
        return await open_postgres(pooled, direct=direct, **{"host": "here", **options})


DATABASES: dict[str, Callable[[Path], Database]] = {
    "sqlite": SqliteDatabase,
    "memory": InMemory,
    "postgres": PostgresDatabase,
    "pgbouncer": PooledDatabase,
}
