"""What nonsense over the WebSocket gets, and what is kept of a chunk that does not reach its end."""

import asyncio
from pathlib import Path

import pytest

from incoming.core.extents import Extents
from incoming.core.ticket import State
from incoming.uploads.writes.receive_buffer import SMALLEST_BUFFER as PART
from incoming.wire.messages import CHUNK_HEADER, MAX_CONTROL
from tests.integration.handlers.conftest import LogLines, StartWorker, files, holds, look, reaches
from tests.support.one_worker import OneWorker
from tests.support.put_requests import CONTENT
from tests.support.raw_http import request
from tests.support.raw_websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawWebSocket,
    chunk,
    error_of,
    frame,
    hello,
    text,
)
from tests.support.stores import until

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
async def test_nonsense_ends_the_connection_with_an_error(worker: OneWorker, name: str, log_lines: LogLines) -> None:
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
async def test_broken_frames_end_the_connection(worker: OneWorker, name: str, moment: str, log_lines: LogLines) -> None:
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
async def test_a_cut_anywhere_loses_nothing_acknowledged(worker: OneWorker, cut: int, log_lines: LogLines) -> None:
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


async def test_the_part_of_a_chunk_before_a_cut_is_kept(start_worker: StartWorker) -> None:
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
    assert Path((await reaches(worker, ticket_id, State.ARRIVED)).location.address).read_bytes() == content
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
    assert Path((await look(worker, ticket_id)).location.address).read_bytes() == content
    socket.close()


async def test_bytes_beyond_the_end_of_the_file_are_not_stored(worker: OneWorker) -> None:
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
async def test_a_close_frame_is_answered_at_once(worker: OneWorker, code: int | None) -> None:
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
