"""Credentials and signatures (AWS Signature Version 4), by botocore; URLs for browsers are signed here.

Decides what of a request is signed and by which clock: the store's own, as its answers tell it, so that a wrong clock
of this machine does no harm. Sends nothing.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError
from botocore.session import Session

from incoming.core.errors import StorageFailed
from incoming.settings.object_stores import ObjectStore

UNSIGNED = "UNSIGNED-PAYLOAD"
_TIMESTAMP = "%Y%m%dT%H%M%SZ"


class NoCredentials(StorageFailed):
    """There are no credentials for a store, or they cannot be renewed."""

    @property
    def name(self) -> str:
        return "storage_failed"


class _Signing:
    """What botocore's signers leave to their subclasses: the time, and the payload's digest, which the caller gives."""

    moment: datetime
    digest: str

    def add_auth(self, request: Any) -> None:
        request.context["timestamp"] = self.moment.strftime(_TIMESTAMP)
        self._modify_request_before_signing(request)  # type: ignore[attr-defined]
        canonical = self.canonical_request(request)  # type: ignore[attr-defined]
        text = self.string_to_sign(request, canonical)  # type: ignore[attr-defined]
        self._inject_signature_to_request(request, self.signature(text, request))  # type: ignore[attr-defined]

    def payload(self, request: Any) -> str:
        return self.digest


class _HeaderAuth(_Signing, S3SigV4Auth):  # type: ignore[misc]
    pass


class StoreTime:
    """The clock of the object store: this machine's, corrected by the `Date` of its answers."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self.skew = 0.0
        """Seconds that the store is ahead of this machine; 0 while the difference is within a second."""

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(self._clock() + self.skew, UTC)

    def learn(self, date: str) -> None:
        """Note the `Date` of an answer that has just come. What is no date is ignored."""
        try:
            skew = parsedate_to_datetime(date).timestamp() - self._clock()
        except (ValueError, TypeError, OverflowError):
            return
        self.skew = skew if abs(skew) > 1 else 0.0


class Signer:
    """Signs the requests of one store. Its credentials renew themselves."""

    def __init__(self, store: ObjectStore, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self.time = StoreTime(clock)
        self._credentials: Any = None
        self._turn = asyncio.Lock()

    async def credentials(self) -> ReadOnlyCredentials:
        """Return what to sign with now. Raises NoCredentials."""
        if self._store.access_key:
            return ReadOnlyCredentials(self._store.access_key, self._store.secret_key, None)
        async with self._turn:
            try:
                return await asyncio.to_thread(self._load)
            except BotoCoreError as error:
                raise NoCredentials(f"object store {self._store.name}: no credentials: {error}") from error

    def _load(self) -> ReadOnlyCredentials:
        """Ask the environment, files or the machine's role, which may be a request over the network."""
        if self._credentials is None:
            self._credentials = Session(profile=self._store.profile or None).get_credentials()
        if self._credentials is None:
            raise NoCredentials(
                f"object store {self._store.name}: there are no credentials; set access_key and secret_key, or "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the environment"
            )
        return self._credentials.get_frozen_credentials()

    async def sign(self, method: str, url: str, headers: Mapping[str, str], digest: str = UNSIGNED) -> dict[str, str]:
        """Return the headers of a request with its signature. `digest` is the SHA-256 of the body in hexadecimal."""
        auth = _HeaderAuth(await self.credentials(), "s3", self._store.region)
        auth.moment, auth.digest = self.time(), digest
        request = AWSRequest(method, url, headers=dict(headers))
        auth.add_auth(request)
        return dict(request.headers.items())

    async def presign(self, method: str, url: str, lifetime: float, headers: Mapping[str, str] | None = None) -> str:
        """Return a URL that works without credentials for `lifetime` seconds, with exactly these headers.

        `url` has its path and query encoded as in a canonical request.
        """
        base, _, query = url.partition("?")
        signer = await self.url_signer(method, base, lifetime, tuple(headers or ()))
        return signer.sign(query.split("&") if query else (), tuple((headers or {}).values()))

    async def url_signer(self, method: str, url: str, lifetime: float, names: Sequence[str] = ()) -> UrlSigner:
        """Return what signs URLs without a query of its own, now, for requests with headers of these names."""
        return UrlSigner(await self.credentials(), self._store.region, self.time(), method, url, lifetime, names)


class UrlSigner:
    """Signs URLs of one path that differ in their query and in the values of headers, all for the same moment.

    A page needs a URL for each part. botocore would take 220 us for one; this takes 5 us, and 27 us for what they
    share.
    """

    def __init__(
        self,
        credentials: ReadOnlyCredentials,
        region: str,
        moment: datetime,
        method: str,
        url: str,
        lifetime: float,
        names: Sequence[str],
    ) -> None:
        time = moment.strftime(_TIMESTAMP)
        scope = f"{time[:8]}/{region}/s3/aws4_request"
        parts = urlsplit(url)
        host = parts.netloc.removesuffix({"https": ":443", "http": ":80"}[parts.scheme])  # as browsers send it
        lines = sorted([(f"host:{host}", -1), *((f"{name.lower()}:", index) for index, name in enumerate(names))])
        signed = ";".join(line.partition(":")[0] for line, _ in lines)
        added = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{credentials.access_key}/{scope}",
            "X-Amz-Date": time,
            "X-Amz-Expires": str(int(lifetime)),
            "X-Amz-SignedHeaders": signed,
        }
        if credentials.token:
            added["X-Amz-Security-Token"] = credentials.token
        self._url = url
        self._lines = lines
        self._added = [f"{name}={quote(value, safe='-_.~')}" for name, value in added.items()]
        self._before = f"{method}\n{parts.path or '/'}\n"
        self._after = f"\n{signed}\n{UNSIGNED}"
        self._key = _signing_key(credentials.secret_key, scope)
        self._text = f"AWS4-HMAC-SHA256\n{time}\n{scope}\n"

    def sign(self, pairs: Sequence[str], values: Sequence[str] = ()) -> str:
        """Return the URL with this query, encoded pairs of name and value, for these values of the headers."""
        query = "&".join(sorted([*pairs, *self._added]))
        lines = "".join(f"{line}{values[index] if index >= 0 else ''}\n" for line, index in self._lines)
        digest = hashlib.sha256(f"{self._before}{query}\n{lines}{self._after}".encode()).hexdigest()
        return f"{self._url}?{query}&X-Amz-Signature={_hmac(self._key, self._text + digest).hex()}"


@functools.lru_cache(maxsize=16)
def _signing_key(secret: str, scope: str) -> bytes:
    """Return the key of one day, region and service."""
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = _hmac(key, step)
    return key


def _hmac(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")
