"""Reports of the workers: each stores its own, and each can show all.

Decides how often a worker reports, when a report is too old, and what it contains. Knows no protocol and no page;
workers do not ask each other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import secrets
import socket
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from typing import Any

from incoming.core.errors import UploadError
from incoming.monitoring.connections import RATE_WINDOW, Connections, UploadActivity
from incoming.monitoring.metrics import WorkerCounters
from incoming.platform.host import resident_memory
from incoming.storage.byte_store import SpoolUsage
from incoming.storage.operator_store import OperatorStore, instance_of, worker_name

log = logging.getLogger(__name__)

LAG_INTERVAL = 0.25
"""Seconds between two measurements of the event loop's lag."""

BUSY_INTERVAL = 2.0
IDLE_INTERVAL = 10.0
"""Seconds between two reports of a worker that is busy, and of one that is idle."""

WORKER_TIMEOUT = 2.5 * IDLE_INTERVAL
"""Seconds without a report after which a worker counts as dead."""

MAX_UPLOADS = 2000
"""Uploads in one report, which bounds its size."""


@dataclass(frozen=True, slots=True)
class WorkerReport:
    """The state of one worker: `lag` in seconds, `memory` (resident) in bytes, open connections by transport, the
    uploads that clients send to it, and its spool: `used` and `limit` in bytes, `held` writes that wait for room in it.
    """

    pid: int
    lag: float
    memory: int
    connections: dict[str, int] = field(default_factory=dict)
    uploads: dict[str, UploadActivity] = field(default_factory=dict)
    spool: dict[str, int] = field(default_factory=dict)
    """Empty without a spool."""
    instance: str = ""

    def to_json(self) -> str:
        """Return the report as the store keeps it; a report of another version may have more or fewer fields."""
        # Not `asdict`, which copies recursively and takes ten times as long for thousands of uploads.
        uploads = {
            ticket_id: {name: getattr(known, name) for name in _ACTIVITY} for ticket_id, known in self.uploads.items()
        }
        report = {
            "pid": self.pid,
            "lag": self.lag,
            "memory": self.memory,
            "connections": self.connections,
            "uploads": uploads,
            "spool": self.spool,
        }
        return json.dumps(report, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str, instance: str = "") -> WorkerReport:
        """Parse the report of `to_json`, of any version, by a worker of this instance."""
        values: dict[str, Any] = json.loads(text)
        return cls(
            pid=values.get("pid", 0),
            lag=values.get("lag", 0.0),
            memory=values.get("memory", 0),
            connections=values.get("connections", {}),
            uploads={ticket_id: _activity(known) for ticket_id, known in values.get("uploads", {}).items()},
            spool=values.get("spool", {}),
            instance=instance,
        )


_SPOOL = ("used", "limit", "held")
_ACTIVITY = tuple(one.name for one in fields(UploadActivity))
_LISTS = tuple(one.name for one in fields(UploadActivity) if one.default == ())


def _activity(values: dict[str, Any]) -> UploadActivity:
    known = {name: values[name] for name in _ACTIVITY if name in values}
    return UploadActivity(**known | {name: tuple(values.get(name, ())) for name in _LISTS})


@dataclass(frozen=True, slots=True)
class Overview:
    """The whole server at one moment: the uploads that clients send, by id; connections by transport; the
    workers of each instance; the counters of all workers; received bytes by slot, as in `Notes.traffic`.
    """

    workers: list[WorkerReport]
    uploads: dict[str, UploadActivity]
    connections: Counter[str]
    instances: dict[str, list[WorkerReport]]
    counted: dict[str, float]
    traffic: dict[int, int]

    @property
    def spool(self) -> Counter[str]:
        """That of all workers together, as in their reports; empty if none has one."""
        together: Counter[str] = Counter()
        for worker in self.workers:
            together.update(worker.spool)
        return together


