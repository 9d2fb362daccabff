"""Raw bytes to the backend functions of a real server: a documented answer, framing kept, one log line at most."""

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from incoming.handlers.backend.parameters import MAX_BODY
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.hostile.wire import request

NEW = "POST /incoming/backend/new_upload"
URL = b"signalFinishURL=http://127.0.0.1:9/done"
FORM = "Content-Type: application/x-www-form-urlencoded"
UUID = rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[IncomingServer]:
    with IncomingServer(tmp_path_factory.mktemp("hostile") / "storage", "--workers", "1") as running:
        yield running
        running.stop()
        running.assert_quiet()


def form(body: bytes = URL, *headers: str, close: bool = True) -> bytes:
    return request(NEW, FORM, *headers, body=body, close=close)


def talk(server: IncomingServer, data: bytes) -> bytes:
    """What the server answers until it closes the connection."""
    with socket.create_connection((server.host.split(":")[0], server.port), timeout=20) as connection:
        received = b""
        # The server may have answered and closed before it had read everything.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(data)
        with contextlib.suppress(ConnectionResetError):
            while chunk := connection.recv(65536):
                received += chunk
    return received


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 ([0-9]{3}) ", received)]


def lines_of(server: IncomingServer, before: str) -> list[str]:
    """The lines that were logged since the log was `before`; a last call makes sure that they are all there."""
    marker = "POST /incoming/backend/cancel_upload 400 "
    talk(server, request("POST /incoming/backend/cancel_upload"))
    wait_until(lambda: marker in server.log[len(before) :], "the last call's line in the log")
    return [line for line in server.log[len(before) :].splitlines() if marker not in line]


def settled_log(server: IncomingServer) -> str:
    """The log when it has a line for all that was asked before, also for a ticket that was still being stored."""
    talk(server, form())  # stored after that one
    lines_of(server, server.log)
    return server.log


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


MULTIPART = "Content-Type: multipart/form-data; boundary=x"
CHUNKED = "Transfer-Encoding: chunked"

