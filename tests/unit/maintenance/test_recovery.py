"""What a start makes of what the last end left behind."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFull
from incoming.core.extents import Extents
from incoming.core.identity import Identity
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import State, Ticket
from incoming.maintenance import recovery
from incoming.platform import host
from incoming.settings.settings import Settings
from incoming.storage.memory.files import MemoryByteStore
from incoming.storage.memory.tickets import MemoryDatabase, MemoryTicketStore
from incoming.storage.operator_store import worker_name
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import Hello
from tests.support.stores import Clock, Stores
from tests.unit.storage.tickets import new


@pytest.fixture
def stores(tmp_path: Path, io_loop: IOLoop) -> Iterator[Stores]:
    stores = Stores(tmp_path / "storage")
    yield stores
    io_loop.run_sync(stores.close)


class Machine:
    """A kernel whose boot id can be changed."""

    def __init__(self, directory: Path) -> None:
        self.boot_id = directory / "boot_id"
        self.boot("boot-1")

    def boot(self, name: str) -> None:
        self.boot_id.write_text(f"{name}\n")

    async def start(self, stores: Stores) -> tuple[int, int]:
        upload_service = UploadService(stores.tickets, stores.files, Settings())
        return await recovery.recover(stores.tickets, stores.files, upload_service, self.boot_id)


@pytest.fixture
def machine(tmp_path: Path, stores: Stores, io_loop: IOLoop) -> Machine:
    """A machine on which the server has been started before."""
    machine = Machine(tmp_path)
    io_loop.run_sync(lambda: machine.start(stores))
    return machine


def part_of(stores: Stores, ticket: Ticket) -> Path:
    [path] = stores.directory.rglob(f"{ticket.id}.part")
    return path


def cut(path: Path, length: int) -> None:
    with path.open("r+b") as file:
        file.truncate(length)


# --- killed -----------------------------------------------------------------------------------------------------------


async def test_stored_bytes_are_believed(stores: Stores, machine: Machine) -> None:
    tickets = [await stores.uploading(b"x" * 1000), await stores.new(), await stores.arrived("")]
    assert await machine.start(stores) == (1, 0)
    assert [await stores.get(ticket) for ticket in tickets] == tickets


async def test_a_longer_file_is_no_reason_to_doubt(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000)
    await stores.files.write(ticket, [(1000, b"written, never committed")])
    assert await machine.start(stores) == (1, 0)
    assert await stores.get(ticket) == ticket


async def test_a_shorter_file_trims_the_ticket(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000)
    ticket = await stores.tickets.update(
        ticket.id, lambda known: replace(known.store([(1500, 1600)], None, 0), synced=Extents([(0, 900)]))
    )
    await stores.files.release(ticket)
    cut(part_of(stores, ticket), 700)
    assert await machine.start(stores) == (1, 1)
    after = await stores.get(ticket)
    assert after.extents == after.synced == Extents([(0, 700)])
    # Whoever was connected asks anew what is there.
    assert (after.epoch, after.session) == (ticket.epoch + 1, "")


async def test_a_trimmed_ticket_does_not_pass_for_synced(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000)
    await stores.files.release(ticket)
    cut(part_of(stores, ticket), 700)
    await machine.start(stores)
    after = await stores.get(ticket)
    assert (after.extents, after.synced) == (Extents([(0, 700)]), Extents())


async def test_a_missing_file_is_requested_from_the_start(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000)
    await stores.files.release(ticket)
    part_of(stores, ticket).unlink()
    assert await machine.start(stores) == (1, 1)
    after = await stores.get(ticket)
    assert (after.state, after.extents) == (State.UPLOADING, Extents())


async def test_every_ticket_is_recovered(stores: Stores, machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "BATCH", 3)
    tickets = [await stores.uploading(b"x" * 10) for _ in range(11)]
    for ticket in tickets[::2]:
        await stores.files.release(ticket)
        cut(part_of(stores, ticket), 5)
    assert await machine.start(stores) == (11, 6)


async def test_bytes_that_arrive_while_the_file_is_measured_are_not_trimmed(
    stores: Stores, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker serves already; its commit falls between the looks at the ticket and at its file."""
    ticket = await stores.uploading(b"x" * 1000, size=5000)
    await stores.files.release(ticket)
    cut(part_of(stores, ticket), 700)
    real = stores.files.stored
    looks = 0

    async def stored(seen: Ticket) -> Extents | None:
        nonlocal looks
        held = await real(seen)
        looks += 1
        if looks == 1:
            with part_of(stores, ticket).open("r+b") as file:
                file.write(b"y" * 2000)
            await stores.tickets.update(ticket.id, lambda known: known.store([(0, 2000)], None, 0))
        return held

    monkeypatch.setattr(stores.files, "stored", stored)
    assert await machine.start(stores) == (1, 0)
    assert (await stores.get(ticket)).extents == Extents([(0, 2000)])


