"""The WebSocket, as frames to a real server: the handshake, hello, and chunks that are sent and acknowledged."""

import asyncio
import gc
from pathlib import Path
from typing import Any

import pytest

from incoming import __version__
from incoming.core.extents import Extents
from incoming.core.ticket import State
from incoming.handlers.upload.websocket.upload_socket import UploadSocket
from incoming.wire.messages import CHUNK_HEADER, MAX_CONTROL
from tests.integration.handlers.conftest import LogLines, StartWorker, holds, look
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT
from tests.support.raw_http import RawConnection
from tests.support.raw_websocket import (
    BINARY,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    chunk,
    error_of,
    frame,
    handshake,
    hello,
    text,
)
from tests.support.stores import until

ORIGIN = "https://app.example.org"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


# --- the handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(11)
@pytest.mark.parametrize("path", ["/incoming/frontend/upload_ws", "/incoming/0.1/frontend/upload_ws"])
async def test_the_handshake_succeeds(worker: OneWorker, path: str) -> None:
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(handshake(await worker.ticket(), path=path))
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
    assert answer.headers["sec-websocket-protocol"] == "incoming.1"
    connection.close()


async def test_a_draining_worker_accepts_the_handshake_and_gives_the_reason(worker: OneWorker) -> None:
    """No connection is kept for another request then, but a WebSocket is no request: it opens, and says why it ends."""
    ticket = await worker.ticket()
    worker.server.conn_params.no_keep_alive = True
    await worker.services.upload_service.drain()
    socket = await RawWebSocket.open(worker.port, ticket)
    assert socket.answer.status == 101
    assert socket.answer.headers["connection"].lower() == "upgrade"
    await socket.send(hello(3))
    messages, code = await socket.end()
    assert error_of(messages) == 500
    assert code == 4500
    socket.close()


async def test_compression_is_not_negotiated(worker: OneWorker) -> None:
    offer = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits, x-webkit-deflate-frame"
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), offer)
    assert "sec-websocket-extensions" not in socket.answer.headers
    # A bomb sent all the same is a frame with a reserved bit.
    await socket.send(frame(TEXT, b"\x00" * 100, reserved=4))
    messages, code = await socket.end()
    assert messages == []
    assert code in (1002, None)
    socket.close()


@pytest.mark.parametrize("offered", [None, "incoming.2", "chat, superchat"])
async def test_a_handshake_without_the_sub_protocol_is_refused(worker: OneWorker, offered: str | None) -> None:
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), subprotocol=offered)
    assert "sec-websocket-protocol" not in socket.answer.headers
    messages, code = await socket.end()
    assert (error_of(messages), code) == (100, 4100)
    socket.close()


async def test_the_sub_protocol_may_be_one_of_several(worker: OneWorker) -> None:
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), subprotocol="incoming.2, incoming.1")
    assert socket.answer.headers["sec-websocket-protocol"] == "incoming.1"
    socket.close()


@pytest.mark.parametrize("ticket_id", [UNKNOWN, "", "nonsense", "..%2f..%2fetc%2fpasswd", "%00", "x" * 5000])
async def test_an_unknown_ticket_is_refused(worker: OneWorker, ticket_id: str, log_lines: LogLines) -> None:
    socket = await RawWebSocket.open(worker.port, ticket_id)
    messages, code = await socket.end()
    assert (error_of(messages), code) == (200, 4200)
    assert messages[-1]["name"] == "unknown_ticket"
    assert not messages[-1]["retry"]
    socket.close()
    assert log_lines() == []


async def test_a_stranger_gets_no_room_for_a_chunk(worker: OneWorker) -> None:
    socket = await RawWebSocket.open(worker.port, UNKNOWN)
    [handler] = [thing for thing in gc.get_objects() if isinstance(thing, UploadSocket) and thing.ws_connection]
    assert handler.max_message_size == MAX_CONTROL
    await socket.send(frame(BINARY, bytes(MAX_CONTROL + 1)))
    assert (await socket.end())[1] in (4200, 1009)
    socket.close()


@pytest.mark.parametrize("where", ["server", "ticket"])
async def test_only_allowed_origins_may_connect(start_worker: StartWorker, where: str) -> None:
    worker = await start_worker(*(("--allowed-origins", ORIGIN) if where == "server" else ()))
    ticket_id = await worker.ticket(**({"allowedOrigins": ORIGIN} if where == "ticket" else {}))
    for origin in ("https://evil.example.org", "null", "http://127.0.0.1"):
        connection = await RawConnection.open(worker.port)
        answer = await connection.ask(handshake(ticket_id, f"Origin: {origin}"))
        if where == "server":
            assert answer.status == 403
        else:
            messages, code = await RawWebSocket(connection, answer).end()
            assert (error_of(messages), code) == (203, 4203)
        connection.close()
    for headers in ((), (f"Origin: {ORIGIN}",), (f"Origin: {ORIGIN}", "Sec-Fetch-Site: cross-site")):
        socket = await RawWebSocket.open(worker.port, ticket_id, *headers)
        await socket.send(hello())
        assert (await socket.hear())["type"] == "welcome"
        socket.close()


