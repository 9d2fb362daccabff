"""Every refusal of the PUT endpoint as a page of another host gets it: readable, and the next request, which is there
already, is answered as if nothing had been.
"""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

from incoming.core.errors import StorageFailed, StorageFull
from incoming.core.extents import Extents
from incoming.core.ticket import Event, Ticket
from tests.integration.handlers.conftest import LogLines, StartWorker, files
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, post, put
from tests.support.raw_http import Answer, RawConnection, chunked, request
from tests.support.stores import until

PAGE = "https://app.example.org"
ORIGIN = f"Origin: {PAGE}"
JSON = "Accept: application/json"


@dataclass
class Case:
    """`asked` is the request in question, for a ticket of which `begun` has brought about the situation."""

    name: str
    asked: Callable[[str], bytes]
    status: int
    code: int
    begun: Callable[[OneWorker, str], Awaitable[None]] | None = None
    options: tuple[tuple[str, str], ...] = ()
    retry_after: str | None = None
    extents: tuple[tuple[int, int], ...] = ()


async def half(worker: OneWorker, ticket: str) -> None:
    assert (await ask(worker, piece(ticket, 0, 50))).status == 308


async def complete(worker: OneWorker, ticket: str) -> None:
    assert (await ask(worker, piece(ticket, 0, 100))).status == 200


async def cancelled(worker: OneWorker, ticket: str) -> None:
    assert await worker.call("cancel_upload", id=ticket) == (200, "ok")


async def refused_by_the_app(worker: OneWorker, ticket: str) -> None:
    await complete(worker, ticket)

    def refuse(known: Ticket) -> Ticket:
        return known.move(Event.CALL, time.time()).refuse("the app does not want it", time.time())

    await worker.services.tickets.update(ticket, refuse)


async def taken_over(worker: OneWorker, ticket: str) -> None:
    for session in ("session-1", "session-2"):
        hello = {"type": "hello", "session": session, "size": 100, "name": "a.bin"}
        assert (await ask(worker, post(ticket, hello))).status == 200


async def stopping(worker: OneWorker, ticket: str) -> None:
    await half(worker, ticket)
    await worker.services.upload_service.drain()


async def disk_full(worker: OneWorker, ticket: str) -> None:
    files(worker).faults.fail("write", StorageFull("no space is left"))


async def disk_broken(worker: OneWorker, ticket: str) -> None:
    files(worker).faults.fail("write", StorageFailed("it is broken"))


def piece_of(start: int, end: int, total: object = 100, *headers: str, query: str = "") -> Callable[[str], bytes]:
    return lambda ticket: piece(ticket, start, end, total, ORIGIN, JSON, *headers, query=query)


def range_of(told: str, body: bytes) -> Callable[[str], bytes]:
    return lambda ticket: put(ticket, told, ORIGIN, JSON, body=body)


def other(method: str, query: str = "") -> Callable[[str], bytes]:
    return lambda ticket: request(method, path(ticket, query), ORIGIN, JSON)


def twice(ticket: str) -> bytes:
    return put(ticket, "bytes 0-49/100", "Content-Range: bytes 0-49/100", ORIGIN, JSON, body=CONTENT[:50])


def in_chunks_beyond_its_end(ticket: str) -> bytes:
    headers = ("Content-Range: bytes 0-49/100", "Transfer-Encoding: chunked", ORIGIN, JSON)
    return request("PUT", path(ticket), *headers, length=-1) + chunked(CONTENT)


SMALL = (("maxSize", "60"),)
OF_ANOTHER = (("allowedOrigins", "https://other.example.org"),)
PDF = (("allowedTypes", ".pdf"),)

