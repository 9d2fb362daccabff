"""The WebSocket at a failing disk, a worker that ends, and peers that are silent, slow or do not read."""

import asyncio
import time
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import pytest

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import State
from tests.integration.handlers.conftest import LogLines, StartWorker, files, holds, look, reaches
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT
from tests.support.raw_websocket import RawWebSocket, chunk, error_of, hello, text
from tests.support.stores import until

# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "after"), [(StorageFull("full"), 10), (StorageFailed("broken"), 5)])
async def test_a_disk_error_is_answered_with_a_retry(worker: OneWorker, error: UploadError, after: int) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT[:10]))
    await socket.until_acked((0, 10))
    files(worker).faults.fail("write", error)
    await socket.send(chunk(10, CONTENT[10:20]))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (error.code, 4000 + error.code)
    assert (messages[-1]["retry"], messages[-1]["retry_after"]) == (True, after)
    assert files(worker).faults.hit["write"] == 1
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(epoch=1))
    assert (await again.hear())["extents"] == [[0, 10]]
    for one in (socket, again):
        one.close()


async def test_bytes_that_a_disk_lost_are_requested_again(start_worker: StartWorker) -> None:
    worker = await start_worker("--checkpoint-bytes", "20", "--checkpoint-seconds", "3600")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).lose_unsynced(ticket_id)
    await socket.send(chunk(0, CONTENT[:30]))
    messages, code = await socket.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (502, True, 4502)
    assert files(worker).faults.hit["lost"] == 1
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(epoch=1))
    welcome = await again.hear()
    assert (welcome["extents"], welcome["epoch"]) == ([], 3)
    await again.send(chunk(0, CONTENT))
    await again.until_acked((0, 100))
    await reaches(worker, ticket_id, State.ARRIVED)
    for one in (socket, again):
        one.close()


async def test_a_loss_that_another_worker_noticed_is_not_a_takeover(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await worker.services.tickets.update(ticket_id, lambda known: known.distrust())
    messages, code = await socket.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (502, True, 4502)
    socket.close()


async def test_a_worker_that_shuts_down_asks_its_clients_to_reconnect(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    late = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT[:10]))
    await socket.until_acked((0, 10))
    draining = asyncio.create_task(worker.services.upload_service.drain())
    await late.send(hello(epoch=1))
    for one in (socket, late):
        messages, code = await one.end()
        assert (error_of(messages), messages[-1]["retry"], messages[-1]["retry_after"], code) == (500, True, 1, 4500)
        one.close()
    await draining
    assert (await look(worker, ticket_id)).synced == Extents([(0, 10)])


async def test_a_defect_is_reported_and_logged(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)

    async def broken(*given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker.services.upload_service, "pause", broken)
    await socket.send(text({"type": "pause"}))
    messages, code = await socket.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (599, True, 4599)
    assert "ZeroDivisionError" in caplog.text
    socket.close()


# --- life and death ---------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_pinged_and_lives(start_worker: StartWorker) -> None:
    worker = await start_worker("--ping-interval", "0.2", "--dead-after", "1")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket())
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        assert await socket.hear() == {"type": "ping"}
        await socket.send(text({"type": "pong"}))
    socket.close()


async def test_silence_never_lasts_longer_than_the_interval(start_worker: StartWorker) -> None:
    """Also after words that came between two pings."""
    worker = await start_worker("--ping-interval", "2")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket())
    assert await socket.hear() == {"type": "ping"}
    await asyncio.sleep(0.3)
    await socket.send(text({"type": "ping"}))
    assert await socket.hear() == {"type": "pong"}
    async with asyncio.timeout(3):
        assert await socket.hear() == {"type": "ping"}
    socket.close()


async def test_a_dead_connection_is_freed(start_worker: StartWorker, log_lines: LogLines) -> None:
    """Half-open: nothing comes any more, and nobody says so."""
    worker = await start_worker("--ping-interval", "0.2", "--dead-after", "0.6")
    ticket_id = await worker.ticket()
    idle = await RawWebSocket.welcomed(worker.port, ticket_id)
    in_a_chunk = await RawWebSocket.welcomed(worker.port, ticket_id)
    await in_a_chunk.send(chunk(0, CONTENT)[:50])
    log_lines()
    for socket in (idle, in_a_chunk):
        messages, code = await socket.end()
        assert (error_of(messages), code) == (504, 4504)
    await until(lambda: holds(worker) == [], "both being forgotten")
    for socket in (idle, in_a_chunk):
        socket.close()
    assert log_lines() == []


async def test_a_slow_connection_is_not_a_dead_one(start_worker: StartWorker) -> None:
    """One chunk takes four times as long as silence may; pings cannot be answered meanwhile."""
    worker = await start_worker("--ping-interval", "0.5", "--dead-after", "1", "--minimum-rate", "0")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    message = chunk(0, CONTENT)
    began = time.monotonic()
    position = 0
    while time.monotonic() - began < 4.0:
        await socket.send(message[position : position + 1])
        position += 1
        await asyncio.sleep(0.1)
    assert await socket.hear() == {"type": "ping"}, "it has no ack to know by that we live"
    await socket.send(message[position:])
    await socket.until_acked((0, 100))
    socket.close()


async def test_a_slow_disk_is_not_the_clients_fault(start_worker: StartWorker) -> None:
    worker = await start_worker("--ping-interval", "0.2", "--dead-after", "0.5")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).faults.hold("write")
    await socket.send(chunk(0, CONTENT))
    await files(worker).faults.until_held("write")
    await asyncio.sleep(1.5)
    files(worker).faults.release("write")
    await socket.until_acked((0, 100))
    socket.close()


async def test_a_peer_that_does_not_read_is_not_read(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not want to know of what it gets: acks and answers must not pile up, nor be waited for for ever."""
    monkeypatch.setattr("incoming.handlers.upload.websocket.sender.CLOSE_TIMEOUT", 0.2)
    monkeypatch.setattr("incoming.handlers.upload.websocket.sender.MAX_QUEUED", 50)
    worker = await start_worker("--ping-interval", "0.5", "--dead-after", "1")
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), receive_buffer=4096)
    await socket.send(hello(1000))
    await socket.hear("welcome")
    [seat] = seats(worker)
    seat.ws_connection.stream.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, 4096)
    socket.connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    burst = b"".join(text({"type": "ping"}) + chunk(0, b"x") for _ in range(1000))
    largest = 0

    async def send() -> None:
        while not socket.connection.writer.is_closing():
            await socket.send(burst)
            await asyncio.sleep(0)  # what fails at once gives nobody else a turn

    def over() -> bool:
        nonlocal largest
        largest = max(largest, len(seat._outlet._acks) + len(seat._outlet._messages))
        return not seats(worker)

    sending = asyncio.create_task(send())
    await until(over, "the server giving it up", 60)
    sending.cancel()
    socket.connection.reset()
    assert 50 < largest < 500


def seats(worker: OneWorker) -> list[Any]:
    return [seat for taken in worker.services.upload_connections._taken.values() for seat in taken]
