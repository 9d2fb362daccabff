"""The content coding that a client gets."""

import pytest

from incoming.wire.http.accept_encoding import best_coding


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("", None),
        ("identity", None),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "br"),
        ("GZIP;Q=1", None),
        ("GZIP", "gzip"),
        ("br;q=0, gzip", "gzip"),
        ("br;q=0.5,gzip ; q=0.8", "gzip"),
        ("gzip;q=0", None),
        ("*", "br"),
        ("*;q=0", None),
        ("br;q=0, *", "gzip"),
        ("identity, gzip;q=0.5", None),
        ("gzip;q=2, br;q=x", None),
        (",,;q=1,\x00", None),
    ],
)
def test_the_client_gets_the_coding_that_it_prefers(accepted: str, coding: str | None) -> None:
    assert best_coding(accepted, ("br", "gzip")) == coding


def test_without_codings_the_content_is_not_encoded() -> None:
    assert best_coding("gzip, br", ()) is None
