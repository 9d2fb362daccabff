"""The WebSocket, as frames to a real server: what is said when, who takes over, who is dead, what nonsense gets."""

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from socket import SO_SNDBUF, SOL_SOCKET
from typing import Any

import pytest

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.extents import Extents
from incoming.core.messages import CHUNK_HEADER, MAX_CONTROL
from incoming.core.ticket import Event, State, Ticket
from incoming.handlers.chunks import PART
from incoming.handlers.websocket import UploadSocket
from tests.handlers.conftest import holds
from tests.support.faulty_stores import FaultyFiles
from tests.support.one_worker import OneWorker
from tests.support.raw_http import RawConnection, request
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    chunk,
    frame,
    handshake,
    hello,
    text,
)
from tests.support.stores import until

StartWorker = Callable[..., Awaitable[OneWorker]]
LogLines = Callable[[], list[str]]

CONTENT = bytes(offset % 251 for offset in range(100))
ORIGIN = "https://app.example.org"
UNKNOWN = "00000000-0000-4000-8000-000000000000"


async def look(worker: OneWorker, ticket_id: str) -> Ticket:
    return await worker.services.assembler.look(ticket_id)


def files(worker: OneWorker) -> FaultyFiles:
    store = worker.services.store
    assert isinstance(store, FaultyFiles)
    return store


async def reaches(worker: OneWorker, ticket_id: str, state: State) -> Ticket:
    async def there() -> Ticket | None:
        ticket = await look(worker, ticket_id)
        return ticket if ticket.state == state else None

    ticket = await until(there, f"state {state}")
    assert ticket is not None
    return ticket


def error_of(messages: list[dict[str, Any]]) -> int:
    """The code of the error that is the last message."""
    assert messages[-1]["type"] == "error", messages
    return int(messages[-1]["code"])


# --- the handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(11)
@pytest.mark.parametrize("path", ["/incoming/frontend/upload_ws", "/incoming/0.1/frontend/upload_ws"])
async def test_handshake(worker: OneWorker, path: str) -> None:
    connection = await RawConnection.open(worker.port)
    answer = await connection.ask(handshake(await worker.ticket(), path=path))
    assert answer.status == 101
    assert answer.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
    assert answer.headers["sec-websocket-protocol"] == "incoming.1"
    connection.close()


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
async def test_without_the_sub_protocol(worker: OneWorker, offered: str | None) -> None:
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), subprotocol=offered)
    assert "sec-websocket-protocol" not in socket.answer.headers
    messages, code = await socket.end()
    assert (error_of(messages), code) == (100, 4100)
    socket.close()


async def test_one_of_several_sub_protocols(worker: OneWorker) -> None:
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), subprotocol="incoming.2, incoming.1")
    assert socket.answer.headers["sec-websocket-protocol"] == "incoming.1"
    socket.close()


@pytest.mark.parametrize("ticket_id", [UNKNOWN, "", "nonsense", "..%2f..%2fetc%2fpasswd", "%00", "x" * 5000])
async def test_unknown_ticket(worker: OneWorker, ticket_id: str, log_lines: LogLines) -> None:
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
async def test_allowed_origins(start_worker: StartWorker, where: str) -> None:
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


