"""What an object store can and cannot do, found out by trying: at the start the necessary, on demand everything.

Decides which mistakes of the configuration are told with which cure. What it stores has keys of its own below
`<prefix>probe/`, and is removed.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress

from incoming.core.errors import StorageFailed
from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.bucket.checksums import chosen_checksum
from incoming.storage.s3.bucket.cors_check import CorsCheck
from incoming.storage.s3.bucket.findings import Finding, Kind
from incoming.storage.s3.requests.answers import S3Error
from incoming.storage.s3.requests.client import Content, S3Client
from incoming.storage.s3.requests.http_sender import Body, Unreachable

DAY = 86400.0
ANSWER_TIMEOUT = 10.0
"""Seconds for which the start of the server waits for the first answer of a store."""

SKEW = 60.0
"""Seconds by which clocks may differ. The server signs with the store's time, but others may not."""

CUT_LENGTH = 64 * 1024
CUT_LOOKS, CUT_LOOK_INTERVAL = 3, 0.2
"""How often, and after how many seconds each, a part whose connection was cut is looked for."""

_CURES = {
    "InvalidAccessKeyId": "correct access_key, or the credentials in the environment",
    "SignatureDoesNotMatch": "correct secret_key; behind a proxy the Host header must stay as it was sent",
    "AccessDenied": "allow these credentials to read, write and delete below the prefix, and to list the bucket",
    "NoSuchBucket": "make the bucket, or correct bucket",
    "PermanentRedirect": "correct region or endpoint: the bucket is elsewhere",
    "AuthorizationHeaderMalformed": "correct region: the bucket is in another one",
    "NotImplemented": "use a store that has multipart uploads",
    "MethodNotAllowed": "use a store that has multipart uploads; does endpoint name an S3 interface?",
}
_CHECK_ENDPOINT = "is endpoint the URL of an S3 interface?"