# --- complete, but nobody came to say so ------------------------------------------------------------------------------


async def test_a_whole_file_is_completed(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)
    assert await machine.start(stores) == (1, 0)
    after = await stores.get(ticket)
    assert after.state == State.ARRIVED
    assert after.callback is not None
    assert not after.callback.cancelled
    assert stores.content_of(after) == b"x" * 1000


async def test_a_file_of_no_bytes_is_completed(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"", size=0)
    await machine.start(stores)
    after = await stores.get(ticket)
    assert after.state == State.ARRIVED
    assert stores.content_of(after) == b""


async def test_a_file_that_has_its_final_name_already_is_completed(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)
    location = await stores.files.complete(ticket, 1000)
    await machine.start(stores)
    after = await stores.get(ticket)
    assert (after.state, after.location) == (State.ARRIVED, location)
    assert stores.content_of(after) == b"x" * 1000


@pytest.mark.parametrize("length", [None, 0, 700])
async def test_a_file_that_only_claims_to_be_whole_is_not_handed_over(
    stores: Stores, machine: Machine, length: int | None
) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)
    await stores.tickets.update(ticket.id, lambda known: known.checkpoint(known.extents))
    await stores.files.release(ticket)
    if length is None:
        part_of(stores, ticket).unlink()
    else:
        cut(part_of(stores, ticket), length)
    assert await machine.start(stores) == (1, 1)
    after = await stores.get(ticket)
    assert (after.state, after.extents) == (State.UPLOADING, Extents([(0, length or 0)]))
    assert after.callback is None


async def test_a_file_that_cannot_be_completed_now_does_not_keep_the_server_from_starting(
    stores: Stores, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)

    async def complete(ticket_id: str, size: int) -> str:
        raise StorageFull("no space")

    monkeypatch.setattr(stores.files, "complete", complete)
    assert await machine.start(stores) == (1, 0)
    assert await stores.state(ticket) == State.UPLOADING
    assert stores.files_of(ticket) == [f"{ticket.id}.part"]


async def test_arrived_files_are_handed_over_as_they_are(stores: Stores, machine: Machine) -> None:
    ticket = await stores.arrived("")
    await machine.start(stores)
    assert await stores.get(ticket) == ticket
    assert stores.content_of(ticket) == b"content"