async def test_welcome(worker: OneWorker) -> None:
    ticket_id = await worker.ticket(maxRate="1MB")
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(last_modified=1234, fingerprint="digest", epoch=None))
    assert await socket.hear() == {
        "type": "welcome", "epoch": 1, "state": "uploading", "size": 100, "extents": [], "chunk_min": 65536,
        "chunk_max": 8388608, "window": 67108864, "connections": 16, "ping_interval": 20, "max_rate": 1_000_000,
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
async def test_hello_that_is_wrong(worker: OneWorker, wrong: dict[str, object], log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    log_lines()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(text({"type": "hello", "session": "session-1", "name": "a", "size": 100, **wrong}))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (100, 4100)
    assert (await look(worker, ticket_id)).state == State.NEW
    socket.close()
    assert log_lines() == []


async def test_hello_for_another_file(worker: OneWorker) -> None:
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


async def test_hello_that_does_not_come(start_worker: StartWorker, log_lines: LogLines) -> None:
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


async def test_hello_that_comes_late(start_worker: StartWorker) -> None:
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
async def test_a_client_that_goes_while_its_hello_is_looked_at(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Or one whose time for it is over meanwhile."""
    worker = await start_worker("--hello-timeout", "0.3")
    ticket_id = await worker.ticket()
    original = worker.services.assembler.open
    opened, go_on = asyncio.Event(), asyncio.Event()

    async def slow(*given: Any) -> Any:
        upload = await original(*given)
        opened.set()
        await go_on.wait()
        return upload

    monkeypatch.setattr(worker.services.assembler, "open", slow)
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
    assert Path(ticket.path).read_bytes() == CONTENT
    socket.close()


async def test_an_empty_file(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(0))
    assert (await socket.hear("state"))["state"] == "arrived"
    socket.close()


async def test_a_chunk_in_frames_of_one_byte_with_others_in_between(worker: OneWorker) -> None:
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


async def test_chunks_of_exactly_the_largest_size_and_one_above(start_worker: StartWorker, log_lines: LogLines) -> None:
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


async def test_a_message_larger_by_its_fragments(start_worker: StartWorker) -> None:
    worker = await start_worker("--chunk-max", "100000", "--chunk-min", "1000")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), 300_000)
    await socket.send(frame(BINARY, bytes(60_000), final=False), frame(CONTINUATION, bytes(60_000)))
    _, code = await socket.end()
    assert code in (1009, None)
    socket.close()


async def test_many_tiny_chunks(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    size = 5000
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, size)
    sending = asyncio.create_task(socket.send(*(chunk(offset, b"x") for offset in range(size))))
    await socket.until_acked(*((offset, offset + 1) for offset in range(size)))
    await sending
    assert (await socket.hear("state"))["state"] == "arrived"
    socket.close()


# --- nonsense ---------------------------------------------------------------------------------------------------------

BEFORE_HELLO = {
    "a chunk": (chunk(0, b"x"), 100),
    "pause": (text({"type": "pause"}), 100),
    "cancel": (text({"type": "cancel"}), 100),
    "ping": (text({"type": "ping"}), 100),
}

AFTER_HELLO = {
    "hello again": (hello(), 100),
    "no JSON": (text(b"nonsense"), 100),
    "nothing": (text(b""), 100),
    "an array": (text([]), 100),
    "a string": (text("pause"), 100),
    "null": (text(None), 100),
    "no type": (text({}), 100),
    "unknown type": (text({"type": "welcome"}), 100),
    "type of another type": (text({"type": ["pause"]}), 100),
    "a key twice": (text(b'{"type":"ping","type":"ping"}'), 100),
    "deep": (text(b"[" * 16_000), 100),
    "deep object": (text(b'{"a":' * 3_000), 100),
    "NaN": (text(b'{"type":"cancel","reason":NaN}'), 100),
    "Infinity": (text(b'{"type":"pause","epoch":Infinity}'), 100),
    "a large number": (text(b'{"type":"pause","epoch":1' + b"0" * 5000 + b"}"), 100),
    "a control message that is too long": (text(b" " * (MAX_CONTROL + 1)), 103),
    "a chunk as text": (frame(TEXT, CHUNK_HEADER.pack(1, 0) + b"x"), 100),
    "a chunk without data": (chunk(0, b""), 100),
    "an empty binary message": (frame(BINARY), 100),
    "half a header": (frame(BINARY, bytes(8)), 100),
    "another version": (frame(BINARY, CHUNK_HEADER.pack(2, 0) + b"x"), 100),
    "a reserved byte": (frame(BINARY, b"\x01\x00\x00\x01" + bytes(12) + b"x"), 100),
    "outside of the file": (chunk(100, b"x"), 102),
    "across the end": (chunk(90, bytes(11)), 102),
    "offset 2^53": (chunk(2**53, b"x"), 100),
    "offset 2^64-1": (chunk(2**64 - 1, b"x"), 100),
    "cancel for a reason that is too long": (text({"type": "cancel", "reason": "x" * 1025}), 100),
    "cancel for no text": (text({"type": "cancel", "reason": 1}), 100),
}

BROKEN_FRAMES = {
    "bad UTF-8": frame(TEXT, b'{"type":"ping\xff"}'),
    "no mask": frame(TEXT, b'{"type":"ping"}', masked=False),
    "reserved bit 1": frame(TEXT, b"{}", reserved=4),
    "reserved bit 2": frame(BINARY, b"{}", reserved=2),
    "reserved bit 3": frame(PING, reserved=1),
    "an unknown opcode": frame(0x3, b"x"),
    "an unknown control opcode": frame(0xB, b"x"),
    "a fragmented ping": frame(PING, b"x", final=False),
    "a ping that is too long": frame(PING, bytes(126)),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a message within a message": frame(TEXT, b"{", final=False) + frame(TEXT, b"}"),
    "length of 2^63": b"\x82\xff" + b"\xff" * 8,
    "close with half a code": frame(CLOSE, b"\x03"),
    "close with bad UTF-8": frame(CLOSE, b"\x03\xe8\xff"),
    "close with a code of nobody": frame(CLOSE, b"\x00\x00"),
    "HTTP": request("GET", "/incoming/health"),
}


@pytest.mark.parametrize("name", [*BEFORE_HELLO, *AFTER_HELLO])
async def test_nonsense(worker: OneWorker, name: str, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    if name in BEFORE_HELLO:
        sent, expected = BEFORE_HELLO[name]
        socket = await RawWebSocket.open(worker.port, ticket_id)
    else:
        sent, expected = AFTER_HELLO[name]
        socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    log_lines()
    await socket.send(sent, chunk(0, CONTENT[:10]), hello())  # what comes behind is ignored
    messages, code = await socket.end()
    assert (error_of(messages), code) == (expected, 4000 + expected)
    assert set(messages[-1]) == {"type", "code", "name", "message", "retry", "retry_after"}
    ticket = await look(worker, ticket_id)
    assert (ticket.extents, ticket.paused) == (Extents(), False)
    assert ticket.state in (State.NEW, State.UPLOADING)
    socket.close()
    assert log_lines() == []


@pytest.mark.parametrize("moment", ["before hello", "after it"])
@pytest.mark.parametrize("name", BROKEN_FRAMES)
async def test_broken_frames(worker: OneWorker, name: str, moment: str, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    socket = await (RawWebSocket.open if moment == "before hello" else RawWebSocket.welcomed)(worker.port, ticket_id)
    log_lines()
    await socket.send(BROKEN_FRAMES[name])
    messages, code = await socket.end()
    assert messages == []
    # RFC 6455 section 7.1.7; what the server has not read makes its machine reset the connection, maybe before.
    told = {"bad UTF-8": 1007, "close with bad UTF-8": 1007, "length of 2^63": 1009}
    assert code in (told.get(name, 1002), None)
    await until(lambda: holds(worker) == [], "the connection being forgotten")
    assert len(log_lines()) <= 1
    socket.close()


@pytest.mark.parametrize("cut", range(0, 120, 9))
async def test_cut_anywhere(worker: OneWorker, cut: int, log_lines: LogLines) -> None:
    """What of a chunk has been read by then is kept, and nothing is made up."""
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    log_lines()
    sent = chunk(0, CONTENT)[:cut]
    await socket.send(sent)
    socket.connection.reset()
    await until(lambda: holds(worker) == [], "the connection being forgotten")
    came = len(sent) - (len(chunk(0, CONTENT)) - len(CONTENT))
    assert (await look(worker, ticket_id)).extents in (Extents(), Extents([(0, came)] if came > 0 else []))
    assert log_lines() == []


async def test_what_came_of_a_chunk_before_a_cut_is_kept(start_worker: StartWorker) -> None:
    """The start of a chunk may even be stored before; the rest is all that has to be sent again."""
    worker = await start_worker("--minimum-rate", "0")
    ticket_id = await worker.ticket()
    size = 2 * PART + 1000
    content = bytes(offset % 251 for offset in range(size))
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, size)
    message = chunk(0, content)
    await socket.send(message[:-500])

    async def stored() -> bool:
        return (await look(worker, ticket_id)).extents.size >= PART

    await until(stored, "a part of it being stored")
    socket.close()
    await until(lambda: holds(worker) == [], "the connection being forgotten")
    assert (await look(worker, ticket_id)).extents == Extents([(0, size - 500)])
    again = await RawWebSocket.welcomed(worker.port, ticket_id, size, epoch=1)
    await again.send(chunk(size - 500, content[-500:]))
    await again.until_acked((size - 500, size))
    assert Path((await reaches(worker, ticket_id, State.ARRIVED)).path).read_bytes() == content
    again.close()


async def test_a_large_chunk_is_acked_once_and_whole(worker: OneWorker) -> None:
    """However it is cut into frames: Chromium's have 131,000 bytes."""
    ticket_id = await worker.ticket()
    content = bytes(offset % 251 for offset in range(4 * PART + 77))
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, len(content))
    message = CHUNK_HEADER.pack(1, 0) + content
    ends = range(131_000, len(message), 131_000)
    pieces = [message[start : start + 131_000] for start in (0, *ends)]
    await socket.send(
        frame(BINARY, pieces[0], final=False),
        *(frame(CONTINUATION, piece, final=False) for piece in pieces[1:]),
        frame(CONTINUATION, b""),
    )
    acks = []
    while (message_back := await socket.hear())["type"] == "ack":
        acks += message_back["chunks"]
    assert acks == [[0, len(content)]]
    assert message_back["state"] == "arrived"
    assert Path((await look(worker, ticket_id)).path).read_bytes() == content
    socket.close()


async def test_of_a_chunk_beyond_the_end_nothing_beyond_is_stored(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    size = 4 * PART
    socket = await RawWebSocket.welcomed(worker.port, ticket_id, size)
    await socket.send(chunk(1, bytes(7 * PART)))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (102, 4102)
    await until(lambda: holds(worker) == [], "the connection being forgotten")
    ticket = await look(worker, ticket_id)
    assert ticket.state == State.UPLOADING
    assert 0 < ticket.extents.size < size
    assert files(worker).part(ticket_id).stat().st_size < size
    socket.close()


@pytest.mark.parametrize("code", [None, 1000, 1001, 4999])
async def test_a_goodbye_is_answered_at_once(worker: OneWorker, code: int | None) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    payload = b"" if code is None else code.to_bytes(2) + "schön war's".encode()
    await socket.send(frame(PING, b"still there?"), frame(CLOSE, payload), text({"type": "ping"}))
    assert await socket.frame() == (PONG, b"still there?")
    assert await socket.frame() == (CLOSE, payload[:2])
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await socket.frame()
    await until(lambda: holds(worker) == [], "the connection being forgotten")
    socket.close()


async def test_unknown_fields_are_ignored(worker: OneWorker) -> None:
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket(), future={"deep": [1, 2]})
    await socket.send(text({"type": "ping", "x": None}))
    assert await socket.hear() == {"type": "pong"}
    socket.close()


async def test_lone_surrogates_and_controls_in_a_name_are_data(worker: OneWorker, log_lines: LogLines) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(text(b'{"type":"hello","session":"session-1","size":1,"name":"\\ud800\\u0000\\r\\n../x"}'))
    assert (await socket.hear())["type"] == "welcome"
    assert (await look(worker, ticket_id)).identity.name == "\ufffd\0\r\n../x"
    socket.close()
    assert not [line for line in log_lines() if "\n" in line]


# --- taking over ------------------------------------------------------------------------------------------------------


@pytest.mark.promise(3)
async def test_the_newcomer_takes_over_within_a_second(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    old = await RawWebSocket.welcomed(worker.port, ticket_id)
    await old.send(chunk(0, CONTENT[:10]))
    await old.until_acked((0, 10))
    new = await RawWebSocket.open(worker.port, ticket_id)
    began = time.monotonic()
    await new.send(hello(session="session-2"))
    welcome = await new.hear()
    assert (welcome["epoch"], welcome["extents"]) == (2, [[0, 10]])
    messages, code = await old.end()
    assert time.monotonic() - began < 1.0
    assert (error_of(messages), messages[-1]["retry"], code) == (204, False, 4204)
    back = await RawWebSocket.open(worker.port, ticket_id)
    await back.send(hello(epoch=1))
    assert error_of((await back.end())[0]) == 204, "by itself it does not take the upload back"
    await new.send(chunk(10, CONTENT[10:]))
    await new.until_acked((10, 100))
    for socket in (old, new, back):
        socket.close()


async def test_a_reconnect_does_not_wait_for_a_half_open_connection(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    half_open = await RawWebSocket.welcomed(worker.port, ticket_id)
    await half_open.send(chunk(0, CONTENT)[:50])
    again = await RawWebSocket.welcomed(worker.port, ticket_id, epoch=1)
    await again.send(chunk(0, CONTENT))
    await again.until_acked((0, 100))
    half_open.close()
    again.close()


async def test_connections_of_one_uploader_share_the_upload(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    sockets = [await RawWebSocket.welcomed(worker.port, ticket_id) for _ in range(4)]
    for index, socket in enumerate(sockets):
        await socket.send(chunk(25 * index, CONTENT[25 * index : 25 * index + 25]))
    for index, socket in enumerate(sockets):
        await socket.until_acked((25 * index, 25 * index + 25))
        assert (await socket.hear("state"))["state"] == "arrived"
        socket.close()
    assert Path((await look(worker, ticket_id)).path).read_bytes() == CONTENT


async def test_of_too_many_connections_the_most_silent_makes_room(start_worker: StartWorker) -> None:
    worker = await start_worker("--connections-per-upload", "2")
    ticket_id = await worker.ticket()
    silent, busy = [await RawWebSocket.welcomed(worker.port, ticket_id) for _ in range(2)]
    await silent.send(text({"type": "ping"}))
    await silent.hear("pong")
    await busy.send(chunk(0, CONTENT[:10]))
    await busy.until_acked((0, 10))
    third = await RawWebSocket.welcomed(worker.port, ticket_id, epoch=1)
    messages, code = await silent.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (503, True, 4503)
    for index, socket in enumerate((busy, third)):
        await socket.send(chunk(10 + index, b"x"))
        await socket.until_acked((10 + index, 11 + index))
    for socket in (silent, busy, third):
        socket.close()


# --- pausing, cancelling ----------------------------------------------------------------------------------------------


@pytest.mark.promise(4)
async def test_pausing_waits_for_what_was_sent_before(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).faults.hold("write")
    await socket.send(chunk(0, CONTENT[:10]), text({"type": "pause"}))
    await files(worker).faults.until_held("write")
    files(worker).faults.release("write")
    assert [(await socket.hear())["type"] for _ in range(2)] == ["ack", "paused"]
    assert (await look(worker, ticket_id)).paused
    socket.close()
    await until(lambda: not worker.services.assembler.uploads(), "the connection being forgotten")
    again = await RawWebSocket.welcomed(worker.port, ticket_id, epoch=1)
    assert not (await look(worker, ticket_id)).paused
    again.close()


@pytest.mark.promise(108, 112)
async def test_cancelling_is_answered(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT[:10]), text({"type": "cancel", "reason": "changed my mind"}))
    messages, code = await socket.end()
    assert messages[-1] == {"type": "state", "state": "cancelled", "reason": "changed my mind", "code": None}
    assert code == 1000
    ticket = await look(worker, ticket_id)
    assert ticket.callback is not None
    assert ticket.callback.cancelled
    await until(lambda: not files(worker).part(ticket_id).exists(), "the bytes being removed")
    socket.close()


async def test_too_late_to_cancel(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT))
    await socket.hear("state")
    await socket.send(text({"type": "cancel"}))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (300, 4300)
    assert await worker.state(ticket_id) == "arrived"
    socket.close()


async def test_cancelled_by_the_backend(worker: OneWorker) -> None:
    """All connections hear of it at once, as a state and not as an error."""
    ticket_id = await worker.ticket()
    sockets = [await RawWebSocket.welcomed(worker.port, ticket_id) for _ in range(2)]
    assert (await worker.call("cancel_upload", id=ticket_id))[0] == 200
    for socket in sockets:
        messages, code = await socket.end()
        assert [(message["type"], message["state"]) for message in messages] == [("state", "cancelled")]
        assert code == 1000
        socket.close()


async def test_cancelled_while_chunks_are_under_way(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).faults.hold("write")
    await socket.send(chunk(0, CONTENT[:10]), chunk(10, CONTENT[10:20]))
    await files(worker).faults.until_held("write")
    cancelling = asyncio.create_task(worker.call("cancel_upload", id=ticket_id))
    messages, code = await socket.end()
    assert ([message["type"] for message in messages], code) == (["state"], 1000)
    files(worker).faults.release("write")
    assert (await cancelling)[0] == 200
    await until(lambda: not files(worker).part(ticket_id).exists(), "the bytes being removed")
    socket.close()


# --- the outcome ------------------------------------------------------------------------------------------------------


async def outcome_of(worker: OneWorker, ticket_id: str, **more: object) -> tuple[list[dict[str, Any]], int | None]:
    """What a browser that comes late is told."""
    socket = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(hello(**more))
    told = await socket.end()
    socket.close()
    return told


@pytest.mark.parametrize("outcome", ["finished", "failed", "cancelled"])
async def test_a_late_reconnect_learns_the_outcome(worker: OneWorker, outcome: str) -> None:
    ticket_id = await worker.ticket()
    tickets = worker.services.tickets
    (await RawWebSocket.welcomed(worker.port, ticket_id)).close()
    if outcome == "cancelled":
        await worker.call("cancel_upload", id=ticket_id)
    else:
        await worker.upload(ticket_id, CONTENT)
        now = time.time()
        await tickets.update(ticket_id, lambda known: known.move(Event.CALL, now))
        await tickets.update(
            ticket_id,
            lambda known: known.answered("done", now) if outcome == "finished" else known.refuse("no thanks", now),
        )
    for more in ({}, {"epoch": 1}, {"session": "session-2", "epoch": 1}):
        messages, code = await outcome_of(worker, ticket_id, **more)
        assert [message["type"] for message in messages] == ["welcome", "state"]
        assert messages[0]["state"] == messages[1]["state"] == outcome
        assert messages[1]["code"] == (303 if outcome == "failed" else None)
        assert code == 1000


async def test_each_change_of_state_is_told(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT))
    states = [(await socket.hear("state"))["state"]]
    now = time.time()
    tickets = worker.services.tickets
    for change in (
        lambda known: known.move(Event.CALL, now),
        lambda known: known.answered("wait", now),
        lambda known: known.finish(now),
    ):
        await tickets.update(ticket_id, change)
        states.append((await socket.hear("state"))["state"])
    assert states == ["arrived", "handing_over", "waiting", "finished"]
    assert await socket.end() == ([], 1000)
    socket.close()


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "after"), [(StorageFull("full"), 10), (StorageFailed("broken"), 5)])
async def test_a_fault_of_the_disk_is_worth_a_retry(worker: OneWorker, error: UploadError, after: int) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT[:10]))
    await socket.until_acked((0, 10))
    files(worker).faults.fail("write", error)
    await socket.send(chunk(10, CONTENT[10:20]))
    messages, code = await socket.end()
    assert (error_of(messages), code) == (error.code, 4000 + error.code)
    assert (messages[-1]["retry"], messages[-1]["retry_after"]) == (True, after)
    assert files(worker).faults.hit["write"] == 1
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(epoch=1))
    assert (await again.hear())["extents"] == [[0, 10]]
    for one in (socket, again):
        one.close()


