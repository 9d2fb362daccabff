"""What else the PUT endpoint is asked: the library's hello and its pieces, pause, cancel and the status."""

import asyncio

import pytest

from incoming.core.extents import Extents
from tests.integration.handlers.conftest import LogLines, files, look, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, post
from tests.support.raw_http import RawConnection, chunked, request
from tests.support.stores import until

# --- the library's pieces ---------------------------------------------------------------------------------------------


def hello(ticket_id: str, session: str = "session-1", **more: object) -> bytes:
    message = {"type": "hello", "session": session, "size": 100, "name": "a.bin", **more}
    return post(ticket_id, message)


async def test_the_librarys_protocol_works_over_http(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    welcome = (await connection.ask(hello(ticket_id))).json
    assert (welcome["type"], welcome["epoch"], welcome["extents"], welcome["state"]) == ("welcome", 1, [], "uploading")
    assert {"chunk_min", "chunk_max", "window", "connections", "ping_interval", "max_rate"} < welcome.keys()
    query = "?session=session-1&epoch=1"
    assert (await connection.ask(piece(ticket_id, 0, 40, query=query))).status == 308
    assert (await connection.ask(post(ticket_id, {"type": "pause", "epoch": 1}))).json == {"type": "paused"}
    assert (await connection.ask(hello(ticket_id, epoch=1))).json["type"] == "welcome"  # had been on its way
    assert (await connection.ask(request("GET", path(ticket_id)))).json["paused"]
    welcome = (await connection.ask(hello(ticket_id))).json
    assert (welcome["epoch"], welcome["extents"]) == (1, [[0, 40]])
    assert not (await connection.ask(request("GET", path(ticket_id)))).json["paused"]
    assert (await connection.ask(piece(ticket_id, 40, 100, query=query))).status == 200
    assert (await connection.ask(hello(ticket_id, epoch=1))).json["state"] == "arrived"
    connection.close()


@pytest.mark.parametrize("step", ["open", "settled"])
async def test_a_client_that_disconnects_during_its_hello_leaves_nothing(
    worker: OneWorker, step: str, monkeypatch: pytest.MonkeyPatch, log_lines: LogLines
) -> None:
    """While its upload is opened, or while the file is completed."""
    ticket_id = await worker.ticket()
    reached, resume = asyncio.Event(), asyncio.Event()
    original = getattr(worker.services.upload_service, step)

    async def slow(*given: object) -> object:
        result = await original(*given)
        reached.set()
        await resume.wait()
        return result

    monkeypatch.setattr(worker.services.upload_service, step, slow)
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(hello(ticket_id))
    await reached.wait()
    assert worker.services.upload_service.uploads()
    connection.reset()
    await until(lambda: not worker.services.requests, "the request having ended")
    resume.set()
    await until(lambda: not worker.services.upload_service.uploads(), "the upload having been released")
    assert log_lines() == ([] if step == "open" else [f"upload {ticket_id}: client connected"])


async def test_pieces_of_a_superseded_session_are_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, hello(ticket_id))
    await ask(worker, piece(ticket_id, 0, 10, query="?epoch=1"))
    await ask(worker, hello(ticket_id, "session-2"))
    for asked in (
        piece(ticket_id, 10, 20, 100, "Accept: application/json", query="?epoch=1"),
        hello(ticket_id, epoch=1),
        post(ticket_id, {"type": "pause", "epoch": 1}),
    ):
        answer = await ask(worker, asked)
        assert (answer.status, answer.json["code"], answer.json["retry"]) == (409, 204, False)
    assert (await look(worker, ticket_id)).extents == Extents([(0, 10)])
    assert (await ask(worker, piece(ticket_id, 10, 20, query="?epoch=2"))).status == 308
    assert (await ask(worker, piece(ticket_id, 20, 30))).status == 308, "without an epoch at any"


async def test_a_takeover_ends_a_piece_in_progress(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, hello(ticket_id))
    connection = await RawConnection.open(worker.port)
    headers = ("Content-Range: bytes 0-99/100", "Accept: application/json")
    await connection.send(request("PUT", path(ticket_id, "?epoch=1"), *headers, length=100) + CONTENT[:40])

    async def arrived() -> bool:
        return (await look(worker, ticket_id)).extents == Extents([(0, 40)])

    await until(arrived, "the first part being stored")
    await ask(worker, hello(ticket_id, "session-2"))
    answer = await connection.ask(CONTENT[40:])
    assert (answer.status, answer.json["code"]) == (409, 204)
    assert (await look(worker, ticket_id)).extents == Extents([(0, 40)])
    connection.close()


async def test_concurrent_pieces_make_the_file(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, hello(ticket_id))
    answers = await asyncio.gather(
        *(ask(worker, piece(ticket_id, start, start + 10, query="?epoch=1")) for start in range(0, 100, 10))
    )
    assert {200} <= {answer.status for answer in answers} <= {200, 308}
    assert stored(worker, await look(worker, ticket_id)) == CONTENT


@pytest.mark.parametrize("epoch", ["x", "-1", "1.0", "9" * 17, "%D9%A1"])
async def test_a_malformed_epoch_is_refused(worker: OneWorker, epoch: str) -> None:
    ticket_id = await worker.ticket()
    asked = piece(ticket_id, 0, 10, 100, "Accept: application/json", query=f"?epoch={epoch}")
    answer = await ask(worker, asked)
    assert (answer.status, answer.json["code"]) == (400, 101)


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        (b"", 400, 100),
        (b"nonsense", 400, 100),
        (b"\xff\xfe", 400, 100),
        (b"[]", 400, 100),
        (b'{"type":"hello"}', 400, 100),
        (b'{"type":"ping"}', 400, 100),
        (b'{"type":"pong"}', 400, 100),
        (b'{"type":"cancel","type":"pause"}', 400, 100),
        (b"[" * 15_000, 400, 100),
        (b'{"type":"cancel","reason":"' + b"x" * 1025 + b'"}', 400, 100),
        (b" " * 16_385, 413, 103),
        (b" " * 3_000_000, 413, 103),
    ],
)
async def test_bad_control_messages_are_refused(
    worker: OneWorker, message: bytes, status: int, code: int, log_lines: LogLines
) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(post(ticket_id, message) + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.json["code"]) == (status, code)
    assert (behind.status, behind.json["state"]) == (200, "new")
    connection.close()
    assert len(log_lines()) <= 1


