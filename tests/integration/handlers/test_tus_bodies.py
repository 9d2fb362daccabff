"""Bodies of tus that do not reach their end, senders that meet, disks that fail."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import State
from tests.integration.handlers.conftest import LogLines, StartWorker, files, look, reaches, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask
from tests.support.raw_http import Answer, RawConnection
from tests.support.raw_websocket import RawWebSocket, chunk, hello
from tests.support.stores import until
from tests.support.tus_requests import STREAM, checksum, create, offset, part, patch, tus

Begin = Callable[[OneWorker, bytes], Awaitable[RawConnection]]


@pytest.fixture
def begin(io_loop: IOLoop) -> Iterator[Begin]:
    """Coroutine that makes a request whose body does not end; it has been written as far as it is there."""
    connections: list[RawConnection] = []

    async def begin(worker: OneWorker, asked: bytes) -> RawConnection:
        before = files(worker).faults.calls["write"]
        connections.append(connection := await RawConnection.open(worker.port))
        await connection.send(asked)
        await until(lambda: files(worker).faults.calls["write"] > before, "the first part being written")
        return connection

    yield begin

    async def close() -> None:
        for connection in connections:
            connection.close()

    io_loop.run_sync(close)


def unfinished(ticket_id: str, *headers: str) -> bytes:
    """40 of 100 bytes."""
    return patch(ticket_id, 0, CONTENT[:40], *headers, length=100)


async def created(worker: OneWorker) -> str:
    ticket_id = await worker.ticket()
    assert (await ask(worker, create(ticket_id))).status == 201
    return ticket_id


@pytest.mark.promise(3)
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("kind", ["PATCH", "POST"])
async def test_what_came_before_a_cut_is_kept(
    worker: OneWorker, begin: Begin, end: str, kind: str, log_lines: LogLines
) -> None:
    ticket_id = await created(worker)
    log_lines()
    creation = create(ticket_id, STREAM, body=CONTENT[:40], length=100)
    connection = await begin(worker, unfinished(ticket_id) if kind == "PATCH" else creation)
    getattr(connection, end)()
    await until(lambda: not worker.services.requests, "the request having ended")
    assert await offset(worker, ticket_id) == 40
    assert (await ask(worker, part(ticket_id, 40, 100))).status == 204
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT
    assert len(log_lines()) <= 2


@pytest.mark.parametrize("end", ["close", "reset"])
async def test_a_cut_body_with_a_checksum_is_discarded(worker: OneWorker, begin: Begin, end: str) -> None:
    ticket_id = await created(worker)
    connection = await begin(worker, unfinished(ticket_id, checksum(CONTENT)))
    getattr(connection, end)()
    await until(lambda: not worker.services.requests, "the request having ended")
    assert await offset(worker, ticket_id) == 0
    assert (await ask(worker, part(ticket_id, 0, 100, checksum(CONTENT)))).status == 204
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT


async def test_after_a_damaged_body_the_right_one_is_stored(worker: OneWorker) -> None:
    """Larger than what is read at once, so that its checksum is made on a thread."""
    ticket_id = await worker.ticket()
    content = bytes(range(256)) * 4096
    assert (await ask(worker, create(ticket_id, size=len(content)))).status == 201
    damaged = await ask(worker, patch(ticket_id, 0, b"x" + content[1:], checksum(content)))
    assert (damaged.status, damaged.reason) == (460, "Checksum Mismatch")
    assert (await ask(worker, patch(ticket_id, 0, content, checksum(content)))).status == 204
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == content


@pytest.mark.parametrize("newer", ["HEAD", "PATCH", "POST"])
async def test_a_newer_request_ends_the_one_in_progress_at_once(worker: OneWorker, begin: Begin, newer: str) -> None:
    ticket_id = await created(worker)
    old = await begin(worker, unfinished(ticket_id))
    if newer == "HEAD":
        assert await offset(worker, ticket_id) == 40
    elif newer == "PATCH":
        assert (await ask(worker, part(ticket_id, 40, 60))).status == 204
    else:
        assert (await ask(worker, create(ticket_id))).headers["upload-offset"] == "40"
    answer = await old.answer()
    assert (answer.status, answer.text) == (403, "the upload was taken over by another client")
    assert await old.is_closed()


async def test_the_offset_of_head_is_accepted_whatever_older_requests_send(worker: OneWorker, begin: Begin) -> None:
    ticket_id = await created(worker)
    old = await begin(worker, unfinished(ticket_id))
    start = await offset(worker, ticket_id)
    await old.send(b"x" * 60)
    assert (await ask(worker, part(ticket_id, start, 100))).status == 204
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT
    old.close()


async def test_a_websocket_is_notified_of_a_takeover(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(100))
    await socket.hear("welcome")
    await socket.send(chunk(0, CONTENT[:30]))
    await socket.hear("ack")
    assert await offset(worker, ticket_id) == 30
    assert (await socket.hear("error"))["code"] == 204
    assert (await ask(worker, part(ticket_id, 30, 100))).status == 204
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT
    socket.close()


async def test_a_websocket_takes_an_append_over(worker: OneWorker, begin: Begin) -> None:
    ticket_id = await created(worker)
    old = await begin(worker, unfinished(ticket_id))
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(100))
    assert (await socket.hear("welcome"))["extents"] in ([[0, 40]], [])
    assert (await old.answer()).status == 403
    socket.close()


async def test_cancelling_ends_a_silent_append(worker: OneWorker, begin: Begin) -> None:
    ticket_id = await created(worker)
    old = await begin(worker, unfinished(ticket_id))
    assert (await ask(worker, tus("DELETE", ticket_id))).status == 204
    assert (await old.answer()).status == 410


async def test_a_draining_worker_asks_for_a_retry_and_keeps_the_bytes(start_worker: StartWorker, begin: Begin) -> None:
    worker = await start_worker()
    ticket_id = await created(worker)
    old = await begin(worker, unfinished(ticket_id))
    draining = asyncio.create_task(worker.services.upload_service.drain())
    answer = await old.answer()
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    await draining
    assert (await look(worker, ticket_id)).extents == Extents([(0, 40)])
    assert (await ask(worker, part(ticket_id, 40, 100))).status == 503


async def test_a_stalled_body_is_answered_with_a_retry(start_worker: StartWorker, begin: Begin) -> None:
    worker = await start_worker("--dead-after", "0.4", "--ping-interval", "0.2")
    ticket_id = await created(worker)
    connection = await begin(worker, unfinished(ticket_id))
    answer = await connection.answer()
    assert (answer.status, answer.headers["retry-after"], answer.text) == (503, "1", "nothing came for 0.4 s")
    assert await offset(worker, ticket_id) == 40


@pytest.mark.parametrize(("error", "after"), [(StorageFull("full"), "10"), (StorageFailed("broken"), "5")])
@pytest.mark.parametrize("call", ["write", "complete"])
async def test_a_disk_error_is_answered_with_a_retry(
    worker: OneWorker, call: str, error: UploadError, after: str
) -> None:
    ticket_id = await created(worker)
    files(worker).faults.fail(call, error)
    answer = await ask(worker, part(ticket_id, 0, 100))
    assert files(worker).faults.hit[call] == 1
    assert (answer.status, answer.headers["retry-after"]) == (503, after)
    assert (await ask(worker, part(ticket_id, await offset(worker, ticket_id), 100))).status == 204
    assert stored(worker, await reaches(worker, ticket_id, State.ARRIVED)) == CONTENT


async def test_a_disk_that_loses_bytes_is_no_takeover(worker: OneWorker, begin: Begin) -> None:
    ticket_id = await created(worker)
    connection = await begin(worker, unfinished(ticket_id))

    async def has_come() -> bool:
        return (await look(worker, ticket_id)).extents.prefix == 40

    await until(has_come, "the first bytes")
    files(worker).faults.fail("sync", StorageFailed("EIO"))
    [upload] = worker.services.upload_service._uploads.values()
    with pytest.raises(StorageFailed):
        await upload.checkpoints.take()
    assert (await connection.answer()).status == 503
    assert await offset(worker, ticket_id) == 0


async def test_appends_have_no_more_connections_than_others(start_worker: StartWorker, begin: Begin) -> None:
    worker = await start_worker("--connections-per-upload", "1")
    ticket_id = await created(worker)
    first = await begin(worker, unfinished(ticket_id))
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(100))
    await socket.hear("welcome")
    assert (await first.answer()).status in (403, 503)
    socket.close()


async def test_a_client_that_goes_while_its_upload_is_claimed_leaves_nothing(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket_id = await created(worker)
    claimed, go_on = asyncio.Event(), asyncio.Event()
    original = worker.services.upload_service.claim

    async def slow(*given: object) -> object:
        upload = await original(*given)  # type: ignore[arg-type]
        claimed.set()
        await go_on.wait()
        return upload

    monkeypatch.setattr(worker.services.upload_service, "claim", slow)
    connection = await RawConnection.open(worker.port)
    await connection.send(unfinished(ticket_id))
    await claimed.wait()
    connection.reset()
    go_on.set()
    await until(lambda: not worker.services.requests, "the request having ended")


async def test_a_large_body_at_another_offset_is_not_read(worker: OneWorker) -> None:
    """A browser has repeated a request whose connection broke: the rest of the file would go over the line in vain."""
    ticket_id = await worker.ticket()
    await ask(worker, create(ticket_id, size=10**8))
    await ask(worker, patch(ticket_id, 0, CONTENT))
    connection = await RawConnection.open(worker.port)
    await connection.send(patch(ticket_id, 0, CONTENT, length=10**7))
    answer = await connection.answer()
    assert (answer.status, answer.headers["upload-offset"]) == (409, "100")
    assert await connection.is_closed()
    connection.close()


async def test_a_refused_body_leaves_the_connection_usable(worker: OneWorker) -> None:
    ticket_id = await created(worker)
    connection = await RawConnection.open(worker.port)
    await connection.send(part(ticket_id, 50, 100) + part(ticket_id, 0, 50))
    answers: list[Answer] = [await connection.answer(), await connection.answer()]
    assert [answer.status for answer in answers] == [409, 204]
    connection.close()
