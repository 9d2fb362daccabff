"""What is read from one WebSocket: in order, as much at a time as comes, and no faster than it is handled.

Reads the connection itself instead of Tornado, which copies every byte half a dozen times and holds whole messages.
Decides how large a read is and when others get their turn. Knows neither what a message says nor what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tornado.iostream import IOStream

from incoming.uploads.flow_control import sip
from incoming.wire.websocket_frames import Event, FrameReader

SMALLEST_READ = 4 * 1024
LARGEST_READ = 256 * 1024
"""Bytes that a read makes room for: little where little comes, since room is held while nothing comes, too."""

TURN = 1024 * 1024
"""Bytes after which everybody else on the event loop gets a turn: milliseconds of work. Reading by itself does not wait
while there is something to read.
"""

FRAME_COST = 4096
"""Bytes that one frame counts as besides its own: frames of no bytes must not keep others waiting."""


async def receive(stream: IOStream, reader: FrameReader, handle: Callable[[Event], Awaitable[None]]) -> None:
    """Hands on what comes, one event after the other, until the peer has closed. Nothing is read meanwhile.

    Raises FrameError for what the peer may not send, StreamClosedError or another OSError when the connection has
    ended.
    """
    buffer = bytearray(SMALLEST_READ)
    work = 0
    while not reader.closed:
        count = await stream.read_into(buffer, partial=True)
        work += count
        with memoryview(buffer) as room, room[:count] as data:
            for event in reader.feed(data):
                work += FRAME_COST
                if event is not None:
                    await handle(event)
                if work >= TURN:
                    work = 0
                    await asyncio.sleep(0)
        if count < len(buffer):
            await sip(count, reader.left)
        size = next_read(len(buffer), count)
        if size != len(buffer):
            buffer = bytearray(size)


def next_read(size: int, count: int) -> int:
    """Room for how many bytes the next read gets, after one that brought `count` and had room for `size`."""
    if count == size:
        return min(4 * size, LARGEST_READ)
    if count < size // 16:
        return max(size // 4, SMALLEST_READ)
    return size
