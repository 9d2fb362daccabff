"""What an object store answers: XML to values, and errors by their codes.

Decides which failures are worth another try. Sends nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from xml.etree import ElementTree as Xml

from incoming.storage.s3.requests.http_sender import Answer

TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
MAX_REASON = 200


class S3Error(Exception):
    """The store has refused a request. `code` is its own, such as NoSuchUpload, or `HTTP 404` where it tells none."""

    def __init__(self, status: int, code: str, message: str, operation: str) -> None:
        super().__init__(f"{operation}: {code}" + (f" ({message})" if message else ""))
        self.status = status
        self.code = code

    @property
    def is_transient(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status in TRANSIENT or self.code in ("RequestTimeout", "InternalError", "SlowDown")

    @property
    def is_missing(self) -> bool:
        """Whether what the request names is not there."""
        return self.code in ("NoSuchUpload", "NoSuchKey") or (self.status == 404 and self.code != "NoSuchBucket")


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as HEAD tells. `metadata` has the names without x-amz-meta-, in lower case."""

    size: int
    etag: str
    version: str
    metadata: dict[str, str]


@dataclass(frozen=True, slots=True)
class StoredPart:
    number: int
    size: int
    etag: str


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """A multipart upload under way; `started` in seconds since the epoch, by the store's clock."""

    key: str
    upload: str
    started: float


@dataclass(frozen=True, slots=True)
class ListedObject:
    """`modified` in seconds since the epoch, by the store's clock."""

    key: str
    modified: float
    size: int


def etag_of(text: str) -> str:
    """Return an ETag without its quotes, which not all stores send."""
    return text.removeprefix("W/").strip('"')


def error_of(answer: Answer, operation: str) -> S3Error | None:
    """Return the error that an answer tells, None if it tells success. A 200 may hold an error in its body."""
    if answer.status in (200, 201, 204, 206) and b"<Error" not in answer.body[:256]:
        return None
    code, message = f"HTTP {answer.status}", ""
    try:
        root = _parse(answer.body)
        code, message = _text(root, "Code") or code, _text(root, "Message")[:MAX_REASON]
    except ValueError:
        pass
    status = 500 if answer.status in (200, 201) else answer.status
    return S3Error(status, code, message, operation)


def object_of(answer: Answer) -> StoredObject:
    """Return what the headers of a HEAD or GET tell."""
    headers = answer.headers
    metadata = {
        name.lower().removeprefix("x-amz-meta-"): value
        for name, value in headers.get_all()
        if name.lower().startswith("x-amz-meta-")
    }
    length = headers.get("Content-Length", "0")
    return StoredObject(
        int(length) if length.isdecimal() else 0,
        etag_of(headers.get("ETag", "")),
        headers.get("x-amz-version-id", ""),
        metadata,
    )


def upload_id_of(body: bytes) -> str:
    """Return the id of a new multipart upload. Raises ValueError."""
    if upload := _text(_parse(body), "UploadId"):
        return upload
    raise ValueError("the answer has no UploadId")


def completed_etag_of(body: bytes) -> str:
    """Return the ETag of a completed object. Raises ValueError."""
    return etag_of(_text(_parse(body), "ETag"))


def parts_of(body: bytes) -> tuple[list[StoredPart], int | None]:
    """Return parts and where the next page begins, None after the last. Raises ValueError."""
    root = _parse(body)
    parts = [
        StoredPart(int(_text(part, "PartNumber")), int(_text(part, "Size")), etag_of(_text(part, "ETag")))
        for part in _all(root, "Part")
    ]
    more = _text(root, "IsTruncated") == "true" and parts
    return parts, int(_text(root, "NextPartNumberMarker") or parts[-1].number) if more else None


def uploads_of(body: bytes) -> tuple[list[ListedUpload], tuple[str, str] | None]:
    """Return multipart uploads and where the next page begins. Raises ValueError."""
    root = _parse(body)
    found = [
        ListedUpload(_text(one, "Key"), _text(one, "UploadId"), _time(_text(one, "Initiated")))
        for one in _all(root, "Upload")
    ]
    markers = _text(root, "NextKeyMarker"), _text(root, "NextUploadIdMarker")
    return found, markers if _text(root, "IsTruncated") == "true" and any(markers) else None


def objects_of(body: bytes) -> tuple[list[ListedObject], str]:
    """Return objects and the token of the next page, empty after the last. Raises ValueError."""
    root = _parse(body)
    found = [
        ListedObject(_text(one, "Key"), _time(_text(one, "LastModified")), int(_text(one, "Size")))
        for one in _all(root, "Contents")
    ]
    return found, _text(root, "NextContinuationToken") if _text(root, "IsTruncated") == "true" else ""


def abort_days_of(body: bytes, prefix: str) -> list[int]:
    """Return after how many days rules for keys with this prefix abort uploads under way. Raises ValueError."""
    found = []
    for rule in _all(_parse(body), "Rule"):
        is_enabled = _text(rule, "Status") == "Enabled"
        rule_prefix = _text(rule, "Prefix") or next((_text(one, "Prefix") for one in _all(rule, "Filter")), "")
        for abort in _all(rule, "AbortIncompleteMultipartUpload"):
            if is_enabled and (prefix.startswith(rule_prefix) or rule_prefix.startswith(prefix)):
                found.append(int(_text(abort, "DaysAfterInitiation")))
    return found


def _parse(body: bytes) -> Xml.Element:
    try:
        return Xml.fromstring(body)  # noqa: S314 - expat since 2.4.1 refuses what grows without limit
    except Xml.ParseError as error:
        raise ValueError("the answer is not XML") from error


def _name(element: Xml.Element) -> str:
    return element.tag.rpartition("}")[2]


def _all(parent: Xml.Element, name: str) -> Iterator[Xml.Element]:
    return (element for element in parent if _name(element) == name)


def _text(parent: Xml.Element, name: str) -> str:
    return next(((element.text or "").strip() for element in _all(parent, name)), "")


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
