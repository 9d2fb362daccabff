"""The PUT endpoint, case by case as raw requests: status, headers, what is stored, and what the next request gets."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import Event, State, Ticket
from tests.support.faulty_stores import FaultyFiles
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT, ask, path, piece, post, put
from tests.support.raw_http import RawConnection, chunked, request
from tests.support.stores import until

StartWorker = Callable[..., Awaitable[OneWorker]]
LogLines = Callable[[], list[str]]

ORIGIN = "https://app.example.org"


async def look(worker: OneWorker, ticket_id: str) -> Ticket:
    return await worker.services.assembler.look(ticket_id)


def files(worker: OneWorker) -> FaultyFiles:
    store = worker.services.store
    assert isinstance(store, FaultyFiles)
    return store


def stored(worker: OneWorker, ticket: Ticket) -> bytes:
    return Path(ticket.path).read_bytes() if ticket.path else files(worker).part(ticket.id).read_bytes()


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
async def test_both_prefixes(worker: OneWorker, prefix: str) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, request("PUT", f"{prefix}/frontend/upload/{ticket_id}", body=CONTENT))
    assert answer.status == 200


async def test_errors_are_text_unless_json_is_asked_for(worker: OneWorker) -> None:
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


async def test_a_whole_file_of_unknown_length(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    asked = request("PUT", path(ticket_id), "Transfer-Encoding: chunked", length=-1) + chunked(
        CONTENT[:30], CONTENT[30:]
    )
    answer = await ask(worker, asked)
    assert (answer.status, answer.json["size"]) == (200, 100)
    assert stored(worker, await look(worker, ticket_id)) == CONTENT


async def test_an_empty_file_of_unknown_length(worker: OneWorker) -> None:
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
async def test_pieces_of_unknown_length(
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


async def test_a_body_in_many_small_parts(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=100))
    for position in range(100):
        await connection.send(CONTENT[position : position + 1])
    answer = await connection.answer()
    assert answer.status == 200
    assert stored(worker, await look(worker, ticket_id)) == CONTENT
    connection.close()


async def test_large_body_with_a_small_memory(start_worker: StartWorker) -> None:
    worker = await start_worker("--memory", "1MiB")
    ticket_id = await worker.ticket()
    content = CONTENT * 200_000
    answer = await ask(worker, request("PUT", path(ticket_id), body=content))
    assert answer.status == 200
    assert stored(worker, await look(worker, ticket_id)) == content


# --- what does not reach the end --------------------------------------------------------------------------------------


@pytest.mark.promise(3)
@pytest.mark.parametrize("end", ["close", "reset"])
@pytest.mark.parametrize("told", [None, "bytes 0-99/100", "chunked"])
async def test_what_came_before_a_cut_is_kept(
    worker: OneWorker, end: str, told: str | None, log_lines: LogLines
) -> None:
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


async def test_a_client_that_goes_before_the_answer_finds_it_done(worker: OneWorker) -> None:
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


async def test_a_client_that_goes_while_its_ticket_is_looked_up(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time between the headers and the moment when something must be given back."""
    ticket_id = await worker.ticket()
    opened = asyncio.Event()
    go_on = asyncio.Event()
    original = worker.services.assembler.open_plain

    async def slow(*given: object) -> object:
        upload = await original(*given)  # type: ignore[arg-type]
        opened.set()
        await go_on.wait()
        return upload

    monkeypatch.setattr(worker.services.assembler, "open_plain", slow)
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
async def test_a_fault_of_the_disk_is_worth_a_retry(
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


async def test_a_fault_in_the_middle_of_a_body(worker: OneWorker) -> None:
    """The rest is read and thrown away, so that the client can read the answer."""
    ticket_id = await worker.ticket()
    files(worker).faults.fail("write", None, StorageFull("full"))
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=3_000_000) + bytes(1_000_000))
    await until(lambda: files(worker).faults.hit["write"] or worker.services.memory.used == 0, "the fault")
    await connection.send(bytes(2_000_000) + request("GET", path(ticket_id)))
    answer, behind = await connection.answer(), await connection.answer()
    assert answer.status == 503
    assert behind.status == 200
    connection.close()


async def test_a_worker_that_ends_says_when_to_come_back(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    assert (await connection.ask(request("GET", path(ticket_id)))).status == 200
    await worker.services.assembler.drain()
    answer = await connection.ask(piece(ticket_id, 0, 40, 100, "Accept: application/json"))
    assert (answer.status, answer.headers["retry-after"], answer.json["code"]) == (503, "1", 500)
    connection.close()


async def test_the_end_of_a_worker_does_not_cut_a_request_under_way(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), length=100) + CONTENT[:40])
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    await worker.services.assembler.drain()
    await connection.send(CONTENT[40:])
    assert (await connection.answer()).status == 200
    connection.close()


