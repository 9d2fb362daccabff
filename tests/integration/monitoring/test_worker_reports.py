"""What workers note: one sum that never goes back, facts of the living only, traffic by time."""

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed
from incoming.monitoring.connections import Connections, UploadActivity
from incoming.monitoring.metrics import WorkerCounters
from incoming.monitoring.worker_reports import WORKER_TIMEOUT, WorkerReporter
from incoming.storage.operator_store import TRAFFIC_SLOT, TRAFFIC_SLOTS
from tests.support.stores import Clock, Stores, until


@dataclass(frozen=True)
class Usage:
    """That of a spool."""

    used: int
    limit: int
    held: int


class OneOfSeveral:
    """A worker's counters, connections and notes."""

    def __init__(self, stores: Stores, *spools: "Usage") -> None:
        self.counters = WorkerCounters()
        self.connections = Connections(self.counters)
        self.reporter = WorkerReporter(stores.tickets, self.counters, self.connections, spools=spools)


async def test_counts_of_all_workers_are_added(tmp_path: Path) -> None:
    stores = Stores(tmp_path, Clock())
    first, second = OneOfSeveral(stores), OneOfSeveral(stores)
    for worker, times in ((first, 2), (second, 3)):
        for _ in range(times):
            worker.counters.transports["http"].stored(10, 0.5)
            await worker.reporter.report()
    overview = await first.reporter.overview()
    assert overview.counted["bytes/http"] == 50
    assert overview.counted["chunk_seconds/http/0.5"] == 5
    assert len(overview.workers) == 2
    assert (await second.reporter.overview()).counted["bytes/http"] == 50
    await stores.close()


async def test_spools_of_all_workers_are_added(tmp_path: Path) -> None:
    stores = Stores(tmp_path, Clock())
    first, second = OneOfSeveral(stores, Usage(10, 100, 1)), OneOfSeveral(stores, Usage(20, 100, 0))
    without = OneOfSeveral(stores)
    assert (await without.reporter.overview()).spool == {}
    await second.reporter.report()
    assert (await first.reporter.overview()).spool == {"used": 30, "limit": 200, "held": 1}
    await stores.close()


async def test_counts_of_ended_workers_are_kept(tmp_path: Path) -> None:
    stores = Stores(tmp_path, Clock())
    first, second = OneOfSeveral(stores), OneOfSeveral(stores)
    await first.reporter.report()
    first.counters.errors["too_slow"] += 1
    await first.reporter.close()
    overview = await second.reporter.overview()
    assert overview.counted["errors/too_slow"] == 1
    assert len(overview.workers) == 1
    await stores.close()


async def test_a_silent_worker_counts_as_dead(tmp_path: Path) -> None:
    clock = Clock()
    stores = Stores(tmp_path, clock)
    first, second = OneOfSeveral(stores), OneOfSeveral(stores)
    first.connections.enter("a", "http", "::1")
    await first.reporter.report()
    assert set((await second.reporter.overview()).uploads) == {"a"}
    clock.advance(WORKER_TIMEOUT + 1)
    overview = await second.reporter.overview()
    assert overview.uploads == {}
    assert len(overview.workers) == 1
    await stores.close()


async def test_connections_to_several_workers_are_one_upload(tmp_path: Path) -> None:
    stores = Stores(tmp_path, Clock())
    first, second = OneOfSeveral(stores), OneOfSeveral(stores)
    first.connections.enter("a", "websocket", "10.0.0.1")
    first.connections.enter("a", "websocket", "10.0.0.1")
    second.connections.enter("a", "websocket", "10.0.0.1")
    second.connections.enter("a", "http", "10.0.0.2").library = "incoming.js/1.2.3"
    await second.reporter.report()
    overview = await first.reporter.overview()
    assert overview.uploads["a"] == UploadActivity(
        ("10.0.0.1", "10.0.0.2"), ("http", "websocket"), 4, libraries=("incoming.js/1.2.3",)
    )
    assert overview.connections == {"websocket": 3, "http": 1}
    await stores.close()


async def test_traffic_of_the_last_hour_is_kept(tmp_path: Path) -> None:
    clock = Clock(1_000_000.0)
    stores = Stores(tmp_path, clock)
    worker = OneOfSeveral(stores)
    for _ in range(TRAFFIC_SLOTS + 5):
        worker.counters.transports["http"].stored(7, 0.1)
        await worker.reporter.report()
        clock.advance(TRAFFIC_SLOT)
    traffic = (await worker.reporter.overview()).traffic
    assert len(traffic) == TRAFFIC_SLOTS
    assert set(traffic.values()) == {7}
    assert max(traffic) == int(clock.now // TRAFFIC_SLOT) - 1
    await stores.close()


async def test_a_report_that_failed_is_written_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stores = Stores(tmp_path, Clock())
    worker = OneOfSeveral(stores)
    worker.counters.transports["http"].stored(7, 0.1)

    async def broken(*_: object) -> None:
        raise StorageFailed("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(stores.tickets, "note", broken)
        with pytest.raises(StorageFailed):
            await worker.reporter.report()
    assert (await worker.reporter.overview()).counted["bytes/http"] == 7
    await stores.close()


async def test_a_cancelled_report_is_not_written_twice(tmp_path: Path) -> None:
    stores = Stores(tmp_path, Clock())
    worker = OneOfSeveral(stores)
    worker.counters.transports["http"].stored(7, 0.1)
    task = asyncio.get_running_loop().create_task(worker.reporter.report())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await worker.reporter.close()
    assert (await stores.tickets.notes(60)).counted["bytes/http"] == 7
    await stores.close()


async def test_a_worker_reports_by_itself_and_measures_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("incoming.monitoring.worker_reports.LAG_INTERVAL", 0.01)
    monkeypatch.setattr("incoming.monitoring.worker_reports.BUSY_INTERVAL", 0.02)
    stores = Stores(tmp_path, Clock())
    worker = OneOfSeveral(stores)
    running = asyncio.get_running_loop().create_task(worker.reporter.run())
    worker.counters.transports["http"].stored(7, 0.1)

    async def noted() -> bool:
        return (await stores.tickets.notes(60)).counted.get("bytes/http") == 7

    await until(noted, "a note")
    assert worker.counters.loop_lag.total > 0

    failures = 0

    async def broken(*_: object) -> None:
        nonlocal failures
        failures += 1
        raise StorageFailed("disk I/O error")

    worker.connections.enter("a", "http", "::1")
    monkeypatch.setattr(stores.tickets, "note", broken)
    await until(lambda: failures > 3, "failures")
    assert [record.levelno for record in caplog.records if record.name == "incoming.monitoring.worker_reports"] == [
        logging.WARNING
    ]
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await stores.close()
