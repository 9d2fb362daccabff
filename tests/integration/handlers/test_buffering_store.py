"""A store that buffers: only what it reports as durable is committed and acknowledged, and nothing waits for ever."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.ticket import Ticket
from incoming.storage.open import open_stores
from incoming.uploads.writes import flush_schedule
from tests.support.one_worker import OneWorker, one_worker
from tests.support.part_store import PartStore, part_files
from tests.support.put_requests import ask, post
from tests.support.raw_http import RawConnection, request
from tests.support.raw_websocket import RawWebSocket, chunk, hello, text
from tests.support.stores import until

PART = 100_000
SIZE = 250_000
CONTENT = bytes(offset * 37 % 251 for offset in range(SIZE))

StartWorker = Callable[..., Awaitable[OneWorker]]


@pytest.fixture
def start_worker(tmp_path: Path, io_loop: IOLoop, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartWorker]:
    """Coroutine that starts a worker whose store has parts of PART bytes."""
    monkeypatch.setattr("incoming.storage.open.FileStore", part_files(PART))
    stack = AsyncExitStack()
    workers: list[OneWorker] = []

    async def start(*options: str) -> OneWorker:
        workers.append(await stack.enter_async_context(one_worker(tmp_path / "storage", *options)))
        return workers[-1]

    yield start

    async def end() -> None:
        for worker in workers:
            service, memory = worker.services.upload_service, worker.services.memory_budget
            await until(lambda: not service._uploads and not memory.used, "nothing being held")  # noqa: B023
            assert not store(worker)._buffers
        await stack.aclose()

    io_loop.run_sync(end)


@pytest.fixture
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is buffered is not flushed because time passes."""
    monkeypatch.setattr(flush_schedule, "FLUSH_QUIET", 3600.0)


def store(worker: OneWorker) -> PartStore:
    assert isinstance(worker.services.store, PartStore)
    return worker.services.store


async def look(worker: OneWorker, ticket_id: str) -> Ticket:
    return await worker.services.upload_service.get_ticket(ticket_id)


def piece(start: int, end: int) -> bytes:
    return chunk(start, CONTENT[start:end])


async def reaches(worker: OneWorker, ticket_id: str, *extents: tuple[int, int]) -> None:
    async def has() -> bool:
        return (await look(worker, ticket_id)).extents == Extents(extents)

    await until(has, f"{extents} being committed")


