"""A small file with its hello in one request: what is stored, what is answered, and what is refused."""

import asyncio
import json
import urllib.parse

import pytest

from incoming.core.ticket import State
from incoming.handlers.upload.whole_upload import MAX_WHOLE
from tests.integration.handlers.conftest import LogLines, StartWorker, files, look, reaches, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, post
from tests.support.raw_http import RawConnection, request
from tests.support.stores import until

HELLO = {"type": "hello", "session": "session-1", "size": 100, "name": "größe.bin", "fingerprint": "1-ab"}


def whole(
    ticket_id: str,
    *headers: str,
    body: bytes = CONTENT,
    length: int | None = None,
    method: str = "POST",
    **changes: object,
) -> bytes:
    query = "?" + urllib.parse.urlencode({"hello": json.dumps(HELLO | changes)})
    asked = ("Accept: application/json", *headers)
    if length is None:
        return request(method, path(ticket_id, f"/whole{query}"), *asked, body=body)
    return request(method, path(ticket_id, f"/whole{query}"), *asked, length=length) + body


async def test_a_file_arrives_with_its_hello(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, whole(ticket_id))
    welcome = answer.json
    assert (answer.status, welcome["type"], welcome["epoch"]) == (200, "welcome", 1)
    assert (welcome["state"], welcome["size"], welcome["extents"]) == ("arrived", 100, [[0, 100]])
    ticket = await look(worker, ticket_id)
    assert stored(worker, ticket) == CONTENT
    assert (ticket.identity.name, ticket.identity.fingerprint, ticket.session) == ("größe.bin", "1-ab", "session-1")


async def test_an_empty_file_arrives(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, whole(ticket_id, body=b"", length=0, size=0))).json["state"] == "arrived"


async def test_the_largest_one_arrives_and_a_larger_one_is_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, whole(ticket_id, body=bytes(MAX_WHOLE + 1), size=MAX_WHOLE + 1))
    assert (answer.status, answer.json["code"]) == (413, 103)
    assert await worker.state(ticket_id) == "new"
    assert (await ask(worker, whole(ticket_id, body=bytes(MAX_WHOLE), size=MAX_WHOLE))).json["state"] == "arrived"


async def test_what_is_there_stays_and_the_rest_is_stored(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, piece(ticket_id, 30, 60))).status == 308
    assert (await ask(worker, whole(ticket_id))).json["state"] == "arrived"
    assert stored(worker, await look(worker, ticket_id)) == CONTENT


async def test_the_same_request_again_gets_the_outcome(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, whole(ticket_id))
    again = await ask(worker, whole(ticket_id))
    assert (again.status, again.json["state"], again.json["epoch"]) == (200, "arrived", 1)
    await ask(worker, post(other := await worker.ticket(), {"type": "cancel", "reason": "no"}))
    assert (await ask(worker, whole(other))).json["state"] == "cancelled"
    assert not files(worker).part(other).exists()


async def test_another_file_is_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, piece(ticket_id, 0, 40, 99))
    answer = await ask(worker, whole(ticket_id))
    assert answer.json["code"] == 400
    other = await worker.ticket(maxSize="99")
    assert (await ask(worker, whole(other))).json["code"] == 401
    assert await worker.state(other) == "new"


