"""Files through the server into a real Ceph: any client, cut lines, dead servers; the app gets an object."""

import random
from collections.abc import Callable

import pytest
import requests

from tests.support.app_stub import AppStub
from tests.support.ceph_cluster import CephCluster
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.objects.object_bench import ObjectBench, store_option

CONTENT = random.Random(16).randbytes(50_000)
SIZE = len(CONTENT)


@pytest.fixture
def bucket(ceph: CephCluster) -> str:
    return ceph.new_bucket()


@pytest.fixture
def bench(
    ceph: CephCluster, bucket: str, start_server: Callable[..., IncomingServer], app_stub: AppStub
) -> ObjectBench:
    return ObjectBench(start_server(store_option(ceph.url, bucket), "--workers", "2"), app_stub)


def test_a_file_becomes_an_object_that_its_app_can_read_without_credentials(
    bench: ObjectBench, ceph: CephCluster, bucket: str
) -> None:
    ticket = bench.new_upload(removeFileWhenFinished="no")
    assert bench.put(ticket, CONTENT).status_code == 200
    fields = bench.handed_over(ticket).params
    key = f"incoming/{ticket}"
    assert fields["filename"] == f"s3://{bucket}/{key}"
    told = {name: fields[name] for name in ("destType", "bucket", "key", "size", "checksum", "versionId")}
    assert told == {
        "destType": "s3", "bucket": bucket, "key": key, "size": str(SIZE), "checksum": "", "versionId": "",
    }  # fmt: skip
    assert fields["etag"] == ceph.s3.head_object(Bucket=bucket, Key=key)["ETag"].strip('"')
    assert requests.get(fields["url"], timeout=30).content == CONTENT
    bench.reaches(ticket, "finished")
    assert ceph.read(bucket, key) == CONTENT
    assert ceph.objects(bucket) == {key: SIZE}
    assert ceph.uploads(bucket) == {}


def test_the_object_of_a_finished_upload_is_removed_as_agreed(
    bench: ObjectBench, ceph: CephCluster, bucket: str
) -> None:
    ticket = bench.new_upload()
    bench.put(ticket, CONTENT)
    bench.handed_over(ticket)
    wait_until(lambda: ceph.objects(bucket) == {}, "the object to be removed")


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 4097, 3 * 4096])
def test_files_of_any_size(bench: ObjectBench, ceph: CephCluster, bucket: str, size: int) -> None:
    ticket = bench.new_upload(removeFileWhenFinished="no")
    assert bench.put(ticket, CONTENT[:size]).status_code == 200
    assert bench.handed_over(ticket).params["size"] == str(size)
    assert ceph.read(bucket, f"incoming/{ticket}") == CONTENT[:size]


def test_what_was_acknowledged_survives_the_death_of_the_server(
    bench: ObjectBench, ceph: CephCluster, bucket: str
) -> None:
    ticket = bench.new_upload(removeFileWhenFinished="no")
    at = 0
    for length in (1000, 6000, 9000, 10_000):
        assert bench.put(ticket, CONTENT[at : at + length], at, SIZE).status_code == 308
        at += length
        bench.server.restart(kill=True)
        assert bench.status(ticket)["extents"] == [[0, at]]
    assert bench.put(ticket, CONTENT[at:], at, SIZE).status_code == 200
    bench.handed_over(ticket)
    assert ceph.read(bucket, f"incoming/{ticket}") == CONTENT
    wait_until(lambda: ceph.objects(bucket) == {f"incoming/{ticket}": SIZE}, "nothing being parked any more")


def test_a_cancelled_upload_leaves_nothing(bench: ObjectBench, ceph: CephCluster, bucket: str) -> None:
    ticket = bench.new_upload()
    assert bench.put(ticket, CONTENT[:10_000], 0, SIZE).status_code == 308
    assert len(ceph.uploads(bucket)) == 1
    assert len(ceph.objects(bucket)) == 1
    assert bench.backend("cancel_upload", id=ticket).text == "ok"
    wait_until(lambda: ceph.uploads(bucket) == {} and ceph.objects(bucket) == {}, "nothing being left")


def test_an_operator_who_aborts_the_multipart_upload_is_noticed_and_the_file_sent_again(
    bench: ObjectBench, ceph: CephCluster, bucket: str
) -> None:
    bench.server.expect_noise("multipart upload is no longer in the object store")
    ticket = bench.new_upload(removeFileWhenFinished="no")
    assert bench.put(ticket, CONTENT[:20_000], 0, SIZE).status_code == 308
    assert ceph.abort_uploads(bucket) == 1
    assert bench.put(ticket, CONTENT[20_000:], 20_000, SIZE).status_code == 503
    assert bench.status(ticket)["extents"] == []
    assert bench.put(ticket, CONTENT).status_code == 200
    bench.handed_over(ticket)
    assert ceph.read(bucket, f"incoming/{ticket}") == CONTENT


def test_files_and_objects_live_side_by_side(bench: ObjectBench, ceph: CephCluster, bucket: str) -> None:
    as_object = bench.new_upload(removeFileWhenFinished="no")
    as_file = bench.backend("new_upload", signalFinishURL=bench.app.url, removeFileWhenFinished="no").text
    for ticket in (as_object, as_file):
        assert bench.put(ticket, CONTENT).status_code == 200
    assert bench.handed_over(as_object).params["filename"] == f"s3://{bucket}/incoming/{as_object}"
    fields = bench.handed_over(as_file).params
    assert not {"destType", "bucket", "key", "url", "etag"} & set(fields)
    with open(fields["filename"], "rb") as file:  # noqa: PTH123 - as applications do
        assert file.read() == CONTENT
    assert ceph.objects(bucket) == {f"incoming/{as_object}": SIZE}
