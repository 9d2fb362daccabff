"""A crash before every operation of an upload, on a disk that keeps only what it must: the recovery is never wrong.

Both kinds of crash: the death of the process, after which every acked byte must be there, and a power cut, after which
nothing may be believed that is not on the platter. The database is a real one; of what it had not yet synced, any part
is lost with the power.
"""

import asyncio
import random
import shutil
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket, TicketOptions
from incoming.maintenance import recovery
from incoming.settings.settings import Settings
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import Change
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import Hello
from tests.support.stores import until
from tests.system.faults.consistency import DATABASE, assert_consistent, tickets_in
from tests.system.faults.model_disk import ModelDisk

TICKET = "0123456789abcdef0123456789abcdef"
SIZE = 80 * 1024
CHUNK = 4 * 1024
LOG = f"{DATABASE}-wal"


@dataclass
class Moment:
    """Everything as it was just before one operation."""

    operation: str
    disk: ModelDisk
    database: bytes
    log: bytes
    synced: int
    """How much of the database's log is certainly on the platter."""
    acked: Extents


class WatchedTickets(SqliteStore):
    """Record the length of the log at the last synced commit; `before` is called before every change."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.before: Callable[[str], None] = lambda name: None
        self.synced = 0
        super().__init__(directory / DATABASE)

    async def create(self, *tickets: Ticket) -> None:
        await super().create(*tickets)
        self.synced = self.log_length()

    async def update(self, ticket_id: str, change: Change, *, durable: bool = True, **how: Any) -> Ticket:
        self.before("update")
        ticket = await super().update(ticket_id, change, durable=durable, **how)
        if durable:
            self.synced = self.log_length()
        return ticket

    def log_length(self) -> int:
        return (self.directory / LOG).stat().st_size


class Machine:
    """One storage directory: names and bytes on a model disk, the database in a real directory of the same path."""

    def __init__(self, directory: Path, durability: str, disk: ModelDisk | None = None) -> None:
        directory.mkdir(exist_ok=True)
        self.directory = directory
        self.boot_id = directory.with_name(directory.name + ".boot")
        self.disk = disk or ModelDisk(str(directory))
        self.tickets = WatchedTickets(directory)
        self.files = FileStore(directory, disk=self.disk, epochs_of=self.tickets.epochs_of)
        settings = Settings(durability=durability, checkpoint_bytes=4 * CHUNK, checkpoint_seconds=3600)  # type: ignore[arg-type]
        self.upload_service = UploadService(self.tickets, self.files, settings)

    async def boot(self, name: str) -> None:
        self.boot_id.write_text(name)
        await recovery.recover(self.tickets, self.files, self.upload_service, self.boot_id)

    async def close(self) -> None:
        await self.upload_service.drain()
        await self.files.close()
        await self.tickets.close()


def source(seed: int) -> bytes:
    return random.Random(seed).randbytes(SIZE)


async def upload(machine: Machine, content: bytes, seed: int, acked: Callable[[int, int], None]) -> None:
    """Send what is missing, two chunks at once, in any order and with overlaps; return when it has arrived."""
    chance = random.Random(seed)
    opened = await machine.upload_service.open(TICKET, Hello(f"session-{seed}", None, Identity("a.bin", SIZE)))
    starts = [start for start in range(0, SIZE, CHUNK) if opened.ticket.extents.missing(start, start + CHUNK)]
    chance.shuffle(starts)

    async def send(start: int) -> None:
        low = max(0, start - chance.choice((0, 500)))
        await opened.write(low, content[low : start + CHUNK], opened.ticket.epoch)
        acked(low, start + CHUNK)

    for at in range(0, len(starts), 2):
        await asyncio.gather(*(send(start) for start in starts[at : at + 2]))
    await until(lambda: opened.ticket.state == State.ARRIVED, "the file to arrive")
    machine.upload_service.leave(opened)


async def moments(directory: Path, durability: str, seed: int) -> list[Moment]:
    """Return one upload from beginning to end, with the state that a crash before each operation would have left."""
    machine = Machine(directory, durability)
    await machine.boot("boot-1")
    now = time.time()
    ticket = Ticket(TICKET, TicketOptions("http://127.0.0.1:9/"), created_at=now, active_at=now, state_since=now)
    await machine.tickets.create(ticket)
    found: list[Moment] = []
    promised = Extents()

    def acked(start: int, end: int) -> None:
        nonlocal promised
        promised = promised.add(start, end)

    def before(operation: str) -> None:
        known, synced, disk = promised, machine.tickets.synced, deepcopy(machine.disk)
        database, log = (directory / DATABASE).read_bytes(), (directory / LOG).read_bytes()
        found.append(Moment(operation, disk, database, log, synced, known))

    machine.disk.before = machine.tickets.before = before
    await upload(machine, source(seed), seed, acked)
    before("end")
    await machine.close()
    return found


async def recovered(moment: Moment, directory: Path, durability: str, content: bytes, seed: int | None) -> Extents:
    """Recover from a crash at that moment, a power cut if there is a seed, and check; then let the upload resume.

    Return the extents after the recovery.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir()
    (directory / DATABASE).write_bytes(moment.database)
    disk, log = deepcopy(moment.disk), moment.log
    acked = moment.acked
    if seed is not None:
        chance = random.Random(seed)
        disk = disk.after_power_cut(chance)
        kept = chance.randint(min(moment.synced, len(log)), len(log))
        log = log[:kept] + chance.choice((b"", chance.randbytes(len(log) - kept)))
        acked = acked if durability == "power" else Extents()
    (directory / LOG).write_bytes(log)
    machine = Machine(directory, durability, disk)
    await machine.boot("boot-1" if seed is None else "boot-2")
    believed = check(machine, acked, content)
    await upload(machine, content, 1000, lambda start, end: None)
    check(machine, acked, content)
    assert tickets_in(directory)[TICKET].complete
    await machine.close()
    return believed


def check(machine: Machine, acked: Extents, content: bytes) -> Extents:
    for path in machine.directory.glob("??"):
        shutil.rmtree(path)
    machine.disk.put_into(machine.directory)
    ticket = tickets_in(machine.directory)[TICKET]
    assert ticket.state in (State.NEW, State.UPLOADING) or ticket.callback is not None, "the app would never be called"
    assert_consistent(machine.directory, {TICKET: acked}, [], {TICKET: content})
    return ticket.extents


SEEDS = 2


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["process", "power"])
def test_a_crash_at_every_operation(durability: str, tmp_path: Path) -> None:
    directory = tmp_path / "storage"
    content = source(1)
    shrunk = acked_bytes = 0

    async def all_of_them() -> list[Moment]:
        nonlocal shrunk, acked_bytes
        points = await moments(directory, durability, 1)
        for number, moment in enumerate(points):
            acked_bytes += moment.acked.size
            for seed in (None, *range(number * SEEDS, (number + 1) * SEEDS)):
                try:
                    believed = await recovered(moment, directory, durability, content, seed)
                except AssertionError as error:
                    kind = "the process died" if seed is None else f"the power failed (seed {seed})"
                    raise AssertionError(f"{kind} before operation {number}, {moment.operation}: {error}") from error
                shrunk += not all(believed.covers(*chunk) for chunk in moment.acked)
        return points

    points = asyncio.run(all_of_them())
    assert len(points) >= 40
    assert {point.operation for point in points} >= {
        *("make_directory", "create", "write", "fdatasync", "fsync", "rename", "sync_directory", "update", "end")
    }
    assert acked_bytes
    # Of what was acked something is lost with the power, unless that was ruled out; else the cuts were no cuts.
    assert bool(shrunk) == (durability == "process")
