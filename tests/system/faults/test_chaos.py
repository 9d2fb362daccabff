"""Uploads of all kinds under faults of all kinds, checked by a model of the expected outcomes.

Every file that is handed over is the one that was sent, nothing acknowledged is lost in silence, each application is
called for each ended upload and for no other, files of others are left alone, every upload ends, and the log is quiet.
The long run takes SOAK_SECONDS; CHAOS_SEED repeats the schedule of an earlier run.
"""

import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.system.faults import operator_faults
from tests.system.faults.chaos import Chaos, Scene
from tests.system.faults.chaos_app import ChaosApp
from tests.system.faults.consistency import assert_consistent, files_in
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
from tests.system.faults.load import MIB
from tests.system.faults.operator_faults import OperatorFaults
from tests.system.faults.processes import at_rest, children_of, held, open_files
from tests.system.faults.server_generations import ServerGenerations
from tests.system.faults.shifted_clock import ShiftedClock
from tests.system.faults.small_disk import SmallDisk

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
UPLOADS_AT_ONCE = 12
DISK = 384 * MIB
EXPECTED_NOISE = r"incoming\.storage.*(ticket database|storage directory)"

OPTIONS = (
    *("--workers", "2", "--low-space", "1MiB", "--checkpoint-bytes", "4MiB", "--checkpoint-seconds", "1"),
    *("--handover-timeout", "2", "--handover-max-backoff", "1", "--ping-interval", "1", "--dead-after", "5"),
    # A clock that jumps by an hour ends neither an upload nor a handover.
    *("--idle-timeout", "10min", "--handover-retry-time", "3h", "--handover-refusal-time", "3h"),
)

JANITOR = 150.0
"""Seconds within which the janitor has removed the file of a finished upload whose worker was killed before it did."""

MOST_DESCRIPTORS, MOST_THREADS = 12, 30
"""How many more of them than at its start a worker at rest may have: pools of threads grow to their limits."""


SHORT_SEED = 4
SHORT_SCHEDULE = (
    *("stop_a_worker", "kill_a_worker", "two_generations", "fail_system_calls", "use_up_descriptors", "clock_jumps"),
    *("take_over_uploads", "app_deployed", "kill_the_supervisor", "cancel_an_upload", "kill_all_processes"),
)


@contextmanager
def chaos_scene(tmp_path: Path, seed: int, run: Run) -> Iterator[tuple[Scene, OperatorFaults]]:
    """Two lines, an application, a fleet and the first server, on a small disk."""
    with ExitStack() as stack:
        disk = stack.enter_context(SmallDisk(tmp_path / "storage", DISK))
        clock = ShiftedClock(tmp_path / "clock")
        servers = stack.enter_context(
            ServerGenerations(disk.path, *OPTIONS, env=clock.env, expected_noise=EXPECTED_NOISE)
        )
        line, bad_line = (stack.enter_context(FaultProxy(free_port())) for _ in range(2))
        servers.proxies = [line, bad_line]
        app = stack.enter_context(ChaosApp(line.port, seed))
        stack.callback(app.end)
        fleet = stack.enter_context(Fleet(line.port, app, seed))
        fleet.lines = (line.port, bad_line.port)
        operator = OperatorFaults(disk.path, fleet, seed, run.note)
        scene = Scene(
            servers,
            fleet,
            app,
            line,
            bad_line,
            disk,
            clock,
            tmp_path,
            lambda: check_at_standstill(scene, operator, run),
            run.note,
        )
        yield scene, operator


def check_at_standstill(scene: Scene, operator: OperatorFaults, run: Run) -> None:
    """Check, while no server runs, that everything is there except what an operator touched or a failed sync lost."""
    with operator.at_work:
        _check_what_is_sound(scene, operator, run)


def _check_what_is_sound(scene: Scene, operator: OperatorFaults, run: Run) -> None:
    sound = [
        upload
        for upload in scene.fleet.uploads
        if not upload.has_losses and not upload.cancel_asked and upload.ticket_id not in scene.app.moved
    ]
    sources = {upload.ticket_id: upload.expected_content() for upload in sound}
    acks = {upload.ticket_id: upload.current.acked for upload in sound}
    heard = [one for one in scene.app.snapshot() if one.ticket_id in sources]
    try:
        assert_consistent(scene.disk.path, acks, heard, sources, foreign=operator.foreign_names)
    except AssertionError as error:
        run.blame(str(error).splitlines())


