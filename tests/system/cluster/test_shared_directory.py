"""Two instances that see one directory through mounts of their own, in mount namespaces of their own.

No network file system can be mounted here; its caches and options are injected in tests/unit/storage.
"""

import asyncio
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.app_stub import NotingApp
from tests.support.postgres_server import PostgresServer
from tests.support.raw_websocket import RawWebSocket, chunk, hello
from tests.support.tools import require_root
from tests.system.cluster.instances import Cluster

MIB = 1 << 20


class AppElsewhere(NotingApp):
    """An application on a machine that has the directory itself, and not where the instances have it."""

    def __init__(self, mount_point: Path, exported: Path) -> None:
        super().__init__()
        self._mount_point = mount_point
        self._exported = exported

    def path_of(self, filename: str) -> Path:
        return self._exported / Path(filename).relative_to(self._mount_point)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    require_root()
    directory = tmp_path_factory.mktemp("shared")
    mount_point, exported = directory / "storage", directory / "exported"
    mount_point.mkdir()
    exported.mkdir()
    mount = f'mount --bind {exported} {mount_point} && exec "$@"'
    postgres = PostgresServer()
    try:
        with AppElsewhere(mount_point, exported) as app:
            cluster = Cluster(directory, postgres, app, prefix=("unshare", "--mount", "sh", "-c", mount, "sh"))
            for instance in cluster.instances:
                instance.start()
            yield cluster
            for instance in cluster.instances:
                instance.kill()
                instance.assert_quiet()
    finally:
        postgres.remove()


def exported_files(cluster: Cluster) -> list[Path]:
    return [path for path in (cluster.storage_dir.parent / "exported").glob("??/*") if path.is_file()]


def test_each_has_a_mount_of_its_own(cluster: Cluster) -> None:
    pids = ("self", *(instance.pid for instance in cluster.instances))
    namespaces = {str(Path(f"/proc/{pid}/ns/mnt").readlink()) for pid in pids}
    assert len(namespaces) == 3
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, b"x", 0, 100).status_code == 308
    assert list(cluster.storage_dir.iterdir()) == [], "the directory is mounted here as well"
    assert [path.name for path in exported_files(cluster)] == [f"{ticket}.part"]
    cluster.backend(cluster.other, "cancel_upload", id=ticket)
    assert exported_files(cluster) == []


def test_bytes_over_both_become_one_file(cluster: Cluster) -> None:
    content = os.urandom(4 * MIB)
    ticket = cluster.new_upload(cluster.one)
    for start in (0, 2 * MIB):
        assert cluster.put(cluster.one, ticket, content[start : start + MIB], start, len(content)).status_code == 308
    assert cluster.put(cluster.other, ticket, content[MIB : 2 * MIB], MIB, len(content)).status_code == 308
    assert cluster.put(cluster.other, ticket, content[3 * MIB :], 3 * MIB, len(content)).status_code == 200
    cluster.reaches(cluster.one, ticket, "finished")
    assert cluster.received(ticket) == [content]


def test_chunks_are_aligned(cluster: Cluster) -> None:
    """So that no two machines write to one page of the file system's cache."""
    ticket = cluster.new_upload(cluster.one)

    async def alignment() -> int:
        socket = await RawWebSocket.open(cluster.one.port, ticket)
        await socket.send(hello(4 * MIB))
        welcome = await socket.hear("welcome")
        socket.close()
        return int(welcome["alignment"])

    assert asyncio.run(alignment()) >= MIB
    cluster.backend(cluster.one, "cancel_upload", id=ticket)


def test_last_bytes_at_both_at_once_complete_a_file_once(cluster: Cluster) -> None:
    def upload(number: int) -> tuple[str, bytes]:
        content = bytes([number]) * 3000
        ticket = cluster.new_upload(cluster.one)
        assert cluster.put(cluster.one, ticket, content[:1000], 0, 3000).status_code == 308
        with ThreadPoolExecutor(2) as pool:
            ends = [
                pool.submit(cluster.put, instance, ticket, content[start : start + 1000], start, 3000)
                for instance, start in zip(cluster.instances, (1000, 2000), strict=True)
            ]
            assert 200 in {end.result(60).status_code for end in ends}
        return ticket, content

    with ThreadPoolExecutor(6) as pool:
        uploads = list(pool.map(upload, range(18)))
    for ticket, content in uploads:
        cluster.reaches(cluster.other, ticket, "finished")
        assert cluster.received(ticket) == [content]


def test_a_frozen_instance_harms_nothing_that_was_taken_over_from_it(cluster: Cluster) -> None:
    """Its session has sent wrong bytes, which it reads and would write when it runs again."""
    content = os.urandom(2 * MIB)
    ticket = cluster.new_upload(cluster.one)

    async def freeze_in_a_session() -> None:
        socket = await RawWebSocket.welcomed(cluster.one.port, ticket, len(content))
        await socket.send(chunk(0, content[:1000]))
        await socket.until_acked((0, 1000))
        os.killpg(cluster.one.pid, signal.SIGSTOP)
        await socket.send(chunk(1000, bytes(50_000)))
        newer = await RawWebSocket.welcomed(cluster.other.port, ticket, len(content), session="session-2")
        await newer.send(chunk(1000, content[1000:]))
        await newer.until_acked((1000, len(content)))
        newer.close()
        os.killpg(cluster.one.pid, signal.SIGCONT)
        messages, _ = await socket.end()
        socket.close()
        assert not [message for message in messages if message["type"] == "ack"]

    try:
        asyncio.run(freeze_in_a_session())
    finally:
        os.killpg(cluster.one.pid, signal.SIGCONT)
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [content]
