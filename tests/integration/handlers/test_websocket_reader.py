"""How a WebSocket is read: everything in order, no more of it at a time than asked for, and others get their turn."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado.iostream import IOStream, StreamClosedError

from incoming.handlers.upload.websocket import reader
from incoming.handlers.upload.websocket.reader import LARGEST_READ, SMALLEST_READ, next_read, receive
from incoming.wire.websocket_frames import Close, Data, Event, FrameError, FrameReader, Text
from tests.support.raw_websocket import BINARY, CLOSE, CONTINUATION, TEXT, frame

LIMIT = 64 * 1024 * 1024


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[IOStream, IOStream]]:
    """Both ends."""
    ends = [IOStream(end) for end in socket.socketpair()]
    yield ends[0], ends[1]
    for end in ends:
        end.close()


class Heard:
    """What was handed on."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.data = bytearray()
        self.largest = 0

    async def __call__(self, event: Event) -> None:
        if isinstance(event, Data):
            self.data += event.data
            self.largest = max(self.largest, len(event.data))
        else:
            self.events.append(event)


async def test_messages_come_in_order() -> None:
    content = os.urandom(5_000_000)
    heard = Heard()
    async with connected() as (server, client):
        receiving = asyncio.create_task(receive(server, FrameReader(LIMIT, 100), heard))
        await client.write(frame(TEXT, b"first"))
        await client.write(frame(BINARY, content[:131_000], final=False))
        for start in range(131_000, len(content), 131_000):
            await client.write(frame(CONTINUATION, content[start : start + 131_000], final=False))
        await client.write(frame(CONTINUATION) + frame(TEXT, b"last") + frame(CLOSE) + frame(TEXT, b"ignored"))
        await receiving
    assert heard.data == content
    assert heard.events == [Text("first"), Text("last"), Close(None)]
    assert heard.largest <= LARGEST_READ


async def test_what_came_with_the_handshake_is_not_lost() -> None:
    """Tornado may have read it into a buffer of its own."""
    heard = Heard()
    async with connected() as (server, client):
        await client.write(b"GET\r\n" + frame(TEXT, b"a") + frame(BINARY, bytes(SMALLEST_READ)) + frame(CLOSE))
        await server.read_until(b"\r\n")
        await receive(server, FrameReader(LIMIT, 100), heard)
    assert heard.events == [Text("a"), Close(None)]
    assert heard.data == bytes(SMALLEST_READ)


async def test_nothing_is_read_while_a_message_is_handled() -> None:
    go_on = asyncio.Event()
    reads = 0

    class Counting(IOStream):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            nonlocal reads
            reads += 1
            return super().read_from_fd(buf)

    async def wait(event: Event) -> None:
        await go_on.wait()

    ends = socket.socketpair()
    server, client = Counting(ends[0]), IOStream(ends[1])
    await client.write(frame(TEXT, b"a") * 5)
    receiving = asyncio.create_task(receive(server, FrameReader(LIMIT, 100), wait))
    await client.write(frame(TEXT, b"b") * 5)
    for _ in range(20):
        await asyncio.sleep(0)
    before = reads
    await client.write(frame(CLOSE))
    for _ in range(20):
        await asyncio.sleep(0)
    assert reads == before
    go_on.set()
    await receiving
    server.close()
    client.close()


async def test_the_end_of_the_connection_and_nonsense_are_raised() -> None:
    heard = Heard()
    async with connected() as (server, client):
        await client.write(frame(TEXT, b"a") + frame(BINARY, b"bcd")[:-1])
        client.close()
        with pytest.raises(StreamClosedError):
            await receive(server, FrameReader(LIMIT, 100), heard)
    assert (heard.events, heard.data) == ([Text("a")], b"bc")
    async with connected() as (server, client):
        await client.write(frame(TEXT, b"e") + frame(3) + frame(TEXT, b"f"))
        with pytest.raises(FrameError):
            await receive(server, FrameReader(LIMIT, 100), heard)
    assert heard.events == [Text("a"), Text("e")]


@pytest.mark.parametrize(
    "burst", [frame(BINARY, bytes(200_000)) * 50, frame(CONTINUATION, final=False) * 100_000], ids=["data", "nothing"]
)
async def test_one_connection_does_not_starve_the_others(burst: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it has come already, so that no read has to wait, and handling it waits for nothing either."""
    sent = frame(BINARY, b"", final=True) + frame(BINARY, final=False) if burst[0] == 0 else b""
    sent += burst + (frame(CONTINUATION) if burst[0] == 0 else b"") + frame(CLOSE)
    position = 0

    class Ready(IOStream):
        def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
            nonlocal position
            piece = sent[position : position + len(buf)]
            buf[: len(piece)] = piece
            position += len(piece)
            return len(piece)

    ends = socket.socketpair()
    server = Ready(ends[0])
    turns = 0
    most = 0
    frames_since = 0

    async def others() -> None:
        nonlocal turns, frames_since
        while True:
            turns += 1
            frames_since = 0
            await asyncio.sleep(0)

    async def count(event: Event) -> None:
        nonlocal frames_since, most
        frames_since += 1
        most = max(most, frames_since)

    waiting = asyncio.create_task(others())
    await asyncio.sleep(0)
    await receive(server, FrameReader(LIMIT, 100), count)
    waiting.cancel()
    assert turns >= (100_000 if burst[0] == 0 else 50) * reader.FRAME_COST // reader.YIELD_BYTES
    assert most <= reader.YIELD_BYTES // reader.FRAME_COST + 2
    server.close()
    ends[1].close()


def test_reads_grow_while_they_are_filled_and_shrink_when_little_comes() -> None:
    size = SMALLEST_READ
    sizes = [size := next_read(size, size) for _ in range(5)]
    assert sizes[-2:] == [LARGEST_READ, LARGEST_READ]
    assert next_read(LARGEST_READ, LARGEST_READ - 1) == LARGEST_READ
    assert next_read(LARGEST_READ, LARGEST_READ // 16) == LARGEST_READ
    sizes = [size := next_read(size, 1) for _ in range(5)]
    assert sizes[-2:] == [SMALLEST_READ, SMALLEST_READ]
    assert sizes == sorted(sizes, reverse=True)
