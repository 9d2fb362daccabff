"""What the fields of tus 1.0.0 say, and which of them are malformed."""

import base64
import hashlib

import pytest
from tornado.httputil import HTTPHeaders

from incoming.core.errors import (
    BadRequest,
    ChecksumMismatch,
    MethodNotAllowed,
    UnsupportedMediaType,
    UnsupportedVersion,
)
from incoming.core.ticket import Identity
from incoming.wire import tus


def headers(**fields: str) -> HTTPHeaders:
    return HTTPHeaders({name.replace("_", "-"): value for name, value in fields.items()})


@pytest.mark.parametrize(
    ("method", "override", "meant"),
    [
        ("POST", None, "POST"),
        ("POST", "patch", "PATCH"),
        ("POST", " DELETE ", "DELETE"),
        ("POST", "HEAD", "HEAD"),
        ("HEAD", "PATCH", "HEAD"),
        ("GET", "nonsense", "GET"),
    ],
)
def test_a_post_can_stand_for_another_method(method: str, override: str | None, meant: str) -> None:
    told = headers() if override is None else headers(X_HTTP_Method_Override=override)
    assert tus.method_of(method, told) == meant


@pytest.mark.parametrize("override", ["PUT", "GET", "POST", "", "PATCH, PATCH"])
def test_a_post_cannot_stand_for_any_method(override: str) -> None:
    with pytest.raises(MethodNotAllowed, match="none of PATCH, DELETE, HEAD"):
        tus.method_of("POST", headers(X_HTTP_Method_Override=override))


def test_one_version_is_spoken() -> None:
    tus.check_version(headers(Tus_Resumable="1.0.0"))
    for told in (headers(), headers(Tus_Resumable="1.0"), headers(Tus_Resumable="1.0.0, 1.0.0")):
        with pytest.raises(UnsupportedVersion, match=r"1\.0\.0 is spoken"):
            tus.check_version(told)


@pytest.mark.parametrize("told", ["application/offset+octet-stream", "Application/Offset+Octet-Stream; x=1"])
def test_a_part_has_its_type(told: str) -> None:
    tus.check_body_type(headers(Content_Type=told))


@pytest.mark.parametrize("told", ["", "application/octet-stream", "application/offset+octet-stream, text/plain"])
def test_no_part_has_another_type(told: str) -> None:
    with pytest.raises(UnsupportedMediaType):
        tus.check_body_type(headers(Content_Type=told))


@pytest.mark.parametrize(("text", "value"), [("0", 0), ("007", 7), (" 12 ", 12), (str(2**53 - 1), 2**53 - 1)])
def test_numbers(text: str, value: int) -> None:
    assert tus.number(headers(Upload_Length=text), "Upload-Length") == value
    assert tus.offset_of(headers(Upload_Offset=text)) == value


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1.0", "1e3", "0x1", "\u00b2", "\u0661", str(2**53), "0" * 17, "1, 1"]
)
def test_no_numbers(text: str) -> None:
    with pytest.raises(BadRequest, match=r"Upload-Offset .* is not a number from 0 to 9007199254740991"):
        tus.offset_of(headers(Upload_Offset=text))


def test_an_append_says_where_it_begins() -> None:
    with pytest.raises(BadRequest, match="Upload-Offset is missing"):
        tus.offset_of(headers())


def test_a_creation_tells_the_length_or_that_it_is_told_later() -> None:
    assert tus.length_of_creation(headers(Upload_Length="5")) == 5
    assert tus.length_of_creation(headers(Upload_Defer_Length="1")) is None
    for told in (headers(), headers(Upload_Length="5", Upload_Defer_Length="1"), headers(Upload_Defer_Length="2")):
        with pytest.raises(BadRequest):
            tus.length_of_creation(told)


