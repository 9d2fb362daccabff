"""The status page's JSON and buttons: what operators see, what they may do, and that no other page can do it."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPResponse
from tornado.websocket import websocket_connect

from incoming.core.ticket import Event
from incoming.handlers.operator.status_page import GUARD, MOST_SHOWN, PAGE, status_files
from incoming.wire import messages
from tests.support.one_worker import OneWorker, one_worker
from tests.support.stores import until

TOKEN = "a-long-enough-token"
PATHS = ("/incoming/status", "/incoming/status/status.js", "/incoming/status/now", "/incoming/0.1/status")


async def now(worker: OneWorker) -> dict[str, Any]:
    response = await worker.fetch("GET", "/incoming/status/now")
    assert response.code == 200, response.body
    assert response.headers["Content-Type"] == "application/json; charset=utf-8"
    answer: dict[str, Any] = json.loads(response.body)
    return answer


async def send(worker: OneWorker, ticket: str, name: str, content: bytes = b"x" * 100, total: int = 1000) -> None:
    path = f"/incoming/frontend/upload/{ticket}?filename={name}"
    await worker.fetch("PUT", path, content, {"Content-Range": f"bytes 0-{len(content) - 1}/{total}"})


async def act(worker: OneWorker, ticket: str, action: str, headers: Mapping[str, str] | None = None) -> HTTPResponse:
    headers = {GUARD: "1"} if headers is None else dict(headers)
    return await worker.fetch("POST", f"/incoming/status/uploads/{ticket}/{action}", b"", headers)


async def test_an_empty_server_has_an_empty_status(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        answer = await now(worker)
        assert answer["uploads"] == []
        assert answer["workers"] == 1
        assert answer["free"] > 0
        assert len(answer["traffic"]["speeds"]) == 360
        assert set(answer["states"].values()) == {0}


async def test_an_upload_in_progress_is_listed(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket(backendSecret="very secret")
        await send(worker, ticket, "%3Cb%3E.png")
        answer = await now(worker)
        [upload] = answer["uploads"]
        expected = {
            "id": ticket,
            "name": "<b>.png",
            "size": 1000,
            "arrived": 100,
            "state": "uploading",
            "paused": False,
            "clients": ["127.0.0.1"],
            "transports": ["http"],
            "attempts": 0,
            "may_cancel": True,
            "may_retry": False,
        }
        assert {key: upload[key] for key in expected} == expected
        assert upload["speed"] > 0
        assert answer["speed"] == upload["speed"]
        assert answer["sending"] == 1
        assert "very secret" not in json.dumps(answer)


async def test_a_websocket_is_counted_while_it_lasts(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        url = f"ws://127.0.0.1:{worker.port}/incoming/frontend/upload_ws?ticket={ticket}"
        connection = await websocket_connect(url, subprotocols=[messages.SUBPROTOCOL])
        hello = {"type": "hello", "session": "session-1", "name": "a", "size": 10}
        await connection.write_message(json.dumps(hello))
        assert json.loads(str(await connection.read_message()))["type"] == "welcome"
        await connection.write_message(messages.CHUNK_HEADER.pack(1, 0) + b"12345", binary=True)
        assert json.loads(str(await connection.read_message()))["type"] == "ack"
        answer = await now(worker)
        [upload] = answer["uploads"]
        assert (upload["transports"], upload["connections"], upload["arrived"]) == (["websocket"], 1, 5)
        assert answer["connections"]["websocket"] == 1
        await connection.write_message("no JSON")
        assert json.loads(str(await connection.read_message()))["type"] == "error"
        connection.close()

        async def gone() -> bool:
            return (await now(worker))["connections"]["websocket"] == 0

        await until(gone, "the end of the connection")
        counted = worker.services.counters.totals()
        assert (counted["bytes/websocket"], counted["acks/websocket"], counted["errors/bad_request"]) == (5, 1, 1)


async def test_active_uploads_come_first_and_unused_tickets_are_only_counted(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        idle, sending, arrived = [await worker.ticket() for _ in range(3)]
        await worker.ticket()
        await send(worker, idle, "idle")
        for sender in tuple(worker.services.connections._clients.values()):
            sender.left_at -= 3600
        await send(worker, sending, "sending")
        await worker.upload(arrived)
        for sender in tuple(worker.services.connections._clients.values()):
            if sender.key.ticket_id == arrived:
                sender.left_at -= 3600
        answer = await now(worker)
        assert [upload["id"] for upload in answer["uploads"]] == [sending, arrived, idle]
        assert answer["states"]["new"] == 1


async def test_a_long_list_is_truncated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.handlers.operator.status_page.MOST_SHOWN", 3)
    async with one_worker(tmp_path) as worker:
        for number in range(5):
            await send(worker, await worker.ticket(), str(number))
        answer = await now(worker)
        assert len(answer["uploads"]) == 3
        assert answer["states"]["uploading"] == 5
    assert MOST_SHOWN == 200


async def test_what_waits_for_an_operator_is_in_the_list_however_many_are_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.handlers.operator.status_page.MOST_SHOWN", 4)
    async with one_worker(tmp_path) as worker:
        owed = await worker.ticket()
        await worker.upload(owed)
        for sender in tuple(worker.services.connections._clients.values()):
            sender.left_at -= 3600
        for number in range(5):
            await send(worker, await worker.ticket(), str(number))
        listed = (await now(worker))["uploads"]
        assert [upload["state"] for upload in listed] == ["uploading"] * 3 + ["arrived"]
        assert listed[3]["id"] == owed


async def test_an_operator_can_cancel(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        await send(worker, ticket, "a")
        response = await act(worker, ticket, "cancel")
        assert response.code == 200
        assert json.loads(response.body)["state"] == "cancelled"
        known = await worker.services.tickets.get(ticket)
        assert known is not None
        assert known.reason == "Cancelled by the operator"
        assert known.callback is not None  # the app is owed the news
        assert known.callback.cancelled
        assert [upload["state"] for upload in (await now(worker))["uploads"]] == ["cancelled"]
        assert list(tmp_path.rglob("*.part")) == []


async def test_an_operator_can_retry(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        await worker.upload(ticket)

        def fail(known: Any) -> Any:
            return known.move(Event.CALL, 0).refuse("refused by the app", 0)

        await worker.services.tickets.update(ticket, fail)
        [upload] = (await now(worker))["uploads"]
        assert (upload["state"], upload["problem"], upload["may_retry"]) == ("failed", "refused by the app", True)
        assert upload["callback_url"] == "http://127.0.0.1:9/done"
        assert (await act(worker, ticket, "retry")).code == 200
        [upload] = (await now(worker))["uploads"]
        assert (upload["state"], upload["attempts"]) == ("arrived", 0)


async def test_an_impossible_action_is_refused_with_its_reason(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        response = await act(worker, ticket, "retry")
        assert response.code == 412
        assert b"nothing to hand over" in response.body
        await worker.upload(ticket)
        response = await act(worker, ticket, "cancel")
        assert (response.code, response.body[:19]) == (412, b"too late to cancel:")
        assert (await act(worker, "nobody", "cancel")).code == 404
        assert (await act(worker, ticket, "finish")).code == 404
        assert (await worker.fetch("GET", f"/incoming/status/uploads/{ticket}/cancel")).code == 405


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {GUARD: "1", "Origin": "https://evil.example"},
        {GUARD: "1", "Origin": "null"},
        {GUARD: "1", "Origin": "http://127.0.0.1"},
        {GUARD: "1", "Sec-Fetch-Site": "cross-site"},
        {GUARD: "1", "Sec-Fetch-Site": "same-site"},
        {GUARD: "1", "X-Forwarded-For": "127.0.0.1"},
    ],
)
async def test_pages_of_other_sites_can_do_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        assert (await act(worker, ticket, "cancel", headers)).code == 403
        assert await worker.state(ticket) == "new"
        if headers:
            assert (await worker.fetch("GET", "/incoming/status/now", headers=headers)).code == 403


async def test_the_page_itself_may_act(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        headers = {GUARD: "1", "Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{worker.port}"}
        assert (await act(worker, await worker.ticket(), "cancel", headers)).code == 200


async def test_a_preflight_gets_no_permission(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        headers = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
        path = f"/incoming/status/uploads/{await worker.ticket()}/cancel"
        response = await worker.fetch("OPTIONS", path, headers=headers)
        assert response.code == 405
        assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("path", PATHS)
async def test_only_for_backend_networks(path: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--backend-networks", "10.0.0.0/8") as worker:
        assert (await worker.fetch("GET", path)).code == 403
    async with one_worker(tmp_path) as worker:
        assert (await worker.fetch("GET", path)).code == 200
        assert (await worker.fetch("GET", path, headers={"X-Forwarded-For": "127.0.0.1"})).code == 403


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:4000", 200),
        ("[::1]:4000", 200),
        ("localhost", 200),
        ("x.localhost:1", 200),
        ("uploads", 200),
        ("rebound.example.org", 403),
        ("127.0.0.1.nip.example", 403),
    ],
)
async def test_a_foreign_host_name_is_refused(host: str, status: int, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        for path in PATHS:
            assert (await worker.fetch("GET", path, headers={"Host": host})).code == status


async def test_with_a_token_the_page_asks_for_it(tmp_path: Path) -> None:
    async with one_worker(tmp_path, "--backend-token", TOKEN) as worker:
        for path in PATHS:
            response = await worker.fetch("GET", path)
            assert response.code == 401
            assert response.headers["WWW-Authenticate"].startswith("Basic ")
        for given, status in (
            (f"Bearer {TOKEN}", 200),
            ("Basic " + base64.b64encode(f"anybody:{TOKEN}".encode()).decode(), 200),
            ("Basic " + base64.b64encode(b"anybody:wrong").decode(), 401),
            ("Basic " + base64.b64encode(b"\xff\xfe").decode(), 401),
            ("Basic not base64", 401),
            ("Digest x", 401),
        ):
            headers = {"Authorization": given, "Host": "status.example.org"}
            assert (await worker.fetch("GET", "/incoming/status/now", headers=headers)).code == status
        response = await act(worker, "nobody", "cancel")
        assert response.code == 401


async def test_an_operators_action_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        await act(worker, ticket, "cancel")
        await act(worker, ticket, "cancel", {})

        def logged() -> list[tuple[str, str, str]]:
            return [
                (record.levelname, vars(record)["function"], vars(record)["client"])
                for record in caplog.records
                if "status/uploads" in record.getMessage()
            ]

        await until(lambda: len(logged()) == 2, "both in the log")
        assert logged() == [
            ("INFO", "operator_cancel", "127.0.0.1"),
            ("WARNING", "operator_cancel", "127.0.0.1"),
        ]


# --- the files ------------------------------------------------------------------------------------------------------


async def test_the_page_has_security_headers(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        for path in PATHS:
            response = await worker.fetch("GET", path)
            policy = response.headers["Content-Security-Policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["Cache-Control"] == "no-store"
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_the_files_of_the_page_are_served(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        for name, (content, content_type) in status_files().items():
            path = "/incoming/status" + ("" if name == "status.html" else f"/{name}")
            response = await worker.fetch("GET", path)
            assert (response.code, response.body) == (200, content)
            assert response.headers["Content-Type"] == f"{content_type}; charset=utf-8"
        for path in ("/incoming/status/", "/incoming/status/status.html", "/incoming/status/../worker.py"):
            assert (await worker.fetch("GET", path)).code == 404
    assert {path.name for path in PAGE.iterdir()} == set(status_files())


def test_the_page_has_nothing_inline_and_loads_nothing_foreign() -> None:
    page = (PAGE / "status.html").read_text()
    assert "style=" not in page
    assert "onclick" not in page
    assert "http:" not in page
    assert "https:" not in page
    for script in PAGE.glob("*.js"):
        source = script.read_text()
        assert not [word for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "eval(") if word in source]


def test_a_missing_file_is_noticed_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        status_files(tmp_path)
