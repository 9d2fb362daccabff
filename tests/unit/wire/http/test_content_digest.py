"""Content-Digest and Repr-Digest: the strongest known digest counts, and a malformed one is no digest."""

import base64
import hashlib

import pytest

from incoming.core.errors import BadRequest, ChecksumMismatch
from incoming.wire.http.content_digest import digest_of

SHA_256 = f"sha-256=:{base64.b64encode(hashlib.sha256(b'abc').digest()).decode()}:"
SHA_512 = f"sha-512=:{base64.b64encode(hashlib.sha512(b'abc').digest()).decode()}:"
OTHER = f"sha-256=:{base64.b64encode(bytes(32)).decode()}:"


@pytest.mark.parametrize("value", [SHA_256, SHA_512, f"{OTHER}, {SHA_512}", f"md5=:AAAA:,{SHA_256}"])
def test_the_strongest_known_digest_counts(value: str) -> None:
    checksum = digest_of("Content-Digest", value)
    assert checksum is not None
    checksum.update(b"ab")
    with pytest.raises(ChecksumMismatch, match="sha-"):
        checksum.check()
    checksum.update(b"c")
    checksum.check()


@pytest.mark.parametrize("value", [None, "md5=:AAAA:", "unixsum=:AAAA:, crc32c=:AAAA:"])
def test_without_a_known_one_there_is_none(value: str | None) -> None:
    assert digest_of("Content-Digest", value) is None


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", "is not a list of digests"),
        ("sha-256", "is not a list of digests"),
        ("sha-256=abc", "is not a list of digests"),
        (f"{SHA_256},", "is not a list of digests"),
        ("SHA-256=:AAAA:", "is not a list of digests"),
        ("sha-256=:A:", "is not Base64"),
        ("sha-256=:AAAA:", "has 3 bytes, not 32"),
    ],
)
def test_malformed_digests_are_refused(value: str, words: str) -> None:
    with pytest.raises(BadRequest, match=words):
        digest_of("Content-Digest", value)
