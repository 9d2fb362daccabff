"""Other requests to the WebSocket's URL get the server's plain error, not a page of the framework."""

import json

import pytest

from tests.support.incoming_server import IncomingServer
from tests.system.hostile.conftest import LogLines
from tests.system.hostile.wire import Wire, ask, handshake, new_ticket, request

URL = "/incoming/0.1/frontend/upload_ws"
METHODS = ("HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND")


@pytest.mark.parametrize("ticket", ["", "?ticket=none", "?ticket=%ff"])
def test_a_request_without_an_upgrade_is_refused(
    hostile_server: IncomingServer, log_lines: LogLines, ticket: str
) -> None:
    status, head, body = ask(hostile_server, request(f"GET {URL}{ticket}"))
    assert status == 400
    assert body.startswith(b"this URL is a WebSocket")
    assert "Content-Type: text/plain; charset=utf-8" in head
    assert "Server: Incoming" in head
    assert log_lines() == []


def test_the_refusal_is_json_on_request(hostile_server: IncomingServer) -> None:
    _, _, body = ask(hostile_server, request(f"GET {URL}", "Accept: application/json"))
    assert json.loads(body)["code"] == 100


@pytest.mark.parametrize("method", METHODS)
def test_another_method_is_refused(hostile_server: IncomingServer, log_lines: LogLines, method: str) -> None:
    ticket = new_ticket(hostile_server)
    log_lines()
    status, head, body = ask(hostile_server, request(f"{method} {URL}?ticket={ticket}"))
    assert status == 405
    assert "\r\nAllow: GET\r\n" in head + "\r\n"
    assert body in (b"", f"{method} is not a method of this URL".encode())
    assert b"<" not in body
    assert log_lines() == []


@pytest.mark.parametrize(
    ("header", "status"),
    [
        ("Upgrade: h2c", 400),
        ("Connection: close", 400),
        ("Sec-WebSocket-Version: 8", 426),
        ("Sec-WebSocket-Key: ", 400),
    ],
)
def test_a_bad_handshake_is_refused(
    hostile_server: IncomingServer, log_lines: LogLines, header: str, status: int
) -> None:
    name = header.partition(":")[0]
    lines = [line for line in handshake("none").decode().split("\r\n") if not line.startswith(name)]
    data = "\r\n".join([lines[0], header, "Content-Length: 0", *lines[1:]]).encode()
    with Wire(hostile_server.port) as wire:
        wire.send(data)
        received = wire.until(b"\r\n\r\n")
    assert received.startswith(b"HTTP/1.1 %d " % status)
    assert b"Server: Incoming" in received
    assert b"<" not in received
    assert log_lines() == []


def test_a_foreign_origin_is_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    directory = tmp_path_factory.mktemp("narrow") / "storage"
    with IncomingServer(directory, "--workers", "1", "--allowed-origins", "https://app.example") as server:
        data = handshake(new_ticket(server), "Origin: https://evil.example", "Content-Length: 0")
        with Wire(server.port) as wire:
            wire.send(data)
            assert wire.until(b"upload here").startswith(b"HTTP/1.1 403 ")
