"""A real small file system that is full or read-only, under files and database at once."""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed, StorageFull
from incoming.core.extents import Extents
from incoming.core.ticket import State, Ticket
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite.store import SqliteStore
from tests.support.tools import require_root, require_tool
from tests.unit.storage.conftest import ANOTHER, ID, OTHER, UPLOAD
from tests.unit.storage.tickets import NOW, new

MIB = 1024 * 1024


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MiB of its own."""
    require_root()
    mount = require_tool("mount")
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run([require_tool("umount"), str(place)], check=True)


@asynccontextmanager
async def stores(place: Path) -> AsyncIterator[tuple[FileStore, SqliteStore]]:
    files, tickets = FileStore(place), SqliteStore(place / "incoming.sqlite")
    try:
        yield files, tickets
    finally:
        await files.close()
        await tickets.close()


async def fill(files: FileStore, ticket_id: str, step: int) -> int:
    """Writes until there is no room; returns how many bytes were stored."""
    offset = 0
    while True:
        try:
            await files.write(new(ticket_id), [(offset, b"x" * step)])
        except StorageFull:
            return offset
        offset += step


def stored(end: int) -> Callable[[Ticket], Ticket]:
    return lambda known: known.store([(0, end)], None, NOW)


async def test_a_full_disk_refuses_cleanly_and_recovers(small: Path) -> None:
    async with stores(small) as (files, tickets):
        await tickets.create(first := new(ID, state=State.UPLOADING))
        await tickets.create(new(OTHER, state=State.UPLOADING))
        await files.write(ANOTHER, [(0, b"y" * MIB)])
        known = await tickets.update(OTHER, stored(MIB))
        held = await fill(files, ID, 65536)
        assert held > MIB
        await fill(files, ID, 4096)
        refused = await _until_full(tickets)
        # Nothing of what was there before is hurt, and nobody was told of success who had none.
        assert await tickets.get(OTHER) == known
        assert await tickets.get(refused.id) is None
        assert await tickets.get(first.id) is not None
        await files.remove(UPLOAD)
        await tickets.create(refused)
        await tickets.check()
        await files.write(ANOTHER, [(MIB, b"z" * MIB)])
        await tickets.update(OTHER, stored(2 * MIB))
        path = (await files.complete(ANOTHER, 2 * MIB)).address
        assert Path(path).read_bytes() == b"y" * MIB + b"z" * MIB
    async with stores(small) as (files, tickets):
        again = await tickets.get(OTHER)
        assert again is not None
        assert again.extents == Extents([(0, 2 * MIB)])


async def _until_full(tickets: SqliteStore) -> Ticket:
    while True:
        ticket = new(reason="r" * 2000)
        try:
            await tickets.create(ticket)
        except StorageFull:
            return ticket


async def test_on_a_full_disk_each_ticket_is_stored_or_refused(small: Path) -> None:
    """Those that fit are there, those that do not were refused, none is half there."""
    async with stores(small) as (files, tickets):
        await fill(files, ID, 65536)
        wanted = [new(reason="r" * 4000) for _ in range(1500)]
        outcome = await asyncio.gather(*(tickets.create(ticket) for ticket in wanted), return_exceptions=True)
        assert {type(each) for each in outcome} <= {type(None), StorageFull}
        assert StorageFull in {type(each) for each in outcome}
        there = [await tickets.get(ticket.id) is not None for ticket in wanted]
        assert there == [each is None for each in outcome]
        assert (await tickets.counts())[State.NEW] == there.count(True)


async def test_a_read_only_disk_is_an_error_until_it_is_writable(small: Path) -> None:
    async with stores(small) as (files, tickets):
        await tickets.create(new(ID, state=State.UPLOADING))
        await files.write(ANOTHER, [(0, b"x")])
    remount(small, "ro")
    files = FileStore(small)
    for attempt in (
        files.write(ANOTHER, [(1, b"y")]),
        files.write(UPLOAD, [(0, b"x")]),
        files.remove(ANOTHER),
    ):
        with pytest.raises(StorageFailed, match="Read-only"):
            await attempt
    assert await files.stored(new(OTHER, extents=Extents([(0, 2)]))) == Extents([(0, 1)])
    with pytest.raises(OSError, match="Read-only"):
        SqliteStore(small / "incoming.sqlite")
    remount(small, "rw")
    await files.write(ANOTHER, [(1, b"y")])
    await files.close()
    async with stores(small) as (files, tickets):
        await tickets.update(ID, lambda known: replace(known, reason="x"))


def remount(place: Path, how: str) -> None:
    subprocess.run([require_tool("mount"), "-o", f"remount,{how}", str(place)], check=True)
