"""Faults of an object store that browsers send to, each injected and met: no real store has them on request."""

from pathlib import Path

import pytest

from tests.support.known_files import KnownFile, make_file
from tests.support.scripted_s3 import BUSY, LOST, STALE, Fault, ScriptedS3
from tests.support.waiting import wait_until
from tests.system.objects.conftest import StartBench, on_scripted
from tests.system.objects.direct_bench import PART, DirectBench, transports

SIZE = 24 * PART + 777


@pytest.fixture
def bench(start_bench: StartBench, store: ScriptedS3) -> DirectBench:
    return on_scripted(store, start_bench)


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", SIZE)


@pytest.mark.parametrize(
    "fault", [BUSY, LOST, Fault(403, "AccessDenied"), Fault(after=PART // 2)], ids=["busy", "lost", "expired", "cut"]
)
def test_parts_that_fail_twice_are_sent_straight_all_the_same(
    bench: DirectBench, store: ScriptedS3, file: KnownFile, fault: Fault
) -> None:
    store.fail("UploadPart", fault, times=2)
    upload = bench.upload(file).start()
    upload.wait_until_finished()
    assert store.pending == 0
    assert "direct" in transports(upload)
    bench.assert_received(file)


@pytest.mark.parametrize("engine", ["chromium", "firefox"])
def test_a_store_that_is_busy_for_a_while_is_not_given_up(
    bench: DirectBench, store: ScriptedS3, file: KnownFile
) -> None:
    upload = bench.upload(file).start_and_hold(2 * PART)
    store.fail_for(3, "UploadPart", BUSY)
    upload.set("max_rate", 0)
    wait_until(lambda: sum(seen.fault == BUSY for seen in store.seen("UploadPart")) > 6, "parts that the store refuses")
    upload.wait_until_finished()
    assert "websocket" not in transports(upload)
    bench.assert_received(file)


def test_a_list_that_is_late_costs_nothing(bench: DirectBench, store: ScriptedS3, file: KnownFile) -> None:
    upload = bench.upload(file).start_and_hold(2 * PART)
    store.fail("ListParts", STALE, times=2)
    upload.set("max_rate", 0)
    upload.wait_until_finished()
    assert store.pending == 0
    bench.assert_received(file)
