"""Faults of the storage for the operator: each is logged at once, its repetitions not for a while.

A full disk fails every chunk of every upload; the operator is to read of it, not to drown in it. Knows no other kind of
event and decides nothing else.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable

log = logging.getLogger(__name__)

REPEAT_INTERVAL = 10.0
"""Seconds between two records of the same fault."""


class RateLimitedLog:
    """Remembers when which fault was logged last. May be used by several threads: at worst a record comes twice."""

    def __init__(self) -> None:
        self._last: dict[Hashable, float] = {}

    def report(self, fault: Hashable, message: str, *args: object) -> None:
        """Logs an error unless the same `fault` (an errno, a result code: there are few) was logged just before."""
        now = time.monotonic()
        if now - self._last.get(fault, -REPEAT_INTERVAL) >= REPEAT_INTERVAL:
            self._last[fault] = now
            log.error(message, *args)
