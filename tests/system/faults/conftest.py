"""An application that checks every file it gets, and uploads that retry for ever."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.faults.consistency import Witness
from tests.system.faults.load import Load
from tests.system.faults.shifted_clock import ShiftedClock

StartLoad = Callable[..., Load]

LEASE = 20.0
"""Seconds after which a callback that a killed worker had begun is tried again, with a handover_timeout of 2 s."""


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as app:
        yield app
        app.release()


@pytest.fixture
def clock(tmp_path: Path) -> ShiftedClock:
    """For servers started with `env=clock.env`: `clock.advance(LEASE)` simulates the downtime of a server."""
    return ShiftedClock(tmp_path / "clock")


@pytest.fixture
def start_load(witness: Witness) -> Iterator[StartLoad]:
    """Return a function that starts a load on a port; its uploads end with the test."""
    loads: list[Load] = []

    def start(port: int, seed: int = 0) -> Load:
        loads.append(Load(port, witness, seed).__enter__())
        return loads[-1]

    yield start
    for load in loads:
        load.__exit__(None, None, None)
