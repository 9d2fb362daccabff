"""Tells the connections of one upload what is received and not safe yet, where that lasts: in stores of whole parts.

Decides how often. Knows neither messages nor the store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from incoming.core.extents import Extents

REPORT_INTERVAL = 1.0
"""Seconds between two reports at least: a page shows them as its progress."""

Listener = Callable[[Extents, Extents], None]
"""Gets the extents of the ticket and the received ranges."""


class ReceivedReports:
    """Those of one upload. It holds no reference to it but while a report is planned."""

    def __init__(self) -> None:
        self._listeners: list[Listener] = []
        self._timer: asyncio.TimerHandle | None = None
        self._last: tuple[Extents, Extents] | None = None

    def add(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with every report; the result ends that."""
        self._listeners.append(listener)
        self._last = None
        return lambda: self._listeners.remove(listener)

    def plan(self, state: Callable[[], tuple[Extents, Extents]]) -> None:
        """Something may have changed: report the `state` of that time soon, unless it is the last one."""
        if self._listeners and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_INTERVAL, self._report, state)

    def _report(self, state: Callable[[], tuple[Extents, Extents]]) -> None:
        self._timer = None
        if (news := state()) != self._last:
            self._last = news
            for listener in tuple(self._listeners):
                listener(*news)
