"""The time of day as limits need it: a clock that somebody sets forward does not make the server impatient.

Idle limits and give-up times are hours long and compare a stored time of day with now. When the system's clock jumps
ahead, every upload would look as if it had been idle for the length of the jump. This clock advances no faster than the
monotonic one, so such a jump makes limits late by its length, never early. A clock set back is followed at once: what
was stored then lies in the future, and limits are late again. It does not know what is measured with it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

Clock = Callable[[], float]

ABSORBED = 2 * 3600.0
"""Seconds of forward jumps that are ignored. Daylight saving done wrong is one hour; a machine that woke up in 1970 and
then learns the date must not stay in 1970, so what is beyond is believed."""


class SteadyClock:
    """Seconds since the epoch, at most ABSORBED behind the system's clock and never ahead of it."""

    def __init__(self, wall: Clock = time.time, monotonic: Clock = time.monotonic) -> None:
        self._wall = wall
        self._monotonic = monotonic
        self._offset = wall() - monotonic()

    def __call__(self) -> float:
        wall, ticks = self._wall(), self._monotonic()
        behind = min(max(wall - (ticks + self._offset), 0.0), ABSORBED)
        self._offset = wall - behind - ticks
        return wall - behind


def steady(clock: Clock) -> Clock:
    """The steady version of the system's clock. Any other clock is in the hand of whoever passes it, and stays as it
    is.
    """
    return SteadyClock() if clock is time.time else clock
