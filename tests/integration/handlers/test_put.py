"""The PUT endpoint, case by case as raw requests: status, headers, what is stored, and what the next request gets."""

import asyncio
import time
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import Event, State, Ticket
from tests.integration.handlers.conftest import LogLines, StartWorker, look, stored
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, put
from tests.support.raw_http import RawConnection, chunked, request
from tests.support.stores import until

# --- the table --------------------------------------------------------------------------------------------------------


@dataclass
class Case:
    """`sent` are requests without their path; the last one is the one in question."""

    name: str
    sent: list[tuple[str | None, bytes]]
    status: int
    safe: str | None = None
    """The Range of the answer."""
    extents: list[tuple[int, int]] = field(default_factory=list)
    headers: tuple[str, ...] = ()
    text: str = ""
    code: int | None = None


def part(start: int, end: int, total: object = 100) -> tuple[str, bytes]:
    return f"bytes {start}-{end - 1}/{total}", CONTENT[start:end]


CASES = [
    Case("first piece", [part(0, 40)], 308, "bytes=0-39", [(0, 40)]),
    Case("a piece and the next", [part(0, 40), part(40, 60)], 308, "bytes=0-59", [(0, 60)]),
    Case("last piece", [part(0, 40), part(40, 100)], 200, None, [(0, 100)]),
    Case("all at once", [part(0, 100)], 200, None, [(0, 100)]),
    Case("status of nothing", [("bytes */100", b"")], 308, None, []),
    Case("status without a total", [("bytes */*", b"")], 308, None, []),
    Case("status in the middle", [part(0, 40), ("bytes */100", b"")], 308, "bytes=0-39", [(0, 40)]),
    Case("status of a complete file", [part(0, 100), ("bytes */100", b"")], 200, None, [(0, 100)]),
    Case("the same without a total", [part(0, 100), ("bytes */*", b"")], 200, None, [(0, 100)]),
    Case("total unknown", [part(0, 40, "*")], 308, "bytes=0-39", [(0, 40)]),
    Case("total told later", [part(0, 40, "*"), part(40, 100)], 200, None, [(0, 100)]),
    Case("total told by a status query", [part(0, 100, "*"), ("bytes */100", b"")], 200, None, [(0, 100)]),
    Case("open end", [("bytes 0-*/100", CONTENT)], 200, None, [(0, 100)]),
    Case("open end, part of it", [("bytes 0-*/100", CONTENT[:30])], 308, "bytes=0-29", [(0, 30)]),
    Case("open end of curl", [part(0, 50), ("bytes 50-/100", CONTENT[50:])], 200, None, [(0, 100)]),
    Case("empty file", [("bytes */0", b"")], 200, None, []),
    Case("empty file as an open range", [("bytes 0-*/0", b"")], 200, None, []),
    Case("empty file as curl's open range", [("bytes 0-/0", b"")], 200, None, []),
    Case("nothing at the end", [part(0, 40), ("bytes 40-/100", b"")], 308, "bytes=0-39", [(0, 40)]),
    Case("nothing behind the end", [part(0, 40), ("bytes 100-/100", b"")], 308, "bytes=0-39", [(0, 40)]),
    Case("total no more told", [part(0, 40), part(40, 100, "*")], 200, None, [(0, 100)]),
    Case("leading zeros", [("bytes 000-039/0100", CONTENT[:40])], 308, "bytes=0-39", [(0, 40)]),
    Case("unit in capitals", [("BYTES 0-39/100", CONTENT[:40])], 308, "bytes=0-39", [(0, 40)]),
    Case("empty file without a range", [(None, b"")], 200, None, []),
    Case("whole file without a range", [(None, CONTENT)], 200, None, [(0, 100)]),
    Case("the rest as a whole file again", [part(0, 40), (None, CONTENT)], 200, None, [(0, 100)]),
    Case("overlap", [part(0, 40), part(20, 60)], 308, "bytes=0-59", [(0, 60)]),
    Case("overlap that completes", [part(0, 40), part(20, 100)], 200, None, [(0, 100)]),
    Case("gap", [part(0, 10), part(60, 80)], 308, "bytes=0-9", [(0, 10), (60, 80)]),
    Case("gap from the start", [part(60, 80)], 308, None, [(60, 80)]),
    Case("gap closed", [part(60, 100), part(0, 60)], 200, None, [(0, 100)]),
    Case("the same piece again", [part(0, 40), part(0, 40)], 308, "bytes=0-39", [(0, 40)]),
    Case("a piece after completion", [part(0, 100), part(20, 40)], 200, None, [(0, 100)]),
    Case("everything after completion", [part(0, 100), (None, CONTENT)], 200, None, [(0, 100)]),
    Case(
        "body shorter than the range", [("bytes 0-49/100", CONTENT[:49])], 400, code=102, text="50 bytes, the body 49"
    ),
    Case("body longer than the range", [("bytes 0-49/100", CONTENT[:51])], 400, code=102, text="50 bytes, the body 51"),
    Case("range beyond the total", [("bytes 50-149/100", CONTENT)], 400, code=102, text="reaches byte"),
    Case(
        "range beyond the file", [part(0, 10), ("bytes 50-149/*", CONTENT)], 400, None, [(0, 10)], code=102, text="100"
    ),
    Case("range backwards", [("bytes 50-10/100", CONTENT[:1])], 400, code=102),
    Case("status query with a body", [("bytes */100", b"x")], 400, code=102, text="empty body"),
    Case("another total", [part(0, 10), part(10, 20, 99)], 409, None, [(0, 10)], code=400, text="size was 100, now 99"),
    Case("a total below what is there", [part(0, 40, "*"), part(0, 5, 30)], 409, None, [(0, 40)], code=400),
    Case("another total after completion", [part(0, 100), part(0, 5, 30)], 409, None, [(0, 100)], code=400),
    Case("nonsense as range", [("bytes 0-", b"x")], 400, code=102),
    Case("a suffix range", [("bytes -5/100", b"x" * 6)], 400, code=102),
    Case("several ranges", [("bytes 0-4,6-9/100", b"x" * 9)], 400, code=102),
    Case("another unit", [("items 0-4/100", b"x" * 5)], 400, code=102),
    Case("plus sign", [("bytes +0-4/100", b"x" * 5)], 400, code=102),
    Case("underscore", [("bytes 0-1_0/100", b"x" * 11)], 400, code=102),
    Case("negative total", [("bytes 0-4/-1", b"x" * 5)], 400, code=102),
    Case("exponent", [("bytes 0-4/1e3", b"x" * 5)], 400, code=102),
    Case("other digits", [("bytes 0-4/\xb9", b"x" * 5)], 400, code=102),
    Case("2^53", [("bytes 0-4/9007199254740992", b"x" * 5)], 400, code=102),
    Case("2^53-1", [("bytes 0-4/9007199254740991", CONTENT[:5])], 308, "bytes=0-4", [(0, 5)]),
    Case("5000 digits", [("bytes 0-4/" + "9" * 5000, b"x" * 5)], 400, code=102),
    Case("spaces around it", [("  bytes 0-99/100 \t", CONTENT)], 200, None, [(0, 100)]),
    Case("a body that is packed", [(None, CONTENT)], 415, code=104, headers=("Content-Encoding: gzip",)),
    Case("a body that is not", [(None, CONTENT)], 200, None, [(0, 100)], headers=("Content-Encoding: identity",)),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_case(worker: OneWorker, case: Case, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    connection = await RawConnection.open(worker.port)
    *before, (told, body) = case.sent
    for content_range, data in before:
        assert (await connection.ask(put(ticket_id, content_range, body=data))).status in (200, 308)
    # The next request is already there: wherever the body ends for the server, the answers show it.
    asked = put(ticket_id, told, "Accept: application/json", *case.headers, body=body)
    await connection.send(asked + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert answer.status == case.status, answer.body
    assert answer.headers.get("range") == case.safe
    assert "location" not in answer.headers
    ticket = await look(worker, ticket_id)
    assert ticket.extents == Extents(case.extents)
    assert behind.status == 200
    assert behind.json["extents"] == [list(extent) for extent in case.extents]
    if case.status == 308:
        assert (answer.headers["content-length"], answer.body) == ("0", b"")
        assert "content-type" not in answer.headers
    elif case.status == 200:
        assert {"id": ticket_id, "size": ticket.size, "state": "arrived"}.items() <= answer.json.items()
        assert ticket.state == State.ARRIVED
        assert stored(worker, ticket) == CONTENT[: ticket.size]
    else:
        assert answer.json["code"] == case.code
        assert case.text in answer.json["message"]
        assert not answer.json["retry"]
    for start, end in ticket.extents:
        assert stored(worker, ticket)[start:end] == CONTENT[start:end]
    connection.close()
    assert len(log_lines()) <= 2  # that a client sends, and that the file has arrived


@pytest.mark.parametrize("prefix", ["/incoming", "/incoming/0.1"])
async def test_both_prefixes_take_a_put(worker: OneWorker, prefix: str) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, request("PUT", f"{prefix}/frontend/upload/{ticket_id}", body=CONTENT))
    assert answer.status == 200


async def test_errors_are_text_unless_json_is_requested(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    asked = put(ticket_id, "bytes 0-9/100", body=b"x")
    answer = await ask(worker, asked)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == "the Content-Range has 10 bytes, the body 1"
    answer = await ask(worker, put(ticket_id, "bytes 0-9/100", "Accept: text/html, application/json;q=0.9", body=b"x"))
    assert answer.json == {
        "code": 102,
        "name": "bad_range",
        "message": answer.json["message"],
        "retry": False,
        "retry_after": None,
    }


# --- chunked bodies ---------------------------------------------------------------------------------------------------


async def test_a_whole_file_of_unknown_length_is_taken(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    asked = request("PUT", path(ticket_id), "Transfer-Encoding: chunked", length=-1) + chunked(
        CONTENT[:30], CONTENT[30:]
    )
    answer = await ask(worker, asked)
    assert (answer.status, answer.json["size"]) == (200, 100)
    assert stored(worker, await look(worker, ticket_id)) == CONTENT


async def test_an_empty_file_of_unknown_length_is_taken(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, request("PUT", path(ticket_id), "Transfer-Encoding: chunked", length=-1) + chunked())
    assert (answer.status, answer.json["size"]) == (200, 0)


@pytest.mark.parametrize(
    ("told", "body", "status", "extents", "text"),
    [
        ("bytes 0-*/100", CONTENT[:60], 308, [(0, 60)], ""),
        ("bytes 0-*/100", CONTENT, 200, [(0, 100)], ""),
        ("bytes 0-59/100", CONTENT[:60], 308, [(0, 60)], ""),
        ("bytes 0-59/100", CONTENT[:50], 400, [(0, 50)], "ends at byte 50, announced was 60"),
        ("bytes 0-59/100", CONTENT[:61], 400, [], "beyond the announced end at byte 60"),
        ("bytes 50-*/100", CONTENT, 400, [], "the file at 100"),
        ("bytes */100", b"x", 400, [], "empty body"),
    ],
)
async def test_pieces_of_unknown_length_make_the_file(
    worker: OneWorker, told: str, body: bytes, status: int, extents: list[tuple[int, int]], text: str
) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    headers = (f"Content-Range: {told}", "Transfer-Encoding: chunked")
    asked = request("PUT", path(ticket_id), *headers, length=-1) + chunked(body)
    await connection.send(asked + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert answer.status == status, answer.body
    assert text in answer.text
    assert behind.json["extents"] == [list(extent) for extent in extents]
    connection.close()


async def test_a_body_in_many_small_parts_is_taken(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=100))
    for position in range(100):
        await connection.send(CONTENT[position : position + 1])
    answer = await connection.answer()
    assert answer.status == 200
    assert stored(worker, await look(worker, ticket_id)) == CONTENT
    connection.close()


async def test_an_answer_does_not_wait_for_a_commit_interval(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.handlers.upload.body_receiver.BODY_COMMIT_INTERVAL", 3600.0)
    monkeypatch.setattr("incoming.storage.sqlite.group_commit.COMMIT_INTERVAL", 3600.0)
    ticket_id = await worker.ticket()
    statuses = []
    for start in range(0, 100, 20):
        answer = await asyncio.wait_for(ask(worker, piece(ticket_id, start, start + 20)), 20)
        statuses.append(answer.status)
    assert statuses == [308] * 4 + [200]


async def test_a_body_that_pauses_is_taken(worker: OneWorker) -> None:
    """What has come is stored while the next bytes are waited for; what is sent behind the body is the next request."""
    ticket_id, other = await worker.ticket(), await worker.ticket()
    content = bytes(number * 7 % 251 for number in range(100_000))
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=len(content)))
    ends = [1, 2, 5_000, 21_000, 21_001, 90_000, len(content)]
    for start, end in pairwise([0, *ends]):

        async def arrived(count: int = start) -> bool:
            return (await look(worker, ticket_id)).extents.prefix >= count

        await until(arrived, "what was sent before")
        behind = b"" if end < len(content) else request("PUT", path(other), body=CONTENT)
        await connection.send(content[start:end] + behind)
    assert [(await connection.answer()).status for _ in range(2)] == [200, 200]
    assert stored(worker, await look(worker, ticket_id)) == content
    assert stored(worker, await look(worker, other)) == CONTENT
    connection.close()


async def test_a_large_body_fits_through_a_small_memory(start_worker: StartWorker) -> None:
    worker = await start_worker("--memory", "1MiB")
    ticket_id = await worker.ticket()
    content = CONTENT * 200_000
    answer = await ask(worker, request("PUT", path(ticket_id), body=content))
    assert answer.status == 200
    assert stored(worker, await look(worker, ticket_id)) == content


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_an_unknown_ticket_is_refused(worker: OneWorker) -> None:
    for ticket_id in ("00000000-0000-4000-8000-000000000000", "nonsense", "%00", "..%2f..%2fetc%2fpasswd", "x" * 5000):
        for method in ("PUT", "GET", "POST", "DELETE"):
            answer = await ask(worker, request(method, path(ticket_id), "Accept: application/json"))
            assert (answer.status, answer.json["code"]) == (404, 200), (method, ticket_id)


async def test_cancelled_and_failed_uploads_are_refused(worker: OneWorker) -> None:
    cancelled, failed = await worker.ticket(), await worker.ticket()
    await worker.call("cancel_upload", id=cancelled)
    await ask(worker, piece(failed, 0, 100))
    now = time.time()
    tickets = worker.services.tickets
    await tickets.update(failed, lambda known: refused(known, now))
    for ticket_id, code in ((cancelled, 302), (failed, 303)):
        for asked in (
            piece(ticket_id, 0, 40, 100, "Accept: application/json"),
            put(ticket_id, "bytes */100", "Accept: application/json"),
        ):
            answer = await ask(worker, asked)
            assert (answer.status, answer.json["code"]) == (410, code)
    assert (await ask(worker, request("GET", path(cancelled)))).json["state"] == "cancelled"


def refused(known: Ticket, now: float) -> Ticket:
    return known.move(Event.CALL, now).refuse("the app does not want it", now)


@pytest.mark.parametrize("where", ["server", "ticket"])
@pytest.mark.parametrize("told", ["bytes 0-59/60", "bytes 0-59/*", "bytes 55-59/*", None, "chunked"])
async def test_a_file_that_is_too_large_is_refused(start_worker: StartWorker, where: str, told: str | None) -> None:
    worker = await start_worker(*(("--max-size", "50") if where == "server" else ()))
    ticket_id = await worker.ticket(**({"maxSize": "50"} if where == "ticket" else {}))
    if told == "chunked":
        asked = request("PUT", path(ticket_id), "Transfer-Encoding: chunked", "Accept: application/json", length=-1)
        asked += chunked(CONTENT[:60])
    else:
        length = 5 if told and told.startswith("bytes 55") else 60
        asked = put(ticket_id, told, "Accept: application/json", body=CONTENT[:length])
    connection = await RawConnection.open(worker.port)
    await connection.send(asked + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.json["code"]) == (413, 401)
    assert "limit" in answer.json["message"]
    assert behind.json["arrived"] == 0
    connection.close()


@pytest.mark.parametrize("how", ["large", "asks first"])
async def test_too_large_is_reported_before_the_body_is_sent(start_worker: StartWorker, how: str) -> None:
    worker = await start_worker("--max-size", "1000")
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    headers = ("Expect: 100-continue",) if how == "asks first" else ()
    length = 10_000 if how == "asks first" else 1 << 40
    answer = await connection.ask(request("PUT", path(ticket_id), *headers, length=length))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await connection.is_closed()
    connection.close()


async def test_expect_100_continue_is_answered(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), "Expect: 100-continue", length=100))
    assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert (await connection.ask(CONTENT)).status == 200
    connection.close()


async def test_a_repeated_put_of_any_size_after_completion(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.handlers.upload.streaming_handler.DRAINED", 1_000_000)
    ticket_id = await worker.ticket()
    small, large = CONTENT * 5_000, CONTENT * 50_000
    assert (await ask(worker, request("PUT", path(ticket_id), body=large))).status == 200
    connection = await RawConnection.open(worker.port)
    await connection.send(put(ticket_id, "bytes 0-499999/5000000", body=small) + request("GET", path(ticket_id)))
    assert [(await connection.answer()).status for _ in range(2)] == [200, 200]
    answer = await connection.ask(request("PUT", path(ticket_id), length=len(large)))
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    connection.close()
    chunked_body = request("PUT", path(ticket_id), "Transfer-Encoding: chunked", length=-1) + chunked(large)
    assert (await ask(worker, chunked_body)).status == 200
    assert stored(worker, await look(worker, ticket_id)) == large


async def test_a_refused_body_without_an_end(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.handlers.upload.streaming_handler.DRAINED", 1_000_000)
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path("unknown"), "Transfer-Encoding: chunked", length=-1))
    part = b"%x\r\n%b\r\n" % (100_000, bytes(100_000))
    for _ in range(15):
        await connection.send(part)
    answer = await connection.answer()
    assert (answer.status, answer.headers["connection"]) == (404, "close")
    connection.close()


@pytest.mark.parametrize("method", ["GET", "DELETE", "OPTIONS"])
async def test_a_body_where_none_is_due_changes_nothing(worker: OneWorker, method: str) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    body = b"GET /incoming/health HTTP/1.1\r\n\r\n" * 20_000
    await connection.send(request(method, path(ticket_id), body=body) + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert answer.status in (200, 204)
    assert behind.json["id"] == ticket_id
    connection.close()


@pytest.mark.parametrize("method", ["TRACE", "COPY"])
async def test_other_methods_get_405(worker: OneWorker, method: str) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request(method, path(ticket_id), body=b""))
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 405 ")
    assert "Allow: GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS" in head
    connection.close()


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "header", "name"),
    [
        ("?filename=a%20b.txt", None, "a b.txt"),
        ("?filename=%E2%82%AC.txt", None, "€.txt"),
        ("?filename=%e9t%e9.txt", None, "\ufffdt\ufffd.txt"),
        ("", 'attachment; filename="a b.txt"', "a b.txt"),
        ("", "attachment; filename=plain.txt", "plain.txt"),
        ("", "attachment; filename=\"fallback\"; filename*=UTF-8''%e2%82%ac%20rates", "€ rates"),
        ("", "attachment; filename*=UTF-8'en'x%22y; filename=\"fallback\"", 'x"y'),
        ("", 'attachment; filename="say \\"hi\\".txt"', 'say "hi".txt'),
        ("", 'form-data; name="filename"; filename="b"', "b"),
        ("", 'attachment; x="filename=evil"; FileName = "b"', "b"),
        ("", 'attachment; filename="\xc3\xa9.txt"', "é.txt"),
        ("", 'attachment; filename="\xe9.txt"', "é.txt"),
        ("?filename=wins", 'attachment; filename="loses"', "wins"),
        ("?filename=../../etc/passwd", None, "../../etc/passwd"),
        ("?filename=", 'attachment; filename="b"', "b"),
        ("", "attachment", None),
        ("", "attachment; filename*=UTF-16''a; filename=b", "b"),
        ("", None, None),
    ],
)
async def test_the_files_name_is_taken_from_the_request(
    worker: OneWorker, query: str, header: str | None, name: str | None
) -> None:
    ticket_id = await worker.ticket()
    headers = () if header is None else (f"Content-Disposition: {header}",)
    answer = await ask(worker, put(ticket_id, "bytes 0-9/10", *headers, body=b"0123456789", query=query))
    assert (answer.status, answer.json["name"]) == (200, name)


async def test_the_first_name_stays(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for name in ("one", "two"):
        await ask(worker, piece(ticket_id, 0, 10, query=f"?filename={name}"))
    assert (await look(worker, ticket_id)).identity.name == "one"


async def test_a_name_that_is_too_long_is_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(
        worker, piece(ticket_id, 0, 10, 100, "Accept: application/json", query="?filename=" + "x" * 1025)
    )
    assert (answer.status, answer.json["code"]) == (400, 101)