# --- hello ------------------------------------------------------------------------------------------------------------


async def test_welcome_has_every_documented_field(worker: OneWorker) -> None:
    ticket_id = await worker.ticket(maxRate="1MB")
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(last_modified=1234, fingerprint="digest", epoch=None))
    assert await socket.hear() == {
        "type": "welcome", "epoch": 1, "state": "uploading", "size": 100, "extents": [], "chunk_min": 65536,
        "chunk_max": 8388608, "window": 67108864, "connections": 16, "ping_interval": 20, "max_rate": 1_000_000,
        "version": __version__,
    }  # fmt: skip
    identity = (await look(worker, ticket_id)).identity
    assert (identity.name, identity.size, identity.last_modified, identity.fingerprint) == (
        "a.bin",
        100,
        1234,
        "digest",
    )
    socket.close()


@pytest.mark.parametrize(
    "wrong",
    [
        {"session": "short"},
        {"session": "x" * 65},
        {"session": "not allowed!"},
        {"session": None},
        {"session": 12345678},
        {"size": None},
        {"size": -1},
        {"size": 1.0},
        {"size": 2**53},
        {"size": "100"},
        {"size": True},
        {"name": None},
        {"name": 1},
        {"name": "x" * 1025},
        {"epoch": -1},
        {"epoch": "1"},
        {"epoch": True},
        {"last_modified": 1.5},
        {"fingerprint": "x" * 201},
        {"fingerprint": 1},
    ],
    ids=str,
)
async def test_a_malformed_hello_is_refused(worker: OneWorker, wrong: dict[str, object], log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(text({"type": "hello", "session": "session-1", "name": "a", "size": 100, **wrong}))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (100, 4100)
    assert (await look(worker, ticket_id)).state == State.NEW
    socket.close()
    assert log_lines() == []


async def test_a_hello_for_another_file_is_refused(worker: OneWorker) -> None:
    ticket_id = await worker.ticket(maxSize="1000")
    (await RawWebSocket.welcomed(worker.port, ticket_id, last_modified=1)).close()
    for wrong, code in (({"size": 99}, 400), ({"last_modified": 2}, 400), ({"size": 1001}, 400)):
        socket = await RawWebSocket.open(worker.port, ticket_id)
        await socket.send(hello(**{"last_modified": 1, **wrong}))
        messages, close_code = await socket.end()
        assert (error_of(messages), close_code) == (code, 4000 + code)
        socket.close()
    other = await RawWebSocket.open(worker.port, await worker.ticket(maxSize="1000"))
    await other.send(hello(1001))
    assert error_of((await other.end())[0]) == 401
    other.close()


async def test_a_missing_hello_times_out(start_worker: StartWorker, log_lines: LogLines) -> None:
    worker = await start_worker("--hello-timeout", "0.3")
    ticket_id = await worker.ticket()
    log_lines()
    silent = await RawWebSocket.open(worker.port, ticket_id)
    dribbling = await RawWebSocket.open(worker.port, ticket_id)
    await dribbling.send(hello()[:30])
    for socket in (silent, dribbling):
        messages, code = await socket.end()
        assert (error_of(messages), code) == (504, 4504)
        assert messages[-1]["retry"]
        socket.close()
    assert log_lines() == []


async def test_a_hello_may_come_late(start_worker: StartWorker) -> None:
    worker = await start_worker("--hello-timeout", "1.5")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await asyncio.sleep(0.5)
    await socket.send(hello())
    assert (await socket.hear())["type"] == "welcome"
    await asyncio.sleep(1.5)
    await socket.send(text({"type": "ping"}))
    assert await socket.hear() == {"type": "pong"}
    socket.close()


@pytest.mark.parametrize("end", ["reset", "close", "stay"])
async def test_a_client_that_disconnects_during_its_hello_leaves_nothing(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Or one whose time for it is over meanwhile."""
    worker = await start_worker("--hello-timeout", "0.3")
    ticket_id = await worker.ticket()
    original = worker.services.upload_service.open
    opened, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*given: Any) -> Any:
        upload = await original(*given)
        opened.set()
        await go_on.wait()
        return upload

    monkeypatch.setattr(worker.services.upload_service, "open", slow)
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello())
    await opened.wait()
    if end == "stay":
        assert (await socket.hear())["code"] == 504
    elif end == "reset":
        socket.connection.reset()
    else:
        socket.close()
    go_on.set()
    if end == "stay":
        assert await socket.end() == ([], 4504)
    await until(lambda: holds(worker) == [], "the connection being forgotten")
    socket.close()


# --- sending ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise(1, 11, 110)
async def test_each_chunk_is_acked_as_it_was_sent(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(50, CONTENT[50:100]), chunk(0, CONTENT[:30]), chunk(20, CONTENT[20:40]))
    await socket.until_acked((50, 100), (0, 30), (20, 40))
    assert (await look(worker, ticket_id)).extents == Extents([(0, 40), (50, 100)])
    await socket.send(chunk(50, CONTENT[50:60]), chunk(40, CONTENT[40:50]))
    await socket.until_acked((50, 60), (40, 50))
    assert (await socket.hear("state"))["state"] == "arrived"
    ticket = await look(worker, ticket_id)
    assert Path(ticket.location.address).read_bytes() == CONTENT
    socket.close()


async def test_a_chunk_may_follow_the_hello_at_once(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(100, ahead=True) + chunk(0, CONTENT[:40]))
    assert (await socket.hear("welcome"))["extents"] == []
    await socket.until_acked((0, 40))
    await socket.send(chunk(40, CONTENT[40:]))
    assert (await socket.hear("state"))["state"] == "arrived"
    ticket = await look(worker, ticket_id)
    assert Path(ticket.location.address).read_bytes() == CONTENT
    socket.close()


async def test_where_bytes_have_arrived_a_chunk_that_came_ahead_is_dropped(worker: OneWorker) -> None:
    """It may be all that is missing of a file which has changed since the rest was sent."""
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(40, CONTENT[40:]))
    await socket.until_acked((40, 100))
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(100, session="session-2", ahead=True) + chunk(0, bytes(40)) + chunk(0, CONTENT[:20]))
    assert (await again.hear("welcome"))["extents"] == [[40, 100]]
    await again.until_acked((0, 20))
    assert (await look(worker, ticket_id)).extents == Extents([(0, 20), (40, 100)])
    await again.send(chunk(20, CONTENT[20:40]))
    assert (await again.hear("state"))["state"] == "arrived"
    ticket = await look(worker, ticket_id)
    assert Path(ticket.location.address).read_bytes() == CONTENT
    socket.close()
    again.close()


async def test_a_chunk_behind_a_refused_hello_is_not_stored(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(100, session="?", ahead=True) + chunk(0, CONTENT))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (100, 4100)
    assert not (await look(worker, ticket_id)).extents
    socket.close()


async def test_an_empty_file_arrives(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(0))
    assert (await socket.hear("state"))["state"] == "arrived"
    socket.close()


async def test_a_chunk_may_come_in_frames_of_one_byte(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    message = CHUNK_HEADER.pack(1, 0) + CONTENT
    await socket.send(frame(BINARY, message[:1], final=False))
    for position in range(1, len(message) - 1):
        await socket.send(frame(CONTINUATION, message[position : position + 1], final=False))
        if position % 20 == 0:
            await socket.send(frame(PING, b"in between"), frame(PONG))
    await socket.send(frame(CONTINUATION, message[-1:]))
    pings = 0
    while True:
        opcode, payload = await socket.frame()
        if opcode != PONG:
            break
        assert payload == b"in between"
        pings += 1
    assert pings == 5
    assert b"ack" in payload
    socket.close()


async def test_the_largest_chunk_is_taken_and_one_byte_more_refused(
    start_worker: StartWorker, log_lines: LogLines
) -> None:
    worker = await start_worker("--chunk-max", "100000", "--chunk-min", "1000")
    ticket_id = await worker.ticket()
    log_lines()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, 300_000)
    await socket.send(chunk(0, bytes(100_000)))
    await socket.until_acked((0, 100_000))
    await socket.send(chunk(100_000, bytes(100_001)))
    _, code = await socket.end()
    assert code in (1009, None)
    assert (await look(worker, ticket_id)).extents == Extents([(0, 100_000)])
    socket.close()
    assert len(log_lines()) <= 1


async def test_a_message_too_large_in_fragments_is_refused(start_worker: StartWorker) -> None:
    worker = await start_worker("--chunk-max", "100000", "--chunk-min", "1000")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), 300_000)
    await socket.send(frame(BINARY, bytes(60_000), final=False), frame(CONTINUATION, bytes(60_000)))
    _, code = await socket.end()
    assert code in (1009, None)
    socket.close()


async def test_many_tiny_chunks_are_acknowledged(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    size = 5000
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, size)
    sending = asyncio.create_task(socket.send(*(chunk(offset, b"x") for offset in range(size))))
    await socket.until_acked(*((offset, offset + 1) for offset in range(size)))
    await sending
    assert (await socket.hear("state"))["state"] == "arrived"
    socket.close()