# --- refusals ---------------------------------------------------------------------------------------------------------


async def test_unknown_ticket(worker: OneWorker) -> None:
    for ticket_id in ("00000000-0000-4000-8000-000000000000", "nonsense", "%00", "..%2f..%2fetc%2fpasswd", "x" * 5000):
        for method in ("PUT", "GET", "POST", "DELETE"):
            answer = await ask(worker, request(method, path(ticket_id), "Accept: application/json"))
            assert (answer.status, answer.json["code"]) == (404, 200), (method, ticket_id)


async def test_cancelled_and_failed(worker: OneWorker) -> None:
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
async def test_too_large(start_worker: StartWorker, where: str, told: str | None) -> None:
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
async def test_too_large_is_said_before_the_body_is_sent(start_worker: StartWorker, how: str) -> None:
    worker = await start_worker("--max-size", "1000")
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    headers = ("Expect: 100-continue",) if how == "asks first" else ()
    length = 10_000 if how == "asks first" else 1 << 40
    answer = await connection.ask(request("PUT", path(ticket_id), *headers, length=length))
    assert (answer.status, answer.headers["connection"]) == (413, "close")
    assert await connection.is_closed()
    connection.close()


async def test_who_asks_first_is_told_to_go_on(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), "Expect: 100-continue", length=100))
    assert (await connection.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    assert (await connection.ask(CONTENT)).status == 200
    connection.close()


async def test_a_repeated_put_of_any_size_after_completion(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.handlers.streamed.DRAINED", 1_000_000)
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
    monkeypatch.setattr("incoming.handlers.streamed.DRAINED", 1_000_000)
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


@pytest.mark.parametrize("method", ["PATCH", "HEAD"])
async def test_other_methods(worker: OneWorker, method: str) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request(method, path(ticket_id), body=b""))
    head = (await connection.reader.readuntil(b"\r\n\r\n")).decode()
    assert head.startswith("HTTP/1.1 405 ")
    assert "Allow: GET, DELETE, PUT, OPTIONS" in head or "Allow: GET, POST, DELETE, PUT, OPTIONS" in head
    connection.close()


# --- framing ----------------------------------------------------------------------------------------------------------

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
    "trailers": request("PUT", "@", "Transfer-Encoding: chunked", length=-1) + b"5\r\nhello\r\n0\r\nX-A: b\r\n\r\n",
    "chunk extension": request("PUT", "@", "Transfer-Encoding: chunked", length=-1) + b"5;a=b\r\nhello\r\n0\r\n\r\n",
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
    connection.close()
    assert len(log_lines()) <= 2
    assert (await look(worker, ticket_id)).state in (State.NEW, State.UPLOADING)


@pytest.mark.parametrize("cut", range(0, 200, 7))
async def test_cut_anywhere(worker: OneWorker, cut: int, log_lines: LogLines) -> None:
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


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "header", "name"),
    [
        ("?filename=a%20b.txt", None, "a b.txt"),
        ("?filename=%E2%82%AC.txt", None, "€.txt"),
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
async def test_the_files_name(worker: OneWorker, query: str, header: str | None, name: str | None) -> None:
    ticket_id = await worker.ticket()
    headers = () if header is None else (f"Content-Disposition: {header}",)
    answer = await ask(worker, put(ticket_id, "bytes 0-9/10", *headers, body=b"0123456789", query=query))
    assert (answer.status, answer.json["name"]) == (200, name)


async def test_the_first_name_stays(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for name in ("one", "two"):
        await ask(worker, piece(ticket_id, 0, 10, query=f"?filename={name}"))
    assert (await look(worker, ticket_id)).identity.name == "one"


async def test_a_name_that_is_too_long(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(
        worker, piece(ticket_id, 0, 10, 100, "Accept: application/json", query="?filename=" + "x" * 1025)
    )
    assert (answer.status, answer.json["code"]) == (400, 101)


# --- the library's pieces ---------------------------------------------------------------------------------------------


def hello(ticket_id: str, session: str = "session-1", **more: object) -> bytes:
    message = {"type": "hello", "session": session, "size": 100, "name": "a.bin", **more}
    return post(ticket_id, message)


async def test_the_protocol_of_the_library_over_http(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    welcome = (await connection.ask(hello(ticket_id))).json
    assert (welcome["type"], welcome["epoch"], welcome["extents"], welcome["state"]) == ("welcome", 1, [], "uploading")
    assert {"chunk_min", "chunk_max", "window", "connections", "ping_interval", "max_rate"} < welcome.keys()
    query = "?session=session-1&epoch=1"
    assert (await connection.ask(piece(ticket_id, 0, 40, query=query))).status == 308
    assert (await connection.ask(post(ticket_id, {"type": "pause", "epoch": 1}))).json == {"type": "paused"}
    assert (await connection.ask(request("GET", path(ticket_id)))).json["paused"]
    welcome = (await connection.ask(hello(ticket_id, epoch=1))).json
    assert (welcome["epoch"], welcome["extents"]) == (1, [[0, 40]])
    assert not (await connection.ask(request("GET", path(ticket_id)))).json["paused"]
    assert (await connection.ask(piece(ticket_id, 40, 100, query=query))).status == 200
    assert (await connection.ask(hello(ticket_id, epoch=1))).json["state"] == "arrived"
    connection.close()


async def test_pieces_of_who_was_taken_over_are_refused(worker: OneWorker) -> None:
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


async def test_taken_over_in_the_middle_of_a_piece(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, hello(ticket_id))
    connection = await RawConnection.open(worker.port)
    headers = ("Content-Range: bytes 0-99/100", "Accept: application/json")
    await connection.send(request("PUT", path(ticket_id, "?epoch=1"), *headers, length=100) + CONTENT[:40])
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    await ask(worker, hello(ticket_id, "session-2"))
    answer = await connection.ask(CONTENT[40:])
    assert (answer.status, answer.json["code"]) == (409, 204)
    assert (await look(worker, ticket_id)).extents == Extents([(0, 40)])
    connection.close()


async def test_pieces_side_by_side(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    await ask(worker, hello(ticket_id))
    answers = await asyncio.gather(
        *(ask(worker, piece(ticket_id, start, start + 10, query="?epoch=1")) for start in range(0, 100, 10))
    )
    assert {200} <= {answer.status for answer in answers} <= {200, 308}
    assert stored(worker, await look(worker, ticket_id)) == CONTENT


@pytest.mark.parametrize("epoch", ["x", "-1", "1.0", "9" * 17, "%D9%A1"])
async def test_nonsense_as_epoch(worker: OneWorker, epoch: str) -> None:
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
async def test_bad_control_messages(
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


async def test_a_control_message_in_chunks_that_is_too_large(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    asked = request("POST", path(ticket_id), "Transfer-Encoding: chunked", length=-1) + chunked(b" " * 20_000)
    await connection.send(asked + request("GET", path(ticket_id)))
    assert [(await connection.answer()).status for _ in range(2)] == [413, 200]
    connection.close()


# --- cancelling -------------------------------------------------------------------------------------------------------


@pytest.mark.promise(108)
@pytest.mark.parametrize("how", ["DELETE", "POST"])
async def test_cancelling(worker: OneWorker, how: str) -> None:
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
async def test_too_late_to_cancel(worker: OneWorker, how: str) -> None:
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


async def test_cancelled_in_the_middle_of_a_body(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("PUT", path(ticket_id), "Accept: application/json", length=100) + CONTENT[:40])
    await until(lambda: files(worker).faults.calls["write"], "the first part being stored")
    await worker.call("cancel_upload", id=ticket_id)
    answer = await connection.ask(CONTENT[40:])
    assert (answer.status, answer.json["code"]) == (410, 302)
    connection.close()


# --- status -----------------------------------------------------------------------------------------------------------


async def test_status(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, request("GET", path(ticket_id)))).json == {
        "id": ticket_id, "name": None, "size": None, "arrived": 0, "extents": [], "paused": False, "state": "new",
        "reason": "", "code": None, "chunk_min": 65536, "chunk_max": 8388608,
    }  # fmt: skip
    await ask(worker, piece(ticket_id, 10, 40, query="?filename=a"))
    status = (await ask(worker, request("GET", path(ticket_id)))).json
    assert (status["name"], status["size"], status["arrived"], status["extents"]) == ("a", 100, 30, [[10, 40]])


async def test_waiting_for_the_state_to_change(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    waiting = asyncio.create_task(ask(worker, request("GET", path(ticket_id, "?wait=20"))))
    told = asyncio.create_task(ask(worker, request("GET", path(ticket_id, "?wait=20&state=new"))))
    await until(lambda: worker.services.assembler._listeners._listeners, "somebody waiting")
    assert (await ask(worker, request("GET", path(ticket_id, "?wait=20&state=uploading")))).json["state"] == "new"
    await worker.call("cancel_upload", id=ticket_id)
    assert [(await task).json["state"] for task in (waiting, told)] == ["cancelled", "cancelled"]
    assert (await ask(worker, request("GET", path(ticket_id, "?wait=20&state=cancelled")))).json["state"] == "cancelled"


async def test_waiting_ends_in_time(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    assert (await ask(worker, request("GET", path(ticket_id, "?wait=1")))).json["state"] == "new"


async def test_whoever_waits_and_goes_is_forgotten(worker: OneWorker, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    connection = await RawConnection.open(worker.port)
    await connection.send(request("GET", path(ticket_id, "?wait=1")))
    await until(lambda: worker.services.assembler._listeners._listeners, "it waiting")
    connection.close()
    await until(lambda: not worker.services.assembler._listeners._listeners, "it being forgotten")
    assert log_lines() == []


@pytest.mark.parametrize("seconds", ["x", "-1", "1.5", "99999", "1e3"])
async def test_nonsense_as_time_to_wait(worker: OneWorker, seconds: str) -> None:
    ticket_id = await worker.ticket()
    answer = await ask(worker, request("GET", path(ticket_id, f"?wait={seconds}"), "Accept: application/json"))
    assert (answer.status, answer.json["code"]) == (400, 101)


# --- pages of other hosts ---------------------------------------------------------------------------------------------


async def test_a_preflight_runs_no_logic(worker: OneWorker) -> None:
    asked = request(
        "OPTIONS", path("unknown"), f"Origin: {ORIGIN}", "Access-Control-Request-Method: PUT",
        "Access-Control-Request-Headers: content-range, content-disposition",
    )  # fmt: skip
    answer = await ask(worker, asked)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert answer.headers["access-control-allow-headers"] == "content-range, content-disposition"
    assert int(answer.headers["access-control-max-age"]) >= 7200
    assert "access-control-allow-credentials" not in answer.headers


async def test_answers_are_for_pages_of_other_hosts_to_read(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    for asked in (
        piece(ticket_id, 0, 40, 100, f"Origin: {ORIGIN}"),
        piece(ticket_id, 0, 40, 99, f"Origin: {ORIGIN}"),
        put(ticket_id, "nonsense", f"Origin: {ORIGIN}"),
        post(ticket_id, b"nonsense", f"Origin: {ORIGIN}"),
        request("GET", path(ticket_id), f"Origin: {ORIGIN}"),
        request("GET", path(ticket_id, "?wait=x"), f"Origin: {ORIGIN}"),
        request("GET", path(ticket_id, "?wait=%ff"), f"Origin: {ORIGIN}"),
        request("GET", path("unknown"), f"Origin: {ORIGIN}"),
        request("DELETE", path(ticket_id), f"Origin: {ORIGIN}"),
        piece(ticket_id, 0, 40, 100, f"Origin: {ORIGIN}"),
    ):
        answer = await ask(worker, asked)
        assert answer.headers["access-control-allow-origin"] == ORIGIN, asked
        assert {"range", "retry-after"} <= set(answer.headers["access-control-expose-headers"].lower().split(", "))
        assert answer.headers["vary"] == "Origin"
        assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("where", ["server", "ticket"])
async def test_allowed_origins(start_worker: StartWorker, where: str) -> None:
    worker = await start_worker(*(("--allowed-origins", ORIGIN) if where == "server" else ()))
    ticket_id = await worker.ticket(**({"allowedOrigins": ORIGIN} if where == "ticket" else {}))
    for origin in (
        "https://evil.example.org",
        "http://app.example.org",
        f"{ORIGIN}:8443",
        "null",
        f"{ORIGIN}.evil.org",
    ):
        for method in ("PUT", "POST", "GET", "DELETE"):
            answer = await ask(
                worker, request(method, path(ticket_id), f"Origin: {origin}", "Accept: application/json")
            )
            assert (answer.status, answer.json["code"]) == (403, 203), (origin, method)
    assert await worker.state(ticket_id) == "new", "nothing has happened"
    for headers in ((), (f"Origin: {ORIGIN}",), (f"Origin: {ORIGIN.upper()}",)):
        assert (await ask(worker, request("GET", path(ticket_id), *headers))).status == 200


async def test_a_preflight_of_a_page_that_may_not(start_worker: StartWorker) -> None:
    worker = await start_worker("--allowed-origins", ORIGIN)
    answer = await ask(
        worker, request("OPTIONS", path("x"), "Origin: https://evil.example.org", "Access-Control-Request-Method: PUT")
    )
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
