"""What goes on in the whole server: each worker notes in the store what only it knows, and any of them can tell it all.

Decides how often a worker notes, when another's note is too old to be believed, and what a note says. It knows no
connection and no page; nobody is asked anything but the store.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import secrets
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from incoming.core.errors import UploadError
from incoming.monitoring.connections import Connections, together
from incoming.monitoring.metrics import WorkerCounters
from incoming.storage.operator_store import OperatorStore

log = logging.getLogger(__name__)

TICK = 0.25
"""Seconds between two measurements of the event loop's lag."""

BUSY_INTERVAL = 2.0
IDLE_INTERVAL = 10.0
"""Seconds between two notes of a worker that has something to tell, and of one that has not."""

STALE = 2.5 * IDLE_INTERVAL
"""Seconds after which a worker that notes nothing is taken for dead."""

MOST_UPLOADS = 2000
"""Uploads in one worker's note: a million connections must not make it megabytes long."""

_STATM = Path("/proc/self/statm")
_PAGE = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole server at one moment. `uploads` are those that come in, by id, as in Connections.uploads; `traffic` is
    by slot as in storage.base.Notes.
    """

    workers: list[dict[str, Any]]
    uploads: dict[str, dict[str, Any]]
    connections: Counter[str]
    counted: dict[str, float]
    traffic: dict[int, int]


class WorkerReporter:
    """One worker's part. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        store: OperatorStore,
        counters: WorkerCounters,
        connections: Connections,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._counters = counters
        self._connections = connections
        self._clock = clock
        self._name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._noted: dict[str, float] = {}
        self._noted_bytes = 0
        self._turn = asyncio.Lock()
        self._lag = 0.0
        self._failing = False

    async def run(self) -> None:
        """Notes from time to time, for ever, and measures how late the loop is."""
        loop = asyncio.get_running_loop()
        noted_at = 0.0
        while True:
            due = loop.time() + TICK
            await asyncio.sleep(TICK)
            lag = max(0.0, loop.time() - due)
            self._counters.loop_lag.observe(lag)
            self._lag = max(self._lag, lag)
            interval = BUSY_INTERVAL if self._has_news() else IDLE_INTERVAL
            if loop.time() - noted_at >= interval:
                noted_at = loop.time()
                await self._try_to_note()

    def _has_news(self) -> bool:
        return self._counters.received != self._noted_bytes or bool(+self._connections.open())

    async def _try_to_note(self) -> None:
        try:
            await self.note()
            self._failing = False
        except UploadError as error:
            if not self._failing:
                log.warning("what goes on cannot be noted for operators: %s", error.message)
            self._failing = True

    async def note(self) -> None:
        """Tells the store how things are now and what was counted since the last time. Raises what the store raises."""
        await self._note(json.dumps(await self._facts(), separators=(",", ":")))

    async def close(self) -> None:
        """The last counts; from now on nobody sees this worker. What the store cannot take is lost."""
        with suppress(UploadError):
            await self._note(None)

    async def _note(self, facts: str | None) -> None:
        # To its end even if the caller is cancelled: what is in the store must be known not to be told again.
        await asyncio.shield(asyncio.get_running_loop().create_task(self._add(facts)))

    async def _add(self, facts: str | None) -> None:
        async with self._turn:  # of two notes at once the second would count the same again
            totals, received = self._counters.totals(), self._counters.received
            news = {key: value - self._noted.get(key, 0.0) for key, value in totals.items()}
            news = {key: value for key, value in news.items() if value}
            await self._store.note(self._name, self._clock(), facts, news, received - self._noted_bytes)
            self._noted, self._noted_bytes = totals, received

    async def _facts(self) -> dict[str, Any]:
        uploads: dict[str, dict[str, Any]] = {}
        for uploads in self._connections.uploads():  # noqa: B007 - the last one is whole
            await asyncio.sleep(0)
        lag, self._lag = self._lag, 0.0
        return {
            "pid": os.getpid(),
            "lag": round(lag, 4),
            "memory": _resident(),
            "connections": dict(self._connections.open()),
            "uploads": dict(list(uploads.items())[:MOST_UPLOADS]),
        }

    async def overview(self) -> Overview:
        """All of it, this worker's part as of now. Raises what the store raises."""
        await self.note()
        return await overview_of(self._store, self._clock())


async def overview_of(store: OperatorStore, now: float) -> Overview:
    """What the workers have noted so far; anybody may ask who has the store. Raises what the store raises."""
    notes = await store.notes(now - STALE)
    workers = [json.loads(notes.facts[name]) for name in sorted(notes.facts)]
    uploads: dict[str, dict[str, Any]] = {}
    connections: Counter[str] = Counter()
    for worker in workers:
        connections.update(worker["connections"])
        for ticket_id, facts in worker["uploads"].items():
            uploads[ticket_id] = together(uploads.get(ticket_id), facts)
    return Overview(workers, uploads, connections, dict(notes.counted), dict(notes.traffic))


def _resident() -> int:
    """Bytes of memory that this process has; see proc(5). 0 where the system does not tell."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return 0
