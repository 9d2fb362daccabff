"""The memory for two hundred connections is bounded by configuration, whatever they have half sent."""

import json
from pathlib import Path

import pytest

from incoming.handlers.upload.websocket.reader import LARGEST_READ
from incoming.uploads.writes.receive_buffer import LARGEST_BUFFER
from incoming.wire.messages import CHUNK_HEADER
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import BINARY, TEXT, frame
from tests.support.waiting import wait_until
from tests.system.hostile.wire import Socket, Wire, ask, new_ticket, request, rss, status_of, upload_path

MIB = 1024 * 1024
CHUNK = 256 * 1024
LARGEST_CHUNK = 2 * MIB
CONNECTIONS = 200
OVERHEAD = 128 * 1024
"""Bytes of memory that a connection may cost besides what it has half sent: buffers of Python and Tornado."""


@pytest.fixture(scope="module")
def options() -> tuple[str, ...]:
    return ("--chunk-max", str(LARGEST_CHUNK), "--memory", "8MiB", "--connections-per-upload", "256")


@pytest.fixture
def before(hostile_server: IncomingServer) -> int:
    ask(hostile_server, request("GET /incoming/frontend/incoming.js"))
    return rss(hostile_server.pid)


def unread(port: int) -> int:
    """Return the received bytes that the server has not read, over all its connections."""
    lines = (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
    return sum(int(fields[4].partition(":")[2], 16) for fields in lines if int(fields[1].partition(":")[2], 16) == port)


def grown(server: IncomingServer, before: int) -> int:
    """Return the growth of memory once everything is read."""
    wait_until(lambda: unread(server.port) == 0, "the server having read everything")
    new_ticket(server)  # and having handled it
    return rss(server.pid) - before


def test_memory_is_bounded_with_half_sent_chunks(hostile_server: IncomingServer, before: int) -> None:
    """A chunk is stored while it arrives: memory has its last part and the receive buffer."""
    ticket = new_ticket(hostile_server)
    half = frame(BINARY, CHUNK_HEADER.pack(1, 0) + bytes(LARGEST_CHUNK))[:-1]
    for _ in range(CONNECTIONS):
        socket = Socket(hostile_server.port, ticket)
        socket.hello(10 * MIB)
        socket.send(half)
    assert grown(hostile_server, before) < CONNECTIONS * (LARGEST_BUFFER + 2 * LARGEST_READ + OVERHEAD)
    assert status_of(hostile_server, ticket)["arrived"] > LARGEST_CHUNK // 2, "they are really there"


def test_chunks_before_a_ticket_take_no_memory(hostile_server: IncomingServer, before: int) -> None:
    """Without a ticket a client gets an error, and no buffer for a chunk."""
    start = frame(BINARY, CHUNK_HEADER.pack(1, 0) + bytes(CHUNK))[:-1]
    for number in range(CONNECTIONS):
        socket = Socket(hostile_server.port, f"none-{number}")
        socket.send(start)
    assert grown(hostile_server, before) < CONNECTIONS * OVERHEAD


def test_memory_is_bounded_with_half_sent_bodies(hostile_server: IncomingServer, before: int) -> None:
    for _ in range(CONNECTIONS):
        wire = Wire(hostile_server.port)
        ticket = new_ticket(hostile_server)
        wire.send(request(f"PUT {upload_path(ticket)}", f"Content-Length: {2 * CHUNK}") + bytes(CHUNK))
    assert grown(hostile_server, before) < CONNECTIONS * OVERHEAD


def test_memory_is_bounded_with_half_sent_forms_and_messages(hostile_server: IncomingServer, before: int) -> None:
    ticket = new_ticket(hostile_server)
    for number in range(CONNECTIONS):
        wire = Wire(hostile_server.port)
        start = f"POST {upload_path(ticket)}" if number % 2 else "POST /incoming/backend/new_upload"
        wire.send(request(start, "Content-Length: 16000") + bytes(15_999))
    assert grown(hostile_server, before) < CONNECTIONS * OVERHEAD


def test_memory_is_bounded_with_unread_answers(hostile_server: IncomingServer, before: int) -> None:
    """A client that sends requests without reading answers is no longer read at some point."""
    ticket = new_ticket(hostile_server)
    socket = Socket(hostile_server.port, ticket)
    socket.hello()
    pings = frame(TEXT, json.dumps({"type": "ping"}).encode()) * 2000
    socket.socket.settimeout(0.5)
    sent = 0
    while sent < 64 * MIB:
        try:
            sent += socket.socket.send(pings)
        except TimeoutError:
            break
    assert sent < 64 * MIB, "the server goes on reading"
    assert rss(hostile_server.pid) - before < 20 * MIB
