"""The connections of one worker that carry uploads, by upload, transport and client.

Decides how long a client counts as sending between two requests, and how its rate is measured. Knows no protocol and no
other worker.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from incoming.monitoring.metrics import WorkerCounters

log = logging.getLogger(__name__)

BETWEEN_REQUESTS = 5.0
"""Seconds without a connection after which a client that sends by HTTP requests no longer counts as sending."""

REMEMBERED = 60.0
"""Seconds without a connection after which the next one is logged as a new client."""

RATE_WINDOW = 5.0
"""Seconds over which the rate is measured."""

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
    """The clients of one upload at one moment. `speed` is in bytes per second."""

    clients: tuple[str, ...] = ()
    transports: tuple[str, ...] = ()
    connections: int = 0
    speed: float = 0.0

    def __add__(self, other: UploadActivity) -> UploadActivity:
        """Return the activity of both, such as two clients or two workers."""
        return UploadActivity(
            tuple(sorted({*self.clients, *other.clients})),
            tuple(sorted({*self.transports, *other.transports})),
            self.connections + other.connections,
            self.speed + other.speed,
        )


NOBODY = UploadActivity()
"""The activity of an upload without a client."""


class ClientActivity:
    """The connections of one client for one upload over one transport. Call `leave` once for each."""

    __slots__ = ("_bytes", "_clock", "_counts", "_samples", "key", "left_at", "open")

    def __init__(self, key: Key, counters: WorkerCounters, clock: Callable[[], float]) -> None:
        now = clock()
        self.key = key
        self.open = 0
        self.left_at = now
        self._clock = clock
        self._counts = counters.transports[key.transport]
        self._bytes = 0
        self._samples: deque[tuple[float, int]] = deque([(now, 0)])

    def stored(self, length: int, seconds: float) -> None:
        """Count `length` bytes that are acknowledged now, `seconds` after they arrived. Called for every write."""
        self._bytes += length
        self._counts.stored(length, seconds)

    def leave(self) -> None:
        """Remove one connection."""
        self.open -= 1
        self.left_at = self._clock()

    def speed(self, now: float) -> float:
        """Return the bytes per second of the last RATE_WINDOW seconds."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - RATE_WINDOW:
            samples.popleft()
        since, before = samples[0]
        if now - samples[-1][0] >= RATE_WINDOW / 10:
            samples.append((now, self._bytes))
        return (self._bytes - before) / max(now - since, RATE_WINDOW / 10)


class Connections:
    """All clients of one worker. `clock` is monotonic, in seconds."""

    def __init__(self, counters: WorkerCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._clock = clock
        self._clients: dict[Key, ClientActivity] = {}

    def enter(self, ticket_id: str, transport: str, client: str) -> ClientActivity:
        """Add a connection until it leaves."""
        key = Key(ticket_id, transport, client)
        activity = self._clients.get(key)
        if activity is None:
            activity = self._clients[key] = ClientActivity(key, self._counters, self._clock)
            log.info("upload %s: client connected", ticket_id, extra={"client": client, "transport": transport})
        activity.open += 1
        return activity

    def open(self) -> Counter[str]:
        """Return the number of connections of each transport."""
        found: Counter[str] = Counter()
        for activity in self._clients.values():
            found[activity.key.transport] += activity.open
        return found

    def uploads(self) -> Iterator[dict[str, UploadActivity]]:
        """Yield the activity of each upload by its id; the last value is complete.

        The same growing dict is yielded every BATCH clients, so that the caller can let other tasks run in between.
        """
        now = self._clock()
        found: dict[str, UploadActivity] = {}
        for number, (key, client) in enumerate(tuple(self._clients.items()), 1):
            silent = 0.0 if client.open else now - client.left_at
            if silent >= REMEMBERED:
                self._clients.pop(key, None)
            elif silent < BETWEEN_REQUESTS:
                more = UploadActivity((key.client,), (key.transport,), client.open, client.speed(now))
                found[key.ticket_id] = found.get(key.ticket_id, NOBODY) + more
            if number % BATCH == 0:
                yield found
        yield found
