"""The fields of the tus resumable upload protocol 1.0.0 (https://tus.io/protocols/resumable-upload).

Decides what a request's fields say and refuses what is malformed; knows no ticket, no connection and no answer's body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from incoming.core.errors import (
    BadRequest,
    ChecksumMismatch,
    MethodNotAllowed,
    UnsupportedMediaType,
    UnsupportedVersion,
)
from incoming.core.extents import Range
from incoming.core.ticket import Identity
from incoming.wire import upload_metadata
from incoming.wire.http.checksum import Checksum, Hash
from incoming.wire.messages import MAX_NAME, MAX_SIZE

Headers = Mapping[str, str]
"""Field values by name; the names' case does not matter."""

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,creation-defer-length,termination,expiration,checksum"
OFFSET_STREAM: Final = "application/offset+octet-stream"
OVERRIDES: Final = ("PATCH", "DELETE", "HEAD")
"""What `X-HTTP-Method-Override` may make of a POST."""

CONCATENATION: Final = "concatenation"
"""The extension that not every store makes possible."""

_PART = re.compile(r"[0-9]{1,16}-[0-9]{1,16}", re.ASCII)

MISMATCH_STATUS: Final = 460
MISMATCH_REASON: Final = "Checksum Mismatch"


def method_of(method: str, headers: Headers) -> str:
    """Return the method that is meant. Raise MethodNotAllowed for an override to another than OVERRIDES."""
    override = headers.get("X-HTTP-Method-Override")
    if method != "POST" or override is None:
        return method
    if override.strip().upper() not in OVERRIDES:
        raise MethodNotAllowed(f"X-HTTP-Method-Override {override[:60]!a} is none of {', '.join(OVERRIDES)}")
    return override.strip().upper()


def check_version(headers: Headers) -> None:
    """Raise UnsupportedVersion for a request that names another version, or none."""
    declared = headers.get("Tus-Resumable")
    if declared is None:
        raise UnsupportedVersion(f"Tus-Resumable is missing; version {VERSION} is spoken here")
    if declared.strip() != VERSION:
        raise UnsupportedVersion(f"Tus-Resumable {declared[:60]!a}: version {VERSION} is spoken here")


def check_body_type(headers: Headers) -> None:
    """Raise UnsupportedMediaType for a body that is no part of a file."""
    declared = headers.get("Content-Type", "")
    if declared.partition(";")[0].strip().lower() != OFFSET_STREAM:
        raise UnsupportedMediaType(f"the body's Content-Type is {declared[:60]!a}, it must be {OFFSET_STREAM}")


def number(headers: Headers, name: str) -> int | None:
    """Return a field's number of bytes; None if the field is not there. Raise BadRequest."""
    declared = headers.get(name)
    if declared is None:
        return None
    text = declared.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 16 or int(text) > MAX_SIZE:
        raise BadRequest(f"{name} {declared[:60]!a} is not a number from 0 to {MAX_SIZE}")
    return int(text)


def offset_of(headers: Headers) -> int:
    """Return where an append begins. Raise BadRequest."""
    offset = number(headers, "Upload-Offset")
    if offset is None:
        raise BadRequest("Upload-Offset is missing")
    return offset


def repeats_chunks(headers: Headers) -> bool:
    """Return whether the client is FilePond, which sends a failed chunk again from its beginning, whatever was kept.

    Its chunk protocol has `Upload-Name`, which tus does not know.
    """
    return "Upload-Name" in headers


def length_of_creation(headers: Headers) -> int | None:
    """Return the file's size; None if it follows later. Raise BadRequest."""
    length, defer = number(headers, "Upload-Length"), headers.get("Upload-Defer-Length")
    if defer is not None and defer.strip() != "1":
        raise BadRequest(f"Upload-Defer-Length {defer[:60]!a} is not 1")
    if (length is None) == (defer is None):
        raise BadRequest("of Upload-Length and Upload-Defer-Length there must be exactly one")
    return length


