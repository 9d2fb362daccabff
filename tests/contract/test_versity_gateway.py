"""A second implementation of S3: as strict as AWS about lengths, and not fit for browsers that send straight to it."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from incoming.core.extents import Extents
from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.bucket.bucket_access import BucketAccess
from incoming.storage.s3.bucket.examination import DAY, Examination, Kind
from incoming.storage.s3.bucket.spool import Spool
from incoming.storage.s3.store import S3Bytes
from tests.contract.byte_stores import RECORDS, no_lease
from tests.contract.test_byte_store import ticket_of
from tests.support.ceph_cluster import ACCESS_KEY, SECRET_KEY
from tests.support.versity_gateway import MIN_PART, versity_gateway

pytestmark = pytest.mark.wide

CONTENT = bytes(range(256)) * (2 * MIN_PART // 256) + b"the end"
SIZE = len(CONTENT)


def configured() -> ObjectStore:
    gateway = versity_gateway()
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    return ObjectStore(
        name="s3", bucket=gateway.new_bucket(), endpoint=gateway.url, part_size=MIN_PART, direct=True, **keys
    )


async def put(url: str, content: bytes) -> int:
    return (await asyncio.to_thread(requests.put, url, content, timeout=60)).status_code


async def test_what_it_can_and_cannot_do() -> None:
    found = await Examination(configured(), 7 * DAY).of_everything()
    facts = {kind: [one.fact for one in found if one.kind == kind] for kind in Kind}
    assert facts[Kind.FAULT] == ["a part whose connection was cut is listed as if it were whole"]
    assert "parts that arrive with other bytes are refused (Content-MD5)" in facts[Kind.GOOD]
    assert "If-None-Match keeps an object from being overwritten" in facts[Kind.GOOD]
    assert "a completed object has its size and its metadata" in facts[Kind.GOOD]


async def test_parts_that_clients_send_themselves_are_seen_and_completed(tmp_path: Path) -> None:
    store_option = configured()
    store = S3Bytes(BucketAccess(store_option, Spool(tmp_path, 2**24)), RECORDS.of, no_lease)
    ticket = replace(ticket_of(SIZE), part_size=MIN_PART)
    ticket = replace(ticket, store_data=(await store.begin_direct(ticket)).data)
    for part in await store.sign_parts(ticket, [1, 2, 3]):
        assert await put(part.url, CONTENT[slice(*part.range)]) == 200
    [third] = await store.sign_parts(ticket, [3])
    assert await put(third.url, b"longer than it may be") == 403, "the length is signed"
    seen = await store.seen_parts(ticket, 0)
    assert Extents(seen.durable) == Extents([(0, SIZE)])
    ticket = replace(ticket, extents=Extents(seen.durable))
    RECORDS.keep(ticket, seen.records)
    location = await store.complete(ticket, SIZE)
    key = location.address.removeprefix(f"s3://{store_option.bucket}/")
    assert versity_gateway().s3.get_object(Bucket=store_option.bucket, Key=key)["Body"].read() == CONTENT
    await store.close()
