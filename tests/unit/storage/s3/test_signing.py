"""Signatures: the examples of the documentation of AWS, exact lengths, and the store's own time."""

from datetime import UTC, datetime
from unittest.mock import AsyncMock
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.requests.signing import Signer, StoreTime

# "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)" and "Signature Calculations for the
# Authorization Header" in the Amazon S3 API Reference.
EXAMPLE = ObjectStore(
    name="s3",
    bucket="examplebucket",
    access_key="AKIAIOSFODNN7EXAMPLE",
    secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
)
MOMENT = datetime(2013, 5, 24, tzinfo=UTC).timestamp()
HOST = "https://examplebucket.s3.amazonaws.com"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def signer() -> Signer:
    return Signer(EXAMPLE, lambda: MOMENT)


async def test_the_documented_example_of_a_signed_get() -> None:
    headers = {"Host": "examplebucket.s3.amazonaws.com", "Range": "bytes=0-9"}
    signed = await signer().sign("GET", f"{HOST}/test.txt", headers, EMPTY)
    expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    assert signed["Authorization"].endswith(f"Signature={expected}")
    assert signed["X-Amz-Content-SHA256"] == EMPTY


async def test_the_documented_example_of_a_signed_list() -> None:
    signed = await signer().sign("GET", f"{HOST}/?max-keys=2&prefix=J", {"Host": HOST.partition("//")[2]}, EMPTY)
    expected = "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
    assert signed["Authorization"].endswith(f"Signature={expected}")


async def test_the_documented_example_of_a_signed_url() -> None:
    url = await signer().presign("GET", f"{HOST}/test.txt", 86400)
    expected = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert parse_qs(urlsplit(url).query)["X-Amz-Signature"] == [expected]


@pytest.mark.parametrize(
    "url",
    [
        f"{HOST}/incoming/a%20b%C3%A9?partNumber=7&uploadId=2~a.b-c_d",
        "https://ceph.example.org:443/bucket/key?partNumber=10000&uploadId=x%2By%2F%3D",
        "http://127.0.0.1:7480/bucket/key",
    ],
)
@pytest.mark.parametrize("token", ["", "session/token+="])
async def test_signed_urls_are_those_of_botocore(url: str, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ReadOnlyCredentials("AKIDEXAMPLE", "secret", token or None)
    its = signer()
    monkeypatch.setattr(its, "credentials", AsyncMock(return_value=keys))
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: datetime.fromtimestamp(MOMENT, UTC))
    reference = S3SigV4QueryAuth(keys, "s3", EXAMPLE.region, expires=900)
    request = AWSRequest("PUT", url, headers={"Content-Length": "4096"})
    reference.add_auth(request)
    ours = await its.presign("PUT", url, 900, {"Content-Length": "4096"})
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(request.url).query)


async def test_a_signed_url_holds_for_one_length() -> None:
    url = await signer().presign("PUT", f"{HOST}/a?partNumber=1&uploadId=u", 900, {"Content-Length": "4096"})
    query = parse_qs(urlsplit(url).query)
    assert query["X-Amz-SignedHeaders"] == ["content-length;host"]
    assert query["partNumber"] == ["1"]
    other = await signer().presign("PUT", f"{HOST}/a?partNumber=1&uploadId=u", 900, {"Content-Length": "4097"})
    assert parse_qs(urlsplit(other).query)["X-Amz-Signature"] != query["X-Amz-Signature"]


async def test_urls_signed_together_are_those_signed_one_by_one() -> None:
    its = signer()
    together = await its.url_signer("PUT", f"{HOST}/a%20b", 900, ("Content-Length",))
    for number, length in ((1, "4096"), (2, "17")):
        query = f"partNumber={number}&uploadId=u"
        alone = await its.presign("PUT", f"{HOST}/a%20b?{query}", 900, {"Content-Length": length})
        assert together.sign(query.split("&"), (length,)) == alone


async def test_the_time_of_a_signature_is_the_stores() -> None:
    its = signer()
    its.time.learn("Fri, 24 May 2013 01:00:00 GMT")
    signed = await its.sign("GET", f"{HOST}/test.txt", {}, EMPTY)
    assert signed["X-Amz-Date"] == "20130524T010000Z"


@pytest.mark.parametrize("date", ["", "yesterday", "Fri, 99 May 2013 01:00:00 GMT"])
def test_a_date_that_is_none_changes_nothing(date: str) -> None:
    clock = StoreTime(lambda: MOMENT)
    clock.skew = 7.0
    clock.learn(date)
    assert clock.skew == 7.0


def test_a_second_is_no_skew() -> None:
    clock = StoreTime(lambda: MOMENT + 0.9)
    clock.learn("Fri, 24 May 2013 00:00:00 GMT")
    assert clock.skew == 0.0
