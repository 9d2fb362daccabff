"""What is counted, and the counters of one worker: plain numbers, which are cheap to increment.

Decides names, labels and buckets. A count has a flat key, `name/label/...`, so that any store can add the counts of all
workers. Knows neither Prometheus nor a store.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import accumulate

from incoming.core.errors import TABLE
from incoming.core.ticket import State

STATES = tuple(str(state) for state in State)
TRANSPORTS = ("websocket", "http")
ANSWERS = ("done", "wait", "refused", "unclear", "again")
OBJECT_OPERATIONS = (
    *("CreateMultipartUpload", "UploadPart", "ListParts", "CompleteMultipartUpload", "AbortMultipartUpload"),
    *("PutObject", "GetObject", "HeadObject", "DeleteObject", "ListObjectsV2", "ListMultipartUploads"),
)
DATABASE_EVENTS = ("outage", "failover", "reconnection", "restored_upload")
TAKEOVERS = ("janitor", "service", "upload")
ERRORS = tuple(kind("").name for kind in TABLE.values())

CHUNK_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
CALLBACK_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class Metric:
    """One family. `key` is the first part of its counts' keys, `values` are the known values of its one label."""

    key: str
    name: str
    about: str
    label: str = ""
    values: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()


COUNTED = (
    Metric("bytes", "incoming_received_bytes", "Bytes received and acknowledged.", "transport", TRANSPORTS),
    Metric("acks", "incoming_acks", "Chunks (WebSocket) or reads (HTTP) acknowledged.", "transport", TRANSPORTS),
    Metric("entered", "incoming_upload_transitions", "Uploads that entered this state.", "state", STATES),
    Metric("errors", "incoming_errors", "Errors sent to clients and apps.", "error", ERRORS),
    Metric("callbacks", "incoming_callbacks", "Callbacks by outcome.", "answer", ANSWERS),
    Metric("object_requests", "incoming_object_requests", "Requests to object stores.", "operation", OBJECT_OPERATIONS),
    Metric("database", "incoming_database_events", "What each worker met at PostgreSQL.", "event", DATABASE_EVENTS),
    Metric("takeovers", "incoming_takeovers", "Taken over from workers that have gone silent.", "what", TAKEOVERS),
)
"""Counters; each is exposed with `_total` at the end of its name."""

TIMED = (
    Metric(
        "chunk_seconds",
        "incoming_chunk_seconds",
        "Time from the arrival of a chunk until it may be acknowledged.",
        "transport",
        TRANSPORTS,
        CHUNK_BUCKETS,
    ),
    Metric("callback_seconds", "incoming_callback_seconds", "Response time of apps.", buckets=CALLBACK_BUCKETS),
    Metric(
        "loop_lag_seconds",
        "incoming_loop_lag_seconds",
        "Delay of a due task in each worker's event loop, measured four times a second.",
        buckets=LAG_BUCKETS,
    ),
)
"""Histograms."""

GAUGES = (
    Metric("", "incoming_uploads", "Uploads in each state; ended ones while they are kept.", "state", STATES),
    Metric("", "incoming_connections", "Connections that carry an upload now.", "transport", TRANSPORTS),
    Metric("", "incoming_free_bytes", "Bytes that can still be written to the storage."),
    Metric("", "incoming_workers", "Worker processes that are alive."),
    Metric("", "incoming_instance_workers", "Worker processes of each instance that are alive.", "instance"),
    Metric("", "incoming_resident_memory_bytes", "Memory of all workers together."),
    Metric("", "incoming_spool_bytes", "Bytes of incomplete parts in the spools of all workers."),
    Metric("", "incoming_spool_limit_bytes", "Bytes that these spools may hold: spool_size of each worker."),
    Metric("", "incoming_spool_held_uploads", "Writes of uploads that wait because a spool is full."),
    Metric("", "incoming_info", "Always 1; the version is in the label.", "version"),
)
"""Measured on request."""


class Histogram:
    """Counts of observations by size."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def items(self, key: str) -> Iterator[tuple[str, float]]:
        """Return counts and sum under flat keys."""
        for bound, count in zip((*self.bounds, "+Inf"), self.counts, strict=True):
            yield f"{key}/{bound}", count
        yield f"{key}/sum", self.total


def cumulated(key: str, buckets: tuple[float, ...], counted: dict[str, float]) -> tuple[list[tuple[str, float]], float]:
    """Return the histogram under these keys as (upper bound, number of observations up to it), and the sum."""
    bounds = [*map(str, buckets), "+Inf"]
    counts = accumulate(counted.get(f"{key}/{bound}", 0) for bound in bounds)
    return list(zip(bounds, counts, strict=True)), counted.get(f"{key}/sum", 0.0)


class TransportCounts:
    """Counters of one transport."""

    __slots__ = ("acks", "bytes", "seconds")

    def __init__(self) -> None:
        self.bytes = 0
        self.acks = 0
        self.seconds = Histogram(CHUNK_BUCKETS)

    def stored(self, length: int, seconds: float) -> None:
        """Count bytes that may be acknowledged, `seconds` after their arrival. Called for every chunk."""
        self.bytes += length
        self.acks += 1
        self.seconds.observe(seconds)


class WorkerCounters:
    """All counters of one worker. Used only from its event loop."""

    def __init__(self) -> None:
        self.transports = {transport: TransportCounts() for transport in TRANSPORTS}
        self.errors: Counter[str] = Counter()
        self.passed: Counter[State] = Counter()
        """Uploads that entered a state and left it with the same change: the store counts states that are committed."""
        self.loop_lag = Histogram(LAG_BUCKETS)
        self.sources: list[Callable[[], Mapping[str, float]]] = []
        """Return counts that others keep, by flat key."""
        self._callbacks: Counter[str] = Counter()
        self._callback_seconds = Histogram(CALLBACK_BUCKETS)

    def called_back(self, answer: str, seconds: float) -> None:
        """Count a callback and its duration; `answer` is one of ANSWERS."""
        self._callbacks[answer] += 1
        self._callback_seconds.observe(seconds)

    @property
    def received(self) -> int:
        """Return the bytes over all transports."""
        return sum(counts.bytes for counts in self.transports.values())

    def totals(self) -> dict[str, float]:
        """Return all counts that are not zero, by flat key."""
        found: dict[str, float] = {}
        for transport, counts in self.transports.items():
            found[f"bytes/{transport}"] = counts.bytes
            found[f"acks/{transport}"] = counts.acks
            found.update(counts.seconds.items(f"chunk_seconds/{transport}"))
        found.update((f"errors/{name}", count) for name, count in self.errors.items())
        found.update((f"entered/{state}", count) for state, count in self.passed.items())
        found.update((f"callbacks/{answer}", count) for answer, count in self._callbacks.items())
        found.update(self._callback_seconds.items("callback_seconds"))
        found.update(self.loop_lag.items("loop_lag_seconds"))
        for source in self.sources:
            for key, value in source().items():
                found[key] = found.get(key, 0.0) + value
        return {key: value for key, value in found.items() if value}
