"""The fixtures of the unit tests of stores, for those that need processes and real file systems; a real PostgreSQL."""

from collections.abc import Awaitable, Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from incoming.storage.postgres.opening import open_postgres
from incoming.storage.postgres.store import PostgresStore
from tests.support.postgres_server import PostgresServer
from tests.unit.storage.conftest import clock, disk, files, open_files, open_tickets, root, tickets

__all__ = ["clock", "disk", "files", "open_files", "open_tickets", "root", "tickets"]

OpenStore = Callable[..., Awaitable[PostgresStore]]


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    server = PostgresServer()
    yield server
    server.remove()


@pytest.fixture
def dsn(server: PostgresServer) -> str:
    return server.new_schema()


@pytest.fixture
def open_store(io_loop: IOLoop, dsn: str) -> Iterator[OpenStore]:
    """Called with the options of `open_postgres`, of which `dsn` and `host` have defaults."""
    stores: list[PostgresStore] = []

    async def make(dsn: str = dsn, **options: object) -> PostgresStore:
        stores.append(await open_postgres(dsn, **{"host": "here", **options}))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        io_loop.run_sync(store.close)
