"""The requests that are being answered: a worker that ends waits until there are none.

A request leaves when it has been answered or its connection has closed, and in any case when nobody has its handler any
more. Knows nothing of handlers but that they are objects.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Iterator


class OpenRequests:
    """One worker's."""

    def __init__(self) -> None:
        self._handlers: set[weakref.ref[object]] = set()
        self._changed = asyncio.Event()

    def add(self, handler: object) -> None:
        self._handlers.add(weakref.ref(handler, self._remove))

    def discard(self, handler: object) -> None:
        """Remove a request. One that is not there is no error."""
        self._remove(weakref.ref(handler))

    def _remove(self, handler: weakref.ref[object]) -> None:
        self._handlers.discard(handler)
        self._changed.set()

    def __iter__(self) -> Iterator[object]:
        return (handler for known in tuple(self._handlers) if (handler := known()) is not None)

    def __len__(self) -> int:
        return len(self._handlers)

    async def wait_for_none(self) -> None:
        """Return when all have been answered."""
        while self._handlers:
            self._changed.clear()
            await self._changed.wait()