def test_what_is_said_of_the_file() -> None:
    told = headers(Upload_Metadata="filename YS50eHQ=,filetype dGV4dC9wbGFpbg==,extra")
    assert tus.identity_of(told, 5) == Identity("a.txt", 5, media_type="text/plain", metadata=told["Upload-Metadata"])
    assert tus.identity_of(headers(Upload_Name="\u00c3\u00bc.txt"), None) == Identity("ü.txt")
    assert tus.identity_of(headers(Upload_Name="\u00fc.txt"), None) == Identity("ü.txt")
    with pytest.raises(BadRequest, match="1025 characters, the limit is 1024"):
        tus.identity_of(headers(Upload_Name="x" * 1025), None)


def test_only_filepond_repeats_chunks_from_their_beginning() -> None:
    assert tus.repeats_chunks(headers(Upload_Name="film.mp4"))
    assert not tus.repeats_chunks(headers(Upload_Metadata="filename YS50eHQ="))


# --- parts ------------------------------------------------------------------------------------------------------------


def test_what_a_creation_says_of_parts() -> None:
    assert tus.concat_of(headers()) is None
    assert tus.concat_of(headers(Upload_Concat=" partial ")) == tus.Concat(None)
    assert tus.concat_of(headers(Upload_Concat="final;/a  /b")) == tus.Concat(("/a", "/b"))


@pytest.mark.parametrize("told", ["", "Partial", "partial;/a", "final", "final; ", "final /a", "partial, partial"])
def test_no_parts(told: str) -> None:
    with pytest.raises(BadRequest, match="neither partial nor final"):
        tus.concat_of(headers(Upload_Concat=told))


def test_parts_are_named_by_their_last_two_segments() -> None:
    urls = ("https://a.org/x/T/0-5", "/y/t/7-9?z", "t/5-7")
    assert tus.Concat(urls).order("t") == ((0, 5), (7, 9), (5, 7))
    for url in ("t", "t/5", "u/0-5", "t/0-5/", "t/0-5x", "t/-5-0", "5-7", "https://t", "t/0-99999999999999999"):
        with pytest.raises(BadRequest, match="not a part of this upload"):
            tus.Concat((url,)).order("t")


# --- checksums --------------------------------------------------------------------------------------------------------


def told(algorithm: str, digest: bytes) -> HTTPHeaders:
    return headers(Upload_Checksum=f"{algorithm} {base64.b64encode(digest).decode()}")


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        ("sha1", hashlib.sha1(b"123456789").digest()),
        ("sha256", hashlib.sha256(b"123456789").digest()),
        ("md5", hashlib.md5(b"123456789").digest()),
        ("crc32", bytes.fromhex("cbf43926")),  # the check value that every description of CRC-32 gives
    ],
)
def test_a_checksum_fits_its_bytes_and_no_others(algorithm: str, digest: bytes) -> None:
    for parts, fits in ([b"1234", b"56789"], True), ([b"1234", b"5678"], False):
        checksum = tus.checksum_of(told(algorithm, digest))
        assert checksum is not None
        for part in parts:
            checksum.update(memoryview(part))
        if fits:
            checksum.check()
        else:
            with pytest.raises(ChecksumMismatch, match=algorithm):
                checksum.check()


def test_every_algorithm_that_is_announced_is_known() -> None:
    for algorithm in tus.ALGORITHMS.split(","):
        assert tus.checksum_of(told(algorithm, bytes(tus.DIGEST_SIZES[algorithm]))) is not None
    assert tus.checksum_of(headers()) is None


@pytest.mark.parametrize(
    "text", ["", "sha1", "sha1 ", "SHA1 AAAA", "sha512 AAAA", "sha1 *", "sha1 AAA", "sha1 AA==,sha1 AA=="]
)
def test_no_checksums(text: str) -> None:
    with pytest.raises((BadRequest, ChecksumMismatch)):
        tus.checksum_of(headers(Upload_Checksum=text))


def test_a_checksum_of_another_length_is_one_that_no_body_has() -> None:
    with pytest.raises(ChecksumMismatch, match="21 bytes, those of sha1 are 20"):
        tus.checksum_of(told("sha1", bytes(21)))
