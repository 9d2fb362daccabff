"""Stores on a directory of the test's own, closed when it ends; nothing that they held may be left."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.steady_clock import StoreClock
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite.store import SqliteStore
from tests.support.stores import Clock
from tests.unit.storage.faulty_disk import FaultyDisk
from tests.unit.storage.tickets import NOW, new

ID = "0a3b5c7d-1111-4222-8333-444455556666"
OTHER = "0a3b5c7d-9999-4222-8333-444455556666"

UPLOAD, ANOTHER = new(ID), new(OTHER)
"""Tickets of these ids of which nothing has arrived yet."""

OpenFiles = Callable[..., FileStore]
OpenTickets = Callable[..., SqliteStore]


def open_descriptors() -> int:
    """How many files, sockets and so on this process holds open."""
    return sum(1 for _ in Path("/dev/fd").iterdir())


@pytest.fixture
def disk() -> Iterator[FaultyDisk]:
    """A disk that fails when told to. However it failed, every descriptor is closed in the end."""
    faulty = FaultyDisk()
    yield faulty
    assert faulty.open_descriptors == set()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def open_files(io_loop: IOLoop, disk: FaultyDisk, root: Path) -> Iterator[OpenFiles]:
    """Function that opens a FileStore on `root`; several are several workers."""
    stores: list[FileStore] = []

    def make(**options: object) -> FileStore:
        stores.append(FileStore(root, **{"disk": disk, **options}))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        io_loop.run_sync(store.close)


@pytest.fixture
def files(open_files: OpenFiles) -> FileStore:
    return open_files()


@pytest.fixture
def clock() -> Clock:
    """The clock of all stores of tickets; it stands still until it is set."""
    return Clock(NOW)


@pytest.fixture
def open_tickets(io_loop: IOLoop, tmp_path: Path, clock: Clock) -> Iterator[OpenTickets]:
    """Function that opens a SqliteStore on one database; several are several workers."""
    before = open_descriptors()
    stores: list[SqliteStore] = []

    def make(**options: object) -> SqliteStore:
        options = {"clock": StoreClock(clock, clock), **options}
        stores.append(SqliteStore(tmp_path / "incoming.sqlite", **options))  # type: ignore[arg-type]
        return stores[-1]

    yield make
    for store in stores:
        io_loop.run_sync(store.close)
    assert open_descriptors() <= before


@pytest.fixture
def tickets(open_tickets: OpenTickets) -> SqliteStore:
    return open_tickets()