async def test_a_chunked_control_message_that_is_too_large_is_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    asked = request("POST", path(ticket_id), "Transfer-Encoding: chunked", length=-1) + chunked(b" " * 20_000)
    await connection.send(asked + request("GET", path(ticket_id)))
    assert [(await connection.answer()).status for _ in range(2)] == [413, 200]
    connection.close()


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.promise(108)
@pytest.mark.parametrize("how", ["DELETE", "POST"])
async def test_cancelling_is_answered(worker: OneWorker, how: str) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, piece(ticket_id, 0, 40))
    cancel = (
        request("DELETE", path(ticket_id, "?reason=changed%20my%20mind"))
        if how == "DELETE"
        else post(ticket_id, {"type": "cancel", "reason": "changed my mind"})
    )
    for _ in range(2):
        answer = await ask(worker, cancel)
        assert answer.status == 200
        assert (answer.json["state"], answer.json["reason"]) == ("cancelled", "changed my mind")
    ticket = await look(worker, ticket_id)
    assert ticket.callback is not None
    assert ticket.callback.cancelled
    assert not files(worker).part(ticket_id).exists()


@pytest.mark.parametrize("how", ["DELETE", "POST"])
async def test_a_file_in_the_apps_hands_cannot_be_cancelled(worker: OneWorker, how: str) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, piece(ticket_id, 0, 100))
    cancel = (
        request("DELETE", path(ticket_id), "Accept: application/json")
        if how == "DELETE"
        else post(ticket_id, {"type": "cancel"})
    )
    answer = await ask(worker, cancel)
    assert (answer.status, answer.json["code"]) == (412, 300)
    assert await worker.state(ticket_id) == "arrived"


async def test_cancelling_ends_a_body_in_progress(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), "Accept: application/json", length=100) + CONTENT[:40])
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    await worker.call("cancel_upload", id=ticket_id)
    answer = await connection.ask(CONTENT[40:])
    assert (answer.status, answer.json["code"]) == (410, 302)
    connection.close()


# --- status -----------------------------------------------------------------------------------------------------------


async def test_the_status_has_every_documented_field(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, request("GET", path(ticket_id)))).json == {
        "id": ticket_id, "name": None, "size": None, "arrived": 0, "extents": [], "paused": False, "state": "new",
        "reason": "", "code": None, "chunk_min": 65536, "chunk_max": 8388608,
    }  # fmt: skip
    await ask(worker, piece(ticket_id, 10, 40, query="?filename=a"))
    status = (await ask(worker, request("GET", path(ticket_id)))).json
    assert (status["name"], status["size"], status["arrived"], status["extents"]) == ("a", 100, 30, [[10, 40]])


async def test_a_waiting_request_is_answered_when_the_state_changes(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    waiting = asyncio.create_task(ask(worker, request("GET", path(ticket_id, "?wait=20"))))
    told = asyncio.create_task(ask(worker, request("GET", path(ticket_id, "?wait=20&state=new"))))
    await until(lambda: worker.services.upload_service._listeners._listeners, "somebody waiting")
    assert (await ask(worker, request("GET", path(ticket_id, "?wait=20&state=uploading")))).json["state"] == "new"
    await worker.call("cancel_upload", id=ticket_id)
    assert [(await task).json["state"] for task in (waiting, told)] == ["cancelled", "cancelled"]
    assert (await ask(worker, request("GET", path(ticket_id, "?wait=20&state=cancelled")))).json["state"] == "cancelled"


async def test_a_waiting_request_is_answered_in_time(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, request("GET", path(ticket_id, "?wait=1")))).json["state"] == "new"


async def test_a_waiting_client_that_disconnects_is_forgotten(worker: OneWorker, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("GET", path(ticket_id, "?wait=1")))
    await until(lambda: worker.services.upload_service._listeners._listeners, "it waiting")
    connection.close()
    await until(lambda: not worker.services.upload_service._listeners._listeners, "it being forgotten")
    assert log_lines() == []


@pytest.mark.parametrize("seconds", ["x", "-1", "1.5", "99999", "1e3"])
async def test_a_malformed_waiting_time_is_refused(worker: OneWorker, seconds: str) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, request("GET", path(ticket_id, f"?wait={seconds}"), "Accept: application/json"))
    assert (answer.status, answer.json["code"]) == (400, 101)


async def test_a_waiting_request_ends_with_its_connection(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.handlers.upload.upload_resource.LONG_POLL", 3600.0)
    ticket_id = await worker.ticket()
    listeners = worker.services.upload_service._listeners._listeners
    connections = [await RawConnection.open(worker.port) for _ in range(20)]
    for connection in connections:
        await connection.send(request("GET", path(ticket_id, "?wait=3600")))
    await until(lambda: len(listeners.get(ticket_id, ())) == 20, "all of them waiting")
    for connection in connections[::2]:
        connection.close()
    for connection in connections[1::2]:
        connection.reset()
    await until(lambda: not listeners, "nobody waiting any more")
    await until(lambda: not worker.services.requests, "the requests having ended")