CASES: dict[str, tuple[bytes, list[int]]] = {
    # lengths and framing
    "length and chunks": (form(chunked(URL), "Content-Length: 5", CHUNKED), [400]),
    "two lengths": (form(URL, "Content-Length: 40", "Content-Length: 41"), [400]),
    "length of letters": (form(URL, "Content-Length: abc"), [400]),
    "length with a plus": (form(URL, "Content-Length: +40"), [400]),
    "negative length": (form(URL, "Content-Length: -1"), [400]),
    "length with underscore": (form(URL, "Content-Length: 4_0"), [400]),
    "length of 5000 digits": (form(URL, "Content-Length: " + "9" * 5000), [400]),
    "length of other digits": (form(URL, "Content-Length: \xb2"), [400]),
    "length above the limit": (form(URL, f"Content-Length: {MAX_BODY + 1}"), [413]),
    "length of an exabyte": (form(URL, f"Content-Length: {10**18}"), [413]),
    "chunks": (form(chunked(URL[:5], URL[5:]), CHUNKED), [200]),
    "chunks above the limit": (form(chunked(URL, b"&" + b"x" * MAX_BODY), CHUNKED), [413]),
    "chunks far above the limit": (form(chunked(*[b"x" * 65536] * 40), CHUNKED), [400]),
    "chunk size of letters": (form(b"xyz\r\n", CHUNKED), [400]),
    "negative chunk size": (form(b"-5\r\nhello\r\n0\r\n\r\n", CHUNKED), [400]),
    "chunk longer than told": (form(b"3\r\nhello\r\n0\r\n\r\n", CHUNKED), [400]),
    "unknown transfer encoding": (form(URL, "Transfer-Encoding: gzip, chunked"), [400]),
    # encodings and types
    "gzip": (form(b"\x1f\x8b\x08", "Content-Encoding: gzip"), [415]),
    "no type": (request(NEW, body=URL), [400]),
    "wrong type": (request(NEW, "Content-Type: text/plain", body=URL), [400]),
    "100-continue": (form(URL, "Expect: 100-continue"), [100, 200]),
    "broken multipart": (request(NEW, MULTIPART, body=b"--x\r\nfoo"), [400]),
    "multipart without parts": (request(NEW, MULTIPART, body=b"--x--\r\n"), [400]),
    "many broken parts": (request(NEW, MULTIPART, body=b"--x\r\n\r\n\r\n" * 5000 + b"--x--\r\n"), [400]),
    "many parameters": (form(b"&".join(b"a%d=1" % i for i in range(5000))), [400]),
    "deep JSON": (request(NEW, "Content-Type: application/json", body=b"[" * 50_000), [400]),
    "bad percent encoding": (form(b"signalFinishURL=%zz%"), [400]),
    "bad UTF-8": (form(b"signalFinishURL=%ff"), [400]),
    "NUL": (form(URL + b"%00"), [400]),
    # header injection
    "line break in the URL": (form(b"signalFinishURL=http://a/%0d%0aX-Injected:%201"), [400]),
    "line break in a message": (form(b"destType=%0d%0aX-Injected:%201&" + URL), [400]),
    "line break in the query": (request(NEW + "?id=%0d%0aX-Injected:%201"), [400]),
    # request lines and headers
    "no request": (b"\r\n\r\n", [400]),
    "garbage": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", [400]),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "control characters in the path": (request("POST /incoming/backend/new_upload\x0b\x1b[31m"), [400]),
    "two hosts": (request(NEW, "Host: other", body=b""), [400]),
    "header without name": (request(NEW, ": x"), [400]),
    "space before the colon": (request(NEW, "X-A : 1"), [400]),
    "folded header": (request(NEW, "X-A: 1\r\n 2"), [400]),
    "NUL in a header": (request(NEW, "X-A: \0"), [400]),
    "headers of 17 KiB": (request(NEW, "X-A: " + "a" * 17 * 1024), [431]),
    "bad escape in the path": (request("POST /incoming/backend/new_upload%ff"), [404]),
    "another function": (request("POST /incoming/backend/%2e%2e/health"), [404]),
    # browsers
    "form of another site": (form(URL, "Origin: https://evil.example", "Sec-Fetch-Site: cross-site"), [403]),
    "sandboxed frame": (form(URL, "Origin: null"), [403]),
    "preflight": (
        request(
            "OPTIONS /incoming/backend/new_upload",
            "Origin: https://evil.example",
            "Access-Control-Request-Method: POST",
        ),
        [405],
    ),
    # forwarded
    "forwarded for": (form(URL, "X-Forwarded-For: 127.0.0.1"), [403]),
    "forwarded for, twice": (form(URL, "X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: ::1"), [403]),
    "real address": (form(URL, "X-Real-IP: 127.0.0.1"), [403]),
    "forwarded": (form(URL, "Forwarded: for=127.0.0.1;proto=http"), [403]),
    # several requests in one go
    "refused, then honest": (form(URL, "Origin: null", close=False) + form(), [403, 200]),
    "wrong, then honest": (form(b"x=1", close=False) + form(), [400, 200]),
    "chunks refused, then honest": (form(chunked(URL), "Origin: null", CHUNKED, close=False) + form(), [403, 200]),
    "wrong method, then honest": (
        request("PUT /incoming/backend/new_upload", body=URL, close=False) + form(),
        [405, 200],
    ),
    "too large, and nothing after it": (form(b"x" * (MAX_BODY + 1), close=False) + form(), [413]),
}


@pytest.mark.parametrize("case", CASES)
def test_hostile_bytes_break_nothing(case: str, server: IncomingServer) -> None:
    data, expected = CASES[case]
    before = server.log
    received = talk(server, data)
    assert statuses(received) == expected
    assert b"x-injected" not in received.lower().partition(b"\r\n\r\n")[0]
    assert b"access-control-allow-origin" not in received.lower() or expected == [404]
    assert len(re.findall(UUID, received)) == expected.count(200)
    lines = [line for line in lines_of(server, before) if " 200 " not in line]
    assert len(lines) <= 1, lines


def test_nothing_is_done_behind_an_answer_that_closes_the_connection(server: IncomingServer) -> None:
    """Nobody would hear of the ticket."""
    before = settled_log(server)
    assert statuses(talk(server, CASES["too large, and nothing after it"][0])) == [413]
    assert settled_log(server)[len(before) :].count("/new_upload 200 ") == 1, "that of settled_log()"


def test_a_body_that_never_comes_is_given_up(server: IncomingServer) -> None:
    """The client goes away in the middle; the server neither answers nor complains."""
    before = settled_log(server)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(form(URL, "Content-Length: 1000"))
    assert lines_of(server, before) == []


@pytest.mark.promise(40)
def test_the_log_contains_neither_secrets_nor_whole_ids(server: IncomingServer) -> None:
    before = settled_log(server)
    secret = b"quite%0aconfidential"
    ticket = re.search(UUID, talk(server, form(URL + b"&backendSecret=" + secret)))
    assert ticket is not None
    for function in ("cancel_upload", "finish_upload"):
        start = f"POST /incoming/backend/{function}?id={ticket[0].decode()}"
        for told in ("&backendSecret=wrong%0aguess", "&backendSecret=" + secret.decode()):
            talk(server, request(start + told))
    wait_until(lambda: server.log.count("_upload ", len(before)) >= 5, "five lines of the log")
    new = server.log[len(before) :]
    assert "confidential" not in new
    assert "guess" not in new
    assert ticket[0].decode() not in new
    assert f"upload={ticket[0][:8].decode()}…" in new
    assert all(re.match(r"\S+ (INFO|WARNING) incoming\.[\w.]+\[\d+\] ", line) for line in new.splitlines())


def test_a_flood_of_refusals_does_not_flood_the_log(server: IncomingServer) -> None:
    before = server.log
    for _ in range(60):
        assert statuses(talk(server, form(URL, "Origin: null"))) == [403]
    assert len(lines_of(server, before)) <= 20


def test_unknown_and_foreign_tickets_cannot_be_told_apart(server: IncomingServer) -> None:
    """Nobody outside learns whether an id exists: the refusal comes before the look."""
    ticket = re.search(UUID, talk(server, form()))
    assert ticket is not None
    answers = []
    for known in (ticket[0].decode(), "00000000-0000-4000-8000-000000000000"):
        received = talk(server, request(f"POST /incoming/backend/cancel_upload?id={known}", "X-Real-IP: 10.0.0.1"))
        answers.append(re.sub(rb"Date: [^\r]*", b"", received))
    assert answers[0] == answers[1]
    assert statuses(answers[0]) == [403]
