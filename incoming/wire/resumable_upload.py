"""The fields of "Resumable Uploads for HTTP" (draft-ietf-httpbis-resumable-upload), and the differences between its
versions.

Decides which requests are the draft's, what their structured fields (RFC 9651) mean, and how answers are written. Only
the table of interop versions distinguishes versions. Knows no ticket and no connection.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from incoming.core.errors import BadRequest, UnsupportedMediaType, UploadError
from incoming.wire.messages import MAX_SIZE, describe_error

Headers = Mapping[str, str]
"""Field values by name; the names' case does not matter."""

VERSION_FIELD = "Upload-Draft-Interop-Version"
PARTIAL_UPLOAD = "application/partial-upload"
PROBLEM_JSON = "application/problem+json"
PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
MISMATCHING_OFFSET = f"{PROBLEM_TYPES}mismatching-upload-offset"
INCONSISTENT_LENGTH = f"{PROBLEM_TYPES}inconsistent-upload-length"

_TITLES: Final = {
    MISMATCHING_OFFSET: "the append does not begin at the upload's offset",
    INCONSISTENT_LENGTH: "the lengths given for the upload differ",
}

RFC_IS_PUBLISHED = False
"""Whether a request without an interop version is the finished RFC's, whose clients expect 104."""

MAX_INTEGER = 10**15 - 1
"""The largest integer of a structured field (RFC 9651 section 3.3.1)."""

_BARE_ITEM = (
    r'(?:-?[0-9]{1,15}(?:\.[0-9]{1,3})?|%?"(?:[ !#-\[\]-~]|\\["\\])*"|[A-Za-z*][!#$%&\'*+.^_`|~0-9A-Za-z:/-]*'
    r"|:[A-Za-z0-9+/=]*:|\?[01]|@-?[0-9]{1,15})"
)
_PARAMETERS = rf"(?:; *[a-z*][a-z0-9_.*-]*(?:={_BARE_ITEM})?)*"
_BOOLEAN = re.compile(rf" *\?([01]){_PARAMETERS} *", re.ASCII)
# One digit more than RFC 9651 allows: a file may be larger than its integers.
_INTEGER = re.compile(rf" *([0-9]{{1,16}}){_PARAMETERS} *", re.ASCII)


@dataclass(frozen=True, slots=True)
class Version:
    """The properties of one interop version. `number` is None where the request names no known one."""

    number: int | None
    is_inverted: bool = False
    """`Upload-Incomplete` instead of `Upload-Complete`, with the opposite value."""
    has_length: bool = True
    """Whether there is an `Upload-Length`, and a media type of its own for appends."""
    expiry: str = "max-age"
    """The key of `Upload-Limit` for the seconds until the upload expires; without one there is no such field."""
    complete_may_be_absent: bool = False
    """Whether an append without `Upload-Complete` is the last one."""
    append_status: int = 204
    """Of an append after which bytes are missing."""
    is_strict: bool = False
    """Whether `HEAD` and `DELETE` must not have the fields of an append."""
    conflict_has_complete: bool = True
    """Whether the answer to a wrong offset has `Upload-Complete`."""
    has_interim: bool = True
    """Whether clients expect 104 (Upload Resumption Supported)."""
    has_progress: bool = True
    """Whether a 104 may have an offset."""

    @property
    def complete_field(self) -> str:
        """Return the name of the field that says whether a request ends the upload."""
        return "Upload-Incomplete" if self.is_inverted else "Upload-Complete"

    def complete_value(self, *, complete: bool) -> str:
        return "?1" if complete != self.is_inverted else "?0"


_EARLY = Version(
    4,
    has_length=False,
    expiry="",
    complete_may_be_absent=True,
    append_status=201,
    is_strict=True,
    conflict_has_complete=False,
    has_progress=False,
)
VERSIONS: Final = {
    row.number: row
    for row in (
        replace(_EARLY, number=3, is_inverted=True),
        _EARLY,
        replace(_EARLY, number=5, has_progress=True),
        replace(_EARLY, number=6, has_progress=True, has_length=True, expiry="expires"),
        Version(7),
        Version(8),
        Version(9),
        Version(10),
    )
}
"""Drafts 01, 02, 03, 04 and 05, 06 to 08, 09 to 11, 12, 13."""

UNVERSIONED = Version(None, has_interim=RFC_IS_PUBLISHED)
LATER = Version(None, has_interim=False)


