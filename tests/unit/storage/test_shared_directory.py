"""One directory that two machines write to, whose file system tells each of the other's bytes only at the next open."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.extents import Extents
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import BytesLost, PartsStore
from incoming.storage.filesystem.disk import Facts, PosixDisk
from incoming.storage.filesystem.store import ALIGNMENT, FileStore, SharedFileStore
from tests.unit.storage.conftest import UPLOAD


class CachingDisk(PosixDisk):
    """A network file system as one machine sees it: lengths are those of the last open, and of its own writes since.

    `stale` counts the lengths that were told and were too short.
    """

    def __init__(self) -> None:
        self.stale = 0
        self._lengths: dict[tuple[int, int], int] = {}

    def create(self, path: str, mode: int) -> int:
        return self._opened(super().create(path, mode))

    def open(self, path: str, *, write: bool = True) -> int:
        return self._opened(super().open(path, write=write))

    def _opened(self, fd: int) -> int:
        facts = super().facts(fd)
        self._lengths[facts.inode] = facts.length
        return fd

    def write(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
        count = super().write(fd, pieces, offset)
        inode = super().facts(fd).inode
        self._lengths[inode] = max(self._lengths[inode], offset + count)
        return count

    def facts(self, fd: int) -> Facts:
        return self._as_known(super().facts(fd))

    def look(self, path: str) -> Facts | None:
        facts = super().look(path)
        return None if facts is None else self._as_known(facts)

    def _as_known(self, facts: Facts) -> Facts:
        known = self._lengths.get(facts.inode, facts.length)
        self.stale += known < facts.length
        return facts._replace(length=known)


class Machine:
    """One of them, with the file store of an instance."""

    def __init__(self, root: Path) -> None:
        self.disk = CachingDisk()
        self.files = SharedFileStore(root, disk=self.disk)

    async def write(self, ticket: Ticket, start: int, end: int) -> Ticket:
        """Store bytes; return the ticket as it is committed."""
        written = await self.files.write(ticket, [(start, b"x" * (end - start))])
        extents = Extents([*ticket.extents, (start, end)])
        return replace(ticket, extents=extents, store_data=written.data)


@pytest.fixture
def machines(tmp_path: Path, io_loop: IOLoop) -> Iterator[tuple[Machine, Machine]]:
    machines = Machine(tmp_path), Machine(tmp_path)
    yield machines
    for machine in machines:
        io_loop.run_sync(machine.files.close)


async def test_a_length_is_not_believed_before_the_file_is_opened_anew(machines: tuple[Machine, Machine]) -> None:
    one, two = machines
    ticket = await one.write(UPLOAD, 0, 10)
    ticket = await two.write(ticket, 10, 20)
    ticket = await one.write(ticket, 20, 30)
    assert one.disk.stale, "the file was long enough for this machine, too"
    assert ticket.extents == Extents([(0, 30)])


async def test_a_file_whose_end_another_machine_wrote_is_completed(
    machines: tuple[Machine, Machine], tmp_path: Path
) -> None:
    one, two = machines
    ticket = await two.write(await one.write(UPLOAD, 0, 10), 10, 30)
    # Its own newest knowledge is a file of ten bytes.
    location = await one.files.complete(replace(ticket, extents=Extents([(0, 10)])), 30)
    assert one.disk.stale
    assert Path(location.address).read_bytes() == b"x" * 30


async def test_a_file_that_is_too_short_is_still_noticed(machines: tuple[Machine, Machine], tmp_path: Path) -> None:
    one, two = machines
    ticket = await two.write(await one.write(UPLOAD, 0, 10), 10, 20)
    [path] = tmp_path.rglob("*.part")
    with path.open("r+b") as file:
        file.truncate(15)
    with pytest.raises(BytesLost) as raised:
        await one.write(ticket, 20, 30)
    assert raised.value.kept == Extents([(0, 15)])


def test_chunks_of_machines_are_aligned(tmp_path: Path) -> None:
    shared: object = SharedFileStore(tmp_path)
    assert isinstance(shared, PartsStore)
    assert shared.part_size(1) == ALIGNMENT >= 1 << 20
    assert not isinstance(FileStore(tmp_path), PartsStore)
