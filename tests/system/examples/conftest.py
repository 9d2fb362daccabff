"""Fixtures: an example app as a process, and a fake Incoming!! server that it talks to."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.tools import ROOT
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming

sys.path.insert(0, str(ROOT / "examples"))  # as the backends do, for tests of webapp's own modules

StartExample = Callable[..., ExampleApp]


@pytest.fixture
def incoming(tmp_path: Path) -> Iterator[FakeIncoming]:
    """A fake Incoming!! server with a storage directory."""
    with FakeIncoming(tmp_path / "storage") as fake:
        yield fake


@pytest.fixture
def start_example(tmp_path: Path, incoming: FakeIncoming) -> Iterator[StartExample]:
    """Function that starts example `number` with the options it needs to find the fake server, and further ones."""
    with ExitStack() as running:

        def start(number: int, *options: str) -> ExampleApp:
            hosts = ["--internal_incoming_host", incoming.host, "--incoming_storage_dir", str(incoming.storage_dir)]
            return running.enter_context(ExampleApp(number, tmp_path / f"app-{number}", *hosts, *options))

        yield start


@pytest.fixture
def simple(start_example: StartExample) -> ExampleApp:
    """Example 1."""
    return start_example(1)


@pytest.fixture
def dynamic(start_example: StartExample) -> ExampleApp:
    """Example 2, without its delay."""
    return start_example(2, "--delay", "0")
