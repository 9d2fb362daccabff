"""The clocks of a store: the time of day, and one for comparing with limits.

Limits are hours long and compare a stored time of day with now. When the clock jumps ahead, every upload would seem
idle for the length of the jump. The steady clock advances no faster than the monotonic one, so such a jump makes limits
late by its length, never early. A clock set back is followed at once: stored times are then in the future, and limits
are late again. Does not know what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

MAX_IGNORED_JUMP = 2 * 3600.0
"""Seconds of forward jumps that are ignored. A wrong daylight saving time is one hour; a machine that starts in 1970
and then gets the date must not stay in 1970, so larger jumps are accepted.
"""


class SteadyClock:
    """Seconds since the epoch, at most MAX_IGNORED_JUMP behind the time of day and never ahead of it."""

    def __init__(self, wall: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def __call__(self) -> float:
        wall, ticks = self._wall(), self._monotonic()
        behind = min(max(wall - (ticks + self._offset), 0.0), MAX_IGNORED_JUMP)
        self._offset = wall - behind - ticks
        return wall - behind


class StoreClock:
    """The clock of one store.

    `now` is the time of day that tickets store, in seconds since the epoch; `steady` the same for comparing with
    limits; `monotonic` counts seconds from any moment, for durations within one process.
    """

    def __init__(self, now: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self.now = now
        self.monotonic = monotonic
        self.steady: Clock = SteadyClock(now, monotonic)
