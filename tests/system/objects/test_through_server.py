"""Files through the server into a real Ceph: any client, cut lines, dead servers; the app gets an object."""

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from tests.support.app_stub import AppStub
from tests.support.ceph_cluster import CephCluster
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT
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


def test_an_upload_that_expires_leaves_nothing(
    ceph: CephCluster, bucket: str, start_server: Callable[..., IncomingServer], app_stub: AppStub
) -> None:
    """The object of another upload, and what is not this server's, stays."""
    bench = ObjectBench(start_server(store_option(ceph.url, bucket), "--idle-timeout", "3s"), app_stub)
    ceph.s3.put_object(Bucket=bucket, Key="foreign", Body=b"x")
    other = bench.new_upload(removeFileWhenFinished="no")
    assert bench.put(other, CONTENT).status_code == 200
    ticket = bench.new_upload()
    assert bench.put(ticket, CONTENT[:10_000], 0, SIZE).status_code == 308
    assert len(ceph.uploads(bucket)) == 1
    bench.reaches(ticket, "cancelled")
    assert bench.handed_over(ticket).params["cancelled"] == "yes"
    left = {"foreign": 1, f"incoming/{other}": SIZE}
    wait_until(lambda: ceph.uploads(bucket) == {} and ceph.objects(bucket) == left, "nothing else being left")


def test_objects_count_for_the_quota_until_they_are_complete(
    ceph: CephCluster, bucket: str, start_server: Callable[..., IncomingServer], app_stub: AppStub
) -> None:
    bench = ObjectBench(start_server(store_option(ceph.url, bucket), "--storage-quota", str(SIZE + 1000)), app_stub)
    first, second = (bench.new_upload(removeFileWhenFinished="no", maxSize=str(SIZE)) for _ in range(2))
    assert bench.put(first, CONTENT[:10_000], 0, SIZE).status_code == 308
    assert bench.put(second, CONTENT[:10_000], 0, SIZE).status_code == 503
    assert bench.put(first, CONTENT[10_000:], 10_000, SIZE).status_code == 200
    bench.handed_over(first)
    bench.reaches(first, "finished")
    assert bench.put(second, CONTENT).status_code == 200


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


def test_tus_and_a_plain_put_continue_each_other(bench: ObjectBench, ceph: CephCluster, bucket: str) -> None:
    ticket = bench.new_upload(removeFileWhenFinished="no", fileSize=str(SIZE))
    url = f"{bench.server.base_url}/incoming/frontend/tus/{ticket}"
    fields = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "0"}
    answer = requests.patch(url, CONTENT[:9000], headers=fields, timeout=60)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, "9000")
    assert bench.put(ticket, CONTENT[9000:20_000], 9000, SIZE).status_code == 308
    answer = requests.patch(url, CONTENT[20_000:], headers={**fields, "Upload-Offset": "20000"}, timeout=60)
    assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(SIZE))
    bench.handed_over(ticket)
    assert ceph.read(bucket, f"incoming/{ticket}") == CONTENT


def test_operators_see_where_an_object_is_and_how_often_the_store_was_asked(bench: ObjectBench, bucket: str) -> None:
    ticket = bench.new_upload(removeFileWhenFinished="no")
    assert bench.put(ticket, CONTENT).status_code == 200
    bench.reaches(ticket, "finished")
    command = [sys.executable, "-m", "incoming", "uploads", "--storage-dir", str(bench.server.storage_dir)]
    shown = subprocess.run([*command, "show", ticket, "--json"], capture_output=True, text=True, check=True, cwd=ROOT)
    facts = json.loads(shown.stdout)
    assert (facts["dest_type"], facts["location"]) == ("s3", f"s3://{bucket}/incoming/{ticket}")

    def counted() -> bool:
        page = requests.get(f"{bench.server.base_url}/incoming/metrics", timeout=30).text
        parts = f'incoming_object_requests_total{{operation="UploadPart"}} {SIZE // 4096 + 1}.0'
        return parts in page and "incoming_spool_bytes 0.0" in page

    wait_until(counted, "the requests in the metrics")


