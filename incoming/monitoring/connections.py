"""Who is sending here: the connections of one worker that carry uploads, by upload, transport and client.

Decides how long a client counts as sending between two requests, and how its speed is measured. Knows no wire and
nothing of other workers.
"""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from incoming.monitoring.metrics import WorkerCounters

log = logging.getLogger(__name__)

BETWEEN_REQUESTS = 5.0
"""Seconds without any connection after which a client that sends by HTTP requests is not shown as sending any more."""

REMEMBERED = 60.0
"""Seconds without any connection after which coming back is an event for the log again."""

SPEED_OVER = 5.0
"""Seconds over which speed is measured."""

AT_ONCE = 50
"""Clients that are looked at before others get a turn: about a millisecond."""


@dataclass(frozen=True, slots=True)
class Key:
    """Connections that agree in these are shown as one."""

    ticket_id: str
    transport: str
    client: str


class ClientActivity:
    """One client's connections for one upload over one transport. Each is left once."""

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
        """So many bytes may be acknowledged, so long after they came. Called for every chunk."""
        self._bytes += length
        self._counts.stored(length, seconds)

    def leave(self) -> None:
        """A connection has ended."""
        self.open -= 1
        self.left_at = self._clock()

    def speed(self, now: float) -> float:
        """Bytes a second lately."""
        samples = self._samples
        while len(samples) > 1 and samples[1][0] <= now - SPEED_OVER:
            samples.popleft()
        since, before = samples[0]
        if now - samples[-1][0] >= SPEED_OVER / 10:
            samples.append((now, self._bytes))
        return (self._bytes - before) / max(now - since, SPEED_OVER / 10)


class Connections:
    """All senders of one worker. `clock` is a monotonic one, in seconds."""

    def __init__(self, counters: WorkerCounters, clock: Callable[[], float] = time.monotonic) -> None:
        self._counters = counters
        self._clock = clock
        self._senders: dict[Key, ClientActivity] = {}

    def enter(self, ticket_id: str, transport: str, client: str) -> ClientActivity:
        """One more connection, until it leaves."""
        key = Key(ticket_id, transport, client)
        sender = self._senders.get(key)
        if sender is None:
            sender = self._senders[key] = ClientActivity(key, self._counters, self._clock)
            log.info("upload %s: a client sends", ticket_id, extra={"client": client, "transport": transport})
        sender.open += 1
        return sender

    def open(self) -> Counter[str]:
        """How many connections there are of each transport."""
        found: Counter[str] = Counter()
        for sender in self._senders.values():
            found[sender.key.transport] += sender.open
        return found

    def uploads(self) -> Iterator[dict[str, dict[str, Any]]]:
        """Of each upload that comes in here: its clients, transports, number of connections and bytes a second.

        Yields the same dict again and again while it grows, so that others can have their turn in between.
        """
        now = self._clock()
        found: dict[str, dict[str, Any]] = {}
        for number, (key, sender) in enumerate(tuple(self._senders.items()), 1):
            silent = 0.0 if sender.open else now - sender.left_at
            if silent >= REMEMBERED:
                self._senders.pop(key, None)
            elif silent < BETWEEN_REQUESTS:
                more = {
                    "clients": [key.client],
                    "transports": [key.transport],
                    "connections": sender.open,
                    "speed": sender.speed(now),
                }
                found[key.ticket_id] = together(found.get(key.ticket_id), more)
            if number % AT_ONCE == 0:
                yield found
        yield found


def together(known: dict[str, Any] | None, more: dict[str, Any]) -> dict[str, Any]:
    """What two places, or two clients, tell of one upload; None is nothing yet."""
    if known is None:
        return more
    return {
        "clients": sorted({*known["clients"], *more["clients"]}),
        "transports": sorted({*known["transports"], *more["transports"]}),
        "connections": known["connections"] + more["connections"],
        "speed": known["speed"] + more["speed"],
    }
