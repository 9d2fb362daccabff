"""A store whose bytes are durable when they are written: no checkpoints, no doubts after a reboot, no limit of room."""

from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.identity import Identity
from incoming.core.ticket import State, Ticket
from incoming.maintenance.free_space import FreeSpace
from incoming.maintenance.recovery import recover
from incoming.settings.settings import Settings
from incoming.storage.memory.files import MemoryByteStore
from incoming.storage.memory.tickets import MemoryTicketStore
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import Hello
from tests.support.stores import until
from tests.unit.storage.tickets import new


class Worker:
    """An upload service on stores in memory."""

    def __init__(self, **settings: object) -> None:
        self.tickets, self.files = MemoryTicketStore(), MemoryByteStore()
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.service = UploadService(self.tickets, self.files, self.settings)

    async def open(self, ticket: Ticket) -> ActiveUpload:
        return await self.service.open(ticket.id, Hello("session", None, Identity("a", 20)))

    async def begun(self) -> ActiveUpload:
        """An upload of which ten bytes have arrived."""
        await self.tickets.create(ticket := new())
        upload = await self.open(ticket)
        await upload.write(0, b"a" * 10, upload.ticket.epoch)
        return upload


@pytest.mark.parametrize("durability", ["process", "power"])
async def test_what_is_acknowledged_needs_no_checkpoint(durability: str) -> None:
    worker = Worker(durability=durability)
    upload = await worker.begun()
    assert upload.ticket.synced == upload.ticket.extents == Extents([(0, 10)])
    assert not upload.checkpoints.owed
    await upload.checkpoints.take()
    version = upload.ticket.version
    worker.service.leave(upload)
    await until(lambda: upload.closed, "the upload being closed")
    assert (await worker.service.get_ticket(upload.ticket.id)).version == version


async def test_a_file_arrives(caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker()
    upload = await worker.begun()
    await upload.write(10, b"b" * 10, upload.ticket.epoch)
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    location = upload.ticket.location
    assert (location.kind, bytes(worker.files.files[location.address].content)) == ("memory", b"a" * 10 + b"b" * 10)
    worker.service.leave(upload)


async def test_a_completion_that_fails_loses_no_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of files the unsynced bytes would not be believed any more."""
    worker = Worker()
    upload = await worker.begun()

    async def fails(ticket: Ticket, size: int) -> None:
        raise StorageFailed("the store is away")

    with monkeypatch.context() as context:
        context.setattr(worker.files, "complete", fails)
        await upload.write(10, b"b" * 10, upload.ticket.epoch)
        with pytest.raises(StorageFailed):
            await worker.service.finalise(upload.ticket.id)
    assert (await worker.service.get_ticket(upload.ticket.id)).extents == Extents([(0, 20)])
    assert (await worker.service.finalise(upload.ticket.id)).state == State.ARRIVED
    worker.service.leave(upload)


async def test_every_byte_counts_after_a_reboot(tmp_path: Path) -> None:
    worker = Worker()
    upload = await worker.begun()
    assert await recover(worker.tickets, worker.files, worker.service, tmp_path / "no boot id") == (1, 0)
    assert (await worker.service.get_ticket(upload.ticket.id)).extents == Extents([(0, 10)])
    worker.service.leave(upload)


async def test_lost_bytes_are_requested_again() -> None:
    worker = Worker()
    upload = await worker.begun()
    worker.files.files.clear()
    writing = upload.write(10, b"b" * 5, upload.ticket.epoch)
    with pytest.raises(StorageFailed):
        await writing
    assert upload.ticket.extents == Extents()
    worker.service.leave(upload)


async def test_unknown_free_space_counts_as_enough() -> None:
    await FreeSpace(MemoryByteStore(), 10**15).require()