async def test_bytes_before_a_cut_are_kept_and_the_usual_way_goes_on(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(whole(ticket_id, body=CONTENT[:40], length=100))
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    connection.reset()
    await until(lambda: not worker.services.requests, "the request having ended")
    welcome = (await ask(worker, post(ticket_id, HELLO))).json
    assert (welcome["state"], welcome["extents"], welcome["epoch"]) == ("uploading", [[0, 40]], 1)
    assert (await ask(worker, piece(ticket_id, 40, 100, query="?epoch=1&session=session-1"))).status == 200


async def test_a_client_that_misses_the_answer_finds_the_file_complete(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    files(worker).faults.hold("write")
    await connection.send(whole(ticket_id))
    await files(worker).faults.until_held("write")
    connection.reset()
    files(worker).faults.release("write")
    await reaches(worker, ticket_id, State.ARRIVED)
    assert (await ask(worker, post(ticket_id, HELLO))).json["state"] == "arrived"


async def test_an_upload_that_is_cancelled_meanwhile_says_so(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    files(worker).faults.hold("write")
    asked = asyncio.ensure_future(connection.ask(whole(ticket_id)))
    await files(worker).faults.until_held("write")
    cancelled = asyncio.ensure_future(ask(worker, post(ticket_id, {"type": "cancel", "reason": "no"})))

    async def is_cancelled() -> bool:
        return await worker.state(ticket_id) == "cancelled"

    await until(is_cancelled, "the cancellation")
    files(worker).faults.release("write")
    assert (await asked).json["code"] == 302
    assert (await cancelled).json["state"] == "cancelled"
    connection.close()


async def test_another_session_takes_over_meanwhile(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(whole(ticket_id, body=CONTENT[:40], length=100))
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    assert (await ask(worker, post(ticket_id, HELLO | {"session": "session-2"}))).json["epoch"] == 2
    await connection.send(CONTENT[40:])
    assert (await connection.answer()).json["code"] == 204
    connection.close()


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("", 400, 101),
        ("?hello=", 400, 100),
        ("?hello={}", 400, 100),
        ("?hello=%ff", 400, 100),
        ('?hello={"type":"cancel","reason":""}', 400, 101),
        ('?hello={"type":"hello","session":"short","size":100,"name":"x"}', 400, 100),
    ],
)
async def test_a_request_without_a_hello_is_refused(worker: OneWorker, query: str, status: int, code: int) -> None:
    ticket_id = await worker.ticket()
    target = path(ticket_id, f"/whole{urllib.parse.quote(query, safe='?=%')}")
    answer = await ask(worker, request("POST", target, "Accept: application/json", body=CONTENT))
    assert (answer.status, answer.json["code"]) == (status, code)
    assert await worker.state(ticket_id) == "new"


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"size": 99}, 100),
        ({"headers": ("Content-Type: multipart/form-data; boundary=x",)}, None),
        ({"headers": ("Content-Encoding: gzip",)}, None),
    ],
)
async def test_a_body_that_is_not_the_file_is_refused(
    worker: OneWorker, asked: dict[str, object], code: int | None
) -> None:
    ticket_id = await worker.ticket()
    headers = asked.pop("headers", ())
    answer = await ask(worker, whole(ticket_id, *headers, **asked))  # type: ignore[misc,arg-type]
    assert 400 <= answer.status < 500
    assert code in (None, answer.json["code"])
    assert await worker.state(ticket_id) == "new"


async def test_other_methods_and_tickets_are_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        answer = await ask(worker, whole(ticket_id, method=method))
        assert (answer.status, answer.headers["allow"]) == (405, "POST, OPTIONS"), method
    assert (await ask(worker, whole("unknown"))).json["code"] == 200
    assert await worker.state(ticket_id) == "new"


async def test_pages_of_other_hosts_may_read_it_if_they_are_allowed(start_worker: StartWorker) -> None:
    origin = "https://app.example.org"
    worker = await start_worker("--allowed-origins", origin)
    ticket_id = await worker.ticket()
    assert (await ask(worker, whole(ticket_id, "Origin: https://evil.example.org"))).json["code"] == 203
    assert await worker.state(ticket_id) == "new"
    answer = await ask(worker, whole(ticket_id, f"Origin: {origin}"))
    assert (answer.json["state"], answer.headers["access-control-allow-origin"]) == ("arrived", origin)


async def test_a_client_that_disconnects_while_the_upload_is_opened_leaves_nothing(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    ticket_id = await worker.ticket()
    reached, resume = asyncio.Event(), asyncio.Event()
    original = worker.services.upload_service.open

    async def slow(*given: object) -> object:
        result = await original(*given)  # type: ignore[arg-type]
        reached.set()
        await resume.wait()
        return result

    monkeypatch.setattr(worker.services.upload_service, "open", slow)
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(whole(ticket_id, body=CONTENT[:40], length=100))
    await reached.wait()
    connection.reset()
    resume.set()
    await until(lambda: not worker.services.requests, "the request having ended")
    await until(lambda: not worker.services.upload_service.uploads(), "the upload having been released")
    assert len(log_lines()) <= 1
