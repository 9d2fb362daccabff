"""How an upload over the WebSocket changes hands and ends: taken over, paused, cancelled, and its outcome told."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from incoming.core.ticket import Event, Ticket
from tests.integration.handlers.conftest import StartWorker, files, look
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT
from tests.support.raw_websocket import RawWebSocket, chunk, error_of, hello, text
from tests.support.stores import until

# --- taking over ------------------------------------------------------------------------------------------------------


@pytest.mark.promise(3)
async def test_a_new_session_takes_over_within_a_second(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    old = await RawWebSocket.welcomed(worker.port, ticket_id)
    await old.send(chunk(0, CONTENT[:10]))
    await old.until_acked((0, 10))
    new = await RawWebSocket.open(worker.port, ticket_id)
    began = time.monotonic()
    await new.send(hello(session="session-2"))
    welcome = await new.hear()
    assert (welcome["epoch"], welcome["extents"]) == (2, [[0, 10]])
    messages, code = await old.end()
    assert time.monotonic() - began < 1.0
    assert (error_of(messages), messages[-1]["retry"], code) == (204, False, 4204)
    back = await RawWebSocket.open(worker.port, ticket_id)
    await back.send(hello(epoch=1))
    assert error_of((await back.end())[0]) == 204, "by itself it does not take the upload back"
    await new.send(chunk(10, CONTENT[10:]))
    await new.until_acked((10, 100))
    for socket in (old, new, back):
        socket.close()


async def test_a_reconnect_does_not_wait_for_a_half_open_connection(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    half_open = await RawWebSocket.welcomed(worker.port, ticket_id)
    await half_open.send(chunk(0, CONTENT)[:50])
    again = await RawWebSocket.welcomed(worker.port, ticket_id, epoch=1)
    await again.send(chunk(0, CONTENT))
    await again.until_acked((0, 100))
    half_open.close()
    again.close()


async def test_connections_of_one_uploader_share_the_upload(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    sockets = [await RawWebSocket.welcomed(worker.port, ticket_id) for _ in range(4)]
    for index, socket in enumerate(sockets):
        await socket.send(chunk(25 * index, CONTENT[25 * index : 25 * index + 25]))
    for index, socket in enumerate(sockets):
        await socket.until_acked((25 * index, 25 * index + 25))
        assert (await socket.hear("state"))["state"] == "arrived"
        socket.close()
    assert Path((await look(worker, ticket_id)).location.address).read_bytes() == CONTENT


async def test_beyond_the_limit_the_most_idle_connection_is_closed(start_worker: StartWorker) -> None:
    worker = await start_worker("--connections-per-upload", "2")
    ticket_id = await worker.ticket()
    silent, busy = [await RawWebSocket.welcomed(worker.port, ticket_id) for _ in range(2)]
    await silent.send(text({"type": "ping"}))
    await silent.hear("pong")
    await busy.send(chunk(0, CONTENT[:10]))
    await busy.until_acked((0, 10))
    third = await RawWebSocket.welcomed(worker.port, ticket_id, epoch=1)
    messages, code = await silent.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (503, True, 4503)
    for index, socket in enumerate((busy, third)):
        await socket.send(chunk(10 + index, b"x"))
        await socket.until_acked((10 + index, 11 + index))
    for socket in (silent, busy, third):
        socket.close()


# --- pausing, cancelling ----------------------------------------------------------------------------------------------


@pytest.mark.promise(4)
async def test_pausing_waits_for_what_was_sent_before(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).faults.hold("write")
    await socket.send(chunk(0, CONTENT[:10]), text({"type": "pause"}))
    await files(worker).faults.until_held("write")
    files(worker).faults.release("write")
    assert [(await socket.hear())["type"] for _ in range(2)] == ["ack", "paused"]
    assert (await look(worker, ticket_id)).paused
    socket.close()
    await until(lambda: not worker.services.upload_service.uploads(), "the connection being forgotten")
    late = await RawWebSocket.welcomed(worker.port, ticket_id, epoch=1)
    assert (await look(worker, ticket_id)).paused, "it had been on its way"
    again = await RawWebSocket.welcomed(worker.port, ticket_id)
    assert not (await look(worker, ticket_id)).paused
    late.close()
    again.close()


@pytest.mark.promise(108, 112)
async def test_cancelling_is_answered(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT[:10]), text({"type": "cancel", "reason": "changed my mind"}))
    messages, code = await socket.end()
    assert messages[-1] == {"type": "state", "state": "cancelled", "reason": "changed my mind", "code": None}
    assert code == 1000
    ticket = await look(worker, ticket_id)
    assert ticket.callback is not None
    assert ticket.callback.cancelled
    await until(lambda: not files(worker).part(ticket_id).exists(), "the bytes being removed")
    socket.close()


async def test_a_file_in_the_apps_hands_cannot_be_cancelled(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT))
    await socket.hear("state")
    await socket.send(text({"type": "cancel"}))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (300, 4300)
    assert await worker.state(ticket_id) == "arrived"
    socket.close()


async def test_cancelling_by_the_backend_reaches_the_page(worker: OneWorker) -> None:
    """All connections hear of it at once, as a state and not as an error."""
    ticket_id = await worker.ticket()
    sockets = [await RawWebSocket.welcomed(worker.port, ticket_id) for _ in range(2)]
    assert (await worker.call("cancel_upload", id=ticket_id))[0] == 200
    for socket in sockets:
        messages, code = await socket.end()
        assert [(message["type"], message["state"]) for message in messages] == [("state", "cancelled")]
        assert code == 1000
        socket.close()


async def test_cancelling_with_chunks_in_progress_is_answered(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).faults.hold("write")
    await socket.send(chunk(0, CONTENT[:10]), chunk(10, CONTENT[10:20]))
    await files(worker).faults.until_held("write")
    cancelling = asyncio.create_task(worker.call("cancel_upload", id=ticket_id))
    messages, code = await socket.end()
    assert ([message["type"] for message in messages], code) == (["state"], 1000)
    files(worker).faults.release("write")
    assert (await cancelling)[0] == 200
    await until(lambda: not files(worker).part(ticket_id).exists(), "the bytes being removed")
    socket.close()


# --- the outcome ------------------------------------------------------------------------------------------------------


async def outcome_of(worker: OneWorker, ticket_id: str, **more: object) -> tuple[list[dict[str, Any]], int | None]:
    """What a browser that comes late is told."""
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(**more))
    told = await socket.end()
    socket.close()
    return told


async def test_every_failed_callback_is_reported_to_the_page(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await worker.upload(ticket_id, CONTENT)
    tickets = worker.services.tickets

    def attempt(number: int, error: str) -> Callable[[Ticket], Ticket]:
        def change(known: Ticket) -> Ticket:
            assert known.callback is not None
            return known.move(Event.CALL, 0, callback=replace(known.callback, attempts=number, last_error=error))

        return change

    async def told() -> tuple[str, str]:
        message = await socket.hear("state")
        return message["state"], message["reason"]

    assert await told() == ("arrived", "")
    await tickets.update(ticket_id, attempt(1, ""))
    assert await told() == ("handing_over", "")
    for number in (1, 2):
        await tickets.update(ticket_id, attempt(number, "it answered 404"))
        state, reason = await told()
        assert state == "handing_over"
        assert reason.startswith("your file has arrived safely")
        assert f"(attempt {number})" in reason
    await tickets.update(ticket_id, lambda known: known.answered("wait", 0))
    assert await told() == ("waiting", "")
    socket.close()


@pytest.mark.parametrize("outcome", ["finished", "failed", "cancelled"])
async def test_a_late_reconnect_learns_the_outcome(worker: OneWorker, outcome: str) -> None:
    ticket_id = await worker.ticket()
    tickets = worker.services.tickets
    (await RawWebSocket.welcomed(worker.port, ticket_id)).close()
    if outcome == "cancelled":
        await worker.call("cancel_upload", id=ticket_id)
    else:
        await worker.upload(ticket_id, CONTENT)
        now = time.time()
        await tickets.update(ticket_id, lambda known: known.move(Event.CALL, now))
        await tickets.update(
            ticket_id,
            lambda known: known.answered("done", now) if outcome == "finished" else known.refuse("no thanks", now),
        )
    for more in ({}, {"epoch": 1}, {"session": "session-2", "epoch": 1}):
        messages, code = await outcome_of(worker, ticket_id, **more)
        assert [message["type"] for message in messages] == ["welcome", "state"]
        assert messages[0]["state"] == messages[1]["state"] == outcome
        assert messages[1]["code"] == (303 if outcome == "failed" else None)
        assert code == 1000


async def test_every_change_of_state_is_reported(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT))
    states = [(await socket.hear("state"))["state"]]
    now = time.time()
    tickets = worker.services.tickets
    for change in (
        lambda known: known.move(Event.CALL, now),
        lambda known: known.answered("wait", now),
        lambda known: known.finish(now),
    ):
        await tickets.update(ticket_id, change)
        states.append((await socket.hear("state"))["state"])
    assert states == ["arrived", "handing_over", "waiting", "finished"]
    assert await socket.end() == ([], 1000)
    socket.close()
