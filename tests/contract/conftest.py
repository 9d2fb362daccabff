"""Stores of every kind on a database of the test's own, closed when it ends; nothing that they held may be left."""

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.steady_clock import StoreClock
from tests.contract.ticket_databases import DATABASES, Database, Store
from tests.support.stores import Clock
from tests.unit.storage.tickets import NOW

OpenTickets = Callable[..., Awaitable[Store]]


@pytest.fixture
def clock() -> Clock:
    """The clock of all stores; it stands still until it is set."""
    return Clock(NOW)


@pytest.fixture(params=DATABASES)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    return DATABASES[request.param](tmp_path)


@pytest.fixture
def open_tickets(io_loop: IOLoop, database: Database, clock: Clock) -> Iterator[OpenTickets]:
    """Function that opens a store on the one database; several are several workers."""
    stores: list[Store] = []

    async def make(**options: object) -> Store:
        stores.append(await database.open(**{"clock": StoreClock(clock, clock), **options}))
        return stores[-1]

    yield make
    for store in stores:
        io_loop.run_sync(store.close)


@pytest.fixture
def tickets(io_loop: IOLoop, open_tickets: OpenTickets) -> Store:
    store: Store = io_loop.run_sync(open_tickets)
    return store