@pytest.mark.usefixtures("never_by_itself")
async def test_a_chunk_is_acknowledged_when_its_part_is_whole(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    await socket.send(piece(0, 60_000))
    await until(lambda: store(worker).buffered(ticket_id).size == 60_000, "the store having the first chunk")
    assert (await look(worker, ticket_id)).extents == Extents()
    await socket.send(piece(60_000, 130_000))
    await socket.until_acked((0, 60_000))
    await reaches(worker, ticket_id, (0, PART))  # of the second chunk only what is durable
    assert store(worker).buffered(ticket_id) == Extents([(PART, 130_000)])
    await socket.send(piece(130_000, 200_000))
    await socket.until_acked((60_000, 130_000), (130_000, 200_000))
    assert (await look(worker, ticket_id)).extents == Extents([(0, 200_000)])
    assert store(worker).flushed[ticket_id] == []
    socket.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_received_bytes_are_reported_before_they_are_safe(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    first = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    await first.send(piece(0, 60_000))
    report = await first.hear("received")
    assert (report["extents"], report["ranges"]) == ([], [[0, 60_000]])
    answer = await ask(worker, request("GET", f"/incoming/frontend/upload/{ticket_id}"))
    status = json.loads(answer.text)
    assert (status["arrived"], status["received"]) == (0, 60_000)
    second = await RawWebSocket.open(worker.port, ticket_id)
    await second.send(hello(SIZE))
    welcome = await second.hear("welcome")
    assert (welcome["extents"], welcome["received"]) == ([], [[0, 60_000]])
    first.close()
    await second.send(piece(60_000, PART))
    await second.until_acked((60_000, PART))
    report = await second.hear("received")
    assert (report["extents"], report["ranges"]) == ([[0, PART]], [])
    second.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_received_bytes_that_are_lost_are_no_longer_reported(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    first = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    second = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    await first.send(piece(0, 60_000))
    assert (await second.hear("received"))["ranges"] == [[0, 60_000]]
    store(worker).flush_errors.append(StorageFailed("no disk"))
    first.close()
    await second.send(text({"type": "pause"}))
    report = await second.hear("received")
    assert (report["extents"], report["ranges"]) == ([], [])
    assert not store(worker).flush_errors
    second.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_the_last_part_may_be_short(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    for start in (200_000, 100_000, 0):
        await socket.send(piece(start, min(start + PART, SIZE)))
    assert (await socket.hear("state"))["state"] == "arrived"
    assert Path((await look(worker, ticket_id)).location.address).read_bytes() == CONTENT
    assert sorted(store(worker).parts[ticket_id]) == [(0, 100_000), (100_000, 200_000), (200_000, SIZE)]
    socket.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_a_file_of_unknown_size_is_flushed_when_its_size_is_known(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    path = f"/incoming/frontend/upload/{ticket_id}"
    headers = ("Transfer-Encoding: chunked", "Content-Type: application/octet-stream")
    half = b"%x\r\n%b\r\n" % (150_000, CONTENT[:150_000]) + b"%x\r\n%b\r\n0\r\n\r\n" % (100_000, CONTENT[150_000:])
    answer = await connection.ask(request("PUT", path, *headers, length=-1) + half)
    assert answer.status == 200, answer.text
    assert Path((await look(worker, ticket_id)).location.address).read_bytes() == CONTENT
    connection.close()


@pytest.mark.usefixtures("never_by_itself")
@pytest.mark.parametrize("end", ["close", "reset", "pause", "put"])
async def test_what_is_buffered_is_flushed_at_the_end_of(start_worker: StartWorker, end: str) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    if end == "put":
        connection = await RawConnection.open(worker.port)
        headers = (f"Content-Range: bytes 0-29999/{SIZE}", "Content-Type: application/octet-stream")
        path = f"/incoming/frontend/upload/{ticket_id}"
        answer = await connection.ask(request("PUT", path, *headers, body=CONTENT[:30_000]))
        assert (answer.status, answer.headers["range"]) == (308, "bytes=0-29999")
        connection.close()
    else:
        socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
        await socket.send(piece(0, 30_000))
        await until(lambda: store(worker).buffered(ticket_id).size == 30_000, "the store having it")
        if end == "pause":
            await socket.send(text({"type": "pause"}))
            await socket.until_acked((0, 30_000))
            await socket.hear("paused")
        if end == "reset":
            socket.connection.reset()
        else:
            socket.close()
    await reaches(worker, ticket_id, (0, 30_000))
    assert store(worker).flushed[ticket_id] == [(0, 30_000)]


async def test_a_sender_that_waits_for_its_acknowledgement_gets_it(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flush_schedule, "FLUSH_QUIET", 0.05)
    worker = await start_worker()
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    for start in (0, 30_000):
        await socket.send(piece(start, start + 30_000))
        await socket.until_acked((start, start + 30_000))
    assert store(worker).flushed[ticket_id] == [(0, 30_000), (30_000, 60_000)]
    socket.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_a_slow_line_makes_progress(start_worker: StartWorker) -> None:
    """Bytes that never cease to come, and never are a whole part."""
    worker = await start_worker("--park-after", "100ms")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)

    async def sent() -> None:
        for start in range(0, 90_000, 1000):
            await socket.send(piece(start, start + 1000))
            await asyncio.sleep(0.005)

    sending = asyncio.create_task(sent())
    await socket.until_acked((0, 1000))
    await sending
    await until(lambda: store(worker).flushed[ticket_id], "a flush")
    socket.close()


@pytest.mark.usefixtures("never_by_itself")
@pytest.mark.parametrize("options", [("--chunk-max=20KB", "--chunk-min=1KB"), ("--memory=1MiB",)])
async def test_a_full_memory_is_flushed_and_never_exceeded(start_worker: StartWorker, options: tuple[str, ...]) -> None:
    """Parts that are larger than what may be held of them: without a flush nothing would be received any more."""
    worker = await start_worker(*options)
    limits = worker.services.settings
    store(worker).part_bytes = 64 * limits.memory
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, 4 * 1024 * 1024)
    length = min(16 * 1024, limits.chunk_max)
    most = min(limits.memory, 2 * limits.chunk_max) + 2 * 1024 * 1024
    for start in range(0, 3 * 1024 * 1024 - length, length):
        await socket.send(chunk(start, bytes(length)))
        assert store(worker).buffered(ticket_id).size <= most
    await until(lambda: len(store(worker).flushed[ticket_id]) > 1, "flushes")
    socket.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_bytes_buffered_when_a_worker_died_are_sent_again(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    await socket.send(piece(0, 130_000))
    await until(lambda: store(worker).buffered(ticket_id).size == 30_000, "the store having it")
    await reaches(worker, ticket_id, (0, PART))
    other = await open_stores(worker.services.settings)  # another worker's, for which this one is as good as dead
    known = await other.tickets.get(ticket_id)
    await other.close()
    assert known is not None
    assert known.extents == Extents([(0, PART)])
    socket.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_buffered_bytes_of_an_earlier_session_never_count(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    old = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    await old.send(chunk(0, b"x" * 60_000))
    await until(lambda: store(worker).buffered(ticket_id).size == 60_000, "the store having it")
    new = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE, session="session-2")
    await old.end()
    assert (await look(worker, ticket_id)).extents == Extents()
    await new.send(piece(60_000, PART))
    await until(lambda: store(worker).buffered(ticket_id) == Extents([(60_000, PART)]), "only the new bytes")
    await new.send(piece(0, 60_000), piece(PART, SIZE))
    assert (await new.hear("state"))["state"] == "arrived"
    assert Path((await look(worker, ticket_id)).location.address).read_bytes() == CONTENT
    new.close()
    old.close()


@pytest.mark.usefixtures("never_by_itself")
async def test_after_a_failed_flush_the_bytes_are_requested_again(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    store(worker).flush_errors.append(StorageFailed("the store is away"))
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    await socket.send(piece(0, 30_000), text({"type": "pause"}))
    messages, _ = await socket.end()
    socket.close()
    assert [message["code"] for message in messages if message["type"] == "error"] == [StorageFailed.code]
    assert not [message for message in messages if message["type"] == "ack"]
    assert (await look(worker, ticket_id)).extents == Extents()
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(SIZE, "session-1"))
    assert (await again.hear("welcome"))["extents"] == []
    await again.send(piece(0, SIZE))
    assert (await again.hear("state"))["state"] == "arrived"
    again.close()


# --- the parts as clients are told of them ----------------------------------------------------------------------------


async def test_welcome_and_status_have_the_size_of_parts(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    path = f"/incoming/frontend/upload/{ticket_id}"
    unknown = json.loads((await worker.fetch("GET", path)).body)
    assert "alignment" not in unknown, "the size is not known"
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(SIZE))
    assert (await socket.hear("welcome"))["alignment"] == PART
    socket.close()
    assert json.loads((await worker.fetch("GET", path)).body)["alignment"] == PART
    message = {"type": "hello", "session": "session-2", "name": "a.bin", "size": SIZE}
    assert (await ask(worker, post(ticket_id, message))).json["alignment"] == PART


async def test_the_size_of_parts_stays_what_it_was_when_the_size_became_known(start_worker: StartWorker) -> None:
    worker = await start_worker()
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, SIZE)
    socket.close()
    store(worker).part_bytes = 7
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(SIZE, "session-2"))
    assert (await again.hear("welcome"))["alignment"] == PART
    again.close()
    later = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, later)
    await socket.send(hello(SIZE))
    assert (await socket.hear("welcome"))["alignment"] == 7
    socket.close()
