"""Service time: the time during which a server ran, which is what idle limits count.

While no server runs, or the machine is suspended, no client can continue its upload. Such an outage is a gap between
two time stamps of a running server. This file decides what counts as an outage; it reads no clock and stores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

MIN_OUTAGE = 90.0
"""Seconds between two time stamps that make an outage. A shorter gap, such as a restart, counts as service."""

RECONNECT_GRACE = 600.0
"""Seconds after an outage that do not count either, for clients to reconnect; at most the length of the outage, so that
a server that restarts repeatedly still reaches its limits.
"""

MAX_OUTAGES = 100

Outage = tuple[float, float]
"""Begin and end, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """When a server ran: up to `until`, except for `outages`, which are sorted and disjoint."""

    until: float
    outages: tuple[Outage, ...] = ()

    def noted(self, now: float) -> ServiceTime:
        """Return the service time after a server has recorded at `now` that it runs."""
        if now < self.until:  # the clock was set back
            return ServiceTime(now, tuple((start, min(end, now)) for start, end in self.outages if start < now))
        if now - self.until <= MIN_OUTAGE:
            return ServiceTime(now, self.outages)
        return ServiceTime(now, _bounded((*self.outages, (self.until, now))))

    def before(self, now: float, seconds: float) -> float:
        """Return the latest time that lies at least `seconds` of service before `now`."""
        time, left = now, seconds
        for start, end in self.noted(now)._uncounted():
            served = time - min(time, end)
            if served >= left:
                break
            left -= served
            time = min(time, start)
        return time - left

    def _uncounted(self) -> Iterator[Outage]:
        """Yield the outages with the grace time after each, the last one first."""
        for start, end in reversed(self.outages):
            yield start, end + min(RECONNECT_GRACE, end - start)

    def to_text(self) -> str:
        """Return the text that `from_text` parses."""
        return json.dumps([self.until, *self.outages])

    @classmethod
    def from_text(cls, text: str) -> ServiceTime:
        """Parse the text of `to_text`. Raises ValueError for any other text."""
        match json.loads(text):
            case [int() | float() as until, *outages]:
                return cls(until, tuple((float(start), float(end)) for start, end in outages))
        raise ValueError("not a service time")


def _bounded(outages: tuple[Outage, ...]) -> tuple[Outage, ...]:
    """Merge the outages with the least service between them while there are too many: limits end late, never early."""
    kept = list(outages)
    while len(kept) > MAX_OUTAGES:
        index = min(range(len(kept) - 1), key=lambda number: kept[number + 1][0] - kept[number][1])
        kept[index : index + 2] = [(kept[index][0], kept[index + 1][1])]
    return tuple(kept)
