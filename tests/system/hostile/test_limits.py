"""Each limit: its value is accepted, one beyond it is refused with an error that names it."""

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from incoming.wire.messages import CHUNK_HEADER
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import BINARY, TEXT, frame
from tests.support.waiting import wait_until
from tests.system.hostile.conftest import LogLines
from tests.system.hostile.wire import STRANGER, Socket, Wire, ask, new_ticket, request, status_of, upload_path

HEADER = 2048
PER_CLIENT = 4
CHUNK = 70_000


@pytest.fixture(scope="module")
def options() -> tuple[str, ...]:
    return (
        *("--max-size", "1000000", "--storage-quota", "1500000", "--max-header", str(HEADER)),
        *("--backend-networks", "127.0.0.1", "--connections-per-client", str(PER_CLIENT), "--max-strangers", "3"),
        *("--connections-per-upload", "2", "--chunk-max", str(CHUNK), "--chunk-min", "1", "--max-tickets", "60"),
    )


def put(
    server: IncomingServer, ticket: str, content: bytes, *headers: str, **query: str
) -> tuple[int, dict[str, object]]:
    start = f"PUT {upload_path(ticket, **query)}"
    status, _, body = ask(server, request(start, "Accept: application/json", *headers, body=content))
    return status, json.loads(body) if body else {}


def over_websocket(server: IncomingServer, ticket: str, size: int, **more: object) -> dict[str, object]:
    with Socket(server.port, ticket) as socket:
        return socket.hello(size, **more)


def cancel(server: IncomingServer, ticket: str) -> None:
    assert ask(server, request(f"DELETE {upload_path(ticket)}"))[0] == 200


@pytest.mark.parametrize(("given", "limit"), [({}, 1_000_000), ({"maxSize": "5000"}, 5000)])
def test_a_file_above_the_limit_is_refused_over_a_websocket(
    hostile_server: IncomingServer, given: dict[str, str], limit: int
) -> None:
    ticket = new_ticket(hostile_server, **given)
    refused = over_websocket(hostile_server, ticket, limit + 1)
    assert (refused["type"], refused["code"]) == ("error", 401)
    assert refused["message"] == f"the file has {limit + 1} bytes, the limit is {limit}"
    assert over_websocket(hostile_server, ticket, limit)["type"] == "welcome"
    cancel(hostile_server, ticket)


@pytest.mark.parametrize(
    "told",
    [
        ("Content-Range: bytes 0-0/5001",),
        ("Content-Range: bytes 5000-5000/*",),
        ("Content-Range: bytes */5001", "Content-Length: 0"),
    ],
)
def test_a_put_above_the_limit_is_refused_before_a_byte_is_stored(
    hostile_server: IncomingServer, told: tuple[str, ...]
) -> None:
    ticket = new_ticket(hostile_server, maxSize="5000")
    body = b"" if "*/5001" in told[0] else b"x"
    status, answer = put(hostile_server, ticket, body, *told)
    assert (status, answer["code"]) == (413, 401)
    assert status_of(hostile_server, ticket)["arrived"] == 0
    assert put(hostile_server, ticket, b"x", "Content-Range: bytes 4999-4999/5000")[0] == 308
    cancel(hostile_server, ticket)


def test_the_sum_of_ranges_of_unknown_length_is_limited(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server, maxSize="5000")
    for start in range(0, 5000, 1000):
        assert put(hostile_server, ticket, bytes(1000), f"Content-Range: bytes {start}-{start + 999}/*")[0] == 308
    assert put(hostile_server, ticket, bytes(1), "Content-Range: bytes 5000-*/*")[1]["code"] == 401
    status, answer = put(hostile_server, ticket, b"1\r\nx\r\n0\r\n\r\n", "Content-Range: bytes 5000-*/*",
                         "Transfer-Encoding: chunked")  # fmt: skip
    assert (status, answer["code"]) == (413, 401)
    assert status_of(hostile_server, ticket)["arrived"] == 5000
    cancel(hostile_server, ticket)


def test_a_chunked_body_ends_at_the_limit(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server, maxSize="5000")
    body = b"1388\r\n" + bytes(5000) + b"\r\n1\r\nx\r\n0\r\n\r\n"
    status, answer = put(hostile_server, ticket, body, "Transfer-Encoding: chunked")
    assert (status, answer["code"]) == (413, 401)
    assert status_of(hostile_server, ticket)["state"] == "uploading"
    cancel(hostile_server, ticket)


