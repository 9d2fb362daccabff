"""The connections of one worker that carry uploads, by upload, transport and client.

Decides how long a client counts as sending between two requests, how its rate is measured, and how long its own report
of what limits it is believed. Knows no protocol and no other worker.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from incoming.monitoring.metrics import WorkerCounters
from incoming.monitoring.path_figures import (
    LIMITS,
    MIN_SECONDS,
    PathFigures,
    PathTotals,
    Stopwatch,
    StorageTime,
    figures_between,
)

log = logging.getLogger(__name__)

REQUEST_GAP = 5.0
"""Seconds without a connection after which a client that sends by HTTP requests no longer counts as sending."""

NEW_CLIENT_AFTER = 60.0
"""Seconds without a connection after which the next one is logged as a new client."""

RATE_WINDOW = 5.0
"""Seconds over which the rate is measured."""

REPORT_SECONDS = 30.0
"""Seconds for which a client's report of what limits it counts; it repeats it more often."""

BATCH = 50
"""Clients per turn of the event loop: about a millisecond of work."""


@dataclass(frozen=True, slots=True)
class Key:
    """Connections with equal keys are shown as one."""

    ticket_id: str
    transport: str
    client: str


@dataclass(frozen=True, slots=True)
class UploadActivity:
    """The clients of one upload at one moment. `speed` is in bytes per second, `limit` is one of LIMITS or "", `delay`
    and `rtt` are the longest, in seconds; `retransmits` and `out_of_order` are those of the last seconds.
    """

    clients: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    connections: int = 0
    speed: float = 0.0
    limit: str = ""
    delay: float = 0.0
    pending: int = 0
    rtt: float = 0.0
    retransmits: int = 0
    out_of_order: int = 0
    libraries: tuple[str, ...] = ()

    def __add__(self, other: UploadActivity) -> UploadActivity:
        """Return the activity of both, such as two clients or two workers."""
        quicker, slower = (self, other) if self.speed >= other.speed else (other, self)
        return UploadActivity(
            tuple(sorted({*self.clients, *other.clients})),
            tuple(sorted({*self.transports, *other.transports})),
            self.connections + other.connections,
            self.speed + other.speed,
            quicker.limit or slower.limit,
            max(self.delay, other.delay),
            self.pending + other.pending,
            max(self.rtt, other.rtt),
            self.retransmits + other.retransmits,
            self.out_of_order + other.out_of_order,
            tuple(sorted({*self.libraries, *other.libraries})),
        )


NO_ACTIVITY = UploadActivity()
"""The activity of an upload without a client."""


