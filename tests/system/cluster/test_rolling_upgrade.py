"""Instances of two releases beside each other: replaced one after the other under load, or refused."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import requests

from incoming.storage.postgres.schema import MIGRATIONS
from tests.support.incoming_server import IncomingServer
from tests.support.tools import ROOT
from tests.support.upload_client import HTTP, PUT, WEBSOCKET, UploadClient
from tests.support.waiting import wait_until
from tests.system.cluster import later_release
from tests.system.cluster.entrance import Entrance
from tests.system.cluster.instances import OPTIONS, Cluster
from tests.system.cluster.test_behind_proxies import until_bytes

KIB = 1024
PRESENT = (str(ROOT / "incoming.py"),)
ADDITIVE = (later_release.__file__, "additive")
INCOMPATIBLE = (later_release.__file__, "incompatible")


def schema_version(cluster: Cluster) -> int:
    schema = cluster.env["INCOMING_DATABASE"].rpartition("=")[2]
    return int(cluster.postgres.execute(f"SELECT version FROM {schema}.schema_version"))


async def replaced(instance: IncomingServer, program: tuple[str, ...]) -> None:
    """Drain an instance, and start another release in its place."""
    assert await asyncio.to_thread(instance.stop, 45) == 0
    instance.program = program
    await asyncio.to_thread(instance.start)


def run(env: dict[str, str], program: tuple[str, ...], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *program, *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60, check=False)


def refusal(env: dict[str, str], program: tuple[str, ...]) -> str:
    """The one error with which a start of this release ends."""
    done = run(env, program, "--port", "0")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    [line] = [line for line in done.stderr.splitlines() if "cannot start" in line]
    return line


def is_ready(instance: IncomingServer) -> bool:
    return bool(requests.get(f"{instance.base_url}/incoming/health", timeout=20).json()["ready"])


def test_instances_are_replaced_by_a_later_release_and_back_under_load(cluster: Cluster, tmp_path: Path) -> None:
    entrance = Entrance("haproxy", tmp_path, *(instance.host for instance in cluster.instances))
    content = [bytes([number]) * (1024 * KIB) for number in range(6)]
    ways = (WEBSOCKET, WEBSOCKET, WEBSOCKET, HTTP, HTTP, PUT)
    tickets = [cluster.new_upload(cluster.one) for _ in content]

    async def upload_all() -> list[UploadClient]:
        clients = [
            UploadClient(entrance.port, ticket, data, way, rate=64 * KIB, chunk=32 * KIB, window=3)
            for ticket, data, way in zip(tickets, content, ways, strict=True)
        ]
        running = [asyncio.create_task(client.run()) for client in clients]
        await until_bytes(clients, 256 * KIB)
        await replaced(cluster.one, ADDITIVE)
        assert await asyncio.to_thread(schema_version, cluster) == len(MIGRATIONS) + 1
        assert await asyncio.to_thread(is_ready, cluster.other), "the older one serves beside it"
        await until_bytes(clients, 64 * KIB)
        assert all(client.state != "finished" for client in clients), "the uploads were too fast for this test"
        await replaced(cluster.other, ADDITIVE)
        await until_bytes(clients, 64 * KIB)
        await replaced(cluster.one, PRESENT)  # the older release also starts on these tables
        assert await asyncio.wait_for(asyncio.gather(*running), 120) == ["finished"] * len(clients)
        return clients

    try:
        wait_until(entrance.serves, "the proxy to have found the instances")
        clients = asyncio.run(upload_all())
    finally:
        entrance.proxy.stop()
    assert [client.broken for client in clients] == [[]] * len(clients)
    for ticket, data in zip(tickets, content, strict=True):
        assert set(cluster.received(ticket)) == {data}


def test_a_release_that_older_ones_cannot_serve_beside_is_refused_until_they_are_stopped(
    cluster: Cluster, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    env = {
        "INCOMING_DATABASE": cluster.postgres.new_schema(),
        "INCOMING_DURABILITY": "power",
        "INCOMING_STORAGE_DIR": str(storage),
    }
    with IncomingServer(storage, *OPTIONS, env=env) as server:
        ticket = cluster.new_upload(server)
        assert cluster.put(server, ticket, b"x" * 10, 0, 100).status_code == 308
        version = len(MIGRATIONS)
        said = refusal(env, INCOMPATIBLE)
        assert f"version {version}, and older instances cannot work with version {version + 1}: stop all" in said
        assert said.endswith("run `incoming database upgrade`")
        assert cluster.put(server, ticket, b"x" * 10, 10, 100).status_code == 308, "it serves as before"
        server.stop()

        upgraded = run(env, INCOMPATIBLE, "database", "upgrade")
        assert upgraded.returncode == 0, upgraded.stderr
        said = refusal(env, PRESENT)
        assert f"which needs a release that knows version {version + 1}, and this one knows {version}: run the" in said

        server.program = INCOMPATIBLE
        server.start()
        assert cluster.status(server, ticket)["extents"] == [[0, 20]]
        server.assert_quiet()
