"""How slow a sender may be. Reads no clock and no socket; callers know what has arrived."""

from __future__ import annotations


class MinimumRate:
    """Whether a sender keeps to `rate` bytes a second over `period` seconds. A rate of 0 is none."""

    def __init__(self, rate: int, period: float) -> None:
        self._rate = rate
        self._period = period
        self._since: tuple[float, int] | None = None

    def too_slow(self, now: float, received: int | None, *, excused: bool) -> bool:
        """Return whether too little arrived in the last period; `received` counts all bytes so far. `excused`: nothing
        was expected of the sender since the last call. That nothing at all arrives is not decided here.
        """
        if self._since is None or received is None or excused:
            self._since = None if received is None else (now, received)
            return False
        since, before = self._since
        if now - since < self._period:
            return False
        self._since = (now, received)
        return before < received < before + self._rate * (now - since)
