"""Real disks that are full, read-only or broken: uploads wait and resume by themselves, and others are not affected."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from incoming.storage.filesystem.store import THREADS
from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.faults.conftest import StartLoad
from tests.system.faults.consistency import Witness
from tests.system.faults.load import KIB, MIB, Load
from tests.system.faults.processes import at_rest, held, open_files
from tests.system.faults.small_disk import SmallDisk

STORAGE_FULL, STORAGE_FAILED = 501, 502
EAGER = ("--low-space", "0", "--handover-timeout", "2", "--handover-max-backoff", "1")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "storage", 24 * MIB) as disk:
        yield disk


@pytest.fixture
def server(disk: SmallDisk, start_server: StartServer) -> IncomingServer:
    """Files and database on the small disk."""
    server = start_server("--workers", "2", *EAGER, storage_dir=disk.path)
    server.expect_noise(r"incoming\.storage.*(ticket database|storage directory)")
    return server


def told(load: Load, code: int) -> bool:
    """Return whether every unfinished client got this error."""
    return all(client.errors[code] for client in load.clients if client.state != "finished")


def test_uploads_wait_on_a_full_disk_and_resume(server: IncomingServer, disk: SmallDisk, start_load: StartLoad) -> None:
    load = start_load(server.port)
    load.add_each(3, 4 * MIB, rate=2 * MIB)
    load.wait_for_bytes(MIB)
    disk.fill()
    wait_until(lambda: told(load, STORAGE_FULL), "every client to be told that the disk is full", 60)
    assert load.running == 3, "an upload was ended by a full disk"
    live = requests.get(f"{server.base_url}/incoming/0.1/health/live", timeout=20)
    assert live.status_code == 200
    for client in load.clients:  # what is known can still be read, though the database cannot grow
        status = requests.get(f"{server.base_url}/incoming/0.1/frontend/upload/{client.ticket_id}", timeout=20).json()
        assert status["state"] == "uploading"
        assert status["arrived"] < 4 * MIB
    disk.empty()
    load.finish(disk.path)
    assert {code for client in load.clients for code in client.errors} <= {STORAGE_FULL, STORAGE_FAILED}
    assert server.stop() == 0


def test_acknowledged_bytes_survive_a_kill_on_a_full_disk(
    server: IncomingServer, disk: SmallDisk, start_load: StartLoad
) -> None:
    """The database cannot even be recovered into a new log; with free space all uploads resume."""
    load = start_load(server.port)
    load.add_each(3, 4 * MIB, rate=2 * MIB)
    load.wait_for_bytes(MIB)
    disk.fill()
    wait_until(lambda: told(load, STORAGE_FULL), "every client to be told that the disk is full", 60)
    server.kill()
    disk.empty()
    load.check(disk.path)
    server.restart(kill=True)
    load.finish(disk.path)


def test_a_callback_is_not_lost_on_a_full_disk(
    server: IncomingServer, disk: SmallDisk, start_load: StartLoad, witness: Witness
) -> None:
    witness.hold()
    load = start_load(server.port)
    client = load.add(300 * KIB)
    witness.wait_for(1, client.ticket_id)
    disk.fill()
    witness.release()
    wait_until(lambda: "ticket database" in server.log, "the answer to find no room in the database", 60)
    disk.empty()
    load.finish(disk.path)


def test_below_the_watermark_tickets_are_refused_and_uploads_continue(
    disk: SmallDisk, start_server: StartServer, start_load: StartLoad, witness: Witness
) -> None:
    server = start_server("--workers", "1", *EAGER, "--low-space", "16MiB", storage_dir=disk.path)
    load = start_load(server.port)
    load.add_each(2, 2 * MIB, rate=MIB)
    load.wait_for_bytes(100 * KIB)
    disk.fill(leave=14 * MIB)
    url = f"{server.base_url}/incoming/0.1/backend/new_upload"

    def refusal() -> list[requests.Response]:
        form = {"signalFinishURL": witness.url}
        answer = requests.post(url, form, headers={"Accept": "application/json"}, timeout=20)
        return [answer] if answer.status_code == 503 else []

    [answer] = wait_until(refusal, "tickets to be refused")
    assert json.loads(answer.text)["code"] == STORAGE_FULL
    assert int(answer.headers["Retry-After"]) >= 1
    load.finish(disk.path)
    disk.empty()
    load.add(100 * KIB)
    load.finish(disk.path)


def test_uploads_resume_after_a_read_only_file_system(
    disk: SmallDisk, start_server: StartServer, start_load: StartLoad
) -> None:
    """The server reports why it cannot start; when the disk is writable again, all uploads resume."""
    server = start_server("--workers", "1", *EAGER, storage_dir=disk.path)
    server.expect_noise(r"incoming\.storage.*(ticket database|storage directory)|cannot (start|continue)|code 1")
    load = start_load(server.port)
    client = load.add(4 * MIB, "http", rate=2 * MIB)
    load.wait_for_bytes(MIB)
    server.kill()
    disk.read_only()
    with pytest.raises(AssertionError, match=r"(?s)ended with code [12] at start.*(cannot|read-?only)"):
        server.restart(kill=True)
    disk.read_only(False)
    load.check(disk.path)
    server.restart(kill=True)
    load.finish(disk.path)
    assert client.reconnects


def test_faults_leak_no_descriptor(disk: SmallDisk, start_server: StartServer, start_load: StartLoad) -> None:
    """Descriptors, threads and files are as many after faults as before, and no removed file is open."""
    server = start_server("--workers", "1", *EAGER, storage_dir=disk.path)
    server.expect_noise(r"incoming\.storage.*(ticket database|storage directory)")
    warm = start_load(server.port)
    warm.add_each(3, 300 * KIB)
    warm.finish(disk.path)
    wait_until(lambda: at_rest(server.pid, server.port, disk.path), "the server to be at rest", 60)
    before = held(server.pid)
    for _ in range(3):
        load = start_load(server.port)
        load.add_each(6, MIB, rate=MIB)
        load.wait_for_bytes(500 * KIB)
        disk.fill()
        wait_until(lambda load=load: told(load, STORAGE_FULL), "every client to be told that the disk is full", 60)
        disk.empty()
        load.finish(disk.path)
    wait_until(lambda: at_rest(server.pid, server.port, disk.path), "the server to be at rest", 60)
    descriptors, threads = held(server.pid)
    assert descriptors <= before[0]
    assert threads <= before[1] + THREADS, "the pool for files may have grown to its limit, and nothing else"
    assert not any(target.endswith("(deleted)") for target in open_files(server.pid))
    assert [path.name for path in disk.path.glob("??/*")] == []