async def test_bytes_that_a_disk_has_lost_are_asked_for_again(start_worker: StartWorker) -> None:
    worker = await start_worker("--checkpoint-bytes", "20", "--checkpoint-seconds", "3600")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).lose_unsynced(ticket_id)
    await socket.send(chunk(0, CONTENT[:30]))
    messages, code = await socket.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (502, True, 4502)
    assert files(worker).faults.hit["lost"] == 1
    again = await RawWebSocket.open(worker.port, ticket_id)
    await again.send(hello(epoch=1))
    welcome = await again.hear()
    assert (welcome["extents"], welcome["epoch"]) == ([], 3)
    await again.send(chunk(0, CONTENT))
    await again.until_acked((0, 100))
    await reaches(worker, ticket_id, State.ARRIVED)
    for one in (socket, again):
        one.close()


async def test_a_loss_that_another_worker_noticed_is_not_a_takeover(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    await worker.services.tickets.update(ticket_id, lambda known: known.distrust())
    messages, code = await socket.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (502, True, 4502)
    socket.close()


async def test_a_worker_that_ends_sends_everybody_elsewhere(worker: OneWorker) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    late = await RawWebSocket.open(worker.port, ticket_id)
    await socket.send(chunk(0, CONTENT[:10]))
    await socket.until_acked((0, 10))
    draining = asyncio.create_task(worker.services.assembler.drain())
    await late.send(hello(epoch=1))
    for one in (socket, late):
        messages, code = await one.end()
        assert (error_of(messages), messages[-1]["retry"], messages[-1]["retry_after"], code) == (500, True, 1, 4500)
        one.close()
    await draining
    assert (await look(worker, ticket_id)).synced == Extents([(0, 10)])


async def test_a_defect_is_told_and_logged(
    worker: OneWorker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)

    async def broken(*given: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(worker.services.assembler, "pause", broken)
    await socket.send(text({"type": "pause"}))
    messages, code = await socket.end()
    assert (error_of(messages), messages[-1]["retry"], code) == (599, True, 4599)
    assert "ZeroDivisionError" in caplog.text
    socket.close()


# --- life and death ---------------------------------------------------------------------------------------------------


async def test_an_idle_connection_is_pinged_and_lives(start_worker: StartWorker) -> None:
    worker = await start_worker("--ping-interval", "0.2", "--dead-after", "1")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket())
    began = time.monotonic()
    while time.monotonic() - began < 2.5:
        assert await socket.hear() == {"type": "ping"}
        await socket.send(text({"type": "pong"}))
    socket.close()


async def test_silence_never_lasts_longer_than_the_interval(start_worker: StartWorker) -> None:
    """Also after words that came between two pings."""
    worker = await start_worker("--ping-interval", "2")
    socket = await RawWebSocket.welcomed(worker.port, await worker.ticket())
    assert await socket.hear() == {"type": "ping"}
    await asyncio.sleep(0.3)
    await socket.send(text({"type": "ping"}))
    assert await socket.hear() == {"type": "pong"}
    async with asyncio.timeout(3):
        assert await socket.hear() == {"type": "ping"}
    socket.close()


async def test_a_dead_connection_is_freed(start_worker: StartWorker, log_lines: LogLines) -> None:
    """Half-open: nothing comes any more, and nobody says so."""
    worker = await start_worker("--ping-interval", "0.2", "--dead-after", "0.6")
    ticket_id = await worker.ticket()
    idle = await RawWebSocket.welcomed(worker.port, ticket_id)
    in_a_chunk = await RawWebSocket.welcomed(worker.port, ticket_id)
    await in_a_chunk.send(chunk(0, CONTENT)[:50])
    log_lines()
    for socket in (idle, in_a_chunk):
        messages, code = await socket.end()
        assert (error_of(messages), code) == (504, 4504)
    await until(lambda: holds(worker) == [], "both being forgotten")
    for socket in (idle, in_a_chunk):
        socket.close()
    assert log_lines() == []


async def test_a_slow_connection_is_not_a_dead_one(start_worker: StartWorker) -> None:
    """One chunk takes four times as long as silence may; pings cannot be answered meanwhile."""
    worker = await start_worker("--ping-interval", "0.5", "--dead-after", "1", "--minimum-rate", "0")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    message = chunk(0, CONTENT)
    began = time.monotonic()
    position = 0
    while time.monotonic() - began < 4.0:
        await socket.send(message[position : position + 1])
        position += 1
        await asyncio.sleep(0.1)
    assert await socket.hear() == {"type": "ping"}, "it has no ack to know by that we live"
    await socket.send(message[position:])
    await socket.until_acked((0, 100))
    socket.close()


async def test_a_slow_disk_is_not_the_clients_fault(start_worker: StartWorker) -> None:
    worker = await start_worker("--ping-interval", "0.2", "--dead-after", "0.5")
    ticket_id = await worker.ticket()
    socket = await RawWebSocket.welcomed(worker.port, ticket_id)
    files(worker).faults.hold("write")
    await socket.send(chunk(0, CONTENT))
    await files(worker).faults.until_held("write")
    await asyncio.sleep(1.5)
    files(worker).faults.release("write")
    await socket.until_acked((0, 100))
    socket.close()


async def test_a_peer_that_does_not_read_is_not_read(
    start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not want to know of what it gets: acks and answers must not pile up, nor be waited for for ever."""
    monkeypatch.setattr("incoming.handlers.outlet.FAREWELL", 0.2)
    monkeypatch.setattr("incoming.handlers.outlet.MOST_WAITING", 50)
    worker = await start_worker("--ping-interval", "0.5", "--dead-after", "1")
    socket = await RawWebSocket.open(worker.port, await worker.ticket(), receive_buffer=4096)
    await socket.send(hello(1000))
    await socket.hear("welcome")
    [seat] = seats(worker)
    seat.ws_connection.stream.socket.setsockopt(SOL_SOCKET, SO_SNDBUF, 4096)
    socket.connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    burst = b"".join(text({"type": "ping"}) + chunk(0, b"x") for _ in range(1000))
    largest = 0

    async def send() -> None:
        while not socket.connection.writer.is_closing():
            await socket.send(burst)
            await asyncio.sleep(0)  # what fails at once gives nobody else a turn

    def over() -> bool:
        nonlocal largest
        largest = max(largest, len(seat._outlet._acks) + len(seat._outlet._messages))
        return not seats(worker)

    sending = asyncio.create_task(send())
    await until(over, "the server giving it up", 60)
    sending.cancel()
    socket.connection.reset()
    assert 50 < largest < 500


def seats(worker: OneWorker) -> list[Any]:
    return [seat for taken in worker.services.seats._taken.values() for seat in taken]
