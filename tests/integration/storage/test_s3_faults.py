"""Object stores that misbehave on command: no byte is lost, none is claimed that is not there, none sent twice."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.ticket import Ticket
from incoming.settings.object_stores import ObjectStore
from incoming.storage.byte_store import BytesLost
from incoming.storage.s3.bucket.bucket_access import BucketAccess
from incoming.storage.s3.bucket.spool import Region, Spool
from incoming.storage.s3.store import S3Bytes
from tests.contract.byte_stores import RECORDS, no_lease
from tests.contract.test_byte_store import ticket_of
from tests.support.ceph_cluster import s3_client
from tests.support.scripted_s3 import (
    ACCESS_KEY,
    BUSY,
    ERROR_IN_200,
    GONE_AFTER_SUCCESS,
    LOST,
    SECRET_KEY,
    STALE,
    Fault,
    ScriptedS3,
)
from tests.support.stores import until

PART = 4096
CONTENT = bytes(range(256)) * 50
SIZE = len(CONTENT)
PARTS = 4


class Bench:
    """One upload in a store of its own kind of trouble."""

    def __init__(self, s3: ScriptedS3, directory: Path) -> None:
        self.s3 = s3
        self.directory = directory
        self.stores: list[S3Bytes] = []
        self.ticket = ticket_of(SIZE)

    def open(self, spool: int = 2**20, checksum: str = "auto") -> S3Bytes:
        more = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY, "checksum": checksum}
        store = ObjectStore(name="s3", bucket="bucket", endpoint=self.s3.url, part_size=PART, **more)
        self.stores.append(S3Bytes(BucketAccess(store, Spool(self.directory, spool)), RECORDS.of, no_lease))
        return self.stores[-1]

    async def put(self, store: S3Bytes, start: int, end: int) -> None:
        """Send bytes and make them durable."""
        await self.write(store, start, end)
        self.count(await store.flush(self.ticket), store)

    async def write(self, store: S3Bytes, start: int, end: int) -> None:
        self.count(await store.write(self.ticket, [(start, CONTENT[start:end])]), store)

    def count(self, written: Any, store: S3Bytes) -> None:
        """Commit what the store has reported, as an upload does."""
        extents = self.ticket.extents | Extents(written.durable)
        self.ticket = replace(self.ticket, extents=extents, store_data=self.ticket.store_data or written.data)
        RECORDS.keep(self.ticket, written.records)
        store.recorded(self.ticket)

    async def complete(self, store: S3Bytes) -> bytes:
        location = await store.complete(self.ticket, SIZE)
        return self.s3.objects()[location.address.removeprefix("s3://bucket/")]

    def parked(self) -> list[str]:
        return sorted(key for key in self.s3.objects() if "/parked/" in key)


@pytest.fixture
def bench(tmp_path: Path, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr("incoming.storage.s3.requests.retrying.FIRST_PAUSE", 0.01)
    with ScriptedS3() as s3:
        s3.new_bucket()
        made = Bench(s3, tmp_path)
        yield made
        for store in made.stores:
            io_loop.run_sync(store.close)
        assert s3.pending == 0, "a fault was not met"


@pytest.mark.parametrize("fault", [BUSY, Fault(after=1000), LOST, Fault(500, "InternalError")])
async def test_a_part_is_sent_again_from_the_spool(bench: Bench, fault: Fault) -> None:
    bench.s3.fail("UploadPart", fault, times=3)
    store = bench.open()
    await bench.put(store, 0, SIZE)
    assert bench.ticket.extents == Extents([(0, SIZE)])
    assert len(bench.s3.seen("UploadPart")) >= PARTS + 3
    assert await bench.complete(store) == CONTENT


@pytest.mark.parametrize("checksum", ["sha256", "md5"])
async def test_bytes_that_are_others_on_their_way_are_refused_and_not_reported(
    bench: Bench, checksum: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The digest is of the bytes that came from the client, so what the store gets differs from them."""
    store = bench.open(checksum=checksum)
    meant = Region.digest

    async def of_others(self: Region, offset: int, length: int, algorithm: str) -> bytes:
        right = await meant(self, offset, length, algorithm)
        return bytes([right[0] ^ 1]) + right[1:]

    with monkeypatch.context() as patch:
        patch.setattr(Region, "digest", of_others)
        with pytest.raises(StorageFailed, match=r"BadDigest|XAmzContentSHA256Mismatch"):
            await bench.put(store, 0, PART)
    assert bench.ticket.extents == Extents()
    await bench.put(store, 0, SIZE)
    assert await bench.complete(store) == CONTENT


