"""An application that checks every file it gets, and uploads that never give up."""

from collections.abc import Callable, Iterator

import pytest

from tests.system.faults.consistency import Witness
from tests.system.faults.load import Load

StartLoad = Callable[..., Load]


@pytest.fixture
def witness() -> Iterator[Witness]:
    with Witness() as app:
        yield app
        app.release()


@pytest.fixture
def start_load(witness: Witness) -> Iterator[StartLoad]:
    """Function that makes a load on a port; its uploads end with the test."""
    loads: list[Load] = []

    def start(port: int, seed: int = 0) -> Load:
        loads.append(Load(port, witness, seed).__enter__())
        return loads[-1]

    yield start
    for load in loads:
        load.__exit__(None, None, None)
