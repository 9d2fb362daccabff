"""systemd learns when the server serves, how it is and that it ends (sd_notify(3)); a worker that hangs is replaced."""

import os
import select
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from incoming.server.sd_notify import ServiceManager
from tests.conftest import StartServer
from tests.support.waiting import wait_until


class Manager:
    """What systemd has at the other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.variable = address.replace("\0", "@")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address)
        self._socket.settimeout(30)

    def hear(self) -> bytes:
        return self._socket.recv(1000)

    def hear_of(self, name: bytes) -> bytes:
        """The next message that has this variable."""
        while True:
            message = self.hear()
            for line in message.splitlines():
                if line.startswith(name + b"="):
                    return line.partition(b"=")[2]

    def all_heard(self) -> list[bytes]:
        """All that has come meanwhile, line by line."""
        lines = []
        while select.select([self._socket], [], [], 0)[0]:
            lines += self.hear().splitlines()
        return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    name = str(tmp_path / "notify")
    made = Manager(name if request.param == "file" else "\0" + name)
    yield made
    made.close()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_systemd_learns_the_start_the_state_and_the_end(
    workers: str, manager: Manager, start_server: StartServer
) -> None:
    server = start_server("--workers", workers, env={"NOTIFY_SOCKET": manager.variable})
    assert manager.hear() == b"READY=1"
    running = b"0 uploads are connected" if workers == "1" else b"2 of 2 workers run"
    assert manager.hear_of(b"STATUS") == running
    assert server.stop() == 0
    lines = manager.all_heard()
    assert b"STOPPING=1" in lines
    assert not {b"READY=1", b"WATCHDOG=1"} & set(lines)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_server_that_cannot_start_is_not_ready(workers: str, manager: Manager, start_server: StartServer) -> None:
    server = start_server("--workers", workers, env={"NOTIFY_SOCKET": manager.variable})
    assert manager.hear() == b"READY=1"
    server.stop()
    manager.all_heard()
    (server.storage_dir / "incoming.sqlite").write_bytes(b"no database" * 1000)
    server.expect_noise("file is not a database")
    with pytest.raises(AssertionError, match="ended with code 1"):
        server.start()
    assert manager.all_heard() == []


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_watchdog_gets_its_signs_of_life(workers: str, manager: Manager, start_server: StartServer) -> None:
    start_server("--workers", workers, env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "3000000"})
    for _ in range(3):
        assert manager.hear_of(b"WATCHDOG") == b"1"


def test_a_server_that_hangs_gives_no_sign_of_life(manager: Manager, start_server: StartServer) -> None:
    server = start_server("--workers", "1", env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "900000"})
    manager.hear_of(b"WATCHDOG")
    os.kill(server.pid, signal.SIGSTOP)
    try:
        manager.all_heard()
        assert not select.select([manager._socket], [], [], 2)[0]
    finally:
        os.kill(server.pid, signal.SIGCONT)
    manager.hear_of(b"WATCHDOG")


def test_a_worker_that_hangs_is_replaced(manager: Manager, start_server: StartServer) -> None:
    server = start_server("--workers", "2", env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "10000000"})
    server.expect_noise("has not answered for|a worker exited with code 137")
    workers = set(children(server.pid))
    hanging = min(workers)
    os.kill(hanging, signal.SIGSTOP)

    def is_replaced() -> bool:
        now = set(children(server.pid))  # read once: it changes meanwhile
        return hanging not in now and len(now) == 2 and workers - {hanging} < now

    wait_until(is_replaced, "another worker", 60)
    assert f"worker {hanging} has not answered for" in server.log


def test_a_pause_of_the_whole_machine_costs_no_worker(manager: Manager, start_server: StartServer) -> None:
    """As of a virtual machine: the supervisor may run before its workers can send a heartbeat."""
    server = start_server("--workers", "2", env={"NOTIFY_SOCKET": manager.variable, "WATCHDOG_USEC": "6000000"})
    workers = set(children(server.pid))
    for pid in (server.pid, *workers):
        os.kill(pid, signal.SIGSTOP)
    time.sleep(7)
    manager.all_heard()
    os.kill(server.pid, signal.SIGCONT)
    manager.hear_of(b"WATCHDOG")
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    manager.hear_of(b"WATCHDOG")
    assert set(children(server.pid)) == workers
    assert "has not answered" not in server.log


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def test_a_missing_socket_does_not_stop_the_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone"), "WATCHDOG_USEC": "1000000"})
    manager.ready()
    manager.alive("well")
    assert caplog.text.count("cannot notify systemd of READY=1") == 1
    assert "WATCHDOG" not in caplog.text


@pytest.mark.parametrize(
    ("environment", "timeout", "interval"),
    [
        ({}, None, None),
        ({"WATCHDOG_USEC": "3000000"}, None, None),
        ({"NOTIFY_SOCKET": "@x"}, None, 10.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000"}, 3.0, 1.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "90000000"}, 90.0, 10.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None, 10.0),
        ({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"}, None, 10.0),
    ],
)
def test_intervals_are_those_that_systemd_wants(
    environment: dict[str, str], timeout: float | None, interval: float | None
) -> None:
    manager = ServiceManager(environment)
    assert (manager.timeout, manager.interval) == (timeout, interval)
    assert environment == {}
