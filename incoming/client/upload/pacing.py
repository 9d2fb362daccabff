"""How fast and how much: the rate that somebody has set, and the size of a chunk that suits a line.

Decides when the next bytes may go out and how many go together; which bytes they are is nothing to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable

FIRST_CHUNK = 64 * 1024
LARGEST_CHUNK = 4 * 1024 * 1024
"""Bytes. Larger ones bring no more speed and cost memory on each connection."""

SMALLEST_CHUNK = 8 * 1024
"""Bytes. Smaller than servers advise, for lines on which theirs would take a minute and pass for dead."""

QUICK, SLOW = 0.3, 1.2
"""Seconds from sending a chunk to its acknowledgement, below which chunks grow and above which they shrink."""

RATE_SHARE = 0.25
"""Seconds of a rate that one chunk may be, so that a limited line is used evenly."""


class RateLimit:
    """`rate` in bytes a second, 0 for none."""

    def __init__(self, rate: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self._clock = clock
        self._free_at = clock()

    def reserve(self, count: int) -> float:
        """Return the seconds to wait before `count` bytes are sent. Nothing is saved up while nothing is sent."""
        if not self.rate:
            return 0.0
        now = self._clock()
        begin = max(now, self._free_at)
        self._free_at = begin + count / self.rate
        return begin - now


class ChunkSize:
    """The size of chunks on one connection, between the server's limits."""

    def __init__(self, least: int, most: int, rate: int = 0) -> None:
        most = min(most, LARGEST_CHUNK)
        if rate:
            most = max(SMALLEST_CHUNK // 2, min(most, int(rate * RATE_SHARE)))
        self._least = min(least, most, SMALLEST_CHUNK)
        self._most = most
        self.value = max(self._least, min(FIRST_CHUNK, self._most))

    def took(self, length: int, seconds: float) -> None:
        """Note that a chunk of `length` bytes was acknowledged after `seconds`."""
        if seconds < QUICK and length >= self.value:
            self.value = min(2 * self.value, self._most)
        elif seconds > SLOW:
            self.value = max(self.value // 2, self._least)