class WorkerReporter:
    """Reports of one worker."""

    def __init__(
        self,
        store: OperatorStore,
        counters: WorkerCounters,
        connections: Connections,
        instance: str = "",
        spools: Sequence[SpoolUsage] = (),
    ) -> None:
        self._store = store
        self._counters = counters
        self._connections = connections
        self._spools = spools
        self._name = worker_name(instance or socket.gethostname(), os.getpid(), secrets.token_hex(4))
        self._reported: dict[str, float] = {}
        self._reported_bytes = 0
        self._reported_open: Counter[str] = Counter()
        self._moved_at = -math.inf
        self._turn = asyncio.Lock()
        self._lag = 0.0
        self._failing = False

    async def run(self) -> None:
        """Report at intervals until cancelled, and measure the lag of the event loop."""
        loop = asyncio.get_running_loop()
        reported_at = 0.0
        while True:
            due = loop.time() + LAG_INTERVAL
            await asyncio.sleep(LAG_INTERVAL)
            lag = max(0.0, loop.time() - due)
            self._counters.loop_lag.observe(lag)
            self._lag = max(self._lag, lag)
            interval = BUSY_INTERVAL if self._is_busy(loop.time()) else IDLE_INTERVAL
            if loop.time() - reported_at >= interval:
                reported_at = loop.time()
                await self._try_to_report()

    def _is_busy(self, now: float) -> bool:
        """Whether what operators see changes: bytes or clients came or left, or speeds still fall."""
        if (self._counters.received, self._connections.open()) != (self._reported_bytes, self._reported_open):
            self._moved_at = now
        return now - self._moved_at < 2 * RATE_WINDOW

    async def _try_to_report(self) -> None:
        try:
            await self.report()
            self._failing = False
        except UploadError as error:
            if not self._failing:
                log.warning("the worker's report for operators could not be stored, will retry: %s", error.message)
            self._failing = True

    async def report(self) -> None:
        """Store a report, and what was counted since the last one. Raises what the store raises."""
        await self._store_report((await self._current()).to_json())

    async def close(self) -> None:
        """Store the last counts and withdraw the report. Counts that cannot be stored are lost."""
        with suppress(UploadError):
            await self._store_report(None)

    async def _store_report(self, facts: str | None) -> None:
        # Runs to its end even if the caller is cancelled: stored counts must not be added a second time.
        await asyncio.shield(asyncio.get_running_loop().create_task(self._add(facts)))

    async def _add(self, facts: str | None) -> None:
        async with self._turn:  # of two reports at once the second would add the same counts again
            totals, received = self._counters.totals(), self._counters.received
            news = {key: value - self._reported.get(key, 0.0) for key, value in totals.items()}
            news = {key: value for key, value in news.items() if value}
            await self._store.note(self._name, facts, news, received - self._reported_bytes)
            self._reported, self._reported_bytes = totals, received

    async def _current(self) -> WorkerReport:
        uploads: dict[str, UploadActivity] = {}
        for uploads in self._connections.uploads():  # noqa: B007 - the last one is complete
            await asyncio.sleep(0)
        self._reported_open = self._connections.open()
        lag, self._lag = self._lag, 0.0
        return WorkerReport(
            os.getpid(),
            round(lag, 4),
            resident_memory(),
            dict(self._reported_open),
            dict(list(uploads.items())[:MAX_UPLOADS]),
            {name: sum(getattr(one, name) for one in self._spools) for name in _SPOOL} if self._spools else {},
        )

    async def overview(self) -> Overview:
        """Return the state of all workers, with this one's as of now. Raises what the store raises."""
        await self.report()
        return await overview_of(self._store)


async def overview_of(store: OperatorStore) -> Overview:
    """Return what the workers have reported so far, for processes with the store only. Raises what the store raises."""
    notes = await store.notes(WORKER_TIMEOUT)
    workers = []
    for name in sorted(notes.facts):
        await asyncio.sleep(0)  # each may have thousands of uploads
        workers.append(WorkerReport.from_json(notes.facts[name], instance_of(name)))
    await asyncio.sleep(0)
    uploads: dict[str, UploadActivity] = {}
    connections: Counter[str] = Counter()
    instances: dict[str, list[WorkerReport]] = {}
    for worker in workers:
        instances.setdefault(worker.instance, []).append(worker)
        connections.update(worker.connections)
        for ticket_id, activity in worker.uploads.items():
            known = uploads.get(ticket_id)
            uploads[ticket_id] = activity if known is None else known + activity
    await asyncio.sleep(0)
    return Overview(workers, uploads, connections, instances, dict(notes.counted), dict(notes.traffic))