async def test_a_store_may_be_configured_to_check_nothing(bench: Bench) -> None:
    store = bench.open(checksum="none")
    await bench.put(store, 0, SIZE)
    sent = [request.headers for request in bench.s3.seen("UploadPart")]
    assert {headers["x-amz-content-sha256"] for headers in sent} == {"UNSIGNED-PAYLOAD"}
    assert not any("Content-MD5" in headers for headers in sent)
    assert await bench.complete(store) == CONTENT


CEPH_REFUSES = Fault(500, "InternalError")
"""Ceph's answer to Complete for an upload that was completed or aborted before: always the same."""


async def test_an_upload_that_was_aborted_is_lost_although_the_store_answers_500_to_complete(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    bench.s3.buckets["bucket"].uploads.clear()
    bench.s3.fail("CompleteMultipartUpload", CEPH_REFUSES)
    with pytest.raises(BytesLost):
        await store.complete(bench.ticket, SIZE)
    assert len(bench.s3.seen("CompleteMultipartUpload")) == 1, "it was not tried again in vain"
    assert bench.s3.objects() == {}


async def test_an_upload_that_was_completed_counts_although_the_store_answers_500_to_complete(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    bench.s3.fail("CompleteMultipartUpload", LOST)
    bench.s3.fail("CompleteMultipartUpload", CEPH_REFUSES)
    assert await bench.complete(store) == CONTENT
    assert len(bench.s3.seen("CompleteMultipartUpload")) == 2


async def test_a_500_to_complete_of_an_upload_that_is_there_is_tried_again(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    bench.s3.fail("CompleteMultipartUpload", CEPH_REFUSES, times=2)
    assert await bench.complete(store) == CONTENT
    assert (bench.s3.pending, len(bench.s3.seen("CompleteMultipartUpload"))) == (0, 3)


@pytest.mark.parametrize("fault", [ERROR_IN_200, LOST, GONE_AFTER_SUCCESS, BUSY])
async def test_completing_is_believed_when_the_object_is_seen(bench: Bench, fault: Fault) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    bench.s3.fail("CompleteMultipartUpload", fault)
    assert await bench.complete(store) == CONTENT


async def test_a_refusal_while_a_loss_is_looked_into_is_a_storage_failure(bench: Bench) -> None:
    """Not an exception that nobody expects: whether the bytes are gone is unknown, so the client tries again later."""
    denied = Fault(403, "AccessDenied")
    await bench.put(bench.open(), 0, 10)
    store = bench.open()
    bench.s3.fail("ListParts", Fault(404, "NoSuchUpload"))
    bench.s3.fail("HeadObject", denied)
    with pytest.raises(StorageFailed, match="HeadObject: HTTP 403"):
        await bench.write(store, 10, 20)
    bench.s3.fail("ListObjectsV2", denied)
    with pytest.raises(StorageFailed, match="AccessDenied"):
        await store.stored(bench.ticket)
    assert await store.stored(bench.ticket) == Extents([(0, 10)])
    await bench.put(store, 10, SIZE)
    assert await bench.complete(store) == CONTENT


async def test_lists_of_the_store_are_not_believed(bench: Bench) -> None:
    store = bench.open()
    await bench.write(store, 0, 10)
    bench.s3.fail("ListParts", STALE)
    await bench.put(store, 10, SIZE)
    assert await bench.complete(store) == CONTENT
    assert bench.s3.seen("ListParts") == []
    assert await store.stored(bench.ticket) == Extents()  # the one that meets the stale list


async def test_a_late_part_of_other_bytes_is_noticed_and_that_part_asked_for_again(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    [(upload, known)] = bench.s3.buckets["bucket"].uploads.items()
    late = {"Bucket": "bucket", "Key": known.key, "UploadId": upload, "PartNumber": 2}
    s3_client(bench.s3.url).upload_part(**late, Body=b"x" * PART)
    with pytest.raises(BytesLost) as raised:
        await store.complete(bench.ticket, SIZE)
    assert raised.value.kept == Extents([(0, PART), (2 * PART, SIZE)])
    bench.ticket = replace(bench.ticket.lose(raised.value.kept), session="again")
    await bench.put(store, PART, 2 * PART)
    assert await bench.complete(store) == CONTENT


async def test_an_upload_that_is_gone_takes_all_its_bytes_with_it(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    bench.s3.buckets["bucket"].uploads.clear()
    with pytest.raises(BytesLost) as raised:
        await store.complete(bench.ticket, SIZE)
    assert raised.value.kept == Extents()


async def test_what_is_parked_is_parked_once_and_removed_when_its_part_is_committed(bench: Bench) -> None:
    store = bench.open()
    for start, end in ((0, 100), (100, 300), (300, 301)):
        await bench.put(store, start, end)
        await bench.put(store, 0, end)  # known bytes
    assert [key.rpartition("/")[2].rpartition("-")[0] for key in bench.parked()] == ["0-100", "100-300", "300-301"]
    await bench.write(store, 301, PART)
    await until(lambda: bench.s3.seen("UploadPart"), "the part to be stored")
    assert len(bench.parked()) == 3, "their part is not committed"
    await bench.put(store, PART, SIZE)
    await until(lambda: not bench.parked(), "the parked ranges to be removed")
    assert bench.s3.seen("GetObject") == [], "this process has them still"
    assert await bench.complete(store) == CONTENT


async def test_another_process_fetches_what_is_parked(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    await bench.put(one, 0, 3000)
    await bench.put(other, 3500, SIZE)
    assert len(bench.parked()) == 2
    bench.s3.fail("GetObject", Fault(cut=True))
    await bench.put(one, 3000, 3500)
    assert await bench.complete(one) == CONTENT
    await until(lambda: not bench.parked(), "the parked ranges to be removed")


async def test_two_that_park_the_rest_of_one_part_at_once_have_it_completed(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    await bench.put(one, 0, 1000)
    await one.write(bench.ticket, [(1000, CONTENT[1000:2000])])
    await other.write(bench.ticket, [(2000, CONTENT[2000:PART])])
    reports = [await one.flush(bench.ticket), await other.flush(bench.ticket)]
    for written in reports:
        bench.count(written, one)
    await bench.put(one, PART, SIZE)
    assert bench.ticket.extents == Extents([(0, SIZE)])
    assert await bench.complete(one) == CONTENT


async def test_a_full_spool_parks_what_is_here_and_goes_on(bench: Bench) -> None:
    store = bench.open(spool=2 * PART)
    for start in range(0, SIZE, PART):  # three quarters of each part, so none is complete
        await bench.write(store, start, min(start + 3000, SIZE))
    assert bench.parked()
    assert store.access.spool.used <= 2 * PART + 3000
    for start in range(0, SIZE, PART):
        await bench.put(store, min(start + 3000, SIZE), min(start + PART, SIZE))
    assert await bench.complete(store) == CONTENT


async def test_a_store_that_is_away_for_too_long_fails_the_upload_and_keeps_what_was_safe(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = bench.open()
    await bench.put(store, 0, PART)
    store.access.retrying._timeout = 0.0
    bench.s3.fail("UploadPart", BUSY)
    with pytest.raises(StorageFailed, match="object store s3: UploadPart: SlowDown"):
        await bench.put(store, PART, 2 * PART)
    assert store.access.spool.used == 0
    await bench.put(store, PART, SIZE)
    assert await bench.complete(store) == CONTENT


async def test_bytes_of_an_earlier_epoch_are_not_reported(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, 100)
    await store.write(bench.ticket, [(100, b"x" * (PART - 100))])
    await until(lambda: bench.s3.seen("UploadPart"), "the part of the earlier epoch")
    bench.ticket = replace(bench.ticket, epoch=2)
    assert (await store.collect(bench.ticket)).durable == []
    await bench.put(store, 100, SIZE)
    assert await bench.complete(store) == CONTENT


async def test_two_that_begin_an_upload_at_once_complete_one(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    reports = await asyncio.gather(
        one.write(bench.ticket, [(0, CONTENT[:100])]), other.write(bench.ticket, [(0, CONTENT[:100])])
    )
    assert reports[0].data != reports[1].data
    bench.count(await one.flush(bench.ticket), one)
    await bench.put(other, 100, SIZE)
    assert await bench.complete(other) == CONTENT
    await until(lambda: not bench.s3.buckets["bucket"].uploads, "the other upload to be aborted")


async def test_the_clock_of_the_store_counts(bench: Bench) -> None:
    bench.s3.clock_offset = timedelta(hours=3)
    store = bench.open()
    await bench.put(store, 0, SIZE)
    assert await bench.complete(store) == CONTENT


async def test_orphans_are_swept_and_nothing_else(bench: Bench) -> None:
    store, s3 = bench.open(), s3_client(bench.s3.url)
    await bench.put(store, 0, 100)
    [mine] = bench.s3.buckets["bucket"].uploads
    for key in ("incoming/orphan", "elsewhere/upload"):
        s3.create_multipart_upload(Bucket="bucket", Key=key)
    gone = f"incoming/parked/{'0' * 8}-0000-0000-0000-{'0' * 12}/0-9-01234567"
    foreign = ["incoming/parked/notes.txt", "elsewhere/parked/x", "incoming/object"]
    for key in (gone, *foreign):
        s3.put_object(Bucket="bucket", Key=key, Body=b"x")
    bench.s3.clock_offset = timedelta(days=2)
    await store.access.client.head("x")  # which tells the store's time

    async def unfinished() -> Any:
        yield bench.ticket

    left = {*foreign, *bench.parked()} - {gone}
    assert await store.sweep(unfinished()) == 2
    assert set(bench.s3.objects()) == left
    assert {known.key for known in bench.s3.buckets["bucket"].uploads.values()} == {
        "elsewhere/upload",
        bench.s3.buckets["bucket"].uploads[mine].key,
    }


async def test_an_object_that_was_replaced_is_not_removed(bench: Bench) -> None:
    store = bench.open()
    await bench.put(store, 0, SIZE)
    location = await store.complete(bench.ticket, SIZE)
    whole: Ticket = replace(bench.ticket, location=location)
    s3_client(bench.s3.url).put_object(Bucket="bucket", Key=f"incoming/{whole.id}", Body=b"another")
    assert not await store.kept(whole)
    await store.remove(whole)
    assert bench.s3.objects() == {f"incoming/{whole.id}": b"another"}


async def test_records_of_bytes_that_were_lost_do_not_count_for_later_ones(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    await bench.put(one, 0, PART + 1000)
    bench.s3.buckets["bucket"].uploads.clear()
    bench.s3.buckets["bucket"].objects.clear()
    with pytest.raises(BytesLost) as raised:
        await bench.put(other, PART + 1000, SIZE)
    bench.ticket = bench.ticket.lose(raised.value.kept)
    assert bench.ticket.extents == Extents()
    await bench.put(one, PART, PART + 900)
    assert sorted(await RECORDS.of(bench.ticket.id)) == [f"parked-{PART}-{PART + 900}"]
    await bench.put(other, PART + 900, PART + 1000)
    await bench.put(one, PART + 1000, SIZE)
    await bench.put(other, 0, PART)
    assert await bench.complete(one) == CONTENT


async def test_a_part_that_another_process_has_stored_is_not_stored_again(bench: Bench) -> None:
    one, other = bench.open(), bench.open()
    await bench.put(one, 0, 1000)
    await bench.put(other, 1000, 2000)
    earlier = bench.ticket
    await bench.put(one, 2000, PART)
    await until(lambda: not bench.parked(), "the parked ranges to be removed")
    await other.write(earlier, [(2000, CONTENT[2000:PART])])  # the same bytes over another connection
    bench.count(await other.flush(earlier), other)
    await bench.put(other, PART, SIZE)
    assert await bench.complete(other) == CONTENT
    assert len(bench.s3.seen("UploadPart")) == PARTS
    assert other.access.spool.used == 0
