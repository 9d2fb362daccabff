"""Further metadata of a file, from a client or an app: `Upload-Metadata` in the tus protocol's syntax, or a JSON
object.

Decides which keys and how much there may be, and which of it is the file's name and type. The text is kept unchanged,
because clients compare it. Knows neither ticket nor request.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from incoming.core.errors import BadRequest
from incoming.core.identity import MAX_MEDIA_TYPE, MAX_NAME

MAX_KEYS = 32
MAX_BYTES = 4096
"""Of all keys and values together, without the file's name and type."""

NAME_KEYS = ("filename", "name")
TYPE_KEYS = ("filetype", "type", "mimetype")
"""The first one present counts."""

_KEY = re.compile(r"[!-+\--~]+", re.ASCII)
"""Printable ASCII without space and comma."""


@dataclass(frozen=True, slots=True)
class UploadMetadata:
    """`text` is the header's value without surrounding white space; None if it is empty."""

    name: str | None = None
    media_type: str | None = None
    text: str | None = None


def parse(header: str) -> UploadMetadata:
    """Parse a header's value. Raise BadRequest if it is malformed or too large."""
    text = header.strip(" \t")
    pairs = _pairs(text)
    name_key, type_key = _first(pairs, NAME_KEYS), _first(pairs, TYPE_KEYS)
    rest = {key: value for key, value in pairs.items() if key not in (name_key, type_key)}
    if len(rest) > MAX_KEYS:
        raise BadRequest(f"the metadata has {len(rest)} keys besides name and type, the limit is {MAX_KEYS}")
    if (size := sum(len(key) + len(value) for key, value in rest.items())) > MAX_BYTES:
        raise BadRequest(f"the metadata has {size} bytes besides name and type, the limit is {MAX_BYTES}")
    name = _readable(pairs.get(name_key, b""))
    if len(name) > MAX_NAME:
        raise BadRequest(f"the file's name has {len(name)} characters, the limit is {MAX_NAME}")
    return UploadMetadata(name or None, _readable(pairs.get(type_key, b""))[:MAX_MEDIA_TYPE] or None, text or None)


def write(metadata: Mapping[str, str]) -> UploadMetadata:
    """Return an object of strings as a header's value, and its meaning. Raise BadRequest for an invalid key, or if it
    is too large.
    """
    for key in metadata:
        if not _KEY.fullmatch(key):
            raise BadRequest(f"the key {key[:60]!a} is not printable ASCII without space and comma")
    return parse(",".join(f"{key} {_encoded(value)}".rstrip(" ") for key, value in metadata.items()))


def as_object(text: str | None) -> dict[str, str]:
    """Return an accepted header's value as an object of strings. Invalid UTF-8 is replaced."""
    return {key: _readable(value) for key, value in _pairs(text or "").items()}


def from_json(text: str) -> dict[str, str]:
    """Return a JSON object of strings. Raise BadRequest for anything else."""
    try:
        metadata = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest("it is not valid JSON") from error
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise BadRequest("it is not a JSON object of strings")
    return metadata


def _pairs(text: str) -> dict[str, bytes]:
    pairs: dict[str, bytes] = {}
    for item in text.split(",") if text else ():
        key, _, value = item.strip(" \t").partition(" ")
        if not _KEY.fullmatch(key):
            raise BadRequest("a key of the metadata is empty or not printable ASCII")
        if key in pairs:
            raise BadRequest(f"the metadata has the key {key[:60]!a} twice")
        try:
            pairs[key] = base64.b64decode(value.strip(" \t"), validate=True)
        except (ValueError, binascii.Error) as error:
            raise BadRequest(f"the value of {key[:60]!a} in the metadata is not Base64 (RFC 4648)") from error
    return pairs


def _first(pairs: Mapping[str, bytes], keys: tuple[str, ...]) -> str:
    return next((key for key in keys if key in pairs), "")


def _readable(value: bytes) -> str:
    return value.decode("utf-8", "replace")


def _encoded(value: str) -> str:
    return base64.b64encode(value.encode("utf-8", "replace")).decode("ascii")
