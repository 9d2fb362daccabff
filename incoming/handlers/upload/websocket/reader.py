"""Read one WebSocket: in order, as much at a time as has arrived, and no faster than it is handled.

Replaces Tornado's reading, which copies every byte half a dozen times and buffers whole messages. Decides the size of
reads and when to yield to the event loop. Knows neither what a message says nor what is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tornado.iostream import IOStream

from incoming.uploads.writes.flow_control import ReadPacing
from incoming.wire.websocket_frames import Event, FrameReader

SMALLEST_READ = 4 * 1024
LARGEST_READ = 256 * 1024
"""Bytes of the read buffer: small where little arrives, because it is held while nothing arrives, too."""

IDLE_READ = 256
"""Bytes of the read buffer while an upload waits for its app: pings come, and rarely a chunk."""

YIELD_BYTES = 1024 * 1024
"""Bytes after which the reader yields to the event loop: milliseconds of work. A read does not suspend while there is
something to read.
"""

FRAME_COST = 4096
"""Bytes that one frame counts as besides its own: empty frames must not block the event loop."""


async def receive(
    stream: IOStream,
    reader: FrameReader,
    handle: Callable[[Event], Awaitable[None]],
    is_waiting: Callable[[], bool] = lambda: False,
) -> None:
    """Call `handle` for one event after the other until the peer has closed. Nothing is read meanwhile. While
    `is_waiting`, little is expected.

    Raise FrameError for what the peer may not send, StreamClosedError or another OSError when the connection has
    ended.
    """
    buffer = bytearray(SMALLEST_READ)
    pacing = ReadPacing()
    work = 0
    while not reader.closed:
        count = await stream.read_into(buffer, partial=True)
        work += count
        with memoryview(buffer) as room, room[:count] as data:
            for event in reader.feed(data):
                work += FRAME_COST
                if event is not None:
                    await handle(event)
                if work >= YIELD_BYTES:
                    work = 0
                    await asyncio.sleep(0)
        event = None  # nothing of it is held until the next one comes
        if count < len(buffer):
            await pacing.pause(count, reader.left)
        size = next_read(len(buffer), count, IDLE_READ if is_waiting() else SMALLEST_READ)
        if size != len(buffer):
            buffer = bytearray(size)


def next_read(size: int, count: int, smallest: int = SMALLEST_READ) -> int:
    """Return the buffer size of the next read, after one that brought `count` bytes into `size`."""
    if count == size:
        return max(min(4 * size, LARGEST_READ), smallest)
    if count <= smallest < SMALLEST_READ:
        return smallest
    if count < size // 16:
        return max(size // 4, smallest)
    return max(size, smallest)
