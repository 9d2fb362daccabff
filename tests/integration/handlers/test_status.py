"""The status page's JSON and buttons: what operators see, what they may do, and that no other page can do it."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tornado.httpclient import HTTPResponse
from tornado.websocket import websocket_connect

from incoming import __version__
from incoming.core.ticket import Event
from incoming.handlers.operator.operator_handler import CSRF_HEADER
from incoming.handlers.operator.status_page import MAX_SHOWN, PAGE, status_files
from incoming.handlers.operator.uploads import MAX_SELECTED
from incoming.wire import messages
from tests.support.one_worker import OneWorker, one_worker
from tests.support.raw_websocket import RawWebSocket, hello
from tests.support.stores import until

TOKEN = "a-long-enough-token"
PATHS = ("/incoming/status", "/incoming/status/status.js", "/incoming/status/now", "/incoming/0.1/status")
UPLOAD = "/incoming/status/uploads/00000000"


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
    headers = {CSRF_HEADER: "1"} if headers is None else dict(headers)
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


async def test_client_and_server_tell_each_other_their_versions_over_both_transports(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        socket = await RawWebSocket.open(worker.port, ticket)
        await socket.send(hello(library="incoming.js/1.2.3"))
        assert (await socket.hear("welcome"))["version"] == __version__
        posted = {"type": "hello", "session": "session-1", "size": 100, "name": "a.bin", "library": "app/<b>2</b>"}
        answer = await worker.fetch("POST", f"/incoming/frontend/upload/{ticket}", json.dumps(posted).encode())
        assert json.loads(answer.body)["version"] == __version__
        [upload] = (await now(worker))["uploads"]
        assert upload["libraries"] == ["app/<b>2</b>", "incoming.js/1.2.3"]
        socket.close()


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
    monkeypatch.setattr("incoming.handlers.operator.status_page.MAX_SHOWN", 3)
    async with one_worker(tmp_path) as worker:
        for number in range(5):
            await send(worker, await worker.ticket(), str(number))
        answer = await now(worker)
        assert len(answer["uploads"]) == 3
        assert answer["states"]["uploading"] == 5
    assert MAX_SHOWN == 200


async def test_what_waits_for_an_operator_is_in_the_list_however_many_are_sending(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.handlers.operator.status_page.MAX_SHOWN", 4)
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


# --- selections -----------------------------------------------------------------------------------------------------


async def select(worker: OneWorker, **wanted: str) -> tuple[list[str], int]:
    """Names of the uploads that the page lists, and how many there are."""
    response = await worker.fetch("GET", f"/incoming/status/now?{urlencode(wanted)}")
    assert response.code == 200, response.body
    answer = json.loads(response.body)
    return [upload["name"] for upload in answer["uploads"]], answer["found"]


async def test_uploads_are_found_by_state_and_text_and_sorted(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ids = {}
        for name, part in (("b-large", 3000), ("a-small", 1000), ("c-done", 0)):
            ids[name] = await worker.ticket()
            if part:
                await send(worker, ids[name], name, total=part)
            else:
                await worker.fetch("PUT", f"/incoming/frontend/upload/{ids[name]}?filename={name}", b"content")
        await act(worker, ids["a-small"], "cancel")
        assert await select(worker, state="uploading") == (["b-large"], 1)
        assert await select(worker, text="LARGE") == (["b-large"], 1)
        assert await select(worker, text=ids["c-done"][:8]) == (["c-done"], 1)
        assert await select(worker, text="nothing") == ([], 0)
        assert (await select(worker, sort="name"))[0] == ["a-small", "b-large", "c-done"]
        assert (await select(worker, sort="-name"))[0] == ["c-done", "b-large", "a-small"]
        assert (await select(worker, sort="size"))[0] == ["b-large", "a-small", "c-done"]
        assert (await select(worker, sort="age"))[0] == ["b-large", "a-small", "c-done"]
        assert (await select(worker, sort="-active"))[0][0] == "b-large"


async def test_uploads_with_a_problem_are_those_that_an_operator_must_see(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        failed, cancelled = await worker.ticket(), await worker.ticket()
        await worker.upload(failed)
        await worker.services.tickets.update(failed, lambda known: known.move(Event.CALL, 0).refuse("no", 0))
        await act(worker, cancelled, "cancel")
        response = await worker.fetch("GET", "/incoming/status/now?state=problem")
        assert [upload["id"] for upload in json.loads(response.body)["uploads"]] == [failed]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("state=faild", "state 'faild' is unknown; did you mean 'failed'?"),
        ("sort=xyz", "order 'xyz' is unknown; there are active, age,"),
        ("text=" + "x" * 201, "the search text has 201 characters, the limit is 200"),
    ],
)
async def test_a_selection_that_does_not_exist_is_refused(query: str, text: str, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        response = await worker.fetch("GET", f"/incoming/status/now?{query}")
        assert (response.code, response.body.decode()[: len(text)]) == (400, text)


# --- one upload, and many -------------------------------------------------------------------------------------------


async def test_the_details_have_timeline_url_and_answer(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket(backendSecret="very secret", maxSize="10MB")
        await worker.upload(ticket)

        def refuse(known: Any) -> Any:
            return known.move(Event.CALL, 0).noted(0, "answer", "attempt 1: no").refuse("no", 0)

        await worker.services.tickets.update(ticket, refuse)
        response = await worker.fetch("GET", f"/incoming/status/uploads/{ticket[:8].upper()}")
        assert response.code == 200, response.body
        assert b"very secret" not in response.body
        details = json.loads(response.body)
        seen = [entry["event"] for entry in details["timeline"]]
        assert seen == ["created", "uploading", "arrived", "handing_over", "answer", "failed"]
        expected = {"id": ticket, "answer": "attempt 1: no", "callback_url": "http://127.0.0.1:9/done", "signed": True}
        assert {name: details[name] for name in expected} == expected
        assert details["max_size"] == 10_000_000
        await act(worker, ticket, "retry")
        response = await worker.fetch("GET", f"/incoming/status/uploads/{ticket}")
        assert [entry["event"] for entry in json.loads(response.body)["timeline"]][-2:] == ["retried", "arrived"]


@pytest.mark.parametrize(
    ("beginning", "status"), [("1234567", 400), ("00000000", 404), ("x" * 300, 404), ("%25%25%25%25%25%25%25%25", 404)]
)
async def test_details_of_no_upload_are_refused(beginning: str, status: int, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        await worker.ticket()
        assert (await worker.fetch("GET", f"/incoming/status/uploads/{beginning}")).code == status


async def bulk(
    worker: OneWorker, action: str, body: bytes | dict[str, Any], headers: Mapping[str, str] | None = None
) -> HTTPResponse:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {CSRF_HEADER: "1"} if headers is None else dict(headers)
    return await worker.fetch("POST", f"/incoming/status/uploads/{action}", content, given)


async def test_many_are_cancelled_at_once_and_each_has_its_outcome(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ids = [await worker.ticket() for _ in range(3)]
        await worker.upload(ids[0])
        response = await bulk(worker, "cancel", {"ids": [*ids, ids[1].upper(), "nobody"]})
        assert response.code == 200
        answer = json.loads(response.body)
        assert answer["done"] == 2
        outcomes = {one["id"]: one.get("state") or one["refused"] for one in answer["uploads"]}
        assert {one: outcomes[one] for one in ids[1:]} == dict.fromkeys(ids[1:], "cancelled")
        assert outcomes[ids[0]].startswith("too late to cancel")
        assert outcomes["nobody"].startswith("unknown ticket")
        assert [await worker.state(one) for one in ids] == ["arrived", "cancelled", "cancelled"]


async def test_many_are_retried_at_once(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ids = [await worker.ticket() for _ in range(2)]
        for one in ids:
            await worker.upload(one)
            await worker.services.tickets.update(one, lambda known: known.move(Event.CALL, 0).refuse("no", 0))
        assert json.loads((await bulk(worker, "retry", {"ids": ids})).body)["done"] == 2
        assert [await worker.state(one) for one in ids] == ["arrived", "arrived"]


@pytest.mark.parametrize(
    "body", [b"", b"x", b"[]", b"{}", b'{"ids": "a"}', b'{"ids": [1]}', b'{"ids": []}', b"[" * 60000]
)
async def test_a_bulk_action_without_ids_is_refused(body: bytes, tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        assert (await bulk(worker, "cancel", body)).code == 400


async def test_a_bulk_action_is_bounded(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        response = await bulk(worker, "cancel", {"ids": ["x"] * (MAX_SELECTED + 1)})
        assert (response.code, response.body) == (400, b"201 ids were given; a bulk action takes 1 to 200")


# --- who may --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {CSRF_HEADER: "1", "Origin": "https://evil.example"},
        {CSRF_HEADER: "1", "Origin": "null"},
        {CSRF_HEADER: "1", "Origin": "http://127.0.0.1"},
        {CSRF_HEADER: "1", "Sec-Fetch-Site": "cross-site"},
        {CSRF_HEADER: "1", "Sec-Fetch-Site": "same-site"},
        {CSRF_HEADER: "1", "X-Forwarded-For": "127.0.0.1"},
    ],
)
async def test_pages_of_other_sites_can_do_nothing(headers: dict[str, str], tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        ticket = await worker.ticket()
        assert (await act(worker, ticket, "cancel", headers)).code == 403
        assert (await bulk(worker, "cancel", {"ids": [ticket]}, headers)).code == 403
        assert await worker.state(ticket) == "new"
        if headers:
            for path in ("/incoming/status/now", f"/incoming/status/uploads/{ticket}"):
                assert (await worker.fetch("GET", path, headers=headers)).code == 403


async def test_the_page_itself_may_act(tmp_path: Path) -> None:
    async with one_worker(tmp_path) as worker:
        headers = {CSRF_HEADER: "1", "Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{worker.port}"}
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
        assert (await worker.fetch("GET", UPLOAD)).code == 403
        assert (await bulk(worker, "cancel", {"ids": ["nobody"]})).code == 403
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
        for response in (
            await act(worker, "nobody", "cancel"),
            await bulk(worker, "cancel", {"ids": ["nobody"]}),
            await worker.fetch("GET", UPLOAD),
        ):
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