def test_a_key_of_the_apps_choice_is_taken_once(
    ceph: CephCluster, bucket: str, start_server: Callable[..., IncomingServer], app_stub: AppStub
) -> None:
    bench = ObjectBench(start_server(store_option(ceph.url, bucket, key_pattern="[a-z]+[.]bin")), app_stub)
    ticket = bench.new_upload(destKey="film.bin", removeFileWhenFinished="no")
    assert bench.put(ticket, CONTENT).status_code == 200
    assert bench.handed_over(ticket).params["key"] == "incoming/film.bin"
    assert ceph.read(bucket, "incoming/film.bin") == CONTENT
    for key, words in (("film.bin", "there is an object with the key 'film.bin' already"), ("A", "key_pattern")):
        answer = bench.backend("new_upload", signalFinishURL=bench.app.url, destType="s3", destKey=key)
        assert answer.status_code == 400
        assert words in answer.text


@pytest.mark.parametrize(
    ("property_name", "value", "words"),
    [
        ("bucket", "no-such-bucket", "NoSuchBucket; make the bucket, or correct bucket"),
        ("access_key", "wrong", "InvalidAccessKeyId; correct access_key"),
        ("secret_key", "wrong", "SignatureDoesNotMatch; correct secret_key"),
    ],
)
def test_a_store_that_cannot_be_used_is_refused_at_the_start(
    ceph: CephCluster, bucket: str, tmp_path: Path, property_name: str, value: str, words: str
) -> None:
    wrong = {"bucket": bucket, property_name: value}
    assert words in refusal(store_option(ceph.url, **wrong), tmp_path)


def test_a_lifecycle_rule_that_is_too_short_is_refused_at_the_start(
    ceph: CephCluster, bucket: str, tmp_path: Path
) -> None:
    ceph.abort_after(bucket, 3)
    words = "a lifecycle rule aborts uploads after 3 days, paused_timeout is 7 days; make the rule longer"
    assert words in refusal(store_option(ceph.url, bucket), tmp_path)


def refusal(option: str, directory: Path) -> str:
    """Return the one line with which the server ends."""
    command = [sys.executable, "-m", "incoming", "--port", "0", "--storage-dir", str(directory / "refused"), option]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    return line


def test_check_store_tries_the_cors_rule_as_browsers_do(ceph: CephCluster) -> None:
    bucket = ceph.new_bucket(origins=["https://app.example.org"])
    environment = {**os.environ, "INCOMING_OBJECT_STORES": store_option(ceph.url, bucket).partition("=")[2]}
    command = [sys.executable, "-m", "incoming", "check", "store", "s3", "--origin", "https://app.example.org"]
    command += ["--origin", "https://other.example.org"]
    found = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "pages of https://app.example.org may PUT parts to this bucket" in found.stdout
    assert "pages of https://other.example.org may not PUT" in found.stdout
    assert "add a CORS rule to the bucket with AllowedOrigin https://other.example.org" in found.stdout


def test_check_store_says_what_a_store_can_do(ceph: CephCluster, bucket: str, tmp_path: Path) -> None:
    environment = {**os.environ, "INCOMING_OBJECT_STORES": store_option(ceph.url, bucket).partition("=")[2]}
    command = [sys.executable, "-m", "incoming", "check", "store"]
    found = subprocess.run([*command, "s3"], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "multipart uploads can be begun and aborted" in found.stdout
    assert "parts that arrive with other bytes are refused (Content-MD5)" in found.stdout
    assert "If-None-Match keeps an object from being overwritten" in found.stdout
    assert found.stdout.endswith("object store s3: no fault\n")
    assert ceph.objects(bucket) == {}
    assert ceph.uploads(bucket) == {}
    other = subprocess.run([*command, "s4"], capture_output=True, text=True, check=False, cwd=ROOT, env=environment)
    assert (other.returncode, other.stderr) == (2, "incoming check: object_stores has no 's4'; it has s3\n")
