"""Raw bytes to both examples: an answer or the end of the connection, one line in the log at most, and no traceback."""

import contextlib
import re
import socket

import pytest

from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.hostile.wire import request

CALLBACK = "POST /api/backend/upload_finished"
FORM = "Content-Type: application/x-www-form-urlencoded"
MULTIPART = "Content-Type: multipart/form-data; boundary=x"
CHUNKED = "Transfer-Encoding: chunked"


CASES: dict[str, tuple[bytes, set[int]]] = {
    "length of letters": (request(CALLBACK, FORM, "Content-Length: abc", body=b"id=x"), {400, 404}),
    "negative length": (request(CALLBACK, FORM, "Content-Length: -1", body=b"id=x"), {400, 404}),
    "length of 5000 digits": (request(CALLBACK, FORM, "Content-Length: " + "9" * 5000, body=b"id=x"), {400, 404, 413}),
    "length of other digits": (request(CALLBACK, FORM, "Content-Length: \xb2", body=b"id=x"), {400, 404}),
    "length above the limit": (request(CALLBACK, FORM, "Content-Length: 10000000", body=b"id=x"), {400, 404, 413}),
    "a large form": (request(CALLBACK, FORM, body=b"id=" + b"x" * 200_000), {400, 404, 413}),
    "chunks": (request(CALLBACK, FORM, CHUNKED, body=b"4\r\nid=x\r\n0\r\n\r\n"), {400, 404}),
    "chunk size of letters": (request(CALLBACK, FORM, CHUNKED, body=b"xyz\r\nid=x\r\n"), {400, 404}),
    "negative chunk size": (request(CALLBACK, FORM, CHUNKED, body=b"-4\r\nid=x\r\n0\r\n\r\n"), {400, 404}),
    "length and chunks": (request(CALLBACK, FORM, "Content-Length: 3", CHUNKED, body=b"0\r\n\r\n"), {400, 404}),
    "gzip": (request(CALLBACK, FORM, "Content-Encoding: gzip", body=b"\x1f\x8b"), {400, 404, 415}),
    "JSON": (request(CALLBACK, "Content-Type: application/json", body=b"[" * 50_000), {400, 404}),
    "broken multipart": (request(CALLBACK, MULTIPART, body=b"--x\r\nfoo"), {400, 404}),
    "multipart without a boundary": (
        request(CALLBACK, "Content-Type: multipart/form-data", body=b"--x\r\n"),
        {400, 404},
    ),
    "many broken parts": (request(CALLBACK, MULTIPART, body=b"--x\r\n\r\n\r\n" * 5000 + b"--x--\r\n"), {400, 404, 413}),
    "a file for a parameter": (
        request(
            CALLBACK,
            MULTIPART,
            body=b'--x\r\nContent-Disposition: form-data; name="id"; filename="a"\r\n\r\nx\r\n--x--\r\n',
        ),
        {400, 404},
    ),
    "many parameters": (request(CALLBACK, FORM, body=b"&".join(b"a%d=1" % i for i in range(20_000))), {400, 404, 413}),
    "no UTF-8": (request(CALLBACK, FORM, body=b"id=%ff&secret=%fe&filename=%ff"), {400, 404}),
    "NUL": (request(CALLBACK, FORM, body=b"id=%00&secret=%00&filename=%00"), {400, 404}),
    "forged log lines": (request(CALLBACK, FORM, body=b"id=a%0aforged+line%1b[31m&filename=%0a"), {400, 404}),
    "a name for a ticket": (
        request("GET /api/frontend/request_upload?filename=%0d%0aX-Injected:1"),
        {200, 404, 502},
    ),
    "a name that is no UTF-8": (
        request("GET /api/frontend/request_upload?filename=%ff"),
        {200, 400, 404, 502},
    ),
    "a method": (request("DELETE /"), {404, 405}),
    "an invented method": (request("A\x1b[31m /"), {400, 404, 405, 501}),
    "a path in the host": (request("GET /uploads/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), {404}),
    "a URL of 60 KiB": (request("GET /uploads/" + "x" * 60_000), {404, 414}),
    "a URL of 70 KiB": (request("GET /uploads/" + "x" * 70_000), {414}),
    "a header of 70 KiB": (request("GET /", "X: " + "x" * 70_000), {400, 431}),
    "many headers": (request("GET /", *(f"X-{i}: y" for i in range(500))), {400, 431}),
    "a bad date": (request("GET /static/style.css", "If-Modified-Since: \xff"), {200, 404}),
    "a bad cookie": (request("GET /", 'Cookie: a="\\400'), {200, 502, 503}),
    "bad credentials": (request("GET /", "Authorization: Basic \xff"), {200, 502, 503}),
    "another forwarded scheme": (request("GET /", "X-Forwarded-Proto: javascript"), {200, 400, 502, 503}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", {0, 400}),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {0, 400, 505}),
    "half a request": (b"POST /api/backend/upload_finished HTTP/1.1\r\nContent-Le", {0, 400, 404}),
    "half a body": (request(CALLBACK, FORM, "Content-Length: 100", body=b"id=x"), {0, 400, 404}),
}


@pytest.fixture(params=[1, 2])
def app(request: pytest.FixtureRequest, start_example: StartExample) -> ExampleApp:
    return start_example(request.param)


def talk(app: ExampleApp, data: bytes) -> bytes:
    received = b""
    with socket.create_connection(("127.0.0.1", app.port), timeout=20) as connection:
        with contextlib.suppress(OSError):  # it may have answered and closed already
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                received += part
    return received


def test_hostile_bytes_break_nothing(app: ExampleApp) -> None:
    for name, (data, expected) in CASES.items():
        before = len(app.log)
        received = talk(app, data)
        found = re.match(rb"HTTP/1\.[01] ([0-9]{3}) ", received)
        assert (int(found[1]) if found else 0) in expected, f"{name}: {received[:300]!r}"
        assert b"\r\nx-injected" not in received.lower().partition(b"\r\n\r\n")[0], name
        assert app.get("/").status_code == 200
        lines = [line for line in app.log[before:].splitlines() if line]
        assert len(lines) <= 1, f"{name}: {lines}"
        assert all(line.isprintable() for line in lines), f"{name}: {lines}"
        assert "Traceback" not in app.log, name
    assert app.contents() == {}
