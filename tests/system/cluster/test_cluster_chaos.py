"""Uploads by programs and pages while the instances of a cluster and its database fail, judged as in test_chaos.py.

Three instances with two workers each, in network namespaces of their own, behind HAProxy with the shipped
configuration, on one directory and a pair of PostgreSQL servers. The long run takes SOAK_SECONDS and has a fault every
ten seconds; CHAOS_SEED repeats the schedule of an earlier run.
"""

import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Thread

import pytest
from playwright.sync_api import Browser

from tests.support.ports import free_port
from tests.support.tools import require_root
from tests.support.waiting import wait_until
from tests.system.cluster.browser_uploads import BrowserUploads
from tests.system.cluster.cluster_chaos import ClusterChaos, ClusterScene
from tests.system.cluster.database_pair import DatabasePair
from tests.system.cluster.entrance import Entrance
from tests.system.cluster.machines import Machine, new_subnet
from tests.system.e2e.upload_app import UploadApp
from tests.system.faults.chaos_app import ChaosApp
from tests.system.faults.fleet import Fleet
from tests.system.faults.judge import (
    IGNORE_UNCLOSED,
    Run,
    assert_no_problems,
    endless_schedule,
    let_all_end,
    renew,
    report,
)
from tests.system.faults.load import KIB, MIB
from tests.system.faults.small_disk import SmallDisk

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
INSTANCES = 3
DISK = 768 << 20
RATES = (256 * KIB, 512 * KIB, 1024 * KIB)
SHORT_RATES = (MIB, 2 * MIB)
"""Bytes a second of one client."""

SHORT_SEED = 11
SHORT_SCHEDULE = (
    *("kill_an_instance", "fail_over", "freeze_an_instance", "stop_the_database"),
    *("cut_an_instance_off_from_the_database", "set_a_clock_wrong", "drain_an_instance"),
)


@dataclass
class Stage:
    """Everything that a run needs."""

    scene: ClusterScene
    pages: BrowserUploads
    run: Run


@contextmanager
def cluster_stage(
    tmp_path: Path, seed: int, browser: Browser, tabs: int, lasting: float, rates: tuple[int, ...]
) -> Iterator[Stage]:
    require_root()
    run = Run()
    with ExitStack() as stack:
        stack.enter_context(SmallDisk(tmp_path / "storage", DISK))
        database = stack.enter_context(DatabasePair())
        subnet = new_subnet()
        machines = [Machine(number, subnet, tmp_path, database) for number in range(INSTANCES)]
        for machine in machines:
            stack.enter_context(machine.network)
            stack.callback(machine.server.kill)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda machine: machine.server.start(), machines))
        functions = free_port()
        # For applications, which the shipped configuration keeps away from the clients' address.
        more = f"frontend functions\n    bind 127.0.0.1:{functions}\n    default_backend incoming\n\nbackend incoming"
        hosts = [machine.server.host for machine in machines]
        entrance = Entrance("haproxy", tmp_path, *hosts, edits=(("^backend incoming$", more),))
        stack.callback(entrance.proxy.stop)
        wait_until(entrance.serves, "the proxy to have found the instances")
        # Every instance can reach this address.
        here = machines[0].network.host_address
        app = stack.enter_context(ChaosApp(functions, seed, address=here))
        stack.callback(app.end)
        fleet = stack.enter_context(Fleet(functions, app, seed))
        fleet.lines, fleet.rates = (entrance.port,), rates
        pages_app = stack.enter_context(UploadApp(f"http://127.0.0.1:{functions}", address=here))
        pages = BrowserUploads(browser, pages_app, functions, f"127.0.0.1:{entrance.port}", tmp_path, tabs)
        yield Stage(ClusterScene(machines, database, fleet, app, run.note, lasting), pages, run)


def run_cluster(
    stage: Stage, seed: int, schedule: Iterable[str], uploads: int, interval: float, seconds: float = math.inf
) -> None:
    """Inject faults by the schedule; then let them all end, and every upload."""
    scene, run, pages = stage.scene, stage.run, stage.pages
    chaos = ClusterChaos(scene, seed)
    deadline = time.monotonic() + seconds

    def inject() -> None:
        for name in schedule:
            due = time.monotonic() + interval
            if due > deadline:
                break
            attempt(run, name, lambda name=name: chaos.do(name))  # type: ignore[misc]
            while time.monotonic() < due:
                attempt(run, "recovery", chaos.undo_due)
                time.sleep(0.1)
        attempt(run, "recovery", chaos.undo_all)

    # A thread of its own: who asks for a ticket may have to wait for the end of a fault.
    injecting = Thread(target=inject, name="chaos")
    injecting.start()
    while injecting.is_alive():
        with scene.no_lost_commits:
            renew(scene.fleet, scene.app, run, uploads)
            pages.renew()
        time.sleep(0.2)
    injecting.join()
    run.note("no more faults")
    pages.let_all_end(within(120))
    let_all_end(scene.fleet, scene.app, run)
    run.blame(pages.problems)
    run.figures += pages.figures
    run.blame(noise_of(scene.machines))


def attempt(run: Run, name: str, action: Callable[[], object]) -> None:
    try:
        action()
    except Exception as error:
        run.blame([f"{name}: {error!r}"])


def within(seconds: float) -> Callable[[Callable[[], bool]], bool]:
    def wait(condition: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + seconds
        while not (met := condition()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return met

    return wait


def noise_of(machines: list[Machine]) -> list[str]:
    lines = Counter(
        f"{machine.name}: " + re.sub(r"^\S+ ", "", re.sub(r"\[\d+\]|[0-9a-f-]{36}", "", line))
        for machine in machines
        for line in machine.server.noise()
    )
    return [f"the log has {count} times: {line}" for line, count in lines.items()]


@IGNORE_UNCLOSED
@pytest.mark.soak
def test_a_short_run_of_a_cluster_has_no_violation(tmp_path: Path, chromium: Browser) -> None:
    """One fault of each kind, in an order and with contents that are always the same."""
    with cluster_stage(tmp_path, SHORT_SEED, chromium, tabs=2, lasting=0.1, rates=SHORT_RATES) as stage:
        run_cluster(stage, SHORT_SEED, SHORT_SCHEDULE, uploads=6, interval=2.0)
        assert_no_problems(stage.run, tmp_path, SHORT_SEED)
    hits = stage.scene.hits
    assert len(hits) >= len(SHORT_SCHEDULE) - 2, f"too few faults were hit: {hits}"


@IGNORE_UNCLOSED
@pytest.mark.soak
def test_a_run_of_a_cluster_has_no_violation(tmp_path: Path, chromium: Browser) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
    with cluster_stage(tmp_path, seed, chromium, tabs=4, lasting=1.0, rates=RATES) as stage:
        schedule = endless_schedule(ClusterChaos.names(), seed)
        run_cluster(stage, seed, schedule, uploads=16, interval=10.0, seconds=SECONDS)
        print(f"\nseed {seed}\n{report(stage.run, stage.scene.app, stage.scene.hits)}")  # noqa: T201
        assert_no_problems(stage.run, tmp_path, seed)
    assert SECONDS < 300 or len(stage.scene.hits) >= 6, "too few kinds of faults were hit"
