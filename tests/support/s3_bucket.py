"""The operations of an S3-compatible store, in memory: what each does to a bucket and answers. No connections."""

import base64
import hashlib
import re
import uuid
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from xml.etree import ElementTree as Xml

from tests.support.s3_signature import Refused

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
PAGE = 1000


@dataclass(frozen=True)
class Request:
    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: Mapping[str, str]
    """Ignores case."""


@dataclass
class Reply:
    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Stored:
    content: bytes
    etag: str
    headers: dict[str, str]


@dataclass
class Multipart:
    key: str
    headers: dict[str, str]
    parts: dict[int, Stored] = field(default_factory=dict)
    started: str = "2026-01-01T00:00:00.000Z"


@dataclass
class Bucket:
    origins: tuple[str, ...] = ()
    """Whose pages may PUT."""
    objects: dict[str, Stored] = field(default_factory=dict)
    uploads: dict[str, Multipart] = field(default_factory=dict)
    lifecycle: bytes = b""

    def preflight(self, request: Request) -> Reply:
        origin, method = request.headers.get("Origin"), request.headers.get("Access-Control-Request-Method")
        if origin not in self.origins or method != "PUT":
            return error(403, "AccessForbidden")
        asked = request.headers.get("Access-Control-Request-Headers", "")
        allowed = {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Methods": "PUT"}
        return Reply(200, headers={**allowed, **({"Access-Control-Allow-Headers": asked} if asked else {})})


def error(status: int, code: str) -> Reply:
    """Return an answer with an error in its body, also with status 200."""
    return _xml("Error", {"Code": code, "Message": f"scripted: {code}"}, status)


_ON_UPLOAD = {
    "PUT": "UploadPart",
    "GET": "ListParts",
    "DELETE": "AbortMultipartUpload",
    "POST": "CompleteMultipartUpload",
}
_ON_OBJECT = {"PUT": "PutObject", "GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
_ON_LIFECYCLE = {"PUT": "PutBucketLifecycleConfiguration", "GET": "GetBucketLifecycleConfiguration"}
_ON_BUCKET = {"PUT": "CreateBucket", "GET": "ListObjectsV2", "HEAD": "HeadBucket"}


def operation_of(request: Request) -> str:
    """Return the name of the operation as S3's documentation has it, `""` for one that the store does not know."""
    if request.method == "OPTIONS":
        return "Preflight"
    if "uploads" in request.query:
        return "CreateMultipartUpload" if request.key else "ListMultipartUploads"
    if request.key:
        return (_ON_UPLOAD if "uploadId" in request.query else _ON_OBJECT).get(request.method, "")
    return (_ON_LIFECYCLE if "lifecycle" in request.query else _ON_BUCKET).get(request.method, "")


def perform(
    buckets: dict[str, Bucket],
    seen: dict[str, Bucket],
    operation: str,
    request: Request,
    body: bytes,
    payload: str,
    min_part: int,
    knows_conditions: bool,
) -> Reply:
    """Carry an operation out. Lists are of the buckets `seen`. Raises Refused."""
    if not operation:
        raise Refused("MethodNotAllowed", 405)
    if operation == "CreateBucket":
        buckets.setdefault(request.bucket, Bucket())
        return Reply(200)
    listed = operation.startswith("List")
    bucket = (seen if listed else buckets).get(request.bucket)
    if bucket is None:
        raise Refused("NoSuchBucket", 404)
    _check_body(request.headers, body, payload)
    conditional = knows_conditions and request.headers.get("If-None-Match") == "*"
    if conditional and operation in ("PutObject", "CompleteMultipartUpload") and request.key in bucket.objects:
        raise Refused("PreconditionFailed", 412)
    if operation == "CompleteMultipartUpload":
        return _complete(bucket, request, body, min_part)
    return _OPERATIONS[operation](bucket, request, body)


def _check_body(headers: Mapping[str, str], body: bytes, payload: str) -> None:
    length = headers.get("Content-Length")
    if length is not None and int(length) != len(body):
        raise Refused("IncompleteBody", 400)
    if re.fullmatch("[0-9a-f]{64}", payload) and hashlib.sha256(body).hexdigest() != payload:
        raise Refused("XAmzContentSHA256Mismatch", 400)
    if payload.startswith("STREAMING-"):
        raise Refused("NotImplemented", 501)  # aws-chunked, which Ceph 16 refuses as well
    sums = {
        "Content-MD5": hashlib.md5(body, usedforsecurity=False).digest(),
        "x-amz-checksum-crc32": zlib.crc32(body).to_bytes(4, "big"),
    }
    for name, digest in sums.items():
        if (given := headers.get(name)) and given != base64.b64encode(digest).decode():
            raise Refused("BadDigest", 400)


def _kept_headers(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name.lower(): value for name, value in headers.items() if name.lower().startswith("x-amz-meta-")}
    return kept | {"content-type": headers.get("Content-Type", "binary/octet-stream")}


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'


def _create(bucket: Bucket, request: Request, body: bytes) -> Reply:
    upload = uuid.uuid4().hex
    bucket.uploads[upload] = Multipart(request.key, _kept_headers(request.headers))
    return _xml("InitiateMultipartUploadResult", {"Bucket": request.bucket, "Key": request.key, "UploadId": upload})


def _multipart(bucket: Bucket, request: Request) -> Multipart:
    found = bucket.uploads.get(request.query["uploadId"])
    if found is None or found.key != request.key:
        raise Refused("NoSuchUpload", 404)
    return found


def _upload_part(bucket: Bucket, request: Request, body: bytes) -> Reply:
    number = int(request.query["partNumber"])
    if not 1 <= number <= 10_000:
        raise Refused("InvalidArgument", 400)
    if request.headers.get("Content-Length") is None:
        raise Refused("MissingContentLength", 411)
    part = _multipart(bucket, request).parts[number] = Stored(body, _etag(body), {})
    return Reply(200, headers={"ETag": part.etag})


def _complete(bucket: Bucket, request: Request, body: bytes, min_part: int) -> Reply:
    upload = _multipart(bucket, request)
    named = [
        (int(_text(part, "PartNumber")), _text(part, "ETag").strip('"'))
        for part in Xml.fromstring(body)
        if part.tag.endswith("Part")
    ]
    if not named or any(number not in upload.parts for number, _ in named):
        raise Refused("InvalidPart", 400)
    if [number for number, _ in named] != sorted({number for number, _ in named}):
        raise Refused("InvalidPartOrder", 400)
    if any(upload.parts[number].etag.strip('"') != etag for number, etag in named):
        raise Refused("InvalidPart", 400)
    contents = [upload.parts[number].content for number, _ in named]
    if any(len(content) < min_part for content in contents[:-1]):
        raise Refused("EntityTooSmall", 400)
    digests = b"".join(hashlib.md5(content, usedforsecurity=False).digest() for content in contents)
    etag = f'"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(named)}"'
    bucket.objects[request.key] = Stored(b"".join(contents), etag, upload.headers)
    del bucket.uploads[request.query["uploadId"]]
    return _xml("CompleteMultipartUploadResult", {"Bucket": request.bucket, "Key": request.key, "ETag": etag})


def _abort(bucket: Bucket, request: Request, body: bytes) -> Reply:
    _multipart(bucket, request)
    del bucket.uploads[request.query["uploadId"]]
    return Reply(204)


def _list_parts(bucket: Bucket, request: Request, body: bytes) -> Reply:
    upload = _multipart(bucket, request)
    after, most = int(request.query.get("part-number-marker") or 0), int(request.query.get("max-parts") or PAGE)
    numbers = sorted(number for number in upload.parts if number > after)
    page = numbers[: min(most, PAGE)]
    parts = [
        ("Part", {"PartNumber": str(n), "ETag": upload.parts[n].etag, "Size": str(len(upload.parts[n].content))})
        for n in page
    ]
    fields = {
        "UploadId": request.query["uploadId"],
        "NextPartNumberMarker": str(page[-1] if page else 0),
        "IsTruncated": str(len(page) < len(numbers)).lower(),
    }
    return _xml("ListPartsResult", fields, parts=parts)


def _list_uploads(bucket: Bucket, request: Request, body: bytes) -> Reply:
    prefix = request.query.get("prefix", "")
    uploads = [
        ("Upload", {"Key": upload.key, "UploadId": name, "Initiated": upload.started})
        for name, upload in bucket.uploads.items()
        if upload.key.startswith(prefix)
    ]
    return _xml("ListMultipartUploadsResult", {"IsTruncated": "false"}, parts=uploads)


def _list_objects(bucket: Bucket, request: Request, body: bytes) -> Reply:
    prefix, after = request.query.get("prefix", ""), request.query.get("continuation-token", "")
    keys = sorted(key for key in bucket.objects if key.startswith(prefix) and key > after)
    page = keys[: min(int(request.query.get("max-keys") or PAGE), PAGE)]
    more = {"NextContinuationToken": page[-1]} if len(page) < len(keys) else {}
    found = [
        ("Contents", {"Key": key, "Size": str(len(bucket.objects[key].content)), "ETag": bucket.objects[key].etag,
                      "LastModified": "2026-01-01T00:00:00.000Z"})
        for key in page
    ]  # fmt: skip
    fields = {"IsTruncated": str(bool(more)).lower(), "KeyCount": str(len(page)), **more}
    return _xml("ListBucketResult", fields, parts=found)


def _put(bucket: Bucket, request: Request, body: bytes) -> Reply:
    stored = bucket.objects[request.key] = Stored(body, _etag(body), _kept_headers(request.headers))
    return Reply(200, headers={"ETag": stored.etag})


def _stored(bucket: Bucket, request: Request) -> Stored:
    if (stored := bucket.objects.get(request.key)) is None:
        raise Refused("NoSuchKey", 404)
    return stored


def _get(bucket: Bucket, request: Request, body: bytes) -> Reply:
    stored = _stored(bucket, request)
    headers = {"ETag": stored.etag, "Last-Modified": formatdate(usegmt=True), **stored.headers}
    if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")):
        start, end = int(asked[1]), int(asked[2] or len(stored.content) - 1) + 1
        if start >= len(stored.content):
            raise Refused("InvalidRange", 416)
        content = stored.content[start:end]
        headers["Content-Range"] = f"bytes {start}-{start + len(content) - 1}/{len(stored.content)}"
        return Reply(206, content, headers)
    return Reply(200, stored.content, headers)


def _head(bucket: Bucket, request: Request, body: bytes) -> Reply:
    stored = _stored(bucket, request)
    return Reply(200, b"", {"ETag": stored.etag, "Content-Length": str(len(stored.content)), **stored.headers})


def _delete(bucket: Bucket, request: Request, body: bytes) -> Reply:
    bucket.objects.pop(request.key, None)
    return Reply(204)


def _get_lifecycle(bucket: Bucket, request: Request, body: bytes) -> Reply:
    if not bucket.lifecycle:
        raise Refused("NoSuchLifecycleConfiguration", 404)
    return Reply(200, bucket.lifecycle, {"Content-Type": "application/xml"})


def _put_lifecycle(bucket: Bucket, request: Request, body: bytes) -> Reply:
    bucket.lifecycle = body
    return Reply(200)


_OPERATIONS: dict[str, Callable[[Bucket, Request, bytes], Reply]] = {
    "CreateMultipartUpload": _create,
    "UploadPart": _upload_part,
    "AbortMultipartUpload": _abort,
    "ListParts": _list_parts,
    "ListMultipartUploads": _list_uploads,
    "ListObjectsV2": _list_objects,
    "PutObject": _put,
    "GetObject": _get,
    "HeadObject": _head,
    "DeleteObject": _delete,
    "HeadBucket": lambda bucket, request, body: Reply(200),
    "GetBucketLifecycleConfiguration": _get_lifecycle,
    "PutBucketLifecycleConfiguration": _put_lifecycle,
}


def _text(element: Xml.Element, name: str) -> str:
    return next((child.text or "" for child in element if child.tag.endswith(name)), "")


def _xml(
    name: str, fields: Mapping[str, str], status: int = 200, parts: list[tuple[str, dict[str, str]]] | None = None
) -> Reply:
    root = Xml.Element(name, {"xmlns": NAMESPACE} if name != "Error" else {})
    for child, content in [(None, fields), *((tag, inner) for tag, inner in parts or [])]:
        parent = root if child is None else Xml.SubElement(root, child)
        for tag, text in content.items():
            Xml.SubElement(parent, tag).text = text
    body = b'<?xml version="1.0" encoding="UTF-8"?>\n' + Xml.tostring(root)
    return Reply(status, body, {"Content-Type": "application/xml"})
