"""A PUT that does not reach its end: cut, stalled, framed as nonsense, before a failing disk, at a worker that ends."""

import asyncio
import time

import pytest

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import State
from tests.integration.handlers.conftest import LogLines, StartWorker, files, look, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, put
from tests.support.raw_http import RawConnection, chunked, request
from tests.support.stores import until

# --- what does not reach the end --------------------------------------------------------------------------------------


@pytest.mark.promise(3)
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("told", [None, "bytes 0-99/100", "chunked"])
async def test_bytes_before_a_cut_are_kept(worker: OneWorker, end: str, told: str | None, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    connection = await RawConnection.open(worker.port)
    if told == "chunked":
        asked = request("PUT", path(ticket_id), "Transfer-Encoding: chunked", length=-1)
        await connection.send(asked + b"64\r\n" + CONTENT[:40])
    else:
        headers = () if told is None else (f"Content-Range: {told}",)
        await connection.send(request("PUT", path(ticket_id), *headers, length=100) + CONTENT[:40])
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    getattr(connection, end)()
    await until(lambda: not worker.services.requests, "the request having ended")
    answer = await ask(worker, put(ticket_id, "bytes */100"))
    assert (answer.status, answer.headers["range"]) == (308, "bytes=0-39")
    assert (await look(worker, ticket_id)).size == 100
    assert len(log_lines()) <= 1
    assert (await ask(worker, piece(ticket_id, 40, 100))).status == 200


async def test_a_client_that_misses_the_answer_finds_the_file_complete(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    files(worker).faults.hold("write")
    await connection.send(piece(ticket_id, 0, 100))
    await files(worker).faults.until_held("write")
    connection.reset()
    files(worker).faults.release("write")
    await until(lambda: not worker.services.requests, "the request having ended")

    async def arrived() -> bool:
        return await worker.state(ticket_id) == "arrived"

    await until(arrived, "the file")
    assert (await ask(worker, piece(ticket_id, 0, 100))).status == 200


async def test_a_client_that_disconnects_during_the_lookup_leaves_nothing(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time between the headers and the moment when something must be given back."""
    ticket_id = await worker.ticket()
    opened = asyncio.Event()
    go_on = asyncio.Event()
    original = worker.services.upload_service.open_plain

    async def slow(*given: object) -> object:
        upload = await original(*given)  # type: ignore[arg-type]
        opened.set()
        await go_on.wait()
        return upload

    monkeypatch.setattr(worker.services.upload_service, "open_plain", slow)
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=100) + CONTENT[:40])
    await opened.wait()
    connection.reset()
    go_on.set()
    await until(lambda: not worker.services.requests, "the request having ended")


@pytest.mark.parametrize("ticket", ["known", "unknown"])
@pytest.mark.parametrize("method", ["PUT", "POST", "GET", "DELETE"])
async def test_a_stalled_body_is_given_up(start_worker: StartWorker, method: str, ticket: str) -> None:
    """Also one that is not needed: of an unknown ticket, or of a method that has none."""
    worker = await start_worker("--dead-after", "0.4", "--ping-interval", "0.2")
    ticket_id = await worker.ticket() if ticket == "known" else "unknown"
    connection = await RawConnection.open(worker.port)
    await connection.send(request(method, path(ticket_id), length=100) + b"x" * 40)
    answer = await connection.everything()
    if ticket == "unknown":
        assert answer.startswith(b"HTTP/1.1 404 ")
    else:
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert answer.endswith(b"\r\n\r\nnothing came for 0.4 s")
    if (method, ticket) == ("PUT", "known"):
        assert (await look(worker, ticket_id)).extents == Extents([(0, 40)])
    connection.close()


async def test_a_body_that_makes_progress_is_not_given_up(start_worker: StartWorker) -> None:
    worker = await start_worker("--dead-after", "1.5", "--ping-interval", "1", "--minimum-rate", "0")
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    began = time.monotonic()
    await connection.send(request("PUT", path(ticket_id), length=100))
    position = 0
    while time.monotonic() - began < 4.0:
        await connection.send(CONTENT[position : position + 1])
        position += 1
        await asyncio.sleep(0.1)
    await connection.send(CONTENT[position:])
    assert (await connection.answer()).status == 200
    connection.close()


async def test_a_slow_disk_is_not_the_clients_fault(start_worker: StartWorker) -> None:
    worker = await start_worker("--dead-after", "0.3", "--ping-interval", "0.2")
    ticket_id = await worker.ticket()
    files(worker).faults.hold("write")
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=100) + CONTENT[:40])
    await files(worker).faults.until_held("write")
    await asyncio.sleep(1.0)
    files(worker).faults.release("write")
    await connection.send(CONTENT[40:])
    assert (await connection.answer()).status == 200
    connection.close()


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "after"), [(StorageFull("full"), "10"), (StorageFailed("broken"), "5")])
@pytest.mark.parametrize("call", ["write", "complete"])
async def test_a_disk_error_is_answered_with_a_retry(
    worker: OneWorker, error: UploadError, after: str, call: str
) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, piece(ticket_id, 0, 40))).status == 308
    files(worker).faults.fail(call, error)
    connection = await RawConnection.open(worker.port)
    await connection.send(piece(ticket_id, 40, 100, 100, "Accept: application/json") + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (503, after, error.code)
    assert answer.json["retry"]
    assert behind.json["state"] == "uploading"
    assert files(worker).faults.hit[call] == 1
    prefix = (await ask(worker, put(ticket_id, "bytes */100"))).headers.get("range", "bytes=0--1")
    assert (await ask(worker, piece(ticket_id, int(prefix.split("-", 1)[1]) + 1, 100))).status == 200
    assert stored(worker, await look(worker, ticket_id)) == CONTENT
    connection.close()


async def test_a_disk_error_within_a_body_keeps_what_was_committed(worker: OneWorker) -> None:
    """The rest is read and thrown away, so that the client can read the answer."""
    ticket_id = await worker.ticket()
    files(worker).faults.fail("write", None, StorageFull("full"))
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=3_000_000) + bytes(1_000_000))
    await until(lambda: files(worker).faults.hit["write"] or worker.services.memory_budget.used == 0, "the fault")
    await connection.send(bytes(2_000_000) + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert answer.status == 503
    assert behind.status == 200
    connection.close()


async def test_a_worker_that_shuts_down_answers_with_retry_after(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    assert (await connection.ask(request("GET", path(ticket_id)))).status == 200
    await worker.services.upload_service.drain()
    answer = await connection.ask(piece(ticket_id, 0, 40, 100, "Accept: application/json"))
    assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (503, "1", 500)
    connection.close()


async def test_a_shutdown_does_not_cut_a_request_in_progress(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=100) + CONTENT[:40])
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    await worker.services.upload_service.drain()
    await connection.send(CONTENT[40:])
    assert (await connection.answer()).status == 200
    connection.close()


# --- framing ----------------------------------------------------------------------------------------------------------


def in_chunks(body: bytes) -> bytes:
    return request("PUT", "@", "Transfer-Encoding: chunked", length=-1) + body


BAD_FRAMING = {
    "length and chunked": request("PUT", "@", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
    "two lengths": request("PUT", "@", "Content-Length: 6", body=b"hello"),
    "length with a sign": request("PUT", "@", "Content-Length: +5", length=-1) + b"hello",
    "length with an underscore": request("PUT", "@", "Content-Length: 1_0", length=-1) + b"hello",
    "length in other digits": request("PUT", "@", "Content-Length: \xb2", length=-1) + b"he",
    "negative length": request("PUT", "@", "Content-Length: -1", length=-1),
    "length of 5000 digits": request("PUT", "@", "Content-Length: " + "9" * 5000, length=-1),
    "another coding": request("PUT", "@", "Transfer-Encoding: gzip, chunked", length=-1) + chunked(b"x"),
    "chunk size with a sign": request("PUT", "@", "Transfer-Encoding: chunked", length=-1)
    + b"+5\r\nhello\r\n0\r\n\r\n",
    "chunk without its end": request("PUT", "@", "Transfer-Encoding: chunked", length=-1) + b"5\r\nhelloX\r\n0\r\n\r\n",
    "no trailers": in_chunks(b"5\r\nhello\r\n0\r\nX-A\r\n\r\n"),
    "folded trailers": in_chunks(b"5\r\nhello\r\n0\r\nX-A: b\r\n c\r\n\r\n"),
    "trailers with a lone LF": in_chunks(b"5\r\nhello\r\n0\r\nX-A: b\n\nGET /a HTTP/1.1\r\n\r\n"),
    "chunk extension with a lone LF": in_chunks(b"5;a\nb\r\nhello\r\n0\r\n\r\n"),
    "chunk size and a space": in_chunks(b"5 \r\nhello\r\n0\r\n\r\n"),
    "chunk of 2^64": request("PUT", "@", "Transfer-Encoding: chunked", length=-1) + b"f" * 16 + b"\r\nhello",
    "folded header": request("PUT", "@", "Content-Range: bytes\r\n 0-4/100", body=b"hello"),
    "header without a colon": request("PUT", "@", "nonsense", body=b"hello"),
    "no host": b"PUT @ HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "not HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
}


@pytest.mark.parametrize("name", BAD_FRAMING)
async def test_bad_framing_ends_the_connection(worker: OneWorker, name: str, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    asked = BAD_FRAMING[name].replace(b"@", path(ticket_id).encode(), 1)
    connection = await RawConnection.open(worker.port)
    await connection.send(asked + request("GET", path(ticket_id)))
    received = await connection.everything()
    assert received == b"" or received.startswith(b"HTTP/1.1 400 ")
    assert received.count(b"HTTP/1.1") <= 1, "nothing behind it is taken for a request"
    assert received == b"" or received.partition(b"\r\n\r\n")[2], "it is said why"
    connection.close()
    assert len(log_lines()) <= 2
    assert (await look(worker, ticket_id)).state in (State.NEW, State.UPLOADING)


@pytest.mark.parametrize("cut", range(0, 200, 7))
async def test_a_cut_anywhere_loses_nothing_acknowledged(worker: OneWorker, cut: int, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    asked = piece(ticket_id, 0, 100)
    connection = await RawConnection.open(worker.port)
    await connection.send(asked[:cut])
    connection.close()
    await until(lambda: not worker.services.requests, "the request having ended")
    assert len(log_lines()) <= 1
    head = len(asked) - 100

    async def kept() -> bool:
        return (await look(worker, ticket_id)).extents == Extents([(0, max(0, cut - head))])

    await until(kept, "what had come being kept")
    assert (await ask(worker, piece(ticket_id, 0, 100))).status == 200
