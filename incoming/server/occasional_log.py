"""Decide how often an event that repeats quickly is logged: at once, then at most once per interval with a count."""

from __future__ import annotations

import time
from collections.abc import Callable

REPEAT_INTERVAL = 60.0
"""Seconds between two log lines about the same event."""


class OccasionalLog:
    """One kind of event. It does not log by itself; the caller writes the line when `due` says so."""

    def __init__(self, interval: float = REPEAT_INTERVAL, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval = interval
        self._clock = clock
        self._next = 0.0
        self._count = 0
        self._begun = False

    def due(self) -> int:
        """Count one event. Return how many there were since the last line if one is due now, otherwise 0."""
        self._count += 1
        now = self._clock()
        if self._begun and now < self._next:
            return 0
        self._begun, self._next = True, now + self._interval
        count, self._count = self._count, 0
        return count