def test_a_file_of_another_type_is_refused(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server, allowedTypes=".pdf, image/*")
    refused = over_websocket(hostile_server, ticket, 5, name="a.exe", media_type="application/x-msdownload")
    assert (refused["code"], refused["message"]) == (402, "only files of these types are taken: .pdf, image/*")
    status, answer = put(hostile_server, ticket, b"x", "Content-Range: bytes 0-0/5", filename="a.exe")
    assert (status, answer["code"]) == (415, 402)
    hello = json.dumps({"type": "hello", "session": "hostile-session", "name": "a.exe", "size": 5}).encode()
    status, _, body = ask(hostile_server, request(f"POST {upload_path(ticket)}", body=hello))
    assert (status, body) == (415, b"only files of these types are taken: .pdf, image/*")
    assert status_of(hostile_server, ticket)["state"] == "new"
    assert over_websocket(hostile_server, ticket, 5, name="photo", media_type="image/png")["type"] == "welcome"
    other = new_ticket(hostile_server, allowedTypes=".pdf, image/*")
    assert put(hostile_server, other, b"x", "Content-Range: bytes 0-0/5", "Content-Type: image/png")[0] == 308
    assert put(hostile_server, other, b"x", "Content-Range: bytes 1-1/5")[0] == 308
    cancel(hostile_server, ticket)
    cancel(hostile_server, other)


def test_uploads_beyond_the_quota_wait(hostile_server: IncomingServer) -> None:
    first, second = new_ticket(hostile_server), new_ticket(hostile_server)
    assert over_websocket(hostile_server, first, 1_000_000)["type"] == "welcome"
    status, answer = put(hostile_server, second, b"x", "Content-Range: bytes 0-0/500001")
    assert (status, answer["code"], answer["retry"]) == (503, 501, True)
    assert over_websocket(hostile_server, second, 500_001)["code"] == 501
    assert over_websocket(hostile_server, second, 500_000)["type"] == "welcome"
    cancel(hostile_server, first)
    cancel(hostile_server, second)


