"""Chunks that follow the hello before the client knows the welcome, where the server sends files to an object store."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.conftest import StartServer
from tests.support.raw_websocket import RawWebSocket, chunk, hello
from tests.support.scripted_s3 import ScriptedS3
from tests.system.objects.object_bench import store_option

PART = 64 * 1024
CONTENT = bytes(range(256)) * (PART // 256)


@pytest.fixture
def store() -> Iterator[ScriptedS3]:
    with ScriptedS3() as scripted:
        yield scripted


async def send_ahead(port: int, ticket: str) -> dict[str, Any]:
    """Send the first part before the welcome, then the second; return the welcome when that one was acknowledged."""
    socket = await RawWebSocket.open(port, ticket)
    await socket.send(hello(2 * PART, ahead=True) + chunk(0, CONTENT) + chunk(PART, CONTENT))
    welcome = await socket.hear("welcome")
    await socket.until_acked((PART, 2 * PART))
    socket.close()
    return welcome


@pytest.mark.parametrize("direct", [True, False], ids=["direct", "through the server"])
def test_it_is_dropped_where_parts_are_to_go_straight_to_the_store(
    start_server: StartServer, store: ScriptedS3, direct: bool
) -> None:
    """The page sends that part itself; two of one number would be stored."""
    option = store_option(store.url, store.new_bucket(), part_size=PART, direct=str(direct).lower())
    server = start_server(option, "--dest-types=file,s3")
    url = f"{server.base_url}/incoming/0.1"
    told = {"signalFinishURL": "http://127.0.0.1:9/", "destType": "s3"}
    ticket = requests.post(f"{url}/backend/new_upload", told, timeout=20).text
    welcome = asyncio.run(send_ahead(server.port, ticket))
    assert welcome["extents"] == []
    assert bool(welcome.get("direct")) is direct
    status = requests.get(f"{url}/frontend/upload/{ticket}", timeout=20).json()
    assert status["extents"] == ([[PART, 2 * PART]] if direct else [[0, 2 * PART]])
