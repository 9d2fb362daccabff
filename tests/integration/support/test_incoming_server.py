"""The server as a process, as tests see it."""

import os
import signal
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.ports import accepts_connections
from tests.support.waiting import wait_until


def status(server: IncomingServer) -> int:
    return requests.get(f"{server.base_url}/incoming/0.1/frontend/incoming.js", timeout=10).status_code


def test_serves_until_it_is_stopped(server: IncomingServer) -> None:
    assert status(server) == 200
    assert server.stop() == 0
    assert not accepts_connections(server.port)
    assert not server.is_running()


def test_restarts_on_its_port_and_directory(server: IncomingServer) -> None:
    port, pid = server.port, server.pid
    server.restart(kill=True)
    server.restart()
    assert server.port == port
    assert server.pid != pid
    assert status(server) == 200


def test_kill_reaches_every_worker(start_server: StartServer) -> None:
    server = start_server("--workers", "2")
    group = os.getpgid(server.pid)

    def processes() -> list[int]:
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [pid for pid in pids if group_of(pid) == group]

    wait_until(lambda: len(processes()) >= 3, "a parent and two workers")
    server.kill()
    wait_until(lambda: not processes(), "all to be gone")


def group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def test_servers_do_not_meet(start_server: StartServer) -> None:
    one, other = start_server(), start_server()
    assert one.port != other.port
    assert one.storage_dir != other.storage_dir


def test_a_bad_option_is_reported_with_the_log(start_server: StartServer) -> None:
    with pytest.raises(AssertionError, match=r"(?s)ended with code .*--no-such-option"):
        start_server("--no-such-option")


def test_end_by_itself_is_waited_for(server: IncomingServer) -> None:
    os.kill(server.pid, signal.SIGTERM)
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        ("2026-01-01T00:00:00.000+00:00 ERROR incoming.x[1] disk on fire", True),
        ('{"level": "error", "message": "disk on fire"}', True),
        ("    | Traceback (most recent call last):", True),
        ("x.py:1: ResourceWarning: unclosed file", True),
        ("RuntimeWarning: coroutine 'x' was never awaited", True),
        ("2026-01-01T00:00:00.000+00:00 INFO incoming.x[1] no error at all", False),
        ('{"level": "warning", "message": "slow"}', False),
    ],
)
def test_noise_in_the_log_is_noticed(server: IncomingServer, line: str, noise: bool) -> None:
    server.stop()
    with server.log_path.open("a") as log:
        log.write(line + "\n")
    if noise:
        with pytest.raises(AssertionError, match="noise in the server's log"):
            server.assert_quiet()
        server.expect_noise("disk on fire|Traceback|ResourceWarning|never awaited")
    server.assert_quiet()
