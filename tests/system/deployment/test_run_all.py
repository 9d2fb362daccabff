"""`make run` starts and stops the server and both examples together."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.ports import accepts_connections, free_port
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

OTHER_SYSTEM = str(ROOT / "tests" / "support" / "other_system")


def three_free_ports() -> int:
    """Return the first of three adjacent free ports."""
    return wait_until(
        lambda: next((port for port in [free_port()] if not any(map(accepts_connections, range(port, port + 3)))), 0),
        "three free ports in a row",
    )


class Running:
    """tools/run_all.py as a process."""

    def __init__(self, base_port: int, directory: Path, **environment: str) -> None:
        self.ports = range(base_port, base_port + 3)
        self._output = directory / "output"
        command = [sys.executable, "tools/run_all.py", "--base-port", str(base_port)]
        command += ["--storage-dir", str(directory / "storage")]
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until_ready(self) -> None:
        def settled() -> bool:
            return "Ctrl-C stops them all" in self.output or self.process.poll() is not None

        wait_until(settled, "all to run", timeout=60)
        assert self.process.poll() is None, self.output


@pytest.fixture(params=[None, OTHER_SYSTEM], ids=["as it is", "without what only Linux has"])
def running(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Running]:
    running = Running(three_free_ports(), tmp_path, **({"PYTHONPATH": request.param} if request.param else {}))
    running.wait_until_ready()
    yield running
    running.process.terminate()
    running.process.wait(60)


def test_the_printed_addresses_answer(running: Running) -> None:
    ports = [int(port) for port in re.findall(r"^  .* http://localhost:(\d+)/$", running.output, re.MULTILINE)]
    assert ports == list(running.ports)
    for port in ports[1:]:
        assert requests.get(f"http://localhost:{port}/", timeout=10).status_code == 200
    library = requests.get(f"http://localhost:{ports[0]}/incoming/0.1/frontend/incoming.js", timeout=10)
    assert library.status_code == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_all(running: Running, number: signal.Signals) -> None:
    running.process.send_signal(number)
    assert running.process.wait(60) == 0, running.output
    assert not any(map(accepts_connections, running.ports))
    assert "Traceback" not in running.output


def test_a_port_in_use_is_named_and_nothing_starts(tmp_path: Path) -> None:
    base_port = three_free_ports()
    with socket.create_server(("127.0.0.1", base_port + 2)):
        running = Running(base_port, tmp_path)
        assert running.process.wait(60) == 1
    assert f"port {base_port + 2} is in use" in running.output
    assert not (tmp_path / "storage").exists()
