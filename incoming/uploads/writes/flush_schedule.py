"""Decides when a store that buffers is asked to make durable what it buffers of one upload.

That is when a sender asks for it, when flow control stops all senders, and after a time. Knows neither the store nor
the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from incoming.uploads.writes.pending_write import PendingWrite

FLUSH_QUIET = 5.0
"""Seconds without further bytes: the sender may be waiting for an acknowledgement."""


class FlushSchedule:
    """Schedule of one upload. Holds a reference to it only while a timer is set, so that there is no lasting cycle."""

    def __init__(self, latest: float) -> None:
        """Buffer bytes for at most `latest` seconds while more arrive, so that a slow line makes progress."""
        self._latest = latest
        self.wanted = False
        """Whether a sender waits for all that it has sent."""
        self._timer: asyncio.TimerHandle | None = None
        self._blocked: set[Callable[[], bool]] = set()

    @contextmanager
    def blocked(self, is_blocked: Callable[[], bool]) -> Iterator[None]:
        """Note for the duration that a sender receives nothing while `is_blocked`."""
        self._blocked.add(is_blocked)
        try:
            yield
        finally:
            self._blocked.discard(is_blocked)

    @property
    def due(self) -> bool:
        """Whether what is buffered must be flushed now."""
        return self.wanted or any(is_blocked() for is_blocked in self._blocked)

    def plan(self, flush: Callable[[], None], buffered: Sequence[PendingWrite]) -> None:
        """Set the timer that calls `flush` if writes are buffered; otherwise cancel it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if buffered:
            loop = asyncio.get_running_loop()
            delay = min(FLUSH_QUIET, min(write.written_on for write in buffered) + self._latest - loop.time())
            self._timer = loop.call_later(delay, flush)
