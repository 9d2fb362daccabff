"""SIGKILL, EIO and ENOSPC at the n-th system call of the real server, n = 1, 2, ... until a run has no n-th call; a
disk on which one kind of call always fails, for a while.

Only calls on the upload's own file and names are counted, so that each n is another step of an upload's life. The
database's own calls failing is what tests/unit/storage/test_sqlite_errors.py proves.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT, require_root, require_tool
from tests.support.upload_client import WAYS
from tests.support.waiting import wait_until
from tests.system.faults.conftest import LEASE, StartLoad
from tests.system.faults.load import KIB, MIB, Load
from tests.system.faults.shifted_clock import ShiftedClock
from tests.system.faults.strace import Strace

SIZE = 100 * KIB
STORAGE_FAILED = 502
KILL = "signal=KILL"

Tampered = Callable[[str, str, int, str], bool]
NUMBERS = (1, 2, 3, 4, 6, 9, 13, 20, 30, 45, 70, 100, 200, 300)
"""Which calls are tampered with, counted in each thread by itself, as strace does. The last one is never reached."""


OPTIONS = (
    *("--workers", "1", "--handover-timeout", "2"),
    *("--checkpoint-bytes", "32KiB", "--checkpoint-seconds", "0.1"),  # every few chunks
)
NOISE = r"incoming\.storage.*(ticket database|storage directory)"


@pytest.fixture
def mortal_server(start_server: StartServer, clock: ShiftedClock) -> IncomingServer:
    """A server for a test that kills it."""
    server = start_server(*OPTIONS, env=clock.env)
    server.expect_noise(NOISE)
    return server


@pytest.fixture(scope="module")
def lasting_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    """A server for all tests that it survives."""
    with IncomingServer(tmp_path_factory.mktemp("system-calls") / "storage", *OPTIONS) as server:
        server.expect_noise(NOISE)
        yield server
    server.assert_quiet()


@pytest.fixture(autouse=True)
def able_to_trace() -> None:
    require_root()
    require_tool("strace")


@pytest.fixture
def tampered(request: pytest.FixtureRequest, start_load: StartLoad, clock: ShiftedClock, tmp_path: Path) -> Tampered:
    """Return a function that uploads a file while the n-th call is modified, and returns whether one was."""

    def upload(call: str, fault: str, number: int, way: str) -> bool:
        server = request.getfixturevalue("mortal_server" if fault == KILL else "lasting_server")
        load = start_load(server.port, seed=number)
        log = tmp_path / f"{call}-{number}-{way}.strace"
        tracing: list[Strace] = []
        load.add(
            SIZE,
            way,
            before=lambda: tracing.append(Strace(server.pid, f"{call}:{fault}:when={number}", log)),
            chunk=32 * KIB,
            window=3,
            retry_pause=0.05,
            forgiving=fault != KILL,
        )
        return finish(server, load, clock, tracing[0])

    return upload


def finish(server: IncomingServer, load: Load, clock: ShiftedClock, tracing: Strace) -> bool:
    """Let the uploads end, restart the server if it was killed; return whether a call was modified."""

    def over() -> bool:
        return load.running == 0 or not server.is_running()

    try:
        wait_until(over, "the upload or the server to end", 60)
        hit = tracing.hits > 0
    finally:
        tracing.detach()
    if not server.is_running():
        hit = True
        load.check(server.storage_dir)
        clock.advance(LEASE)
        server.restart(kill=True)
    load.finish(server.storage_dir, 60)
    return hit


# The file's bytes are written by pwritev and synced by fdatasync, before its last name by fsync; the database writes
# its pages by pwrite64 and syncs them by fdatasync as well.
CALLS = ("pwritev,pwritev2", "pwrite64", "fdatasync", "fsync", "rename")


@pytest.mark.slow
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [KILL, "error=EIO", "error=ENOSPC"])
def test_a_fault_at_the_nth_system_call_loses_nothing(call: str, fault: str, tampered: Tampered) -> None:
    ways = ("websocket", "http", "put")
    hits = 0
    for place, number in enumerate(NUMBERS):
        if not tampered(call, fault, number, ways[place % 3]):
            break
        hits += 1
    else:
        pytest.fail("every upload was hit")
    assert hits, "nothing was hit"


@pytest.mark.parametrize(("call", "error"), [("pwritev,pwritev2", "EROFS"), ("fdatasync", "EIO"), ("rename", "EIO")])
def test_uploads_survive_a_period_of_failing_system_calls(
    call: str, error: str, lasting_server: IncomingServer, start_load: StartLoad, tmp_path: Path
) -> None:
    """On a disk without writes or syncs, uploads of all kinds wait, get the reason, and resume by themselves."""
    server = lasting_server
    load = start_load(server.port)
    clients = [load.add(2 * MIB, way, rate=MIB, chunk=32 * KIB, forgiving=True) for way in WAYS]
    wait_until(lambda: all(client.acked.size for client in clients), "all to be sending")
    tracing = Strace(server.pid, f"{call}:error={error}", tmp_path / "strace")
    try:
        wait_until(lambda: all(client.errors[STORAGE_FAILED] for client in clients), "all to be told", 60)
        assert tracing.hits >= len(clients)
        assert load.running == len(clients), "no upload was ended by it"
        live = requests.get(f"{server.base_url}/incoming/0.1/health/live", timeout=20)
        assert live.status_code == 200
    finally:
        tracing.detach()
    load.finish(server.storage_dir)
    assert {code for client in clients for code in client.errors} == {STORAGE_FAILED}


@pytest.mark.parametrize(("call", "error", "said"), [("flock", "ENOSYS", "flock fails"), ("fsync", "EINVAL", "fsync")])
def test_an_unsuitable_storage_directory_stops_the_start(call: str, error: str, said: str, tmp_path: Path) -> None:
    require_root()
    storage, trace = tmp_path / "storage", tmp_path / "strace"
    tracing = [require_tool("strace"), "-f", "-qq", "-o", str(trace), "-e", f"inject={call}:error={error}"]
    server = [sys.executable, str(ROOT / "incoming.py"), "--storage-dir", str(storage), "--port", "0"]
    result = subprocess.run([*tracing, "-e", f"trace={call}", *server], capture_output=True, text=True, timeout=60)
    assert "(INJECTED)" in trace.read_text()
    assert result.returncode == 2
    [line] = result.stderr.splitlines()
    assert f"storage_dir '{storage}': " in line
    assert said in line
    assert list(storage.iterdir()) == []
