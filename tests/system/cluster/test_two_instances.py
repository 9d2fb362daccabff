"""Two instances with one PostgreSQL database and one directory: what one begins the other continues."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.app_stub import NotingApp
from tests.support.incoming_server import IncomingServer
from tests.support.postgres_server import PostgresServer
from tests.support.raw_websocket import RawWebSocket, chunk
from tests.support.tools import ROOT
from tests.support.waiting import wait_until

OPTIONS = ("--workers", "1", "--durability", "power")


class Cluster:
    """The instances `one` and `other`, their database and the app that they call."""

    def __init__(self, directory: Path, postgres: PostgresServer, app: NotingApp) -> None:
        self.postgres = postgres
        self.app = app
        self.storage_dir = directory / "storage"
        # As operators should: the password of a real one must not be on the command line.
        self.env = {"INCOMING_DATABASE": postgres.new_schema()}
        self.one, self.other = (self._instance(name) for name in ("one", "other"))

    def _instance(self, name: str) -> IncomingServer:
        instance = IncomingServer(self.storage_dir, *OPTIONS, env=self.env)
        instance.log_path = self.storage_dir.with_name(f"{name}.log")
        return instance

    @property
    def instances(self) -> tuple[IncomingServer, IncomingServer]:
        return self.one, self.other

    def new_upload(self, instance: IncomingServer) -> str:
        return self.backend(instance, "new_upload", signalFinishURL=self.app.url)

    def backend(self, instance: IncomingServer, function: str, **parameters: str) -> str:
        url = f"{instance.base_url}/incoming/0.1/backend/{function}"
        answer = requests.post(url, data={"backendSecret": "secret", **parameters}, timeout=30)
        assert answer.status_code == 200, answer.text
        return answer.text

    def put(self, instance: IncomingServer, ticket: str, content: bytes, start: int, size: int) -> requests.Response:
        return requests.put(
            f"{instance.base_url}/incoming/frontend/upload/{ticket}?filename=a.bin",
            content,
            headers={"Content-Range": f"bytes {start}-{start + len(content) - 1}/{size}"},
            timeout=60,
            allow_redirects=False,
        )

    def status(self, instance: IncomingServer, ticket: str) -> dict[str, Any]:
        answer: dict[str, Any] = requests.get(
            f"{instance.base_url}/incoming/frontend/upload/{ticket}", timeout=30
        ).json()
        return answer

    def reaches(self, instance: IncomingServer, ticket: str, state: str) -> None:
        wait_until(lambda: self.status(instance, ticket)["state"] == state, f"{ticket} to be {state}")

    def received(self, ticket: str) -> list[bytes]:
        return [content for known, content in self.app.files if known == ticket]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    postgres = PostgresServer()
    try:
        with NotingApp() as app:
            cluster = Cluster(tmp_path_factory.mktemp("cluster"), postgres, app)
            for instance in cluster.instances:
                instance.start()
            yield cluster
            for instance in cluster.instances:
                instance.kill()
            for instance in cluster.instances:
                instance.expect_noise("ticket database postgresql://")  # one line while the database restarts
                instance.assert_quiet()
    finally:
        postgres.remove()


def test_both_say_that_they_are_ready(cluster: Cluster) -> None:
    for instance in cluster.instances:
        assert requests.get(f"{instance.base_url}/incoming/health", timeout=20).json()["ready"] is True
        assert "tickets are in the PostgreSQL database" in instance.log
    assert not (cluster.storage_dir / "incoming.sqlite").exists()


def test_one_upload_over_both_is_handed_over_once(cluster: Cluster) -> None:
    content = os.urandom(100_000)
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, content[:40_000], 0, 100_000).status_code == 308
    assert cluster.put(cluster.other, ticket, content[60_000:], 60_000, 100_000).status_code == 308
    assert cluster.status(cluster.one, ticket)["extents"] == [[0, 40_000], [60_000, 100_000]]
    assert cluster.put(cluster.one, ticket, content[40_000:60_000], 40_000, 100_000).status_code == 200
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [content]


def test_many_uploads_are_each_called_for_once(cluster: Cluster) -> None:
    def upload(number: int) -> str:
        first, second = cluster.instances if number % 2 else cluster.instances[::-1]
        ticket = cluster.new_upload(first)
        content = f"{number:05}".encode() * 1000
        assert cluster.put(first, ticket, content[:2500], 0, 5000).status_code == 308
        assert cluster.put(second, ticket, content[2500:], 2500, 5000).status_code == 200
        return ticket

    with ThreadPoolExecutor(8) as pool:
        tickets = list(pool.map(upload, range(40)))
    for number, ticket in enumerate(tickets):
        cluster.reaches(cluster.one, ticket, "finished")
        assert cluster.received(ticket) == [f"{number:05}".encode() * 1000]


def test_a_cancellation_at_one_is_told_by_the_other(cluster: Cluster) -> None:
    ticket = cluster.new_upload(cluster.one)

    async def page() -> str:
        socket = await RawWebSocket.welcomed(cluster.one.port, ticket, 1000)
        await socket.send(chunk(0, b"x" * 100))
        await socket.until_acked((0, 100))
        cancelling = asyncio.to_thread(cluster.backend, cluster.other, "cancel_upload", id=ticket)
        _, state = await asyncio.gather(cancelling, socket.hear("state"))
        socket.close()
        return str(state["state"])

    assert asyncio.run(page()) == "cancelled"


def test_a_session_goes_on_at_the_other_when_one_is_killed(cluster: Cluster) -> None:
    ticket = cluster.new_upload(cluster.one)
    content = os.urandom(3000)

    async def send(instance: IncomingServer, start: int, end: int, **more: Any) -> None:
        socket = await RawWebSocket.welcomed(instance.port, ticket, 3000, **more)
        await socket.send(chunk(start, content[start:end]))
        await socket.until_acked((start, end))
        if instance is cluster.one:
            instance.kill()
        socket.close()

    asyncio.run(send(cluster.one, 0, 2000))
    assert cluster.status(cluster.other, ticket)["extents"] == [[0, 2000]]
    asyncio.run(send(cluster.other, 2000, 3000, epoch=1))
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [content]
    cluster.one.start()
    assert cluster.status(cluster.one, ticket)["state"] == "finished"


def test_a_restart_of_the_database_is_only_a_delay(cluster: Cluster) -> None:
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, b"a" * 500, 0, 1500).status_code == 308
    with ThreadPoolExecutor(2) as pool:
        cluster.postgres.stop(immediately=True)
        sending = [
            pool.submit(cluster.put, instance, ticket, b"a" * 500, 500 * number, 1500)
            for number, instance in enumerate(cluster.instances, 1)
        ]
        cluster.postgres.start()
        assert sorted(answer.result(60).status_code for answer in sending) == [200, 308]
    cluster.reaches(cluster.other, ticket, "finished")
    assert cluster.received(ticket) == [b"a" * 1500]


def test_operators_see_both(cluster: Cluster) -> None:
    def workers() -> int:
        metrics = requests.get(f"{cluster.other.base_url}/incoming/metrics", timeout=20).text
        [line] = [line for line in metrics.splitlines() if line.startswith("incoming_workers ")]
        return int(float(line.split()[1]))

    wait_until(lambda: workers() >= 2, "the reports of both")  # and for a while of one that was killed
    ticket = cluster.new_upload(cluster.one)
    assert cluster.put(cluster.one, ticket, b"x" * 10, 0, 100).status_code == 308
    command = [sys.executable, str(ROOT / "incoming.py"), "uploads", "--storage-dir", str(cluster.storage_dir)]
    env = {**os.environ, **cluster.env, "INCOMING_DURABILITY": "power"}
    shown = subprocess.run([*command, "show", ticket, "--json"], env=env, capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["arrived"] == 10
    subprocess.run([*command, "cancel", ticket], env=env, capture_output=True, check=True)
    cluster.reaches(cluster.other, ticket, "cancelled")


# --- bad input --------------------------------------------------------------------------------------------------------


def refusal(cluster: Cluster, *options: str) -> tuple[int, str]:
    command = [sys.executable, str(ROOT / "incoming.py"), "--port", "0", "--storage-dir", str(cluster.storage_dir)]
    result = subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)
    return result.returncode, result.stderr


def test_what_is_not_synced_is_no_database_for_several(cluster: Cluster) -> None:
    code, said = refusal(cluster, "--database", cluster.postgres.dsn())
    assert code == 2
    assert "durability must be 'power'" in said
    assert said.count("\n") == 1


def test_no_database_of_this_name_ends_the_start(cluster: Cluster) -> None:
    dsn = f"postgresql://incoming:hidden@127.0.0.1:{cluster.postgres.port}/nowhere"
    code, said = refusal(cluster, *OPTIONS, "--database", dsn)
    assert code == 1
    assert "create the database, or name another one" in said
    assert "hidden" not in said
    assert "Traceback" not in said


@pytest.mark.parametrize("url", ["mysql://db/uploads", "postgresql://db", "uploads"])
def test_what_is_no_url_of_a_database_is_refused(cluster: Cluster, url: str) -> None:
    code, said = refusal(cluster, *OPTIONS, "--database", url)
    assert code == 2
    assert "postgresql://USER:PASSWORD@HOST:PORT/DATABASE" in said
