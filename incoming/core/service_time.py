"""Service time: the time during which a server was there to be sent to, which is what idle limits count.

While no server runs, or the machine is suspended, no client can continue its upload. Such an outage shows as a gap
between two notes of a running server. This file decides what counts as an outage; it reads no clock and stores nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

OUTAGE = 90.0
"""Seconds between two notes that make an outage. A shorter gap, such as a restart, counts as service."""

GRACE = 600.0
"""Seconds after an outage that do not count either, for clients to come back; at most as many as the outage had, so
that a server that restarts again and again still reaches its limits.
"""

MOST_OUTAGES = 100

Outage = tuple[float, float]
"""Begin and end, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class ServiceTime:
    """When a server ran, as far as is known: up to `until`, except for `outages`, which are in order and disjoint."""

    until: float
    outages: tuple[Outage, ...] = ()

    def noted(self, now: float) -> ServiceTime:
        """Return what is known when a server notes `now` that it runs."""
        if now < self.until:  # the clock was set back
            return ServiceTime(now, tuple((start, min(end, now)) for start, end in self.outages if start < now))
        if now - self.until <= OUTAGE:
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
        """The outages with the time of grace after each, the last one first."""
        for start, end in reversed(self.outages):
            yield start, end + min(GRACE, end - start)

    def to_text(self) -> str:
        """Return a text that `from_text` understands."""
        return json.dumps([self.until, *self.outages])

    @classmethod
    def from_text(cls, text: str) -> ServiceTime:
        """Return what `to_text` was called on. Raises ValueError for any other text."""
        match json.loads(text):
            case [int() | float() as until, *outages]:
                return cls(until, tuple((float(start), float(end)) for start, end in outages))
        raise ValueError("not a service time")


def _bounded(outages: tuple[Outage, ...]) -> tuple[Outage, ...]:
    """Merge the outages with the least service between them while there are too many: limits end late, not early."""
    kept = list(outages)
    while len(kept) > MOST_OUTAGES:
        index = min(range(len(kept) - 1), key=lambda number: kept[number + 1][0] - kept[number][1])
        kept[index : index + 2] = [(kept[index][0], kept[index + 1][1])]
    return tuple(kept)
