"""Fixtures of several packages' unit tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from tests.support.upload_service_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[Bench]:
    """A worker that never checkpoints by itself. At the end it must hold nothing."""

    async def make() -> Bench:
        return Bench(tmp_path / "storage", checkpoint_seconds=3600.0)

    bench = io_loop.run_sync(make)
    yield bench
    io_loop.run_sync(bench.idle)
    io_loop.run_sync(bench.close)