def run_chaos(
    scene: Scene, operator: OperatorFaults, run: Run, schedule: Iterable[str], uploads: int, seconds: float = math.inf
) -> None:
    """Inject faults by the schedule, for at most this long; then remove them and wait for the end of every upload."""
    chaos = Chaos(scene, seed=operator.seed)
    scene.servers.start()
    before = {pid: held(pid) for pid in scene.servers.workers()}
    operator.start()
    deadline = time.monotonic() + seconds
    for name in schedule:
        renew(scene.fleet, scene.app, run, uploads)
        if time.monotonic() > deadline:
            break
        try:
            chaos.do(name)
        except Exception as error:
            run.blame([f"{name}: {error!r}"])
            scene.servers.kill_all()
            scene.servers.start()
    operator.stop()
    run.note("no more faults")
    let_all_end(scene.fleet, scene.app, run)
    run.blame(operator.problems)
    run.blame(_leaks(scene, operator, before))
    noise = Counter(re.sub(r"^\S+ ", "", re.sub(r"\[\d+\]|[0-9a-f-]{36}", "", line)) for line in scene.servers.noise())
    run.blame([f"the log has {count} times: {line}" for line, count in noise.items()])


def _leaks(scene: Scene, operator: OperatorFaults, before: dict[int, tuple[int, int]]) -> list[str]:
    """Descriptors, threads and files that a server at rest still has."""
    server = scene.servers.newest
    workers = children_of(server.pid)
    wrong = []
    try:
        wait_until(lambda: all(at_rest(pid, server.port, scene.disk.path) for pid in workers), "the server to rest", 60)
    except AssertionError as error:
        wrong.append(str(error))
    descriptors, threads = max(before.values())
    for pid in workers:
        now = held(pid)
        if now[0] > descriptors + MOST_DESCRIPTORS or now[1] > threads + MOST_THREADS:
            wrong.append(f"a worker at rest has {now} descriptors and threads, at its start {(descriptors, threads)}")
        wrong += [f"a worker holds {target}" for target in open_files(pid) if target.endswith("(deleted)")]
    deadline = time.monotonic() + JANITOR
    while (ours := _files_left(scene, operator)) and time.monotonic() < deadline:
        time.sleep(0.5)
    return [*wrong, *(f"the file {name} is left" for name in ours)]


def _files_left(scene: Scene, operator: OperatorFaults) -> list[str]:
    """Names of files that the server has made and not removed."""
    left = []
    for path in files_in(scene.disk.path).values():
        with suppress(FileNotFoundError):  # it has just been removed
            if path.name not in operator.foreign_names and path.stat().st_ino not in operator.left_behind:
                left.append(path.name)
    return left


@IGNORE_UNCLOSED
@pytest.mark.slow
def test_a_short_chaos_run_has_no_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the worst faults of each kind, in an order and with contents that are always the same."""
    monkeypatch.setattr(operator_faults, "PAUSE", 0.6)  # the run is over after some of these acts
    run = Run()
    with chaos_scene(tmp_path, SHORT_SEED, run) as (scene, operator):
        run_chaos(scene, operator, run, SHORT_SCHEDULE, 6)
        assert_no_problems(run, tmp_path, SHORT_SEED)
    assert len(scene.hits) >= len(SHORT_SCHEDULE) // 2, f"too few faults were hit: {scene.hits}"
    assert operator.hits.total(), "nothing was done to partial files"


@IGNORE_UNCLOSED
@pytest.mark.soak
def test_a_chaos_run_has_no_violation(tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
    run = Run()
    with chaos_scene(tmp_path, seed, run) as (scene, operator):
        run_chaos(scene, operator, run, endless_schedule(Chaos.names(), seed), UPLOADS_AT_ONCE, SECONDS)
        print(f"\nseed {seed}\n{report(run, scene.app, scene.hits + operator.hits)}")  # noqa: T201
        assert_no_problems(run, tmp_path, seed)
    assert SECONDS < 300 or len(scene.hits) >= 15, "too few kinds of faults were hit"
