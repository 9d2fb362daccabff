"""Whether another upload may begin: admission by free space.

Decides how much space must be free and how long a measurement is valid. Knows no file system: the store reports how
much it can still take; without a report everything is admitted.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from incoming.core.errors import StorageFull
from incoming.settings.value_types import size_text
from incoming.storage.byte_store import ByteStore, free_bytes

CACHE_SECONDS = 1.0
"""Seconds for which a measurement of the free space is reused."""


class FreeSpace:
    """One worker's view of the free space. `limit` is what must be free, in bytes; `monotonic` counts seconds."""

    def __init__(self, store: ByteStore, limit: int, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._limit = limit
        self._monotonic = monotonic
        self._measuring = asyncio.Lock()
        self._measured_at = -math.inf
        self._free: int | None = None

    async def require(self) -> None:
        """Raise StorageFull if there is too little space for another upload, or what the ByteStore raises."""
        free, limit = await self._measured(), self._limit
        if free is None:
            return
        if free <= 0:
            raise StorageFull("no space for new uploads: the disk is full, or all its inodes are in use")
        if free < limit:
            raise StorageFull(
                f"no space for new uploads: {free} bytes are free, the limit is {limit} ({size_text(limit)})"
            )

    async def _measured(self) -> int | None:
        now = self._monotonic()
        async with self._measuring:
            if now - self._measured_at > CACHE_SECONDS:
                self._free = await free_bytes(self._store)
                self._measured_at = now
            return self._free
