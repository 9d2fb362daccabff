"""The object store that the other tests here believe: a real Ceph, which must be as strict as they need it."""

import pytest
from botocore.exceptions import ClientError

from tests.support.ceph_cluster import MIN_PART, CephCluster, s3_client


def upload(ceph: CephCluster, bucket: str, *parts: bytes) -> str:
    """Upload a multipart object `file` up to its completion; return the id."""
    upload_id: str = ceph.s3.create_multipart_upload(Bucket=bucket, Key="file")["UploadId"]
    etags = [
        ceph.s3.upload_part(Bucket=bucket, Key="file", UploadId=upload_id, PartNumber=number, Body=part)["ETag"]
        for number, part in enumerate(parts, 1)
    ]
    listed = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(etags, 1)]
    ceph.s3.complete_multipart_upload(Bucket=bucket, Key="file", UploadId=upload_id, MultipartUpload={"Parts": listed})
    return upload_id


def test_a_multipart_object_of_small_parts_is_the_parts_in_their_order(ceph: CephCluster) -> None:
    bucket = ceph.new_bucket()
    upload(ceph, bucket, b"a" * MIN_PART, b"b" * 10)
    assert ceph.read(bucket, "file") == b"a" * MIN_PART + b"b" * 10
    assert ceph.objects(bucket) == {"file": MIN_PART + 10}
    assert ceph.uploads(bucket) == {}


def test_a_part_below_the_least_size_is_refused(ceph: CephCluster) -> None:
    with pytest.raises(ClientError, match="EntityTooSmall"):
        upload(ceph, ceph.new_bucket(), b"a" * (MIN_PART - 1), b"b")


def test_uploads_can_be_aborted_as_a_lifecycle_rule_does(ceph: CephCluster) -> None:
    bucket = ceph.new_bucket()
    ceph.s3.create_multipart_upload(Bucket=bucket, Key="file")
    assert ceph.abort_uploads(bucket) == 1
    assert ceph.uploads(bucket) == {}


def test_a_second_gateway_shows_the_same_objects_and_can_die(ceph: CephCluster) -> None:
    bucket = ceph.new_bucket()
    ceph.s3.put_object(Bucket=bucket, Key="file", Body=b"content")
    gateway = ceph.start_gateway()
    try:
        assert s3_client(gateway.url).get_object(Bucket=bucket, Key="file")["Body"].read() == b"content"
    finally:
        gateway.kill()
    assert ceph.read(bucket, "file") == b"content"
