"""Slowloris in every form: a client that sends a byte occasionally loses the connection; other uploads continue."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from incoming.wire.messages import CHUNK_HEADER
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import BINARY, CONTINUATION, PING, TEXT, frame
from tests.support.waiting import wait_until
from tests.system.hostile.wire import STRANGER, Socket, Wire, ask, new_ticket, request, status_of, upload_path

DEAD_AFTER = 1.0
RATE = 1000
INTERVAL = 0.05
"""Seconds between two bytes of a dribble: far below both limits on silence."""


@pytest.fixture(scope="module")
def options() -> tuple[str, ...]:
    return (
        *("--dead-after", str(DEAD_AFTER), "--ping-interval", "0.6", "--hello-timeout", str(DEAD_AFTER)),
        *("--minimum-rate", str(RATE), "--backend-networks", "127.0.0.1", "--max-strangers", "50"),
        *("--connections-per-client", "2000"),
    )


def dribble(wire: Wire, data: Callable[[], bytes], most: float = 20.0) -> None:
    """Send `data()` repeatedly until the server closes or sends an error."""
    began = time.monotonic()
    while not wire.is_closed and b'"error"' not in wire.received:
        assert time.monotonic() - began < most, "still connected"
        wire.send(data())
        time.sleep(INTERVAL)


@contextmanager
def honest_upload(server: IncomingServer) -> Iterator[None]:
    """A normal upload during the attack."""
    ticket = new_ticket(server)
    yield
    content = bytes(100_000)
    assert ask(server, request(f"PUT {upload_path(ticket)}", body=content), "127.0.0.3")[0] == 200
    assert status_of(server, ticket)["arrived"] == len(content)


def test_a_body_below_the_minimum_rate_is_cut(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server), Wire(hostile_server.port, STRANGER) as wire:
        wire.send(request(f"PUT {upload_path(ticket)}", "Content-Length: 1000000"))
        dribble(wire, lambda: b"x")
    assert wire.received.startswith(b"HTTP/1.1 408 ")
    assert wire.received.endswith(b"less than 1000 bytes a second came")
    kept = status_of(hostile_server, ticket)
    assert kept["arrived"] > 0
    assert kept["extents"] == [[0, kept["arrived"]]]  # what came is kept, and can be gone on from


def test_a_chunked_body_below_the_minimum_rate_is_cut(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server), Wire(hostile_server.port, STRANGER) as wire:
        wire.send(request(f"PUT {upload_path(ticket)}", "Transfer-Encoding: chunked"))
        dribble(wire, lambda: b"1\r\nx\r\n")


def test_a_control_message_below_the_minimum_rate_is_cut(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server), Wire(hostile_server.port, STRANGER) as wire:
        wire.send(request(f"POST {upload_path(ticket)}", "Content-Length: 10000"))
        dribble(wire, lambda: b" ")


@pytest.mark.parametrize("declared", [60_000, 8_000_000])
def test_a_frame_below_the_minimum_rate_is_cut(hostile_server: IncomingServer, declared: int) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server):
        socket = Socket(hostile_server.port, ticket, STRANGER)
        socket.hello(10_000_000)
        start = frame(BINARY, CHUNK_HEADER.pack(1, 0) + bytes(declared))
        socket.send(start[:30])
        dribble(socket, lambda: b"x")
    assert b'"too_slow"' in socket.received
    assert b"less than 1000 bytes a second came" in socket.received


def test_a_frame_header_below_the_minimum_rate_is_cut(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server):
        socket = Socket(hostile_server.port, ticket, STRANGER)
        socket.hello()
        opening = iter(frame(BINARY, CHUNK_HEADER.pack(1, 0) + bytes(8_000_000)))
        dribble(socket, lambda: bytes([next(opening)]))


def test_empty_fragments_are_cut(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server):
        socket = Socket(hostile_server.port, ticket, STRANGER)
        socket.hello()
        socket.send(frame(BINARY, b"x", final=False))
        dribble(socket, lambda: frame(CONTINUATION, final=False))


def test_a_slow_hello_is_cut(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    with honest_upload(hostile_server):
        socket = Socket(hostile_server.port, ticket, STRANGER)
        socket.send(frame(TEXT, bytes(5000))[:8])
        dribble(socket, lambda: b"x")
    assert b"no hello arrived within 1 s" in socket.received


def test_a_slow_line_is_not_cut(hostile_server: IncomingServer) -> None:
    """Ten times the minimum, in one chunk that takes several times as long as silence may."""
    ticket = new_ticket(hostile_server)
    socket = Socket(hostile_server.port, ticket, STRANGER)
    socket.hello(30_000)
    sent = frame(BINARY, CHUNK_HEADER.pack(1, 0) + bytes(30_000))
    for start in range(0, len(sent), 1000):
        socket.send(sent[start : start + 1000])
        time.sleep(0.1)
    answer = socket.hear()
    while answer == {"type": "ping"}:  # so that the sender knows that the server lives
        answer = socket.hear()
    assert answer == {"type": "ack", "chunks": [[0, 30_000]]}


def test_an_idle_client_that_sends_pings_is_not_cut(hostile_server: IncomingServer) -> None:
    """By the protocol's own messages or by RFC 6455's ping frames."""
    ticket = new_ticket(hostile_server)
    socket = Socket(hostile_server.port, ticket, STRANGER)
    socket.hello()
    until = time.monotonic() + 3 * DEAD_AFTER
    while time.monotonic() < until:
        socket.send(frame(PING, b"x"))
        time.sleep(0.3)
        assert not socket.is_closed
    assert b"too_slow" not in socket.received


def test_idle_connections_do_not_block_other_clients(hostile_server: IncomingServer) -> None:
    """Nor do they end an upload in progress, over either transport."""
    idle = []
    over_http, over_websocket = new_ticket(hostile_server), new_ticket(hostile_server)
    body, socket = Wire(hostile_server.port, "127.0.0.4"), Socket(hostile_server.port, over_websocket, "127.0.0.4")
    body.send(request(f"PUT {upload_path(over_http)}", "Content-Length: 20000") + bytes(10_000))
    socket.hello(20_000)
    socket.chunk(0, bytes(10_000))
    assert socket.hear()["type"] == "ack"
    with honest_upload(hostile_server):
        for number in range(1000):
            idle.append(Wire(hostile_server.port, f"127.0.1.{number % 200 + 1}"))
            if number % 2:
                idle[-1].send(b"GET /incoming/ HTTP/1.1\r\nX-A: ")
            if number % 100 == 0:
                body.send(bytes(1000))
                socket.chunk(10_000 + 10 * number, bytes(1000))
    wait_until(lambda: sum(not wire.is_closed for wire in idle) <= 50, "most of them being sent away")
    assert body.until_closed().startswith(b"HTTP/1.1 200 ")
    wait_until(lambda: status_of(hostile_server, over_websocket)["arrived"] == 20_000, "all chunks")


def test_unused_tickets_do_not_block_uploads(hostile_server: IncomingServer) -> None:
    with honest_upload(hostile_server):
        tickets = {new_ticket(hostile_server) for _ in range(100)}
    assert len(tickets) == 100
