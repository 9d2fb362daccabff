"""The request that waits for news of several uploads."""

import asyncio
import json

import pytest

from incoming.wire.wait_request import MAX_WAITING
from tests.integration.handlers.conftest import StartWorker
from tests.support.one_worker import OneWorker
from tests.support.put_requests import ask, post
from tests.support.raw_http import RawConnection, request
from tests.support.stores import until

PATH = "/incoming/0.1/frontend/uploads/wait"
HELLO = {"type": "hello", "session": "session-1", "size": 100, "name": "a.bin"}


def waiting(uploads: object, wait: object = 0, *headers: str) -> bytes:
    body = json.dumps({"uploads": uploads, "wait": wait}).encode()
    return request("POST", PATH, "Accept: application/json", *headers, body=body)


def seen(*tickets: str, state: str = "uploading") -> list[dict[str, str]]:
    return [{"id": ticket_id, "state": state} for ticket_id in tickets]


async def begun(worker: OneWorker) -> str:
    ticket_id = await worker.ticket()
    await ask(worker, post(ticket_id, HELLO))
    return ticket_id


async def test_one_request_waits_for_several_uploads(worker: OneWorker) -> None:
    one, other = await begun(worker), await begun(worker)
    connection = await RawConnection.open(worker.port)
    asked = asyncio.create_task(connection.ask(waiting(seen(one, other), 20)))
    await until(lambda: other in worker.services.upload_service._listeners._listeners, "the waiting")
    assert worker.services.connection_limiter._strangers == {}, "who has a ticket is not in the way"
    await ask(worker, post(other, {"type": "cancel", "reason": "enough"}))
    answer = await asked
    assert answer.json["type"] == "news"
    [news] = answer.json["uploads"]
    assert (news["id"], news["state"], news["reason"]) == (other, "cancelled", "enough")
    # The same connection goes on.
    news = (await connection.ask(waiting(seen(one, state="waiting"), 20))).json["uploads"]
    assert [(upload["id"], upload["state"], upload["arrived"]) for upload in news] == [(one, "uploading", 0)]
    assert (await connection.ask(waiting(seen(one), 0))).json["uploads"] == []
    connection.close()


async def test_a_waiting_request_ends_with_its_connection(worker: OneWorker) -> None:
    ticket_id = await begun(worker)
    connection = await RawConnection.open(worker.port)
    await connection.send(waiting(seen(ticket_id), 20))
    listeners = worker.services.upload_service._listeners._listeners
    await until(lambda: listeners, "the waiting")
    connection.close()
    await until(lambda: not listeners, "its end")


async def test_an_unknown_ticket_is_reported_at_once(worker: OneWorker) -> None:
    known = await begun(worker)
    answer = await ask(worker, waiting(seen(known.upper(), "nonsense"), 20))
    assert [(upload["id"], upload["error"]["code"]) for upload in answer.json["uploads"]] == [("nonsense", 200)]
    [upload] = (await ask(worker, waiting(seen(known.upper(), state="new"), 20))).json["uploads"]
    assert upload["id"] == known.upper(), "by the name that the client has for it"


@pytest.mark.parametrize(
    ("uploads", "wait", "status", "code", "named"),
    [
        (None, 0, 400, 100, "'uploads'"),
        ([], 0, 400, 100, f"1 to {MAX_WAITING}"),
        (seen(*map(str, range(MAX_WAITING + 1))), 0, 400, 100, f"{MAX_WAITING + 1} members"),
        (["t"], 0, 400, 100, "'uploads'"),
        ([{"id": "t"}], 0, 400, 100, "'state'"),
        ([{"id": 5, "state": "new"}], 0, 400, 100, "'id'"),
        (seen("t"), -1, 400, 100, "'wait'"),
        (seen("t"), "20", 400, 100, "'wait'"),
        (seen("t" * 20_000), 0, 413, 103, "16384"),
    ],
)
async def test_a_malformed_request_is_refused(
    uploads: object, wait: object, status: int, code: int, named: str, worker: OneWorker
) -> None:
    answer = await ask(worker, waiting(uploads, wait))
    assert (answer.status, answer.json["code"]) == (status, code)
    assert named in answer.json["message"]


async def test_pages_of_other_origins_get_what_they_may_see(worker: OneWorker) -> None:
    free = await begun(worker)
    bound = await worker.ticket(allowedOrigins="https://app.example.org")
    answer = await ask(worker, waiting(seen(free, bound, state="waiting"), 0, "Origin: https://other.example.org"))
    assert answer.headers["access-control-allow-origin"] == "https://other.example.org"
    found = {upload["id"]: upload for upload in answer.json["uploads"]}
    assert found[bound].keys() == {"id", "error"}
    assert (found[bound]["error"]["code"], found[free]["state"]) == (203, "uploading")
    preflight = request("OPTIONS", PATH, "Origin: https://other.example.org", "Access-Control-Request-Method: POST")
    assert (await ask(worker, preflight)).status == 204
    wrong = await ask(worker, request("GET", PATH))
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")


async def test_a_server_for_certain_origins_refuses_others(start_worker: StartWorker) -> None:
    worker = await start_worker("--allowed-origins=https://app.example.org")
    answer = await ask(worker, waiting(seen("t"), 0, "Origin: https://other.example.org"))
    assert (answer.status, answer.json["code"]) == (403, 203)
