"""Rate limiting: holds each upload to its ticket's rate, whoever sends.

Decides how much may come at once and how long to wait; what a byte is and where it goes is nothing to it. A limiter is
one worker's; an upload that comes over several workers has its rate in each. The library keeps to the rate by itself
and never notices this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MARGIN = 1.1
"""Clocks differ, and what a line has held up comes all at once: an honest sender must not be slowed down twice ..."""

BURST = 5.0
"""... and so many seconds of the rate may come together."""

FEW_BUCKETS = 1000
"""Buckets that are kept before the full ones are looked for."""


class TokenBucket:
    """`rate` in bytes a second, 0 for none; `clock` is a monotonic one, in seconds."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate * MARGIN
        self._clock = clock
        self._tokens = self._rate * BURST
        self._filled_at = clock()

    def spend(self, count: int) -> None:
        """Take `count` tokens; more than there are is owed."""
        if self._rate:
            self._tokens = self._present() - count
            self._filled_at = self._clock()

    @property
    def wait(self) -> float:
        """Seconds until nothing is owed."""
        if not self._rate:
            return 0.0
        return max(0.0, -self._tokens / self._rate - (self._clock() - self._filled_at))

    @property
    def full(self) -> bool:
        """Whether it is as good as a new one."""
        return self._present() >= self._rate * BURST

    def _present(self) -> float:
        earned = (self._clock() - self._filled_at) * self._rate
        return min(self._tokens + earned, self._rate * BURST)


class RateLimiter:
    """The buckets of one worker, by ticket. A bucket outlives the connections and requests that have spent from it: it
    is kept until it is full. So memory is bounded by the uploads that have sent something in the last seconds, or owe.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._tidy_at = FEW_BUCKETS

    def __len__(self) -> int:
        """The number of buckets, which is what memory it takes."""
        return len(self._buckets)

    def allowance(self, key: str, rate: int) -> Allowance:
        """Return what may be sent for `key` at `rate` bytes a second, 0 for no limit."""
        return Allowance(self, key, rate)

    def bucket(self, key: str) -> TokenBucket | None:
        """Return the bucket of `key`; None while it is full."""
        return self._buckets.get(key)

    def spend(self, key: str, rate: int, count: int) -> None:
        """Take `count` tokens from the bucket of `key`."""
        bucket = self._buckets.get(key)
        if bucket is None:
            self._tidy()
            bucket = self._buckets[key] = TokenBucket(rate, self._clock)
        bucket.spend(count)

    def _tidy(self) -> None:
        if len(self._buckets) >= self._tidy_at:
            self._buckets = {key: bucket for key, bucket in self._buckets.items() if not bucket.full}
            self._tidy_at = max(FEW_BUCKETS, 2 * len(self._buckets))


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one upload may send to this worker."""

    limiter: RateLimiter
    key: str
    rate: int

    def spend(self, count: int) -> None:
        """So many bytes have come. More than may come is owed."""
        if self.rate:
            self.limiter.spend(self.key, self.rate, count)

    @property
    def wait(self) -> float:
        """Seconds until nothing is owed."""
        bucket = self.limiter.bucket(self.key) if self.rate else None
        return 0.0 if bucket is None else bucket.wait
