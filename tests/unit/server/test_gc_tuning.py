"""When everything stops for the garbage collector."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from incoming.server.gc_tuning import THRESHOLDS, collect_rarely
from tests.support.ports import free_port
from tests.support.tools import ROOT

PROGRAM = """
import os
import sys
import incoming.server.worker
from incoming.cli.main import main

incoming.server.worker.collect_rarely = lambda: os.write(1, b"collects rarely\\n")
main(sys.argv[1:])
"""


@pytest.fixture
def _seldom() -> Iterator[None]:
    before = gc.get_threshold()
    collect_rarely()
    yield
    gc.set_threshold(*before)
    gc.unfreeze()


@pytest.mark.usefixtures("_seldom")
def test_long_lived_objects_are_not_scanned() -> None:
    assert gc.get_threshold() == THRESHOLDS
    assert gc.get_freeze_count() > 10_000


@pytest.mark.parametrize("workers", [1, 2])
def test_each_worker_collects_rarely(workers: int, tmp_path: Path) -> None:
    options = ("--workers", str(workers), "--storage-dir", str(tmp_path), "--port", str(free_port()))
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *options, "--address", "127.0.0.1"], cwd=ROOT, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        try:
            assert [server.stdout.readline() for _ in range(workers)] == [b"collects rarely\n"] * workers
        finally:
            server.terminate()
