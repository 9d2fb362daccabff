"""The scripted object store, by boto3, which knows nothing of it: what it does rightly, and what it does on command."""

import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from tests.support.ceph_cluster import s3_client
from tests.support.scripted_s3 import BUSY, ERROR_IN_200, GONE_AFTER_SUCCESS, LOST, STALE, Fault, ScriptedS3

PART = 4096
ORIGIN = "http://app.example"


@pytest.fixture
def store() -> Iterator[ScriptedS3]:
    with ScriptedS3() as scripted:
        scripted.new_bucket(origins=(ORIGIN,))
        yield scripted


@pytest.fixture
def s3(store: ScriptedS3) -> Iterator[Any]:
    client = s3_client(store.url)
    yield client
    client.close()


def begin(s3: Any) -> dict[str, str]:
    created = s3.create_multipart_upload(Bucket="bucket", Key="a b/ü", Metadata={"ticket": "7"})
    return {"Bucket": "bucket", "Key": "a b/ü", "UploadId": created["UploadId"]}


def complete(s3: Any, upload: dict[str, str], *etags: str) -> Any:
    parts = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})


def two_parts(s3: Any, first: int = PART) -> tuple[dict[str, str], list[str]]:
    upload = begin(s3)
    contents = [b"a" * first, b"b" * 10]
    etags = [s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"] for n, body in enumerate(contents, 1)]
    return upload, etags


def url_of_a_part(s3: Any, upload: dict[str, str], length: int) -> str:
    params = {**upload, "PartNumber": 1, "ContentLength": length}
    url: str = s3.generate_presigned_url("upload_part", Params=params, ExpiresIn=60)
    return url


def put(url: str, body: bytes, **headers: str) -> urllib.request.Request:
    return urllib.request.Request(url, body, {"Content-Type": "", **headers}, method="PUT")


def test_a_multipart_object_is_its_parts_with_metadata(store: ScriptedS3, s3: Any) -> None:
    upload, etags = two_parts(s3)
    assert [(part["PartNumber"], part["Size"]) for part in s3.list_parts(**upload)["Parts"]] == [(1, PART), (2, 10)]
    assert complete(s3, upload, *etags)["ETag"].endswith('-2"')
    assert store.objects() == {"a b/ü": b"a" * PART + b"b" * 10}
    head = s3.head_object(Bucket="bucket", Key="a b/ü")
    metadata = {name.lower(): value for name, value in head["Metadata"].items()}
    assert (head["ContentLength"], metadata) == (PART + 10, {"ticket": "7"})
    assert s3.get_object(Bucket="bucket", Key="a b/ü", Range="bytes=4095-4097")["Body"].read() == b"abb"
    with pytest.raises(ClientError, match="NoSuchUpload"):
        complete(s3, upload, *etags)


def test_small_wrong_and_missing_parts_are_refused(s3: Any) -> None:
    upload, etags = two_parts(s3, first=PART - 1)
    with pytest.raises(ClientError, match="EntityTooSmall"):
        complete(s3, upload, *etags)
    with pytest.raises(ClientError, match="InvalidPart"):
        complete(s3, upload, etags[1])
    with pytest.raises(ClientError, match="InvalidPart"):
        complete(s3, upload, *etags, etags[0])


def test_a_wrong_key_or_clock_is_refused(store: ScriptedS3, s3: Any) -> None:
    store.clock_offset = timedelta(minutes=16)
    with pytest.raises(ClientError, match="RequestTimeTooSkewed"):
        begin(s3)
    store.clock_offset = timedelta()
    store.check._secret_key = "another"
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        begin(s3)


def test_a_signed_url_holds_for_its_length_and_time(store: ScriptedS3, s3: Any) -> None:
    url = url_of_a_part(s3, begin(s3), PART)
    with urllib.request.urlopen(put(url, b"a" * PART)) as answer:
        assert answer.status == 200
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(put(url, b"a" * (PART + 1)))
    store.clock_offset = timedelta(seconds=61)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(put(url, b"a" * PART))


def test_only_allowed_origins_get_cors_headers(store: ScriptedS3, s3: Any) -> None:
    url = url_of_a_part(s3, begin(s3), PART)
    with urllib.request.urlopen(put(url, b"a" * PART, Origin=ORIGIN)) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    with urllib.request.urlopen(put(url, b"a" * PART, Origin="http://other.example")) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] is None


def test_faults_are_met_once_each_and_counted(store: ScriptedS3, s3: Any) -> None:
    store.fail("UploadPart", BUSY)
    upload = begin(s3)
    with pytest.raises(ClientError, match="SlowDown"):
        s3.upload_part(**upload, PartNumber=1, Body=b"a")
    assert store.pending == 0
    s3.upload_part(**upload, PartNumber=1, Body=b"a")
    assert [seen.status for seen in store.seen("UploadPart")] == [503, 200]


def test_an_answer_can_be_an_error_lost_or_a_lie(store: ScriptedS3, s3: Any) -> None:
    upload, etags = two_parts(s3)
    store.fail("CompleteMultipartUpload", ERROR_IN_200)
    with pytest.raises(ClientError, match="InternalError"):
        complete(s3, upload, *etags)
    assert not store.objects()
    store.fail("CompleteMultipartUpload", GONE_AFTER_SUCCESS)
    with pytest.raises(ClientError, match="NoSuchUpload"):
        complete(s3, upload, *etags)
    assert store.objects()
    store.fail("CreateMultipartUpload", LOST)
    with pytest.raises(ConnectionClosedError):
        begin(s3)
    assert len(store.buckets["bucket"].uploads) == 1


def test_a_body_can_be_cut_and_a_list_be_stale(store: ScriptedS3, s3: Any) -> None:
    upload = begin(s3)
    store.fail("UploadPart", Fault(after=PART))
    with pytest.raises(ConnectionClosedError):
        s3.upload_part(**upload, PartNumber=1, Body=b"a" * 2**20)
    store.fail("ListParts", STALE)
    s3.upload_part(**upload, PartNumber=1, Body=b"a")
    assert "Parts" not in s3.list_parts(**upload)
    assert len(s3.list_parts(**upload)["Parts"]) == 1
