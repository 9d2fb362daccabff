"""What is counted, and the counters of one worker: plain numbers, so that counting costs a chunk next to nothing.

Decides names, labels and buckets. A count travels by a flat key, `name/label/...`, so that the counts of all workers
can be added wherever they are kept. This file knows neither Prometheus nor where the numbers go.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from incoming.core.errors import TABLE
from incoming.core.ticket import State

STATES = tuple(str(state) for state in State)
TRANSPORTS = ("websocket", "http")
ANSWERS = ("done", "wait", "refused", "unclear", "again")
ERRORS = tuple(kind("").name for kind in TABLE.values())

CHUNK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CALLBACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `key` is the first part of its counts' keys, `values` are those of its one label known beforehand."""

    key: str
    name: str
    about: str
    label: str = ""
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


COUNTED = (
    Metric("bytes", "incoming_received_bytes", "Bytes that arrived and were acknowledged.", "transport", TRANSPORTS),
    Metric("acks", "incoming_acks", "Chunks (WebSocket) or reads (HTTP) acknowledged.", "transport", TRANSPORTS),
    Metric("entered", "incoming_upload_transitions", "How many uploads came into this state.", "state", STATES),
    Metric("errors", "incoming_errors", "Errors that clients and apps were told.", "error", ERRORS),
    Metric("callbacks", "incoming_callbacks", "Callbacks by what came of them.", "answer", ANSWERS),
)
"""Counters; each is exposed with `_total` at the end of its name."""

TIMED = (
    Metric(
        "chunk_seconds",
        "incoming_chunk_seconds",
        "Time from a chunk's arrival to the moment when it may be acknowledged.",
        "transport",
        TRANSPORTS,
        CHUNK_BUCKETS,
    ),
    Metric("callback_seconds", "incoming_callback_seconds", "Time that apps took to answer.", buckets=CALLBACK_BUCKETS),
    Metric(
        "loop_lag_seconds",
        "incoming_loop_lag_seconds",
        "How late the event loop came to a task that was due, measured four times a second in each worker.",
        buckets=LAG_BUCKETS,
    ),
)
"""Histograms."""

GAUGES = (
    Metric("", "incoming_uploads", "Uploads in each state; ended ones while they are remembered.", "state", STATES),
    Metric("", "incoming_connections", "Connections that carry an upload now.", "transport", TRANSPORTS),
    Metric("", "incoming_free_bytes", "Bytes that can still be written to the storage."),
    Metric("", "incoming_workers", "Worker processes that are alive."),
    Metric("", "incoming_resident_memory_bytes", "Memory of all workers together."),
    Metric("", "incoming_info", "Always 1; the version is in the label.", "version"),
)
"""Measured when they are asked for."""


class Histogram:
    """How often which size was seen."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def items(self, key: str) -> Iterator[tuple[str, float]]:
        """Counts and sum under flat keys."""
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            yield f"{key}/{bound}", count
        yield f"{key}/sum", self.total


def cumulated(key: str, buckets: tuple[float, ...], counted: dict[str, float]) -> tuple[list[tuple[str, float]], float]:
    """The histogram under these keys as (upper bound, how many were not above), and the sum."""
    bounds = [*map(str, buckets), "+Inf"]
    counts = accumulate(counted.get(f"{key}/{bound}", 0) for bound in bounds)
    return list(zip(bounds, counts, strict=True)), counted.get(f"{key}/sum", 0.0)


class TransportCounts:
    """What came over one kind of transport."""

    __slots__ = ("acks", "bytes", "seconds")

    def __init__(self) -> None:
        self.bytes = 0
        self.acks = 0
        self.seconds = Histogram(CHUNK_BUCKETS)

    def stored(self, length: int, seconds: float) -> None:
        """So many bytes may be acknowledged, so long after they came. Called for every chunk."""
        self.bytes += length
        self.acks += 1
        self.seconds.observe(seconds)


class WorkerCounters:
    """Everything that one worker counts. Used from its event loop only."""

    def __init__(self) -> None:
        self.transports = {transport: TransportCounts() for transport in TRANSPORTS}
        self.errors: Counter[str] = Counter()
        self.loop_lag = Histogram(LAG_BUCKETS)
        self._callbacks: Counter[str] = Counter()
        self._callback_seconds = Histogram(CALLBACK_BUCKETS)

    def called_back(self, answer: str, seconds: float) -> None:
        """An app was called and took so long; `answer` is one of ANSWERS."""
        self._callbacks[answer] += 1
        self._callback_seconds.observe(seconds)

    @property
    def received(self) -> int:
        """Bytes over all transports."""
        return sum(counts.bytes for counts in self.transports.values())

    def totals(self) -> dict[str, float]:
        """All that is not zero, by its flat key."""
        found: dict[str, float] = {}
        for transport, counts in self.transports.items():
            found[f"bytes/{transport}"] = counts.bytes
            found[f"acks/{transport}"] = counts.acks
            found.update(counts.seconds.items(f"chunk_seconds/{transport}"))
        found.update((f"errors/{name}", count) for name, count in self.errors.items())
        found.update((f"callbacks/{answer}", count) for answer, count in self._callbacks.items())
        found.update(self._callback_seconds.items("callback_seconds"))
        found.update(self.loop_lag.items("loop_lag_seconds"))
        return {key: value for key, value in found.items() if value}
