"""Uploads of all kinds into a real Ceph while gateways, instances and answers are lost, judged as in test_chaos.py.

Three instances with their tickets in PostgreSQL send parts of 64 KiB to two gateways behind a load balancer. The long
run takes SOAK_SECONDS; CHAOS_SEED repeats the schedule of an earlier run.
"""

import math
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from tests.support.ceph_cluster import CephCluster
from tests.support.incoming_server import IncomingServer
from tests.support.ports import free_port
from tests.support.postgres_server import PostgresServer
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
from tests.system.objects.object_bench import store_option
from tests.system.objects.object_chaos import ObjectChaos, ObjectScene, ObjectWitness
from tests.system.objects.store_entrance import StoreEntrance

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
INSTANCES = 3
RATES = (256 * KIB, 512 * KIB, MIB)
OPTIONS = (
    *("--workers", "1", "--dest-types", "file,s3", "--park-after", "1s", "--durability", "power"),
    *("--handover-timeout", "2"),
    *("--handover-max-backoff", "1", "--handover-retry-time", "3h", "--handover-refusal-time", "3h"),
    *("--idle-timeout", "10min", "--spool-size", "8MiB", "--ping-interval", "1", "--dead-after", "5"),
)
NOISE = r"incoming\.storage|object store s3|cleanup step failed|callback"
"""The store and its faults are named in the log, which is all that may be in it."""

SHORT_SEED = 7
SHORT_SCHEDULE = (
    *("kill_one_of_two_gateways", "lose_answers_to_parts", "kill_an_instance", "send_from_two_instances"),
    *("abort_multipart_uploads", "lose_answers_to_complete", "answer_503", "kill_all_instances"),
)


@contextmanager
def object_scene(
    tmp_path: Path, ceph: CephCluster, seed: int, run: Run, lasting: float, rates: tuple[int, ...]
) -> Iterator[ObjectScene]:
    with ExitStack() as stack:
        bucket = ceph.new_bucket()
        gateways = [ceph.start_gateway(), ceph.start_gateway()]
        for gateway in gateways:
            stack.callback(gateway.kill)
        entrance = stack.enter_context(StoreEntrance(gateways))
        database = PostgresServer()
        stack.callback(database.remove)
        env = {"INCOMING_DATABASE": database.new_schema()}
        option = store_option(entrance.url, bucket, part_size="64KiB")
        instances = []
        for number in range(INSTANCES):
            name = f"instance-{number}"
            instance = IncomingServer(
                tmp_path / "storage", option, *OPTIONS, "--instance", name, env=env, port=free_port()
            )
            instance.log_path = tmp_path / f"{name}.log"
            instance.expect_noise(NOISE)
            instances.append(stack.enter_context(instance))
        app = stack.enter_context(ObjectWitness(ceph, instances[0].port, seed))
        stack.callback(app.end)
        fleet = stack.enter_context(Fleet(instances[0].port, app, seed))
        fleet.lines, fleet.rates = tuple(instance.port for instance in instances), rates
        fleet.dest_type = "s3"
        yield ObjectScene(instances, database, ceph, gateways, entrance, bucket, fleet, app, run.note, lasting)


def run_objects(
    scene: ObjectScene, run: Run, seed: int, schedule: Iterable[str], uploads: int, interval: float, seconds: float
) -> None:
    """Inject faults by the schedule; then let them all end, and every upload."""
    chaos = ObjectChaos(scene, seed)
    deadline = time.monotonic() + seconds

    ended = Event()

    def attempt(name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:
            run.blame([f"{name}: {error!r}"])

    def inject() -> None:
        for name in schedule:
            due = time.monotonic() + interval
            if due > deadline:
                break
            attempt(name, lambda name=name: chaos.do(name))  # type: ignore[misc]
            time.sleep(max(0.0, due - time.monotonic()))
        ended.set()

    def recover() -> None:
        """Faults must end while another one waits for something."""
        while not ended.wait(0.1):
            attempt("recovery", chaos.undo_due)
        attempt("recovery", chaos.undo_all)

    recovering = Thread(target=recover, name="recovery")
    recovering.start()
    # A thread of its own: a request for a ticket may have to wait for the end of a fault.
    injecting = Thread(target=inject, name="chaos")
    injecting.start()
    while injecting.is_alive():
        renew(scene.fleet, scene.app, run, uploads)
        time.sleep(0.2)
    injecting.join()
    recovering.join()
    run.note("no more faults")
    scene.entrance.losing.clear()
    let_all_end(scene.fleet, scene.app, run)
    run.figures += scene.entrance.hits
    run.figures["objects left"] = len(scene.ceph.objects(scene.bucket))
    run.figures["multipart uploads left"] = len(scene.ceph.uploads(scene.bucket))
    for number, instance in enumerate(scene.instances):
        lines = Counter(re.sub(r"^\S+ ", "", re.sub(r"\[\d+\]|[0-9a-f-]{36}", "", line)) for line in instance.noise())
        run.blame([f"the log of instance {number} has {count} times: {line}" for line, count in lines.items()])


@IGNORE_UNCLOSED
@pytest.mark.soak
def test_a_short_run_with_objects_has_no_violation(tmp_path: Path, ceph: CephCluster) -> None:
    """The worst faults, in an order and with contents that are always the same."""
    run = Run()
    with object_scene(tmp_path, ceph, SHORT_SEED, run, lasting=0.1, rates=(MIB, 2 * MIB)) as scene:
        run_objects(scene, run, SHORT_SEED, SHORT_SCHEDULE, uploads=6, interval=2.0, seconds=math.inf)
        assert_no_problems(run, tmp_path, SHORT_SEED)
    assert len(scene.hits) >= len(SHORT_SCHEDULE) - 2, f"too few faults were hit: {scene.hits}"


@IGNORE_UNCLOSED
@pytest.mark.soak
def test_a_run_with_objects_has_no_violation(tmp_path: Path, ceph: CephCluster) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "0")) or random.randrange(1, 1 << 30)
    run = Run()
    with object_scene(tmp_path, ceph, seed, run, lasting=1.0, rates=RATES) as scene:
        schedule = endless_schedule(ObjectChaos.names(), seed)
        run_objects(scene, run, seed, schedule, uploads=10, interval=6.0, seconds=SECONDS)
        print(f"\nseed {seed}\n{report(run, scene.app, scene.hits)}")  # noqa: T201
        assert_no_problems(run, tmp_path, seed)
    assert SECONDS < 150 or len(scene.hits) >= 8, "too few kinds of faults were hit"
