"""What all uploads of one process share of an object store: client, retries, spool.

Decides how bytes are checked on their way, and what the store's refusals mean for an upload.
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import ExitStack
from typing import Any, TypeVar

from incoming.core.errors import StorageFailed, StorageFull
from incoming.settings.object_stores import ObjectStore
from incoming.storage.s3.bucket.checksums import chosen_checksum
from incoming.storage.s3.bucket.spool import Region, Spool
from incoming.storage.s3.requests.answers import S3Error
from incoming.storage.s3.requests.client import Content, S3Client
from incoming.storage.s3.requests.http_sender import Body
from incoming.storage.s3.requests.retrying import Attempt, Retrying

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
"""Bytes of the spool that are in memory for each request under way."""

T = TypeVar("T")


class BucketAccess:
    """One store's, in one process."""

    def __init__(self, store: ObjectStore, spool: Spool, client: S3Client | None = None) -> None:
        self.store = store
        self.checksum = chosen_checksum(store)
        self.spool = spool
        self._leave_spool = ExitStack()
        self._leave_spool.enter_context(spool)
        self.client = client or S3Client(store)
        self.retrying = Retrying(store.name)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def call(self, attempt: Attempt[T], *, is_put: bool = False) -> T:
        """Make a request until it succeeds. Raises S3Error, StorageFailed."""
        return await self.retrying.call(attempt, is_put=is_put)

    async def checked(self, source: Region, start: int, length: int) -> Content:
        """Return bytes of the spool with that by which the store checks them."""
        body = Body(length, lambda: _pieces(source, start, length), source.file_range(start, length))
        if self.checksum == "none":
            return Content(body)
        digest = await source.digest(start, length, self.checksum)
        if self.checksum == "sha256":
            return Content(body, digest=digest.hex())
        return Content(body, {"Content-MD5": base64.b64encode(digest).decode()})

    def failure(self, error: S3Error) -> StorageFailed | StorageFull:
        """Return the error for clients of a request that no repetition cures."""
        kind = StorageFull if error.code in ("QuotaExceeded", "InsufficientStorage") else StorageFailed
        return kind(f"object store {self.store.name}: {error}")

    def in_background(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Do something that nobody waits for; a failure is logged, and the sweep of orphans does it later."""
        task = asyncio.get_running_loop().create_task(self._logged(work, what))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _logged(self, work: Awaitable[None], what: str) -> None:
        try:
            await work
        except (S3Error, StorageFailed) as error:
            log.warning("object store %s: %s failed: %s; the sweep does it later", self.store.name, what, error)

    async def delete_all(self, keys: list[str]) -> None:
        """Remove objects. Raises S3Error, StorageFailed."""
        for key in keys:
            await self.call(lambda key=key: self.client.delete(key))  # type: ignore[misc]

    async def abort(self, key: str, upload: str) -> None:
        """Discard a multipart upload. Raises S3Error, StorageFailed."""
        await self.call(lambda: self.client.abort_upload(key, upload))

    async def close(self, grace: float = 5.0) -> None:
        """Close the connections, after what is done in the background or `grace` seconds."""
        if self._tasks:
            _, late = await asyncio.wait(tuple(self._tasks), timeout=grace)
            for task in late:
                task.cancel()
        self.client.close()
        self._leave_spool.close()


async def _pieces(source: Region, start: int, length: int) -> AsyncIterator[bytes]:
    for offset in range(0, length, CHUNK):
        yield await source.read(start + offset, min(CHUNK, length - offset))


Records = Callable[[str], Awaitable[dict[str, str]]]
"""From the id of a ticket, the records that are kept with it."""
