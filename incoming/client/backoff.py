"""Pauses between attempts: random, ever longer, and bounded in all.

Decides how long to wait and when to give up; what is attempted is nothing to it.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

FIRST_PAUSE = 0.3
LONGEST_PAUSE = 30.0
"""Seconds: the bounds of a pause. The first ones are short because most losses are."""


class Backoff:
    """The pauses of one operation. `give_up_after` in seconds since the first failure in a row; None: never."""

    def __init__(
        self,
        give_up_after: float | None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._give_up_after = give_up_after
        self._clock = clock
        self._jitter = jitter
        self.succeeded()

    def succeeded(self) -> None:
        """Begin again with short pauses."""
        self._limit = FIRST_PAUSE
        self._failing_since: float | None = None

    def next_pause(self, at_least: float | None = None) -> float | None:
        """Return the seconds until the next attempt, None to give up. `at_least` is what the server has asked for."""
        now = self._clock()
        self._failing_since = now if self._failing_since is None else self._failing_since
        pause = self._jitter() * self._limit + (at_least or 0.0)
        self._limit = min(2 * self._limit, LONGEST_PAUSE)
        if self._give_up_after is not None and now + pause - self._failing_since > self._give_up_after:
            return None
        return pause