def version_of(headers: Headers) -> Version:
    """Return the row of the table that a request asks for. A version that is not known is treated as the newest."""
    number = _named_version(headers)
    return UNVERSIONED if number is None else VERSIONS.get(number, LATER)


def is_resumable_upload(method: str, headers: Headers) -> bool:
    """Return whether a request speaks the draft; all others belong to the older dialect of the same URL."""
    if method in ("PATCH", "HEAD"):
        return True
    if method in ("POST", "PUT"):
        return parse_complete(version_of(headers), headers) is not None
    return method in ("DELETE", "GET", "OPTIONS") and _named_version(headers) is not None


def is_interested(headers: Headers) -> bool:
    """Return whether a request names an interop version: a `HEAD` that does is of a client that is about to send."""
    return _named_version(headers) is not None


def parse_complete(version: Version, headers: Headers) -> bool | None:
    """Return whether the request ends the upload; None if it does not say so in a well-formed way."""
    match = _BOOLEAN.fullmatch(headers.get(version.complete_field, ""))
    return None if match is None else (match[1] == "1") != version.is_inverted


def append_completes(version: Version, headers: Headers) -> bool:
    """Return the same for an append. Raise BadRequest where the required field is missing."""
    declared = parse_complete(version, headers)
    if declared is not None:
        return declared
    if not version.complete_may_be_absent or version.complete_field in headers:
        raise BadRequest(f"{version.complete_field} is missing or neither ?0 nor ?1 (RFC 9651 section 3.3.6)")
    return True


def append_offset(headers: Headers) -> int:
    """Return the offset of an append. Raise BadRequest if it is missing or malformed."""
    if "Upload-Offset" not in headers:
        raise BadRequest("an append has an Upload-Offset")
    return _integer("Upload-Offset", headers)


def parse_length(version: Version, headers: Headers) -> int | None:
    """Return the length of the file, None if it is not given. Raise BadRequest if it is malformed."""
    if not version.has_length or "Upload-Length" not in headers:
        return None
    return _integer("Upload-Length", headers)


def check_append_type(version: Version, content_type: str) -> None:
    """Raise UnsupportedMediaType unless the body is marked as a part of a file, in versions that have such a mark."""
    if version.has_length and content_type.partition(";")[0].strip().lower() != PARTIAL_UPLOAD:
        shown = ascii(content_type[:100])[1:-1] or "none"
        raise UnsupportedMediaType(f"the Content-Type of an append is {PARTIAL_UPLOAD}, this one is {shown}")


def check_question(version: Version, headers: Headers) -> None:
    """Raise BadRequest for a `HEAD` or `DELETE` with fields of an append, where the draft forbade them."""
    for name in ("Upload-Offset", version.complete_field):
        if version.is_strict and name in headers:
            raise BadRequest(f"{name} is for requests that send bytes")


def upload_limit(version: Version, max_size: int, max_append_size: int, seconds: float | None) -> str | None:
    """Return the value of `Upload-Limit`, None in versions without it.

    The sizes are in bytes, 0 for no limit; `seconds` are those until the upload expires, None if it does not.
    """
    if not version.expiry:
        return None
    limits = {"max-size": max_size, "max-append-size": max_append_size}
    declared = {key: limit for key, limit in limits.items() if 0 < limit <= MAX_INTEGER}
    if seconds is not None:
        declared[version.expiry] = min(max(0, int(seconds)), MAX_INTEGER)
    return ", ".join(f"{key}={value}" for key, value in (declared or {"min-size": 0}).items())


def problem(error: UploadError, status: int, phrase: str, kind: str = "about:blank", **members: Any) -> dict[str, Any]:
    """Return the body of a refusal (RFC 9457) with the fields that all errors have.

    `phrase` is the reason phrase of `status`, `kind` the problem's type.
    """
    facts = describe_error(error)
    return {
        "type": kind,
        "title": _TITLES.get(kind, phrase),
        "status": status,
        "detail": facts.pop("message"),
        **facts,
        **members,
    }


def _named_version(headers: Headers) -> int | None:
    match = _INTEGER.fullmatch(headers.get(VERSION_FIELD, ""))
    return None if match is None else int(match[1])


def _integer(name: str, headers: Headers) -> int:
    match = _INTEGER.fullmatch(headers[name])
    if match is None or int(match[1]) > MAX_SIZE:
        raise BadRequest(f"{name} is not an integer from 0 to {MAX_SIZE}")
    return int(match[1])
