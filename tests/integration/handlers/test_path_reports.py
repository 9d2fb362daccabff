"""What clients learn of how their bytes fare, over a WebSocket and in the answer to a PUT, and what they report."""

import asyncio
import json
from typing import Any

import pytest

from incoming.handlers.upload import path_reports
from tests.integration.handlers.conftest import StartWorker, files
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, piece
from tests.support.raw_http import RawConnection
from tests.support.raw_websocket import RawWebSocket, chunk, text
from tests.support.stores import until

FIGURES = {
    *("limit", "seconds", "rate", "delay", "pending", "held", "blocked", "writing", "committing", "late", "busy"),
    *("rtt", "retransmits", "out_of_order"),
}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(path_reports, "REPORT_INTERVAL", 0.1)


async def listed(worker: OneWorker) -> dict[str, Any]:
    response = await worker.fetch("GET", "/incoming/status/now")
    [upload] = json.loads(response.body)["uploads"]
    assert isinstance(upload, dict)
    return upload


async def test_a_websocket_gets_reports_while_bytes_come(worker: OneWorker) -> None:
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), 1000, path=True)
    await socket.send(chunk(0, bytes(100)))
    report = await socket.hear("path")
    assert set(report) == FIGURES | {"type"}
    assert report["rate"] > 0
    assert 0 < report["rtt"] < 5, "of the kernel, in seconds"
    await asyncio.sleep(0.3)
    await socket.send(text({"type": "ping"}))
    assert (await socket.hear("pong", "path"))["type"] == "pong", "no more reports when nothing comes"
    socket.close()


async def test_a_client_that_does_not_ask_gets_no_reports(worker: OneWorker) -> None:
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), 1000)
    for start in (0, 100, 200, 300):
        await socket.send(chunk(start, bytes(100)))
        assert (await socket.hear())["type"] == "ack"
        await asyncio.sleep(0.1)
    await socket.send(text({"type": "ping"}))
    assert (await socket.hear())["type"] == "pong"
    socket.close()


async def test_a_client_reports_its_limit_with_a_ping(worker: OneWorker) -> None:
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), 1000, path=True)
    await socket.send(chunk(0, bytes(100)), text({"type": "ping", "limit": "browser"}))
    await socket.hear("pong")
    upload = await listed(worker)
    assert (upload["limit"], upload["transports"]) == ("browser", ["websocket"])
    socket.close()


async def test_a_disk_that_hangs_is_reported_while_it_does(worker: OneWorker) -> None:
    files(worker).faults.hold("write")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), 1000, path=True)
    await socket.send(chunk(0, bytes(100)))
    report: dict[str, Any] = {"limit": ""}
    while report["limit"] != "disk":
        report = await socket.hear("path")
    assert (report["pending"], report["rate"]) == (100, 0)
    assert (await listed(worker))["limit"] == "disk"
    files(worker).faults.release("write")
    assert (await socket.hear("ack"))["chunks"] == [[0, 100]]
    socket.close()


async def test_an_upload_held_to_a_rate_is_limited_by_the_server(start_worker: StartWorker) -> None:
    worker = await start_worker()
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(maxRate="2000"), 100_000, path=True)
    for start in range(0, 20_000, 1000):
        await socket.send(chunk(start, bytes(1000)))
    report: dict[str, Any] = {"limit": ""}
    while report["limit"] != "server":
        report = await socket.hear("path")
    assert report["held"] > 0.5
    socket.close()


async def test_a_put_that_reports_its_limit_is_answered_with_the_figures(worker: OneWorker) -> None:
    ticket = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    plain = await connection.ask(piece(ticket, 0, 40))
    assert (plain.status, plain.body) == (308, b""), "other clients see no difference"
    more = await connection.ask(piece(ticket, 40, 60, query="?limit=browser"))
    answer = json.loads(more.body)
    assert (more.status, answer["state"], more.headers["range"]) == (308, "uploading", "bytes=0-59")
    assert set(answer["path"]) == FIGURES
    upload = await listed(worker)
    assert (upload["limit"], upload["transports"]) == ("browser", ["http"])
    last = await connection.ask(piece(ticket, 60, 100, query="?limit="))
    answer = json.loads(last.body)
    assert (last.status, answer["arrived"], set(answer["path"])) == (200, 100, FIGURES)
    connection.close()


async def test_what_waits_for_the_app_is_limited_by_the_app(worker: OneWorker) -> None:
    ticket = await worker.ticket()
    await worker.fetch("PUT", f"/incoming/frontend/upload/{ticket}?filename=a", CONTENT)

    async def waits() -> bool:
        return bool((await listed(worker))["limit"] == "app")

    await until(waits, "an upload that waits for its app")