def identity_of(headers: Headers, size: int | None) -> Identity:
    """Return what a request says of its file. Raise BadRequest."""
    declared = upload_metadata.parse(headers.get("Upload-Metadata", ""))
    return Identity(declared.name or _named(headers), size, media_type=declared.media_type, metadata=declared.text)


def _named(headers: Headers) -> str | None:
    """Return the name as FilePond sends it: in a field of its own, in UTF-8."""
    declared = headers.get("Upload-Name", "")
    with suppress(UnicodeError):
        declared = declared.encode("latin-1").decode("utf-8")
    if len(declared) > MAX_NAME:
        raise BadRequest(f"the file's name has {len(declared)} characters, the limit is {MAX_NAME}")
    return declared or None


# --- parts ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Concat:
    """What `Upload-Concat` says: the URLs of the parts that make the file; None for a part."""

    urls: tuple[str, ...] | None

    def order(self, ticket_id: str) -> tuple[Range, ...]:
        """Return the parts that are named. Raise BadRequest for one of another upload, or of none."""
        found = []
        for url in self.urls or ():
            *_, owner, name = ("", *urlsplit(url).path.split("/"))
            if owner.lower() != ticket_id or not _PART.fullmatch(name):
                raise BadRequest(f"Upload-Concat: {url[:200]!a} is not a part of this upload")
            found.append(part_of(name))
        return tuple(found)


def concat_of(headers: Headers) -> Concat | None:
    """Return what a creation says of parts; None if it is of a file as a whole. Raise BadRequest."""
    declared = headers.get("Upload-Concat")
    if declared is None:
        return None
    kind, _, urls = declared.strip().partition(";")
    if kind == "partial" and not urls:
        return Concat(None)
    if kind != "final" or not urls.split():
        raise BadRequest(f"Upload-Concat {declared[:60]!a} is neither partial nor final;URL URL...")
    if "Upload-Length" in headers or "Upload-Defer-Length" in headers:
        raise BadRequest("with Upload-Concat: final the length is that of the parts, and is not declared")
    return Concat(tuple(urls.split()))


def part_of(name: str) -> Range:
    """Return the part of a name that the route of parts has let through."""
    start, _, end = name.partition("-")
    return int(start), int(end)


# --- checksums --------------------------------------------------------------------------------------------------------


class _Crc32:
    """CRC-32 of ISO 3309, as four bytes in network order."""

    digest_size = 4

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = binascii.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self.digest_size)


def _new_hash(algorithm: str) -> Hash:
    return _Crc32() if algorithm == "crc32" else hashlib.new(algorithm, usedforsecurity=False)


DIGEST_SIZES: Final = {"sha1": 20, "sha256": 32, "md5": 16, "crc32": 4}
"""Bytes, by algorithm."""

ALGORITHMS: Final = ",".join(DIGEST_SIZES)


def checksum_of(headers: Headers) -> Checksum | None:
    """Return the checksum that a body must have. Raise BadRequest, or ChecksumMismatch for one that no body has."""
    declared = headers.get("Upload-Checksum")
    if declared is None:
        return None
    algorithm, _, text = declared.strip().partition(" ")
    if algorithm not in DIGEST_SIZES:
        raise BadRequest(f"the checksum algorithm {algorithm[:60]!a} is none of {', '.join(DIGEST_SIZES)}")
    try:
        expected = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest("Upload-Checksum is not an algorithm and a checksum in Base64") from error
    if len(expected) != DIGEST_SIZES[algorithm]:
        # No body has it. The protocol knows one answer to that, and its conformance suite sends such ones.
        size = DIGEST_SIZES[algorithm]
        raise ChecksumMismatch(f"Upload-Checksum has {len(expected)} bytes, those of {algorithm} are {size}")
    return Checksum(algorithm, expected, _new_hash(algorithm))
