"""The operations of S3 that uploads need, each one request to one bucket, tried once.

Decides how an operation is spelled: path, query, headers, body. It repeats nothing, and knows no ticket.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.requests import answers
from incoming.storage.s3.requests.answers import ListedObject, ListedUpload, S3Error, StoredObject, StoredPart
from incoming.storage.s3.requests.http_sender import EMPTY, Answer, Body, Consume, HttpSender
from incoming.storage.s3.requests.signing import UNSIGNED, Signer

COMPLETE_TIMEOUT = 900.0
"""Seconds that a store may take to put an object together: minutes for thousands of parts."""

SKEW = 60.0
"""Seconds between the clocks with which a refusal is worth another try by the store's. Stores allow 15 minutes."""

_EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Content:
    """What a PUT stores, and what the store checks it with: headers, or a SHA-256 in hexadecimal that is signed."""

    body: Body
    headers: Mapping[str, str] = field(default_factory=dict)
    digest: str = UNSIGNED


NOTHING = Content(EMPTY)


class S3Client:
    """A bucket. All methods raise S3Error when the store refuses, Unreachable without an answer, NoCredentials."""

    def __init__(self, store: ObjectStore, signer: Signer | None = None, sender: HttpSender | None = None) -> None:
        self.store = store
        self.signer = signer or Signer(store)
        self._base = _base(store.url, store)
        self._sender = sender or HttpSender(self._base, store.ca_file)
        self._public = _base(store.public_endpoint or store.url, store)
        self._host = urlsplit(self._base).netloc
        self.requests: dict[str, int] = {}
        """How many requests were made, by operation."""

    def close(self) -> None:
        """Close the connections."""
        self._sender.close()

    # --- multipart uploads --------------------------------------------------------------------------------------------

    async def create_upload(self, key: str, headers: Mapping[str, str]) -> str:
        """Begin a multipart upload and return its id."""
        answer = await self._request("CreateMultipartUpload", "POST", key, [("uploads", "")], headers)
        return answers.upload_id_of(answer.body)

    async def upload_part(self, key: str, upload: str, number: int, content: Content) -> str:
        """Store part `number`, from 1 on, and return its ETag."""
        query = [("partNumber", str(number)), ("uploadId", upload)]
        answer = await self._request(
            "UploadPart", "PUT", key, query, content.headers, content.body, digest=content.digest
        )
        return answers.etag_of(answer.headers.get("ETag", ""))

    async def list_parts(self, key: str, upload: str, most: int | None = None, after: int = 0) -> list[StoredPart]:
        """Return the parts that the store has, by number, those after `after`; with `most` only the first ones."""
        found: list[StoredPart] = []
        marker: int | None = after
        limit = [] if most is None else [("max-parts", str(most))]
        while marker is not None and (most is None or len(found) < most):
            query = [("uploadId", upload), *limit, *([("part-number-marker", str(marker))] if marker else [])]
            page, marker = answers.parts_of((await self._request("ListParts", "GET", key, query)).body)
            found += page
        return found

    async def complete_upload(
        self, key: str, upload: str, parts: Sequence[tuple[int, str]], headers: Mapping[str, str] | None = None
    ) -> str:
        """Make the object of the parts (number, ETag) and return its ETag."""
        items = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>&quot;{escape(etag)}&quot;</ETag></Part>"
            for number, etag in parts
        )
        body = f"<CompleteMultipartUpload>{items}</CompleteMultipartUpload>".encode()
        query = [("uploadId", upload)]
        answer = await self._request(
            "CompleteMultipartUpload", "POST", key, query, headers, Body.of(body),
            digest=hashlib.sha256(body).hexdigest(), idle_timeout=COMPLETE_TIMEOUT,
        )  # fmt: skip
        return answers.completed_etag_of(answer.body)

    async def abort_upload(self, key: str, upload: str) -> None:
        """Discard a multipart upload. One that is not there is no error."""
        await self._unless_missing("AbortMultipartUpload", key, [("uploadId", upload)])

    async def list_uploads(self, prefix: str) -> AsyncIterator[ListedUpload]:
        """Yield the multipart uploads under way whose keys begin so."""
        marker: tuple[str, str] | None = ("", "")
        while marker is not None:
            names = ("key-marker", "upload-id-marker")
            query = [("uploads", ""), ("prefix", prefix), *((n, v) for n, v in zip(names, marker, strict=True) if v)]
            page, marker = answers.uploads_of((await self._request("ListMultipartUploads", "GET", "", query)).body)
            for upload in page:
                yield upload

    # --- objects ------------------------------------------------------------------------------------------------------

    async def put(self, key: str, content: Content, headers: Mapping[str, str] | None = None) -> StoredObject:
        """Store an object. The result has its ETag and version."""
        sent = {**content.headers, **(headers or {})}
        answer = await self._request("PutObject", "PUT", key, [], sent, content.body, digest=content.digest)
        stored = answers.object_of(answer)
        return StoredObject(content.body.length, stored.etag, stored.version, {})

    async def head(self, key: str) -> StoredObject | None:
        """Return what is known of an object, None if there is none."""
        try:
            return answers.object_of(await self._request("HeadObject", "HEAD", key, []))
        except S3Error as error:
            if error.is_missing:
                return None
            raise

    async def get(self, key: str, start: int, end: int, consume: Consume) -> None:
        """Call `consume` with the bytes [start, end) of an object, in order; `end` is above `start`."""
        await self._request("GetObject", "GET", key, [], {"Range": f"bytes={start}-{end - 1}"}, consume=consume)

    async def delete(self, key: str) -> None:
        """Remove an object. One that is not there is no error."""
        await self._unless_missing("DeleteObject", key, [])

    async def list_objects(self, prefix: str, limit: int = 1000) -> AsyncIterator[ListedObject]:
        """Yield the objects whose keys begin so; `limit` is the length of a page."""
        token = ""
        while True:
            query = [("list-type", "2"), ("prefix", prefix), ("max-keys", str(limit))]
            query += [("continuation-token", token)] if token else []
            page, token = answers.objects_of((await self._request("ListObjectsV2", "GET", "", query)).body)
            for one in page:
                yield one
            if not token:
                return

    async def abort_days(self, prefix: str) -> list[int]:
        """Return after how many days lifecycle rules abort multipart uploads below a prefix; none without a rule."""
        try:
            answer = await self._request("GetBucketLifecycleConfiguration", "GET", "", [("lifecycle", "")])
        except S3Error as error:
            if error.code == "NoSuchLifecycleConfiguration":
                return []
            raise
        return answers.abort_days_of(answer.body, prefix)

    # --- for others ---------------------------------------------------------------------------------------------------

    async def presign_parts(
        self, key: str, upload: str, parts: Sequence[tuple[int, int]], lifetime: float
    ) -> list[str]:
        """Return a URL for each (number, length), with which one part of exactly that many bytes can be PUT."""
        signer = await self.signer.url_signer("PUT", self._url(self._public, key, []), lifetime, ("Content-Length",))
        pair = f"uploadId={quote(upload, safe='-_.~')}"
        return [signer.sign((f"partNumber={number}", pair), (str(length),)) for number, length in parts]

    async def presign_get(self, key: str, lifetime: float) -> str:
        """Return a URL with which the object can be read."""
        return await self.signer.presign("GET", self._url(self._public, key, []), lifetime)

    # --- one request --------------------------------------------------------------------------------------------------

    async def _unless_missing(self, operation: str, key: str, query: Query) -> None:
        try:
            await self._request(operation, "DELETE", key, query)
        except S3Error as error:
            if not error.is_missing:
                raise

    @staticmethod
    def _url(base: str, key: str, query: Query) -> str:
        path = f"{base}/{quote(key, safe='/-_.~')}"
        text = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
        return f"{path}?{text}" if text else path

    async def _request(
        self,
        operation: str,
        method: str,
        key: str,
        query: Query,
        headers: Mapping[str, str] | None = None,
        body: Body = EMPTY,
        *,
        digest: str = _EMPTY_DIGEST,
        consume: Consume | None = None,
        idle_timeout: float | None = None,
    ) -> Answer:
        url = self._url(self._base, key, query)
        more = {} if idle_timeout is None else {"idle_timeout": idle_timeout}
        for is_last in (False, True):
            skew = self.signer.time.skew
            signed = await self.signer.sign(method, url, {"Host": self._host, **(headers or {})}, digest)
            self.requests[operation] = self.requests.get(operation, 0) + 1
            answer = await self._sender.request(
                method, url[len(self._base) - len(urlsplit(self._base).path) :], signed, body, consume=consume, **more
            )
            self.signer.time.learn(answer.headers.get("Date", ""))
            error = answers.error_of(answer, operation)
            if error is None:
                return answer
            # Of a HEAD only the status is told, not that its time was the reason.
            if is_last or error.status != 403 or abs(self.signer.time.skew - skew) < SKEW:
                raise error
        raise AssertionError("unreachable")


def _base(url: str, store: ObjectStore) -> str:
    """Return the bucket's URL without a final slash."""
    parts = urlsplit(url)
    if store.is_path_style:
        return f"{url}/{store.bucket}"
    return f"{parts.scheme}://{store.bucket}.{parts.netloc}{parts.path}"