CASES = [
    Case("a range that is none", range_of("nonsense", b"x"), 400, 102),
    Case("an empty range", range_of("", CONTENT), 400, 102),
    Case("the range twice", twice, 400, 102),
    Case("an end that is the total", range_of("bytes 1-100/100", CONTENT), 400, 102),
    Case("a start above the end", range_of("bytes 99-0/100", b"x"), 400, 102),
    Case("a start above the total", range_of("bytes 101-/100", b""), 400, 102),
    Case("a byte of a file that has none", range_of("bytes 0-0/0", b""), 400, 102),
    Case("2^64", range_of("bytes 0-99/18446744073709551616", CONTENT), 400, 102),
    Case("a byte beyond the largest file", range_of("bytes 9007199254740991-9007199254740991/*", b"x"), 400, 102),
    Case("a question with a body", range_of("bytes */*", CONTENT), 400, 102),
    Case("more than announced, in chunks", in_chunks_beyond_its_end, 400, 102),
    Case("another total than before", piece_of(50, 60, 101), 409, 400, half, extents=((0, 50),)),
    Case("a whole file of another size", lambda t: put(t, None, ORIGIN, JSON, body=CONTENT[:60]), 409, 400, half,
         extents=((0, 50),)),
    Case("taken over", piece_of(0, 50, query="?session=session-1&epoch=1"), 409, 204, taken_over),
    Case("a packed body", piece_of(0, 100, 100, "Content-Encoding: br"), 415, 104),
    Case("packed twice", piece_of(0, 100, 100, "Content-Encoding: identity", "Content-Encoding: gzip"), 415, 104),
    Case("a type that the app does not want", piece_of(0, 100, query="?filename=a.exe"), 415, 402, options=PDF),
    Case("too large", piece_of(0, 100), 413, 401, options=SMALL),
    Case("too large a total", piece_of(0, 10), 413, 401, options=SMALL),
    Case("unknown", lambda _: piece("unknown", 0, 50, 100, ORIGIN, JSON), 404, 200),
    Case("cancelled", piece_of(0, 50), 410, 302, cancelled),
    Case("cancelled, asked", range_of("bytes */100", b""), 410, 302, cancelled),
    Case("refused by the app", piece_of(0, 50), 410, 303, refused_by_the_app, extents=((0, 100),)),
    Case("of a page that the ticket is not for", piece_of(0, 50), 403, 203, options=OF_ANOTHER),
    Case("stopping", piece_of(50, 100), 503, 500, stopping, retry_after="1", extents=((0, 50),)),
    Case("a full disk", piece_of(0, 50), 503, 501, disk_full, retry_after="10"),
    Case("a broken disk", piece_of(0, 50), 503, 502, disk_broken, retry_after="5"),
    Case("too late to be cancelled", other("DELETE"), 412, 300, complete, extents=((0, 100),)),
    Case("no time to wait", other("GET", "?wait=x"), 400, 101),
    Case("no control message", lambda ticket: post(ticket, b"nonsense", ORIGIN), 400, 100),
    Case("too long a control message", lambda ticket: post(ticket, b" " * 16_385, ORIGIN), 413, 103),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_refusal(worker: OneWorker, case: Case, log_lines: LogLines) -> None:
    ticket = await worker.ticket(**dict(case.options))
    if case.begun is not None:
        await case.begun(worker, ticket)
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(case.asked(ticket) + request("GET", path(ticket)))
    answer, behind = await connection.answer(), await connection.answer()
    assert (answer.status, answer.json["code"]) == (case.status, case.code), answer.body
    assert_readable(answer)
    assert answer.headers.get("retry-after") == case.retry_after
    assert answer.json["retry"] == (case.retry_after is not None)
    assert "location" not in answer.headers
    assert "connection" not in answer.headers, "it can be used further"
    assert (behind.status, behind.json["id"]) == (200, ticket)
    known = await worker.services.upload_service.get_ticket(ticket)
    assert known.extents == Extents(case.extents), "nothing of it was stored"
    connection.close()
    assert len(log_lines()) <= 2


def assert_readable(answer: Answer) -> None:
    assert answer.headers["access-control-allow-origin"] == PAGE
    exposed = answer.headers["access-control-expose-headers"].lower().split(", ")
    assert {"range", "retry-after", "location"} <= set(exposed)
    assert answer.headers["vary"] == "Origin"
    assert answer.headers["cache-control"] == "no-store"


async def test_beyond_the_limit_the_silent_request_is_answered_and_closed(start_worker: StartWorker) -> None:
    """It is in the middle of its body, so its connection ends; what came of it is kept."""
    worker = await start_worker("--connections-per-upload", "1")
    ticket = await worker.ticket()
    silent = await RawConnection.open(worker.port)
    large = 65 << 20  # more than would be thrown away
    headers = ("Content-Range: bytes 100-68157539/68157540", ORIGIN, JSON)
    await silent.send(request("PUT", path(ticket), *headers, length=large) + CONTENT)

    async def begun() -> bool:
        return (await worker.services.upload_service.get_ticket(ticket)).extents == Extents([(100, 200)])

    await until(begun, "what has come being stored")
    busy = await ask(worker, piece(ticket, 0, 100, 68157540))
    assert (busy.status, busy.headers["range"]) == (308, "bytes=0-199")
    told = await silent.answer()
    assert (told.status, told.json["code"], told.headers["retry-after"]) == (503, 503, "5")
    assert told.headers["connection"] == "close"
    assert_readable(told)
    assert await silent.is_closed()
    silent.close()


async def test_a_request_that_makes_room_while_its_body_is_stored_is_answered_once(
    start_worker: StartWorker, log_lines: LogLines
) -> None:
    worker = await start_worker("--connections-per-upload", "1")
    ticket = await worker.ticket()
    faults = files(worker).faults
    first, second = await RawConnection.open(worker.port), await RawConnection.open(worker.port)
    faults.hold("write")
    await first.send(piece(ticket, 0, 40))
    await faults.until_held("write")
    await second.send(piece(ticket, 40, 60))
    assert (await first.answer()).status == 503
    faults.release("write")
    answer = await second.answer()
    assert (answer.status, answer.headers["range"]) == (308, "bytes=0-59")
    await until(lambda: not worker.services.requests, "the requests having ended")
    assert not [line for line in log_lines() if "failed" in line]
    for connection in (first, second):
        connection.close()


async def test_a_defect_is_readable_too(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await worker.ticket()

    async def broken(*given: object) -> None:
        raise RuntimeError("who knows what")

    monkeypatch.setattr(worker.services.upload_service, "open_plain", broken)
    connection = await RawConnection.open(worker.port)
    await connection.send(piece(ticket, 0, 50, 100, ORIGIN, JSON))
    answer = await connection.answer()
    assert (answer.status, answer.json["code"]) == (500, 599)
    assert_readable(answer)
    assert "who knows what" not in answer.text
    connection.close()
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 1


@pytest.mark.parametrize("ask_first", [False, True], ids=["at once", "asks first"])
async def test_a_large_body_is_refused_before_it_comes(worker: OneWorker, ask_first: bool) -> None:
    ticket = await worker.ticket(maxSize="60")
    connection = await RawConnection.open(worker.port)
    expect = ("Expect: 100-continue",) if ask_first else ()
    length = 100 if ask_first else 65 << 20
    answer = await connection.ask(request("PUT", path(ticket), ORIGIN, JSON, *expect, length=length))
    assert (answer.status, answer.json["code"], answer.headers["connection"]) == (413, 401, "close")
    assert_readable(answer)
    assert await connection.is_closed()
    connection.close()


async def test_a_page_with_an_opaque_origin_can_read_refusals(start_worker: StartWorker) -> None:
    """That of a sandboxed frame or a local file says "null": it may what every page may, unless only some may."""
    worker = await start_worker()
    ticket = await worker.ticket()
    for asked in (piece(ticket, 0, 50, 100, "Origin: null"), request("OPTIONS", path(ticket), "Origin: null")):
        answer = await ask(worker, asked)
        assert answer.status in (204, 308)
        assert answer.headers["access-control-allow-origin"] == "null"
        assert "access-control-allow-credentials" not in answer.headers
    narrow = await start_worker("--allowed-origins", PAGE)
    ticket = await narrow.ticket()
    for asked in (piece(ticket, 0, 50, 100, "Origin: null"), request("OPTIONS", path(ticket), "Origin: null")):
        answer = await ask(narrow, asked)
        assert answer.status == 403
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "FOO", "put"])
async def test_unknown_methods_get_405(worker: OneWorker, method: str) -> None:
    """What their bodies would be nobody knows either, so the connection may end; nothing behind is misread."""
    ticket = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request(method, path(ticket), ORIGIN, body=CONTENT) + request("GET", path(ticket)))
    answer = await connection.answer()
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, PUT, POST, PATCH, DELETE, OPTIONS")
    rest = await connection.everything() if answer.headers.get("connection") == "close" else b""
    assert rest == b""
    connection.close()


@pytest.mark.parametrize(("keep", "closed"), [((), True), (("Connection: keep-alive",), False)])
async def test_http_1_0(worker: OneWorker, keep: tuple[str, ...], closed: bool) -> None:
    ticket = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    asked = piece(ticket, 0, 50, 100, *keep).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
    await connection.send(asked + request("GET", path(ticket)))
    answer = await connection.answer()
    assert (answer.status, answer.headers["range"]) == (308, "bytes=0-49")
    if closed:
        assert await connection.is_closed()
    else:
        assert (await connection.answer()).json["extents"] == [[0, 50]]
    connection.close()
