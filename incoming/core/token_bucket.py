"""Rate limiting: enforce each ticket's rate, for any sender.

Decides how large a burst may be and how long to wait; does not know what is counted. A limiter belongs to one worker;
an upload over several workers has its rate in each. The library keeps to the rate by itself and is never delayed here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

MARGIN = 1.1
"""Clocks differ, and delayed data arrives in bursts: a sender that keeps to the rate must not be delayed again ..."""

BURST = 5.0
"""... and this many seconds of the rate may arrive at once."""

FEW_BUCKETS = 1000
"""Buckets above which the full ones are removed."""


class TokenBucket:
    """`rate` in bytes a second, 0 for none; `clock` is a monotonic one, in seconds."""

    def __init__(self, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate * MARGIN
        self._clock = clock
        self._tokens = self._rate * BURST
        self._filled_at = clock()

    def spend(self, count: int) -> None:
        """Take `count` tokens; more than there are become a debt."""
        if self._rate:
            self._tokens = self._present() - count
            self._filled_at = self._clock()

    @property
    def wait(self) -> float:
        """Return the seconds until the debt is zero."""
        if not self._rate:
            return 0.0
        return max(0.0, -self._tokens / self._rate - (self._clock() - self._filled_at))

    @property
    def full(self) -> bool:
        """Whether no recent use is left."""
        return self._present() >= self._rate * BURST

    def _present(self) -> float:
        earned = (self._clock() - self._filled_at) * self._rate
        return min(self._tokens + earned, self._rate * BURST)


class RateLimiter:
    """The buckets of one worker, by ticket. A bucket outlives the connections and requests that use it: it is kept
    until it is full, so memory is bounded by the uploads of the last seconds and those in debt.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, TokenBucket] = {}
        self._tidy_at = FEW_BUCKETS

    def __len__(self) -> int:
        """Return the number of buckets, a measure of memory."""
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
    """The rate of one upload at this worker."""

    limiter: RateLimiter
    key: str
    rate: int

    def spend(self, count: int) -> None:
        """Count received bytes. More than the rate allows become a debt."""
        if self.rate:
            self.limiter.spend(self.key, self.rate, count)

    @property
    def wait(self) -> float:
        """Return the seconds until the debt is zero."""
        bucket = self.limiter.bucket(self.key) if self.rate else None
        return 0.0 if bucket is None else bucket.wait