class ClientActivity:
    """The connections of one client for one upload over one transport. Call `leave` once for each."""

    __slots__ = (
        "_bytes",
        "_clock",
        "_counters",
        "_counts",
        "_cpu",
        "_delay",
        "_numbers",
        "_open",
        "_out_of_order",
        "_pending",
        "_quiet",
        "_reported",
        "_retransmits",
        "_rtt",
        "_samples",
        "_waiting",
        "blocked",
        "held",
        "key",
        "left_at",
        "library",
        "open",
        "storage_time",
    )

    def __init__(
        self,
        key: Key,
        counters: WorkerCounters,
        clock: Callable[[], float],
        cpu: Callable[[], float],
        open_of: Counter[str],
    ) -> None:
        """`open_of` counts the connections of each transport."""
        self._open = open_of
        self.key = key
        self.open = 0
        self.left_at = clock()
        self.held = Stopwatch(clock)
        """Runs while a connection is not read because of a limit of the rate."""
        self.blocked = Stopwatch(clock)
        """Runs while a connection is not read because the storage is behind."""
        self.storage_time = StorageTime()
        """The upload's."""
        self.library = ""
        """What the client is made of, with its version; "" for unknown."""
        self._clock = clock
        self._cpu = cpu
        self._counters = counters
        self._counts = counters.transports[key.transport]
        self._bytes = 0
        self._delay = 0.0
        self._numbers = count()
        self._pending = 0
        self._waiting: dict[int, float] = {}
        """When it came, for each write that is not committed, the oldest first."""
        self._rtt: float | None = None
        self._retransmits = 0
        self._out_of_order = 0
        self._reported = ("", 0.0)
        self._quiet: UploadActivity | None = None
        """What operators see while nothing comes: thousands may wait for their apps, and each report has all."""
        self._samples = [self._totals(self.left_at)]

    def received(self, length: int) -> Callable[[bool], None]:
        """Count `length` bytes that wait to be committed. Return what is to be called with whether they were."""
        self._end_quiet()
        number, came_at = next(self._numbers), self._clock()
        self._waiting[number] = came_at
        self._pending += length

        def settle(is_committed: bool) -> None:
            del self._waiting[number]
            self._pending -= length
            if is_committed:
                self.stored(length, self._clock() - came_at)

        return settle

    def stored(self, length: int, seconds: float) -> None:
        """Count `length` bytes that are acknowledged now, `seconds` after they arrived. Called for every write."""
        self._end_quiet()
        self._bytes += length
        self._delay += length * seconds
        self._counts.stored(length, seconds)

    def measured(self, rtt: float, retransmits: int, out_of_order: int) -> None:
        """Note what the kernel has counted of one connection since the last call for it; `rtt` in seconds."""
        self._rtt = rtt
        self._retransmits += retransmits
        self._out_of_order += out_of_order

    def reports(self, limit: str) -> None:
        """Note what limits the upload, as its client sees it. Anything but one of LIMITS withdraws its report."""
        self._end_quiet()
        self._reported = (limit if limit in LIMITS else "", self._clock())

    def leave(self) -> None:
        """Remove one connection."""
        self.open -= 1
        self._open[self.key.transport] -= 1
        self.left_at = self._clock()

    def figures(self, now: float) -> PathFigures:
        """Return the figures of the last RATE_WINDOW seconds."""
        samples, totals = self._samples, self._totals(now)
        while len(samples) > 1 and samples[1].at <= now - RATE_WINDOW:
            del samples[0]
        if now - samples[-1].at >= MIN_SECONDS:
            samples.append(totals)
        oldest = next((now - came_at for came_at in self._waiting.values()), 0.0)
        return replace(
            figures_between(samples[0], totals, self.open), rtt=self._rtt, pending=self._pending, oldest=oldest
        )

    def activity(self, now: float) -> UploadActivity:
        """Return what operators see."""
        if self._quiet is not None and not (self.held.runs or self.blocked.runs):
            return replace(self._quiet, connections=self.open) if self._quiet.connections != self.open else self._quiet
        activity = self._measured(now)
        if not (activity.limit or self._waiting):
            self._quiet = activity
        return activity

    def _end_quiet(self) -> None:
        """Measure from now on."""
        if self._quiet is not None:
            self._quiet, self._samples = None, [self._totals(self._clock())]

    def _measured(self, now: float) -> UploadActivity:
        path = self.figures(now)
        reported, at = self._reported
        limit = path.limit or (reported if now - at < REPORT_SECONDS else "") or ("line" if path.rate else "")
        return UploadActivity(
            (self.key.client,),
            (self.key.transport,),
            self.open,
            path.rate,
            limit,
            path.delay,
            path.pending,
            path.rtt or 0.0,
            path.retransmits,
            path.out_of_order,
            (self.library,) if self.library else (),
        )

    def _totals(self, now: float) -> PathTotals:
        return PathTotals(
            now,
            self._bytes,
            self._delay,
            self.held.total,
            self.blocked.total,
            self.storage_time.writing.total,
            self.storage_time.committing.total,
            self._counters.loop_lag.total,
            self._cpu(),
            self._retransmits,
            self._out_of_order,
        )


class Connections:
    """All clients of one worker. `clock` is monotonic, in seconds; `cpu` gives those for which the event loop's thread
    has worked.
    """

    def __init__(
        self,
        counters: WorkerCounters,
        clock: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.thread_time,
    ) -> None:
        self._counters = counters
        self._clock = clock
        self._cpu = cpu
        self._clients: dict[Key, ClientActivity] = {}
        self._open: Counter[str] = Counter()

    def enter(
        self, ticket_id: str, transport: str, client: str, storage_time: StorageTime | None = None
    ) -> ClientActivity:
        """Add a connection until it leaves. `storage_time` is that of its upload."""
        key = Key(ticket_id, transport, client)
        activity = self._clients.get(key)
        if activity is None:
            activity = self._clients[key] = ClientActivity(key, self._counters, self._clock, self._cpu, self._open)
            log.info("upload %s: client connected", ticket_id, extra={"client": client, "transport": transport})
        if storage_time is not None:
            activity.storage_time = storage_time
        activity.open += 1
        self._open[transport] += 1
        return activity

    def open(self) -> Counter[str]:
        """Return the number of connections of each transport."""
        return Counter(self._open)

    def uploads(self) -> Iterator[dict[str, UploadActivity]]:
        """Yield the activity of each upload by its id; the last value is complete.

        The same growing dict is yielded every BATCH clients, so that the caller can let other tasks run in between.
        """
        now = self._clock()
        found: dict[str, UploadActivity] = {}
        for number, (key, client) in enumerate(tuple(self._clients.items()), 1):
            silent = 0.0 if client.open else now - client.left_at
            if silent >= NEW_CLIENT_AFTER:
                self._clients.pop(key, None)
            elif silent < REQUEST_GAP:
                activity, known = client.activity(now), found.get(key.ticket_id)
                found[key.ticket_id] = activity if known is None else known + activity
            if number % BATCH == 0:
                yield found
        yield found
