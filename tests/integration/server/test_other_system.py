"""A server that has nothing of what only Linux has takes uploads, survives its death and ends in order."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.support.app_stub import AppStub, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.stores import until
from tests.support.tools import ROOT
from tests.support.upload_client import PUT, WEBSOCKET, UploadClient
from tests.support.waiting import wait_until

CONTENT = os.urandom(300_000)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[IncomingServer]:
    environment = {"PYTHONPATH": str(ROOT / "tests" / "support" / "other_system")}
    with IncomingServer(tmp_path / "storage", "--workers", "2", env=environment) as server:
        yield server


@pytest.mark.parametrize("way", [WEBSOCKET, PUT])
async def test_an_upload_arrives_after_a_death_of_the_server(
    server: IncomingServer, app_stub: AppStub, way: str
) -> None:
    taken: list[bytes] = []

    def take(call: Callback) -> str:
        taken.append(Path(call.params["filename"]).read_bytes())
        return "done"

    form = {"signalFinishURL": app_stub.url}
    backend = f"{server.base_url}/incoming/0.1/backend/new_upload"
    ticket = (await asyncio.to_thread(requests.post, backend, form, timeout=20)).text
    app_stub.answer_next(take)
    client = UploadClient(server.port, ticket, CONTENT, way, rate=300_000)
    sending = asyncio.create_task(client.run())
    await until(lambda: client.acked.size > 50_000, "a beginning")
    await asyncio.to_thread(server.restart, kill=True)
    assert await sending == "finished"
    assert client.broken == []
    assert client.connections > 1
    assert taken == [CONTENT]
    assert server.stop() == 0
    assert server.log.count("no boot id: cannot distinguish a power cut from a restart") >= 2, "nothing was taken away"
    server.assert_quiet()


def test_a_worker_that_dies_is_replaced(server: IncomingServer) -> None:
    def workers() -> list[int]:
        children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        return [int(pid) for pid in children]

    before = workers()
    assert len(before) == 2
    os.kill(before[0], signal.SIGKILL)
    wait_until(lambda: len(set(workers()) - {before[0]}) == 2, "another worker", timeout=30)
    assert server.stop() == 0
