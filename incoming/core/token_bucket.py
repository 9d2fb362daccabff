"""Holds an upload to its ticket's rate, whoever sends: what comes too fast is not read, and TCP slows the sender down.

The library keeps to the rate by itself and never notices this. Decides how much may come at once and how long to wait;
what a byte is and where it goes is nothing to it. One worker's; an upload that comes over several has one in each.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MARGIN = 1.1
"""Clocks differ, and what a line has held up comes all at once: an honest sender must not be slowed down twice ..."""

BURST = 5.0
"""... and so many seconds of the rate may come together."""


class TokenBucket:
    """`rate` in bytes a second, 0 for none; `clock` is a monotonic one, in seconds."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate * MARGIN
        self._clock = clock
        self._tokens = self._rate * BURST
        self._filled_at = clock()

    def spend(self, count: int) -> None:
        """So many bytes have come. More than there was room for is owed."""
        if self._rate:
            now = self._clock()
            earned = (now - self._filled_at) * self._rate
            self._tokens = min(self._tokens + earned, self._rate * BURST) - count
            self._filled_at = now

    @property
    def wait(self) -> float:
        """Seconds until nothing is owed."""
        if not self._rate:
            return 0.0
        return max(0.0, -self._tokens / self._rate - (self._clock() - self._filled_at))
