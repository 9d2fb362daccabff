"""Content-Digest and Repr-Digest (RFC 9530): what the bytes of a body must come to.

Decides which members of such a field count: the strongest of the known active algorithms. Knows no body.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from typing import Final

from incoming.core.errors import BadRequest
from incoming.wire.http.checksum import Checksum

DIGEST_SIZES: Final = {"sha-512": 64, "sha-256": 32}
"""Bytes, by algorithm, the strongest first."""

_MEMBER = re.compile(r"[ \t]*([a-z*][a-z0-9_.*-]{0,63})=:([A-Za-z0-9+/=]{0,256}):[ \t]*", re.ASCII)


def digest_of(field: str, value: str | None) -> Checksum | None:
    """Return what a body must come to; None without the field, or if it has only other algorithms. Raise BadRequest."""
    if value is None:
        return None
    members = [_MEMBER.fullmatch(member) for member in value.split(",")]
    found = {member[1]: member[2] for member in members if member is not None}
    if None in members:
        raise BadRequest(f"{field} is not a list of digests like sha-256=:BASE64: (RFC 9530)")
    algorithm = next((known for known in DIGEST_SIZES if known in found), None)
    if algorithm is None:
        return None
    try:
        expected = base64.b64decode(found[algorithm], validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequest(f"the {algorithm} of {field} is not Base64 (RFC 4648)") from error
    if len(expected) != DIGEST_SIZES[algorithm]:
        raise BadRequest(f"the {algorithm} of {field} has {len(expected)} bytes, not {DIGEST_SIZES[algorithm]}")
    return Checksum(algorithm, expected, hashlib.new(algorithm.replace("-", "")))
