"""Several instances behind real proxies with the shipped configurations: they come and go, and uploads continue."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from incoming.wire.messages import SUBPROTOCOL
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import RawWebSocket, chunk
from tests.support.upload_client import HTTP, PUT, WEBSOCKET, UploadClient
from tests.support.waiting import wait_until
from tests.system.cluster.entrance import PROXIES, Entrance
from tests.system.cluster.instances import Cluster

KIB = 1024


@pytest.fixture(params=PROXIES)
def entrance(request: pytest.FixtureRequest, cluster: Cluster, tmp_path: Path) -> Iterator[Entrance]:
    entrance = Entrance(request.param, tmp_path, *(instance.host for instance in cluster.instances))
    try:
        wait_until(entrance.serves, "the proxy to have found the instances")
        yield entrance
    finally:
        entrance.proxy.stop()


def writer(cluster: Cluster, ticket: str) -> str:
    """The instance through which the last bytes came."""
    schema = cluster.env["INCOMING_DATABASE"].rpartition("=")[2]
    return cluster.postgres.execute(f"SELECT writer FROM {schema}.progress WHERE id = '{ticket}'")


def test_all_connections_of_an_upload_go_to_one_instance(cluster: Cluster, entrance: Entrance) -> None:
    """By the ticket, which is in the query of a WebSocket and in the path of PUT, the IETF's protocol and tus."""
    used: set[str] = set()
    for _ in range(40):
        ticket = cluster.new_upload(cluster.one)
        place = f"{entrance.frontend}/upload/{ticket}"
        told = {"Content-Range": "bytes 0-9/100"}
        put = requests.put(f"{place}?filename=a.bin", b"x" * 10, headers=told, timeout=20, allow_redirects=False)
        assert put.status_code == 308, put.text
        by_put = writer(cluster, ticket)

        async def send(ticket: str = ticket) -> None:
            socket = await RawWebSocket.welcomed(entrance.port, ticket)
            await socket.send(chunk(10, b"x" * 10))
            await socket.until_acked((10, 20))
            socket.close()

        asyncio.run(send())
        by_websocket = writer(cluster, ticket)
        version = {"Tus-Resumable": "1.0.0", "Content-Type": "application/offset+octet-stream", "Upload-Offset": "20"}
        tus = requests.patch(f"{entrance.frontend}/tus/{ticket}", b"x" * 10, headers=version, timeout=20)
        assert (tus.status_code, tus.headers["Upload-Offset"]) == (204, "30"), tus.text
        assert {by_put, by_websocket, writer(cluster, ticket)} == {by_put}
        used.add(by_put)
        cluster.backend(cluster.one, "cancel_upload", id=ticket)
        if len(used) == 2:
            return
    pytest.fail(f"all uploads went to {used}")


def test_only_the_library_s_functions_are_reachable(cluster: Cluster, entrance: Entrance) -> None:
    for path in ("backend/new_upload", "status", "metrics", "health"):
        assert requests.get(f"http://127.0.0.1:{entrance.port}/incoming/0.1/{path}", timeout=20).status_code == 403


async def until_bytes(clients: list[UploadClient], more: int) -> None:
    """Return when this many further bytes are acknowledged, or all uploads have ended."""

    def acked() -> int:
        return sum(client.acked.size for client in clients)

    target, deadline = acked() + more, time.monotonic() + 60
    while acked() < target and any(client.state != "finished" for client in clients):
        assert time.monotonic() < deadline, "the uploads do not continue"
        await asyncio.sleep(0.02)


async def replaced(cluster: Cluster, instance: IncomingServer, *, kill: bool) -> None:
    """End an instance, by a kill or a drain; for a while the others serve alone; then start it."""
    if kill:
        await asyncio.to_thread(instance.kill)
    else:
        assert await asyncio.to_thread(instance.stop, 45) == 0
    await asyncio.sleep(0.5)
    await asyncio.to_thread(instance.start)


def test_uploads_continue_while_instances_come_and_go(cluster: Cluster, entrance: Entrance) -> None:
    """One is killed and comes back, then the other is drained and replaced, as by an upgrade."""
    content = [bytes([number]) * (768 * KIB) for number in range(6)]
    tickets = [cluster.new_upload(cluster.one) for _ in content]

    async def upload_all() -> list[UploadClient]:
        how = {"rate": 64 * KIB, "chunk": 32 * KIB, "window": 3}
        clients = [
            UploadClient(entrance.port, ticket, data, way, **how)  # type: ignore[arg-type]
            for ticket, data, way in zip(
                tickets, content, (WEBSOCKET, WEBSOCKET, WEBSOCKET, HTTP, HTTP, PUT), strict=True
            )
        ]
        running = [asyncio.create_task(client.run()) for client in clients]
        await until_bytes(clients, 256 * KIB)
        await replaced(cluster, cluster.one, kill=True)
        assert all(client.state != "finished" for client in clients), "the uploads were too fast for this test"
        await until_bytes(clients, 64 * KIB)
        await replaced(cluster, cluster.other, kill=False)
        assert await asyncio.wait_for(asyncio.gather(*running), 120) == ["finished"] * len(clients)
        return clients

    clients = asyncio.run(upload_all())
    assert [client.broken for client in clients] == [[]] * len(clients)
    assert all(client.reconnects for client in clients if client.way == WEBSOCKET), "each instance has ended once"
    for ticket, data in zip(tickets, content, strict=True):
        assert set(cluster.received(ticket)) == {data}


def test_the_proxy_passes_what_one_instance_refuses_to_another(cluster: Cluster, entrance: Entrance) -> None:
    """An instance is away when the connection begins: no client notices."""
    cluster.other.kill()
    try:
        for _ in range(6):
            ticket = cluster.new_upload(cluster.one)
            hello = {"type": "hello", "session": "session-1", "name": "a.bin", "size": 10}
            answer = requests.post(f"{entrance.frontend}/upload/{ticket}", json=hello, timeout=20)
            assert answer.status_code == 200, answer.text
            cluster.backend(cluster.one, "cancel_upload", id=ticket)
    finally:
        cluster.other.start()


def test_the_subprotocol_passes(cluster: Cluster, entrance: Entrance) -> None:
    ticket = cluster.new_upload(cluster.one)

    async def subprotocol() -> str:
        socket = await RawWebSocket.open(entrance.port, ticket)
        socket.close()
        return socket.answer.headers["sec-websocket-protocol"]

    assert asyncio.run(subprotocol()) == SUBPROTOCOL
