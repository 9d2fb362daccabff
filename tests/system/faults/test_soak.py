"""A long run: uploads of all kinds, kills, restarts, full disks, bad lines, applications that are down.

It runs for SOAK_SECONDS (`make soak SECONDS=...`), checks every file and every callback, and prints its figures.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import StartProxy, StartServer
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.upload_client import UploadClient
from tests.support.waiting import wait_until
from tests.system.faults.conftest import StartLoad
from tests.system.faults.consistency import Witness
from tests.system.faults.load import KIB, MIB, Load
from tests.system.faults.processes import children_of
from tests.system.faults.small_disk import SmallDisk

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
UPLOADS_AT_ONCE = 12
DISK = 384 * MIB

OPTIONS = (
    *("--workers", "2", "--low-space", "1MiB", "--checkpoint-bytes", "4MiB", "--checkpoint-seconds", "1"),
    *("--handover-timeout", "2", "--handover-max-backoff", "1", "--ping-interval", "1", "--dead-after", "5"),
)


@dataclass
class Figures:
    """The figures for the report."""

    uploads: int = 0
    size: int = 0
    sent: int = 0
    reconnects: int = 0
    cut_in_flight: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    told: Counter[int] = field(default_factory=Counter)

    def add(self, client: UploadClient) -> None:
        self.uploads += 1
        self.size += len(client.content)
        self.sent += client.sent
        self.reconnects += client.reconnects
        self.cut_in_flight += client.cuts_in_flight
        self.told += client.errors

    def lines(self, seconds: float) -> list[str]:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        told = ", ".join(f"{code}: {count}" for code, count in sorted(self.told.items()))
        return [
            f"{seconds:.0f} s, {self.uploads} uploads, {self.size / 1e9:.2f} GB ({self.sent / 1e9:.2f} GB sent)",
            f"{self.reconnects} reconnections, {self.cut_in_flight} of them with chunks in flight",
            f"faults that were hit: {faults}",
            f"errors that clients were told, by code: {told}",
        ]


class Soak:
    """The faults. Each method injects one, waits until it was hit, ends it, and counts it."""

    def __init__(self, server: IncomingServer, proxy: FaultProxy, load: Load, app: Witness, disk: SmallDisk) -> None:
        self.server, self.proxy, self.load, self.app, self.disk = server, proxy, load, app, disk
        self.figures = Figures()
        self.chance = load.random

    def hit(self, name: str, really: object) -> None:
        self.figures.faults[name] += bool(really)

    def told(self, code: int) -> int:
        return sum(client.errors[code] for client in self.load.clients)

    def kill_a_worker(self) -> None:
        workers, flying = children_of(self.server.pid), self.load.flying()
        if workers:
            os.kill(self.chance.choice(workers), signal.SIGKILL)
            self.hit("worker killed", flying)

    def kill_all(self) -> None:
        flying = self.load.flying()
        self.server.kill()
        self.load.check(self.server.storage_dir)
        self.server.restart(kill=True)
        self.hit("all processes killed", flying)

    def restart(self) -> None:
        before = self.told(500)
        assert self.server.stop(60) == 0
        self.server.restart(kill=True)
        self.hit("restarted by SIGTERM", self.told(500) > before)

    def fill_the_disk(self) -> None:
        before = self.told(501)
        self.disk.fill()
        try:
            deadline = time.monotonic() + 5
            while self.told(501) == before and time.monotonic() < deadline:
                self.disk.fill()
                time.sleep(0.05)
        finally:
            self.disk.empty()
        self.hit("disk full", self.told(501) > before)

    def cut(self) -> None:
        self.hit("connections cut", self.proxy.cut())

    def reset(self) -> None:
        self.hit("connections reset", self.proxy.reset())

    def reset_in_a_chunk(self) -> None:
        before = self.proxy.counters.reset
        self.proxy.reset_after(self.chance.randint(1, 300 * KIB), times=3)
        self._some_bytes()
        self.hit("connections reset in a chunk", self.proxy.counters.reset > before)

    def half_open(self) -> None:
        self.hit("connections half-open", self.proxy.half_open())

    def stall(self) -> None:
        before = self.proxy.counters.stalled
        self.proxy.stall()
        time.sleep(self.chance.uniform(0.5, 8))
        self.proxy.resume()
        self.hit("line stalled", self.proxy.counters.stalled > before)

    def bad_gateway(self) -> None:
        before = self.proxy.counters.answered
        self.proxy.answer(502, "no upstream")
        self.proxy.cut()
        self._some_bytes()
        self.proxy.answer(None)
        self.hit("gateway answered 502", self.proxy.counters.answered > before)

    def app_down(self) -> None:
        """Whether it was hit shows at the end, in the callbacks of further attempts."""
        self.app.stop()
        self._some_bytes()
        self.app.start()

    def _some_bytes(self) -> None:
        target = self.load.acked_bytes + 2 * MIB
        deadline = time.monotonic() + 3
        while self.load.acked_bytes < target and time.monotonic() < deadline:
            time.sleep(0.02)

    def run(self, seconds: float) -> None:
        faults: list[Callable[[], None]] = [
            *(self.kill_a_worker, self.kill_a_worker, self.kill_all, self.restart, self.fill_the_disk, self.cut),
            *(self.reset, self.reset_in_a_chunk, self.half_open, self.stall, self.bad_gateway, self.app_down),
        ]
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.renew()
            self._some_bytes()
            self.chance.choice(faults)()
        self.load.finish(self.server.storage_dir, 300)
        self.renew(0)
        again = [one for one in self.app.callbacks if one.headers["incoming-attempt"] != "1"]
        self.figures.faults["callbacks tried again"] = len(again)

    def renew(self, wanted: int = UPLOADS_AT_ONCE) -> None:
        """Replace ended uploads by new ones, every second one through the proxy."""
        for client in self.load.retire():
            self.figures.add(client)
        while len(self.load.clients) < wanted:
            self.load.port = self.chance.choice((self.server.port, self.proxy.port))
            size = self.chance.choice((0, 1, 300 * KIB, 2 * MIB, 6 * MIB, 12 * MIB))
            chunk = self.chance.choice((64 * KIB, 256 * KIB, MIB))
            keep = self.chance.random() < 0.5
            way = self.chance.choice(("websocket", "http", "put"))
            self.load.add(size, way, server_port=self.server.port, keep=keep, chunk=chunk, rate=4 * MIB, patience=8.0)


@pytest.mark.soak
def test_a_soak_run_has_no_violation(
    start_server: StartServer, start_proxy: StartProxy, start_load: StartLoad, witness: Witness, tmp_path: Path
) -> None:
    seed = random.randrange(1 << 30)
    print(f"\nseed {seed}")  # noqa: T201
    with SmallDisk(tmp_path / "storage", DISK) as disk:
        server = start_server(*OPTIONS, storage_dir=disk.path)
        server.expect_noise(r"incoming\.storage.*(ticket database|storage directory)")
        proxy = start_proxy(server.port)
        soak = Soak(server, proxy, start_load(server.port, seed), witness, disk)
        started = time.monotonic()
        soak.run(SECONDS)
        print("\n".join(soak.figures.lines(time.monotonic() - started)))  # noqa: T201
        server.stop()
        wait_until(lambda: not soak.load.running, "all uploads to be over")
    assert soak.figures.uploads
    assert SECONDS < 300 or len(soak.figures.faults) >= 10, "too few kinds of faults were hit"