def test_parallel_uploads_do_not_exceed_the_quota(hostile_server: IncomingServer) -> None:
    tickets = [new_ticket(hostile_server) for _ in range(8)]
    answers: list[int] = []

    def begin(ticket: str) -> None:
        answers.append(put(hostile_server, ticket, b"x", "Content-Range: bytes 0-0/400000")[0])

    threads = [threading.Thread(target=begin, args=(ticket,)) for ticket in tickets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [308] * 3 + [503] * 5
    for ticket in tickets:
        cancel(hostile_server, ticket)


def test_uploads_of_several_workers_do_not_exceed_the_quota(tmp_path: Path) -> None:
    """Tickets are requested, and files are begun over either transport, in two processes in parallel."""
    limits = ("--storage-quota", "1500000", "--max-tickets", "12")
    with IncomingServer(tmp_path / "shared", "--workers", "2", *limits) as server:
        form = b"signalFinishURL=http://127.0.0.1:9/"
        new = request("POST /incoming/backend/new_upload", "Content-Type: application/x-www-form-urlencoded", body=form)
        answers = side_by_side([lambda: ask(server, new)] * 20)
        tickets = [answer[2].decode() for answer in answers if answer[0] == 200]
        assert len(tickets) == 12
        assert {answer[0] for answer in answers} == {200, 503}

        def by_put(ticket: str) -> object:
            return put(server, ticket, b"x", "Content-Range: bytes 0-0/400000")[0]

        def by_websocket(ticket: str) -> object:
            return over_websocket(server, ticket, 400_000)["type"]

        ways = [partial(way, ticket) for way, ticket in zip([by_put, by_websocket] * 6, tickets, strict=True)]
        begun = side_by_side(ways)
        assert sum(answer in (308, "welcome") for answer in begun) == 3, begun
        assert all(answer in (308, "welcome", 503, "error") for answer in begun)
        assert server.stop() == 0
        server.assert_quiet()


def side_by_side(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def test_tickets_of_one_backend_are_limited(hostile_server: IncomingServer) -> None:
    tickets = []
    form = b"signalFinishURL=http://127.0.0.1:9/"
    new = request("POST /incoming/backend/new_upload", "Content-Type: application/x-www-form-urlencoded", body=form)
    while (answer := ask(hostile_server, new))[0] == 200:
        tickets.append(answer[2].decode())
    assert len(tickets) == 60
    assert (answer[0], answer[2]) == (503, b"127.0.0.1 has 60 unfinished uploads, which is the limit")
    assert "Retry-After: 5" in answer[1]
    for ticket in tickets:
        cancel(hostile_server, ticket)
    cancel(hostile_server, new_ticket(hostile_server))


REFUSED_ANYWAY = [
    request("GET /incoming/backend/new_upload"),
    request("DELETE /incoming/backend/cancel_upload"),
    request("POST /incoming/backend/new_upload", "Content-Length: 100000000"),
    request("POST /incoming/backend/finish_upload", body=b"{"),
]


def test_foreign_addresses_are_refused_first_and_their_log_lines_are_capped(
    hostile_server: IncomingServer, log_lines: LogLines
) -> None:
    for asked in REFUSED_ANYWAY:
        assert ask(hostile_server, asked)[0] in (400, 405, 413)
    log_lines()
    for number in range(40):
        asked = REFUSED_ANYWAY[number % 4]
        assert ask(hostile_server, asked, f"127.0.0.{10 + number}")[0] == 403
    refused = log_lines()
    assert 0 < len(refused) <= 20
    # The warnings about backends are not used up.
    assert ask(hostile_server, request("POST /incoming/backend/new_upload", "Sec-Fetch-Site: cross-site"))[0] == 403
    [line] = log_lines()
    assert "client=127.0.0.1" in line


def test_connections_of_one_client_are_limited(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    sockets = []
    for _ in range(2):
        sockets.append(Socket(hostile_server.port, ticket, STRANGER))
        assert sockets[-1].hello()["type"] == "welcome"
    idle = [Wire(hostile_server.port, STRANGER) for _ in range(PER_CLIENT - 2)]
    status, head, body = ask(hostile_server, request(f"GET {upload_path(ticket)}"), STRANGER)
    assert (status, body) == (503, b"this address has 4 connections, which is the limit")
    assert "Retry-After: 5" in head
    assert ask(hostile_server, request(f"GET {upload_path(ticket)}"), "127.0.0.3")[0] == 200
    idle[0].socket.close()
    wait_until(
        lambda: ask(hostile_server, request(f"GET {upload_path(ticket)}"), STRANGER)[0] == 200, "its place being free"
    )
    cancel(hostile_server, ticket)


def test_backends_and_proxies_are_not_counted(hostile_server: IncomingServer) -> None:
    idle = [Wire(hostile_server.port) for _ in range(PER_CLIENT + 2)]
    new_ticket(hostile_server)
    assert not any(wire.is_closed for wire in idle)


def test_of_too_many_unidentified_connections_the_oldest_is_closed(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    known = Socket(hostile_server.port, ticket, "127.0.0.9")
    assert known.hello()["type"] == "welcome"
    idle = []
    for number in range(3):
        idle.append(Wire(hostile_server.port, f"127.0.0.{10 + number}"))
        idle[-1].send(b"GET / HTTP/1.1\r\n")
    assert ask(hostile_server, request(f"GET {upload_path(ticket)}"), "127.0.0.4")[0] == 200
    wait_until(lambda: idle[0].is_closed, "the oldest stranger being sent away")
    assert [wire.is_closed for wire in idle] == [True, False, False]
    known.chunk(0, b"12345")
    assert known.hear() == {"type": "ack", "chunks": [[0, 5]]}


def test_connections_of_one_upload_are_limited(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    sockets = [Socket(hostile_server.port, ticket) for _ in range(3)]
    for socket in sockets:
        assert socket.hello()["type"] == "welcome"
    last, code = sockets[0].closing()
    assert last is not None
    assert (last["code"], last["message"], code) == (503, "an upload has at most 2 connections", 4503)
    for socket in sockets[1:]:
        socket.say(type="ping")
        assert socket.hear() == {"type": "pong"}
    cancel(hostile_server, ticket)


def test_requests_of_one_upload_are_limited(hostile_server: IncomingServer) -> None:
    """Over either transport, the connection that has been silent longest is closed."""
    ticket = new_ticket(hostile_server)
    silent, busy = Wire(hostile_server.port), Wire(hostile_server.port)
    silent.send(request(f"PUT {upload_path(ticket)}", "Content-Range: bytes 0-99/1000", "Content-Length: 100") + b"abc")
    wait_until(lambda: status_of(hostile_server, ticket)["arrived"] == 3, "the first piece's beginning")
    busy.send(request(f"PUT {upload_path(ticket)}", "Content-Range: bytes 100-199/1000", "Content-Length: 100") + b"a")
    wait_until(lambda: status_of(hostile_server, ticket)["arrived"] == 4, "the second piece's beginning")
    assert put(hostile_server, ticket, bytes(100), "Content-Range: bytes 200-299/1000")[0] == 308
    answer = silent.until_closed()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert answer.endswith(b"an upload has at most 2 connections")
    busy.send(bytes(99))
    assert busy.until_closed().startswith(b"HTTP/1.1 308 ")
    assert status_of(hostile_server, ticket)["extents"] == [[0, 3], [100, 300]]
    cancel(hostile_server, ticket)


def test_a_header_above_the_limit_is_refused(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    bare = len(request(f"GET {upload_path(ticket)}", "X-Filler: "))
    within = request(f"GET {upload_path(ticket)}", "X-Filler: " + "x" * (HEADER - bare))
    assert ask(hostile_server, within)[0] == 200
    text = f"the request's header has more than {HEADER} bytes, which is the limit".encode()
    for more in (1, 60_000):
        beyond = request(f"GET {upload_path(ticket)}", "X-Filler: " + "x" * (HEADER - bare + more))
        assert ask(hostile_server, beyond)[::2] == (431, text)
    assert ask(hostile_server, request(f"GET {upload_path(ticket)}?{'x' * 60_000}"))[::2] == (431, text)
    # What passes a limit within a body is no header.
    endless = request(f"PUT {upload_path(ticket)}", "Transfer-Encoding: chunked", body=b"1;" + b"x" * 5000)
    assert ask(hostile_server, endless)[::2] == (400, b"a chunk-size line of the body has more than 1024 bytes")


def test_a_chunk_above_the_limit_is_refused(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with Socket(hostile_server.port, ticket) as socket:
        socket.hello(2 * CHUNK)
        socket.chunk(0, bytes(CHUNK))
        assert socket.hear() == {"type": "ack", "chunks": [[0, CHUNK]]}
        socket.send(frame(BINARY, CHUNK_HEADER.pack(1, CHUNK) + bytes(CHUNK + 1)))
        assert socket.closing() in [(None, 1009), (None, None)]
    assert status_of(hostile_server, ticket)["extents"] == [[0, CHUNK]]
    cancel(hostile_server, ticket)


def test_a_control_message_above_the_limit_is_refused(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    text = json.dumps({"type": "cancel", "reason": "", "filler": ""})
    within, beyond = (text[:-2] + "x" * (16384 - len(text) + more) + '"}' for more in (0, 1))
    status, _, body = ask(hostile_server, request(f"POST {upload_path(ticket)}", body=beyond.encode()))
    assert (status, body) == (413, b"a control message has at most 16384 bytes")
    with Socket(hostile_server.port, ticket) as socket:
        socket.hello()
        socket.send(frame(TEXT, beyond.encode()))
        last, code = socket.closing()
        assert last is not None
        assert (last["code"], code) == (103, 4103)
    assert ask(hostile_server, request(f"POST {upload_path(ticket)}", body=within.encode()))[0] == 200
    assert status_of(hostile_server, ticket)["state"] == "cancelled"


def test_no_ticket_is_issued_below_the_watermark(tmp_path: Path) -> None:
    with IncomingServer(tmp_path / "full", "--workers", "1", "--low-space", "1000TiB") as server:
        form = b"signalFinishURL=http://127.0.0.1:9/"
        new = request("POST /incoming/backend/new_upload", "Content-Type: application/x-www-form-urlencoded", body=form)
        status, head, body = ask(server, new)
        assert (status, "Retry-After: 10" in head) == (503, True)
        assert body.startswith(b"no space for new uploads: ")
