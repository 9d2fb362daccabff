"""Which digest stores check the bytes with."""

import pytest

from incoming.settings.object_stores import parse_object_stores
from incoming.storage.s3.bucket import checksums
from incoming.storage.s3.bucket.checksums import chosen_checksum, faster_digest


@pytest.mark.parametrize("faster", ["sha256", "md5"])
def test_unless_one_is_configured_it_is_the_faster_one(faster: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checksums, "_seconds", lambda algorithm: 1.0 if algorithm == faster else 2.0)
    faster_digest.cache_clear()
    [store] = parse_object_stores("{s3: {bucket: uploads}}")
    assert chosen_checksum(store) == faster
    faster_digest.cache_clear()


@pytest.mark.parametrize("configured", ["sha256", "md5", "none"])
def test_what_is_configured_is_used(configured: str) -> None:
    [store] = parse_object_stores(f"{{s3: {{bucket: uploads, checksum: {configured}}}}}")
    assert chosen_checksum(store) == configured


def test_measuring_gives_one_of_both() -> None:
    faster_digest.cache_clear()
    assert faster_digest() in ("sha256", "md5")
