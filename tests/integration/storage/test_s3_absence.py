"""When bytes of an incomplete part become an object of their own after their sender has gone."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.identity import Identity
from incoming.settings.object_stores import ObjectStore
from incoming.settings.settings import Settings
from incoming.storage.memory.tickets import MemoryTicketStore
from incoming.storage.s3.bucket.bucket_access import BucketAccess
from incoming.storage.s3.bucket.spool import Spool
from incoming.storage.s3.store import S3Bytes
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import Hello
from tests.contract.byte_stores import no_lease
from tests.support.scripted_s3 import ACCESS_KEY, SECRET_KEY, ScriptedS3
from tests.support.stores import until
from tests.unit.storage.tickets import new

PART = 4096


class Bench:
    """One worker whose files are objects, and an upload of which half a part has come."""

    def __init__(self, s3: ScriptedS3, directory: Path) -> None:
        keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
        store = ObjectStore(name="s3", bucket="bucket", endpoint=s3.url, part_size=PART, **keys)
        self.s3 = s3
        self.tickets = MemoryTicketStore()
        self.store = S3Bytes(BucketAccess(store, Spool(directory, 2**20)), self.tickets.records, no_lease)
        self.service = UploadService(self.tickets, self.store, Settings())
        self.ticket = new()

    async def open(self) -> ActiveUpload:
        return await self.service.open(self.ticket.id, Hello("session", None, Identity("a", 10 * PART)))

    async def begun(self) -> ActiveUpload:
        await self.tickets.create(self.ticket)
        upload = await self.open()
        upload.write(0, b"a" * (PART // 2), upload.ticket.epoch).add_done_callback(lambda done: done.exception())
        await until(lambda: upload.has_spooled, "the bytes being in the spool")
        return upload

    @property
    def parked(self) -> list[str]:
        return [key for key in self.s3.objects() if "/parked/" in key]


@pytest.fixture
def bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[Bench]:
    with ScriptedS3() as s3:
        s3.new_bucket()
        made: list[Bench] = []

        async def make() -> None:
            made.append(Bench(s3, tmp_path))

        io_loop.run_sync(make)
        yield made[0]
        io_loop.run_sync(made[0].store.close)


async def test_a_sender_that_is_back_in_time_continues_in_the_spool(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.uploads.upload_service.RECONNECT_GRACE", 3600.0)
    upload = await bench.begun()
    bench.service.leave(upload)
    again = await bench.service.join(bench.ticket.id, upload.ticket.epoch)
    assert again is upload
    assert again.received.size == PART // 2
    assert bench.parked == []
    bench.service.leave(again)
    await bench.service.drain()
    assert len(bench.parked) == 1, "a server that ends parks it at once"


async def test_the_bytes_of_a_sender_that_stays_away_become_safe(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.uploads.upload_service.RECONNECT_GRACE", 0.05)
    upload = await bench.begun()
    assert bench.parked == []
    bench.service.leave(upload)
    await until(lambda: upload.closed, "the upload being closed")
    assert len(bench.parked) == 1
    ticket = await bench.service.get_ticket(bench.ticket.id)
    assert ticket.extents.covers(0, PART // 2)
