"""Where an upload's bytes wait on their way: the figures of one client's path through this worker, and what they say of
the limit of its rate.

Decides when the storage or this server is the limit. Line and browser look alike from here, and the client reports
which of them it is. Pure, but for the clock of a stopwatch; knows no connection and no store.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

LIMITS = ("line", "browser", "server", "disk", "app")
"""What may limit an upload."""

HELD_SHARE = 0.5
"""Share of the time. Above it the connections wait for a limit of the rate more than they are read."""

LATE_SHARE = 0.5
"""Share of the time by which the event loop is late: others have the processor, or the process was stopped."""

BUSY_SHARE = 0.85
"""Share of the time in which the event loop's thread works. More is hardly possible."""

STORING_SHARE = 0.7
"""Share of the time in which the storage writes: it is never idle for long, and bytes queue before it."""

DELAY = 0.5
"""Seconds until bytes are committed. With shorter ones no client waits for acks: it has seconds of bytes in flight."""


MIN_SECONDS = 0.5
"""Seconds that figures are measured over at least."""


class Stopwatch:
    """Adds up the seconds spent inside; two at once count twice."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._inside = 0
        self._total = 0.0
        self._since = 0.0

    def __enter__(self) -> Self:
        self._advance()
        self._inside += 1
        return self

    def __exit__(self, *_: object) -> None:
        self._advance()
        self._inside -= 1

    def _advance(self) -> None:
        now = self._clock()
        self._total += self._inside * (now - self._since)
        self._since = now

    @property
    def runs(self) -> bool:
        """Whether a stay is unfinished."""
        return bool(self._inside)

    @property
    def total(self) -> float:
        """The seconds so far, those of an unfinished stay included."""
        self._advance()
        return self._total


@dataclass(frozen=True, slots=True)
class StorageTime:
    """One upload's: runs while the store writes, and while the database records what is written."""

    writing: Stopwatch = field(default_factory=Stopwatch)
    committing: Stopwatch = field(default_factory=Stopwatch)


class PathTotals(NamedTuple):
    """What is counted from the beginning: times in seconds, `delay` times bytes."""

    at: float
    received: int = 0
    delay: float = 0.0
    held: float = 0.0
    blocked: float = 0.0
    writing: float = 0.0
    committing: float = 0.0
    late: float = 0.0
    busy: float = 0.0
    retransmits: int = 0
    out_of_order: int = 0


@dataclass(frozen=True, slots=True)
class PathFigures:
    """One client's over the last seconds; shares are from 0 to 1."""

    seconds: float
    """That they were measured over."""
    rate: float
    """Bytes a second that were committed."""
    delay: float
    """Seconds from the arrival of bytes until they are committed, the mean."""
    held: float
    """Share of the time in which connections were not read, because of a limit of the rate."""
    blocked: float
    """Share of the time in which connections were not read, because the storage was behind."""
    writing: float
    """Share of the time in which the storage wrote bytes of this upload."""
    committing: float
    """Share of the time in which the database recorded them."""
    late: float
    """Share of the time by which the worker's event loop was late."""
    busy: float
    """Share of the time in which the thread of that loop worked."""
    rtt: float | None = None
    """Round trip in seconds, as the kernel measures it; None where it does not say."""
    retransmits: int = 0
    """Segments that this machine has sent again."""
    out_of_order: int = 0
    """Segments that came out of order: most of them behind a lost one."""
    pending: int = 0
    """Bytes that have arrived and are not committed."""
    oldest: float = 0.0
    """The age in seconds of the oldest of them."""

    @property
    def limit(self) -> str:
        """Return "server" or "disk" where that is the limit, else ""."""
        if self.held >= HELD_SHARE or self.late >= LATE_SHARE or self.busy >= BUSY_SHARE:
            return "server"
        behind = self.committing >= STORING_SHARE and max(self.delay, self.oldest) >= DELAY
        return "disk" if self.blocked >= HELD_SHARE or self.writing >= STORING_SHARE or behind else ""

    def to_json(self) -> dict[str, Any]:
        """Return the figures, rounded, as clients and operators get them."""
        return {
            "limit": self.limit,
            "seconds": round(self.seconds, 1),
            "rate": round(self.rate),
            "delay": round(max(self.delay, self.oldest), 3),
            "pending": self.pending,
            "held": round(self.held, 2),
            "blocked": round(self.blocked, 2),
            "writing": round(self.writing, 2),
            "committing": round(self.committing, 2),
            "late": round(self.late, 2),
            "busy": round(self.busy, 2),
            "rtt": None if self.rtt is None else round(self.rtt, 6),
            "retransmits": self.retransmits,
            "out_of_order": self.out_of_order,
        }


def figures_between(before: PathTotals, now: PathTotals, connections: int) -> PathFigures:
    """Return the figures of the time from `before` to `now`, in which `connections` were open."""
    seconds = max(now.at - before.at, MIN_SECONDS)
    received = now.received - before.received
    delay = (now.delay - before.delay) / received if received else 0.0
    watched = seconds * max(1, connections)
    return PathFigures(
        seconds=seconds,
        rate=received / seconds,
        delay=delay,
        held=min(1.0, (now.held - before.held) / watched),
        blocked=min(1.0, (now.blocked - before.blocked) / watched),
        writing=min(1.0, (now.writing - before.writing) / seconds),
        committing=min(1.0, (now.committing - before.committing) / seconds),
        late=min(1.0, (now.late - before.late) / seconds),
        busy=min(1.0, (now.busy - before.busy) / seconds),
        retransmits=now.retransmits - before.retransmits,
        out_of_order=now.out_of_order - before.out_of_order,
    )