class Examination:
    """That of one store."""

    def __init__(self, store: ObjectStore, paused_timeout: float, client: S3Client | None = None) -> None:
        self.findings: list[Finding] = []
        self._store = store
        self._paused_timeout = paused_timeout
        self._client = client or S3Client(store)
        self._key = f"{store.prefix}probe/{uuid.uuid4()}"

    async def at_start(self) -> list[Finding]:
        """Find out whether uploads can be begun, and what a lifecycle rule would do to them. A store that hangs is one
        that does not answer.
        """
        try:
            if await self._can_begin_soon():
                await self._lifecycle()
                await self._try_direct()
        finally:
            self._client.close()
        return self.findings

    async def of_everything(self, origins: Sequence[str] = ()) -> list[Finding]:
        """Find out what else the store can do, and whether pages of these origins may PUT parts."""
        try:
            if await self._can_begin():
                await self._lifecycle()
                for step in (self._parts, self._conditions, self._signed_urls):
                    await self._try(step)
                await self._try_direct()
                await self._try(lambda: self._cors(origins))
        finally:
            self._client.close()
        return self.findings

    def _good(self, fact: str) -> None:
        self.findings.append(Finding(Kind.GOOD, fact))

    def _note(self, fact: str) -> None:
        self.findings.append(Finding(Kind.NOTE, fact))

    def _warn(self, fact: str, cure: str) -> None:
        self.findings.append(Finding(Kind.WARNING, fact, cure))

    def _fault(self, fact: str, cure: str) -> None:
        self.findings.append(Finding(Kind.FAULT, fact, cure))

    # --- the necessary ------------------------------------------------------------------------------------------------

    async def _can_begin(self) -> bool:
        where = f"bucket {self._store.bucket!r} at {self._store.url}"
        try:
            upload = await self._client.create_upload(self._key, {})
            await self._client.abort_upload(self._key, upload)
        except S3Error as error:
            if error.is_transient:
                self._warn(f"{where} is not ready: {error}", "uploads wait until it is")
            else:
                self._fault(f"{where}: {error}", _CURES.get(error.code, _CHECK_ENDPOINT))
        except Unreachable as error:
            self._unanswered(str(error))
        except StorageFailed as error:
            self._fault(error.message, "give the server credentials for this store")
        except ValueError as error:
            self._fault(f"{where} is no S3 interface: {error}", _CHECK_ENDPOINT)
        else:
            self._good(f"{where}: multipart uploads can be begun and aborted")
            self._clock()
            return True
        return False

    async def _can_begin_soon(self) -> bool:
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT):
                return await self._can_begin()
        except TimeoutError:
            self._unanswered(f"no answer within {ANSWER_TIMEOUT:g} s")
            return False

    def _unanswered(self, why: str) -> None:
        where = f"bucket {self._store.bucket!r} at {self._store.url}"
        self._warn(f"{where} does not answer: {why}", "start it, or correct endpoint; uploads wait until then")

    def _clock(self) -> None:
        if abs(skew := self._client.signer.time.skew) > SKEW:
            ahead = "ahead of" if skew > 0 else "behind"
            self._warn(
                f"the store's clock is {abs(skew):.0f} s {ahead} this machine's",
                "set the clocks; until then requests are signed with the store's time",
            )

    async def _lifecycle(self) -> None:
        try:
            days = await self._client.abort_days(self._store.prefix)
        except (S3Error, Unreachable, ValueError) as error:
            self._note(f"lifecycle rules cannot be read: {error}")
            return
        if not days:
            self._warn(
                f"no lifecycle rule aborts incomplete uploads below {self._store.prefix!r}",
                f"add one with more than {self._paused_timeout / DAY:g} days (paused_timeout); the server's own sweep "
                "removes only what it finds while it runs",
            )
        elif (shortest := min(days)) * DAY < self._paused_timeout:
            self._fault(
                f"a lifecycle rule aborts uploads after {shortest} days, paused_timeout is "
                f"{self._paused_timeout / DAY:g} days",
                "make the rule longer or paused_timeout shorter: paused uploads would lose what has arrived",
            )
        else:
            self._good(f"a lifecycle rule aborts incomplete uploads after {shortest} days")

    async def _try_direct(self) -> None:
        if self._store.direct:
            await self._try(self._cut_part)

    async def _cut_part(self) -> None:
        """Try whether a part whose connection was cut counts as whole: of a browser's the server could not tell."""
        upload = await self._client.create_upload(self._key, {})
        try:
            with suppress(Unreachable):
                await self._client.upload_part(self._key, upload, 1, Content(Body(CUT_LENGTH, _first_half)))
            for _ in range(CUT_LOOKS):
                await asyncio.sleep(CUT_LOOK_INTERVAL)
                if await self._client.list_parts(self._key, upload):
                    self._fault(
                        "a part whose connection was cut is listed as if it were whole",
                        "set direct to false: files that browsers send to this store could have wrong bytes",
                    )
                    return
            self._good("a part whose connection was cut is not listed")
        finally:
            await self._client.abort_upload(self._key, upload)

    async def _cors(self, origins: Sequence[str]) -> None:
        if origins:
            self.findings += await CorsCheck(self._store, self._client, self._key).run(origins)
        elif self._store.direct:
            self._note("the CORS rule was not tried: name a page's origin with --origin https://app.example.org")

    # --- everything ---------------------------------------------------------------------------------------------------

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except (S3Error, Unreachable, StorageFailed, ValueError) as error:
            code = error.code if isinstance(error, S3Error) else ""
            if isinstance(error, Unreachable) or (isinstance(error, S3Error) and error.is_transient):
                self._warn(str(error), "check it again when the store answers")
                return
            self._fault(str(error), _CURES.get(code, _CHECK_ENDPOINT))

    async def _parts(self) -> None:
        """Try a file of two parts, of which the first one has the shortest length that will be used."""
        content = bytes(self._store.part_size)
        upload = await self._client.create_upload(self._key, {"x-amz-meta-incoming": "probe"})
        try:
            parts = [
                (number, await self._client.upload_part(self._key, upload, number, _content(part)))
                for number, part in ((1, content), (2, b"end"))
            ]
            await self._checksums(upload)
            parts[1] = (2, await self._client.upload_part(self._key, upload, 2, _content(b"end")))
            listed = [(part.number, part.etag) for part in await self._client.list_parts(self._key, upload)]
            self._judge(listed == parts, "parts are listed with number and ETag", "parts are listed otherwise")
            await self._client.complete_upload(self._key, upload, parts)
        except BaseException:
            await self._client.abort_upload(self._key, upload)
            raise
        known = await self._client.head(self._key)
        is_right = known is not None and known.size == len(content) + 3 and known.metadata == {"incoming": "probe"}
        self._judge(is_right, "a completed object has its size and its metadata", "a completed object is another one")
        got = bytearray()
        await self._client.get(self._key, len(content) - 1, len(content) + 3, got.extend)
        self._judge(got == b"\0end", "ranges of objects can be read", "a range of an object is wrong")
        await self._client.delete(self._key)

    async def _checksums(self, upload: str) -> None:
        """Send the second part with wrong digests."""
        used = chosen_checksum(self._store)
        other = {
            "md5": Content(Body.of(b"end"), _md5(b"other")),
            "sha256": Content(Body.of(b"end"), {}, _sha256(b"other")),
        }
        for algorithm, name in (("md5", "Content-MD5"), ("sha256", "signed SHA-256")):
            use = ", which is used" if algorithm == used else ""
            if await self._refuses(self._client.upload_part(self._key, upload, 2, other[algorithm])):
                self._good(f"parts that arrive with other bytes are refused ({name}{use})")
            elif algorithm == used:
                self._fault(f"a part with a wrong {name} is accepted", "set checksum to none: it costs for nothing")
            else:
                self._note(f"a part with a wrong {name} is accepted")
        if used == "none":
            self._note("parts are not checked by the store (checksum is none)")

    async def _conditions(self) -> None:
        await self._client.put(self._key, _content(b"one"))
        if await self._refuses(self._client.put(self._key, _content(b"two"), {"If-None-Match": "*"})):
            self._good("If-None-Match keeps an object from being overwritten")
        else:
            self._note("If-None-Match is ignored: the server looks whether there is an object before it completes one")
        await self._client.delete(self._key)

    async def _signed_urls(self) -> None:
        self._note("destKey is " + (f"within {self._store.key_pattern}" if self._store.key_pattern else "not allowed"))
        self._note(f"browsers send {'straight to the store' if self._store.direct else 'through this server'}")
        url = await self._client.presign_get(self._key, 60)
        self._note(f"signed URLs begin with {url.partition('?')[0].rpartition('/probe/')[0]}/")

    def _judge(self, is_right: bool, good: str, fault: str) -> None:
        if is_right:
            self._good(good)
        else:
            self._fault(fault, "use another store: files would not be safe in this one")

    @staticmethod
    async def _refuses(request: Awaitable[object]) -> bool:
        try:
            await request
        except S3Error:
            return True
        return False


async def _first_half() -> AsyncIterator[bytes]:
    """Yield half of what is announced, and end the connection when it may have arrived."""
    yield bytes(CUT_LENGTH // 2)
    await asyncio.sleep(CUT_LOOK_INTERVAL)
    raise OSError("cut on purpose")


def _content(data: bytes) -> Content:
    return Content(Body.of(data), digest=_sha256(data))


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _md5(content: bytes) -> dict[str, str]:
    return {"Content-MD5": base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()}
