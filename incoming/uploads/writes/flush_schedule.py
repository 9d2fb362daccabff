"""When a store that buffers is asked to make durable what it has of one upload.

That is when a sender asks for it, when senders can send nothing more before that, and after a time. Knows neither the
store nor the bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

FLUSH_QUIET = 5.0
"""Seconds without further bytes: the sender may be waiting for an acknowledgement."""

FLUSH_LATEST = 60.0
"""Seconds that bytes may be buffered while more come, so that a slow line makes progress."""


class FlushSchedule:
    """That of one upload. It holds no reference to it but while a time is set: a cycle is left to the collector."""

    def __init__(self) -> None:
        self.wanted = False
        """Whether a sender waits for all that it has sent."""
        self._timer: asyncio.TimerHandle | None = None
        self._buffered_since = 0.0
        self._blocked: set[Callable[[], bool]] = set()

    @contextmanager
    def blocked(self, is_blocked: Callable[[], bool]) -> Iterator[None]:
        """Inside, a sender receives nothing as long as `is_blocked`."""
        self._blocked.add(is_blocked)
        try:
            yield
        finally:
            self._blocked.discard(is_blocked)

    @property
    def due(self) -> bool:
        """Whether what is buffered must be flushed now."""
        return self.wanted or any(is_blocked() for is_blocked in self._blocked)

    def plan(self, flush: Callable[[], None], *, buffered: bool) -> None:
        """Let `flush` be called when the time has come, if bytes are buffered, else not."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not buffered:
            self._buffered_since = 0.0
            return
        loop = asyncio.get_running_loop()
        self._buffered_since = self._buffered_since or loop.time()
        delay = min(FLUSH_QUIET, self._buffered_since + FLUSH_LATEST - loop.time())
        self._timer = loop.call_later(delay, flush)
