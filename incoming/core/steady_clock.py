"""The times that a store goes by: the time of day, and one that limits can be compared with.

Limits are hours long and compare a stored time of day with now. When the clock jumps ahead, every upload would look as
if it had been idle for the length of the jump. The steady clock advances no faster than the monotonic one, so such a
jump makes limits late by its length, never early. A clock set back is followed at once: what was stored then lies in
the future, and limits are late again. This file does not know what is measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

ABSORBED = 2 * 3600.0
"""Seconds of forward jumps that are ignored. Daylight saving done wrong is one hour; a machine that woke up in 1970 and
then learns the date must not stay in 1970, so what is beyond is believed."""


class SteadyClock:
    """Seconds since the epoch, at most ABSORBED behind the time of day and never ahead of it."""

    def __init__(self, wall: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def __call__(self) -> float:
        wall, ticks = self._wall(), self._monotonic()
        behind = min(max(wall - (ticks + self._offset), 0.0), ABSORBED)
        self._offset = wall - behind - ticks
        return wall - behind


class StoreClock:
    """The clock of one store.

    `now` is the time of day, seconds since the epoch, as it is noted with tickets; `steady` the same for comparing with
    limits; `monotonic` counts seconds from any moment, for what one process measures itself.
    """

    def __init__(self, now: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self.now = now
        self.monotonic = monotonic
        self.steady: Clock = SteadyClock(now, monotonic)
