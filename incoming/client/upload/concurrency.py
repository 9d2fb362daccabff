"""How many connections carry an upload: as many as raise its speed, and no more.

Decides by what was measured: the number is doubled while that brings more, and goes back when it does not. Then it
stays for a while. Knows neither connections nor bytes, only a rate and a clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable

MEASURE_SECONDS = 1.5
"""Seconds over which a rate is measured."""

MIN_GAIN = 1.15
"""What twice the connections must bring at least."""

PROBE_INTERVAL = 30.0
"""Seconds until it is tried again whether more connections bring more."""


class Concurrency:
    """The wanted number of connections, from 1 to `most`."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = max(1, most)
        self.wanted = 1
        self._clock = clock
        self._before = 0.0
        self._fallback = 1
        self._stay_until = 0.0
        self._restart(0)

    def measure(self, arrived: int) -> None:
        """Note the number of bytes that are safe by now. Call it periodically."""
        elapsed = self._clock() - self._since
        if elapsed < MEASURE_SECONDS:
            return
        rate = max(0, arrived - self._arrived) / elapsed
        self._restart(arrived)
        if self.wanted > self._fallback and rate < MIN_GAIN * self._before:
            self._stay(self._fallback)
        elif self._clock() >= self._stay_until and rate > 0 and self.wanted < self.most:
            self._before, self._fallback = rate, self.wanted
            self.wanted = min(2 * self.wanted, self.most)
        else:
            self._fallback = self.wanted

    def connection_failed(self) -> None:
        """Note that another connection was refused or lost: keep the present number for now."""
        self._stay(max(1, self.wanted // 2))

    def _stay(self, number: int) -> None:
        self.wanted = self._fallback = number
        self._stay_until = self._clock() + PROBE_INTERVAL

    def _restart(self, arrived: int) -> None:
        self._since = self._clock()
        self._arrived = arrived
