"""Rare but legal ways to send a PUT: all are taken; a PUT that is no file's bytes, or has no end, is refused."""

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import State
from tests.integration.handlers.conftest import LogLines, look, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, put
from tests.support.raw_http import RawConnection, chunked, request
from tests.support.raw_websocket import RawWebSocket

JSON = "Accept: application/json"


# --- the chunked coding -----------------------------------------------------------------------------------------------


def in_chunks(ticket_id: str, *parts: bytes) -> bytes:
    return request("PUT", path(ticket_id), "Transfer-Encoding: chunked", JSON, length=-1) + b"".join(parts)


@pytest.mark.parametrize(
    "body",
    [
        b"5;a=b\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0;last\r\n\r\n",
        b'2;chunk-signature="x;y"\r\nhe\r\n3 ; a\r\nllo\r\n000\r\n\r\n',
        b"5\r\nhello\r\n0\r\nX-Digest: abc\r\nX-More:\r\n\r\n",
        b"5\r\nhello\r\n0\r\nContent-Length: 7\r\nHost: other\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"X-A: %b\r\n" % (b"x" * 1000) * 16 + b"\r\n",
    ],
)
@pytest.mark.parametrize("how", ["at once", "byte by byte"])
async def test_extensions_and_trailers_are_ignored(worker: OneWorker, body: bytes, how: str) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    whole = in_chunks(ticket_id, body)
    if how == "at once":
        await connection.send(whole + request("GET", path(ticket_id)))
    else:
        head = len(whole) - len(body)
        await connection.send(whole[:head])
        for position in range(head, len(whole)):
            await connection.send(whole[position : position + 1])
        await connection.send(request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.json["size"]) == (200, 5)
    assert behind.json["id"] == ticket_id
    assert stored(worker, await look(worker, ticket_id)) == b"hello"
    connection.close()


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"5;a=%b\r\nhello\r\n0\r\n\r\n" % (b"x" * 2000), 400, "more than 1024 bytes"),
        (b"5\r\nhello\r\n0\r\n" + b"X-A: %b\r\n" % (b"x" * 1000) * 17 + b"\r\n", 431, "more than 16384 bytes"),
        (b"5\r\nhello\r\n0\r\nX-A: " + b"x" * 20_000, 431, "more than 16384 bytes"),
        (b"g\r\nhello\r\n", 400, "chunk-size line"),
        (b"5\r\nhello\r\n0\r\nnonsense\r\n\r\n", 400, "trailer line"),
    ],
)
async def test_broken_chunked_coding_is_reported_and_keeps_what_came(
    worker: OneWorker, body: bytes, status: int, text: str, log_lines: LogLines
) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(in_chunks(ticket_id, body))
    received = await connection.everything()
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert text.encode() in received
    connection.close()
    assert (await look(worker, ticket_id)).state in (State.NEW, State.UPLOADING), "an unfinished body is no file"
    assert len(log_lines()) <= 2


# --- no length --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("told", [None, "bytes 0-99/100", "bytes 0-*/100"])
async def test_a_put_without_a_length_gets_411(worker: OneWorker, told: str | None) -> None:
    ticket_id = await worker.ticket()
    headers = () if told is None else (f"Content-Range: {told}",)
    answer = await ask(worker, request("PUT", path(ticket_id), JSON, *headers, length=-1))
    assert (answer.status, answer.json["code"]) == (411, 108)
    assert (await look(worker, ticket_id)).state == State.NEW, "the ticket is not spent"
    assert (await ask(worker, piece(ticket_id, 0, 100))).status == 200


async def test_a_status_request_needs_no_length(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for told, status in (("bytes */100", 308), ("bytes */*", 308)):
        asked = request("PUT", path(ticket_id), f"Content-Range: {told}", length=-1)
        assert (await ask(worker, asked)).status == status


# --- forms ------------------------------------------------------------------------------------------------------------

FORMS = ["multipart/form-data; boundary=x", "Multipart/Form-Data", "application/x-www-form-urlencoded; charset=utf-8"]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("told", [None, "bytes 0-99/100", "chunked"])
async def test_a_form_is_not_taken_for_the_file(worker: OneWorker, form: str, told: str | None) -> None:
    ticket_id = await worker.ticket()
    if told == "chunked":
        headers = ("Transfer-Encoding: chunked", f"Content-Type: {form}", JSON)
        asked = request("PUT", path(ticket_id), *headers, length=-1) + chunked(CONTENT)
    else:
        asked = put(ticket_id, told, f"Content-Type: {form}", JSON, body=CONTENT)
    connection = await RawConnection.open(worker.port)
    await connection.send(asked + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.json["code"]) == (415, 107)
    assert "as they are" in answer.json["message"]
    assert (behind.json["state"], behind.json["extents"]) == ("new", []), "nothing was stored"
    connection.close()
    assert (await ask(worker, piece(ticket_id, 0, 100))).status == 200, "the ticket is not spent"


async def test_a_form_for_a_complete_file_is_refused_too(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await worker.upload(ticket_id, CONTENT)
    answer = await ask(worker, put(ticket_id, None, f"Content-Type: {FORMS[0]}", JSON, body=CONTENT))
    assert (answer.status, answer.json["code"]) == (415, 107)


# --- targets and tickets ----------------------------------------------------------------------------------------------


async def test_absolute_targets_are_taken(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    target = f"http://uploads.example.org:{worker.port}{path(ticket_id)}"
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", f"{target}?filename=a.bin", body=CONTENT) + request("GET", target))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.json["name"]) == (200, "a.bin")
    assert behind.json["arrived"] == 100
    connection.close()


@pytest.mark.parametrize("hosts", [(), ("Host: a", "Host: b")])
async def test_an_absolute_target_replaces_no_host_that_is_missing_or_doubled(
    worker: OneWorker, hosts: tuple[str, ...]
) -> None:
    lines = ["GET http://127.0.0.1/incoming/frontend/incoming.js HTTP/1.1", *hosts, "", ""]
    connection = await RawConnection.open(worker.port)
    await connection.send("\r\n".join(lines).encode())
    assert (await connection.everything()).startswith(b"HTTP/1.1 400 ")
    connection.close()


async def test_tickets_are_accepted_in_upper_case(worker: OneWorker) -> None:
    """RFC 9562 section 4: UUIDs are read case-insensitively."""
    ticket_id = await worker.ticket()
    assert (await ask(worker, piece(ticket_id.upper(), 0, 40))).status == 308
    socket = await RawWebSocket.welcomed(worker.port, ticket_id.upper())
    socket.close()
    assert (await look(worker, ticket_id)).extents == Extents([(0, 40)])
    answer = await ask(worker, request("GET", path(ticket_id.upper())))
    assert answer.json["id"] == ticket_id
    assert await worker.call("cancel_upload", id=ticket_id.upper()) == (200, "ok")
    assert (await look(worker, ticket_id)).state == State.CANCELLED
