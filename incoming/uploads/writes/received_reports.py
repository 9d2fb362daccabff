"""Report received bytes that are not yet durable to the connections of one upload, for stores of whole parts.

Decides how often. Knows neither messages nor the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from incoming.core.extents import Extents

REPORT_INTERVAL = 1.0
"""Minimum seconds between two reports. A page shows them as its progress."""

Listener = Callable[[Extents, Extents], None]
"""Gets the extents of the ticket and the received ranges."""


class ReceivedReports:
    """Reports of one upload. Holds a reference to it only while a report is planned."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last: tuple[Extents, Extents] | None = None

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every report. The result unsubscribes."""
        self._listeners.append(listener)
        self._last = None
        return lambda: self._listeners.remove(listener)

    def plan(self, state: Callable[[], tuple[Extents, Extents]]) -> None:
        """Plan a report of `state`, read when it is due, and sent unless it equals the last one."""
        if self._listeners and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_INTERVAL, self._report, state)

    def _report(self, state: Callable[[], tuple[Extents, Extents]]) -> None:
        self._timer = None
        if (news := state()) != self._last:
            self._last = news
            for listener in tuple(self._listeners):
                listener(*news)
