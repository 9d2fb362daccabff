"""Rate-limited log of storage faults: each is logged at once, its repetitions only every REPEAT_INTERVAL.

A full disk fails every chunk of every upload, and should not fill the log.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

log = logging.getLogger(__name__)

REPEAT_INTERVAL = 10.0
"""Seconds between two records of the same fault."""


class RateLimitedLog:
    """Remembers when each fault was logged last. Several threads may use it: at worst a record appears twice."""

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}

    def report(self, fault: Hashable, message: str, *args: object) -> None:
        """Log an error unless the same `fault`, such as an errno, was logged within REPEAT_INTERVAL."""
        now = time.monotonic()
        if now - self._last.get(fault, -REPEAT_INTERVAL) >= REPEAT_INTERVAL:
            self._last[fault] = now
            log.error(message, *args)