async def test_a_partial_file_that_appears_meanwhile_is_not_completed(
    stores: Stores, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process serves the directory still, and a first chunk, the file's last, comes between two looks."""
    ticket = await stores.uploading(b"", size=1000)
    real = stores.files.stored
    hits = 0

    async def stored(seen: Ticket) -> Extents | None:
        nonlocal hits
        held = await real(seen)
        hits += 1
        await stores.files.write(ticket, [(700, b"x" * 300)])
        return held

    monkeypatch.setattr(stores.files, "stored", stored)
    await machine.start(stores)
    assert hits
    after = await stores.get(ticket)
    assert (after.state, after.callback, after.extents) == (State.UPLOADING, None, Extents())
    assert stores.files_of(ticket) == [f"{ticket.id}.part"]


async def test_a_final_name_of_another_file_is_not_believed(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)
    ticket = await stores.tickets.update(ticket.id, lambda known: replace(known, store_data="17:4"))
    path = part_of(stores, ticket)
    path.rename(path.with_suffix(""))
    assert await machine.start(stores) == (1, 1)
    after = await stores.get(ticket)
    assert (after.state, after.extents, after.store_data) == (State.UPLOADING, Extents(), "")
    assert stores.files_of(ticket) == []


async def test_a_file_that_cannot_be_examined_does_not_prevent_the_start(
    stores: Stores, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await stores.uploading(b"x" * 1000)
    await stores.files.release(ticket)
    path = part_of(stores, ticket)
    path.unlink()
    path.mkdir()
    assert await machine.start(stores) == (1, 1)
    assert (await stores.get(ticket)).extents == Extents()


async def test_a_hole_is_requested_again(stores: Stores, machine: Machine) -> None:
    """What an earlier release may have left: a file that was made anew in the middle of an upload."""
    content = b"x" * 300_000
    ticket = await stores.uploading(content)
    await stores.files.release(ticket)
    cut(part_of(stores, ticket), 0)
    with part_of(stores, ticket).open("r+b") as file:
        file.seek(200_000)
        file.write(content[200_000:])
    assert await machine.start(stores) == (1, 1)
    [(start, end)] = (await stores.get(ticket)).extents
    assert (start <= 200_000, end) == (True, 300_000)
    assert start > 200_000 - 65536


# --- power cuts -------------------------------------------------------------------------------------------------------


async def synced(stores: Stores) -> Ticket:
    """An upload of which 600 of 1,000 bytes have been synced."""
    ticket = await stores.uploading(b"x" * 1000)
    return await stores.tickets.update(ticket.id, lambda known: known.checkpoint(Extents([(0, 600)])))


async def test_after_a_boot_only_what_was_synced_is_believed(stores: Stores, machine: Machine) -> None:
    ticket = await synced(stores)
    machine.boot("boot-2")
    assert await machine.start(stores) == (1, 0)
    assert (await stores.get(ticket)).extents == Extents([(0, 600)])


async def test_after_a_mere_restart_everything_is_believed(stores: Stores, machine: Machine) -> None:
    ticket = await synced(stores)
    await machine.start(stores)
    assert (await stores.get(ticket)).extents == Extents([(0, 1000)])


async def test_a_whole_file_that_was_not_synced_is_not_completed_after_a_boot(stores: Stores, machine: Machine) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)
    machine.boot("boot-2")
    await machine.start(stores)
    after = await stores.get(ticket)
    assert (after.state, after.extents) == (State.UPLOADING, Extents())


@pytest.mark.parametrize("length", [0, 1000])
async def test_a_file_that_got_its_final_name_before_the_power_failed_is_completed(
    stores: Stores, machine: Machine, length: int
) -> None:
    ticket = await stores.uploading(b"x" * length, size=length)
    await stores.files.complete(ticket, length)
    machine.boot("boot-2")
    assert await machine.start(stores) == (1, 0)
    after = await stores.get(ticket)
    assert (after.state, after.extents.size) == (State.ARRIVED, length)
    assert stores.content_of(after) == b"x" * length


async def test_without_a_boot_id_the_rest_is_still_done(
    stores: Stores, machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await stores.uploading(b"x" * 1000, size=1000)
    machine.boot_id.unlink()
    await machine.start(stores)
    assert await stores.state(ticket) == State.ARRIVED
    assert "cannot distinguish a power cut from a restart" in caplog.text


def test_the_boot_id_of_this_kernel_is_read() -> None:
    assert host.boot_id() == host.BOOT_ID.read_text().strip() != ""


# --- what is not ours -------------------------------------------------------------------------------------------------


async def test_files_that_no_ticket_knows_are_left_alone(stores: Stores, machine: Machine) -> None:
    strangers = [
        stores.directory / "ab" / "ab000000-0000-4000-8000-000000000000.part",
        stores.directory / "ab" / "ab000000-0000-4000-8000-000000000000",
        stores.directory / "notes.txt",
    ]
    _write_all(strangers)
    await stores.uploading()
    await machine.start(stores)
    assert [path.exists() for path in strangers] == [True] * 3


def _write_all(paths: list[Path]) -> None:
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("not an upload")


async def test_several_workers_recover_at_the_same_time(stores: Stores, machine: Machine) -> None:
    whole = await stores.uploading(b"x" * 1000, size=1000)
    short = await stores.uploading(b"x" * 1000)
    await stores.files.release(short)
    cut(part_of(stores, short), 10)
    others = [Stores(stores.directory) for _ in range(2)]
    await asyncio.gather(*(machine.start(worker) for worker in (stores, *others)))
    assert await stores.state(whole) == State.ARRIVED
    assert (await stores.get(short)).extents == Extents([(0, 10)])
    for other in others:
        await other.close()


# --- other instances --------------------------------------------------------------------------------------------------


class Instance:
    """One of several, on stores in memory that they share."""

    def __init__(self, name: str, database: MemoryDatabase, files: MemoryByteStore, clock: Clock) -> None:
        self.name = name
        self.files = files
        self.tickets = MemoryTicketStore(database, clock=StoreClock(clock), instance=name)
        self.service = UploadService(self.tickets, files, Settings())

    async def written(self) -> Ticket:
        """An upload of which this instance has stored ten bytes."""
        await self.tickets.create(ticket := new())
        hello = Hello("session", None, Identity("a", 20))
        upload = await self.service.open(ticket.id, hello)
        await upload.write(0, b"a" * 10, upload.ticket.epoch)
        self.service.leave(upload)
        return upload.ticket

    async def report(self) -> None:
        await self.tickets.note(worker_name(self.name, 1, "t"), "{}", {})

    async def recover(self, boot_id: Path) -> tuple[int, int]:
        return await recovery.recover(self.tickets, self.files, self.service, boot_id)

    async def recover_abandoned(self) -> int:
        return await recovery.recover_abandoned(self.tickets, self.files, self.service)


async def test_a_start_examines_no_upload_of_another_instance(tmp_path: Path) -> None:
    database, files, clock = MemoryDatabase(), MemoryByteStore(), Clock()
    one, two = Instance("one", database, files, clock), Instance("two", database, files, clock)
    mine, theirs = await one.written(), await two.written()
    files.files.clear()  # an upload that is examined loses its bytes
    assert await one.recover(tmp_path / "no boot id") == (1, 1)
    left = [await one.tickets.get(ticket.id) for ticket in (mine, theirs)]
    assert [ticket.extents.size for ticket in left if ticket] == [0, 10]


async def test_uploads_of_an_instance_that_has_gone_are_examined_by_another_one_once() -> None:
    database, files, clock = MemoryDatabase(), MemoryByteStore(), Clock()
    one, two = Instance("one", database, files, clock), Instance("two", database, files, clock)
    left = [await one.written() for _ in range(3)]
    await one.report()
    assert await two.recover_abandoned() == 0
    files.files.clear()
    clock.advance(recovery.INSTANCE_TIMEOUT + 1)
    assert await two.recover_abandoned() == 3
    after = [await two.tickets.get(ticket.id) for ticket in left]
    assert [ticket.extents.size for ticket in after if ticket] == [0, 0, 0]
    assert await two.recover_abandoned() == 0


async def test_a_whole_file_of_an_instance_that_has_gone_arrives() -> None:
    database, files, clock = MemoryDatabase(), MemoryByteStore(), Clock()
    one, two = Instance("one", database, files, clock), Instance("two", database, files, clock)
    ticket = await one.written()
    await files.write(ticket, [(10, b"b" * 10)])
    await one.tickets.update(ticket.id, lambda known: known.store([(10, 20)], None, clock()))
    clock.advance(recovery.INSTANCE_TIMEOUT + 1)
    await two.recover_abandoned()
    after = await two.tickets.get(ticket.id)
    assert after is not None
    assert after.state == State.ARRIVED
