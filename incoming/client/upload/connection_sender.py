"""Sends the chunks of a schedule over one connection, and handles the server's messages on it.

Decides how many bytes are in flight on one connection, and when a silent connection counts as lost. Which connections
there are is decided by the uploader.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from incoming.client.upload.connection import Connection, ConnectionLost
from incoming.client.upload.pacing import ChunkSize, RateLimit
from incoming.client.upload.schedule import Schedule
from incoming.client.upload.source_file import SourceFile
from incoming.core.extents import Extents, Range
from incoming.wire.client_messages import StateNews

ACK_TIMEOUT = 6.0
"""Seconds without an acknowledgement after which the server is asked whether bytes still arrive."""

DUPLICATE_AFTER = 2.0
"""Seconds that a chunk may be in flight before an idle connection sends it, too."""

MAX_IN_FLIGHT = 48 * 1024 * 1024
"""Bytes of the file in flight, over all connections of an upload."""


@dataclass
class SharedWork:
    """What the connections of one upload share."""

    source: SourceFile
    schedule: Schedule
    rate: RateLimit
    count_arrived: Callable[[], Awaitable[int]]
    """Asks the server how many bytes have arrived."""
    on_news: Callable[[StateNews], None]
    on_arrived: Callable[[], None]
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    """Notified when the schedule has changed."""

    async def tell(self) -> None:
        """Wake those that wait for something to send."""
        async with self.changed:
            self.changed.notify_all()


class ConnectionSender:
    """A connection and its chunks in flight."""

    def __init__(self, work: SharedWork, connection: Connection) -> None:
        welcome = connection.welcome
        self._work = work
        self._connection = connection
        self._chunk = ChunkSize(welcome.chunk_min, welcome.chunk_max, work.rate.rate)
        self._window = min(welcome.window, MAX_IN_FLIGHT)
        self._ahead: dict[Range, float] = {}
        self.has_worked = False

    async def run(self) -> None:
        """Send until the file is complete. Raises what the connection and the source raise."""
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(work()) for work in (self._send, self._receive, self._doubt)]
                async with self._work.changed:
                    await self._work.changed.wait_for(lambda: self._work.schedule.is_complete)
                for task in running:
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            for chunk in self._ahead:
                self._work.schedule.lost(chunk)
            self._ahead.clear()
            await self._work.tell()

    async def _send(self) -> None:
        while True:
            chunk = await self._next_chunk()
            if pause := self._work.rate.reserve(chunk[1] - chunk[0]):
                await asyncio.sleep(pause)
            data = await asyncio.to_thread(self._work.source.read, *chunk)
            self._ahead[chunk] = time.monotonic()
            await self._connection.send(chunk[0], data)

    async def _next_chunk(self) -> Range:
        """Wait until there is something to send and room for it, and return it."""
        while True:
            chunk = self._take()
            if chunk is not None:
                self._ahead[chunk] = time.monotonic()
                return chunk
            async with self._work.changed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(DUPLICATE_AFTER):
                        await self._work.changed.wait()

    def _take(self) -> Range | None:
        schedule, now = self._work.schedule, time.monotonic()
        if len(self._ahead) >= self._connection.ahead or schedule.in_flight >= self._window:
            return None
        chunk = schedule.take(self._chunk.value, now)
        return chunk or schedule.take_again(self._chunk.value, Extents(self._ahead), now - DUPLICATE_AFTER)

    async def _receive(self) -> None:
        while True:
            news = await self._connection.receive()
            if isinstance(news, StateNews):
                self._work.on_news(news)
                continue
            for chunk in news.chunks:
                self._acknowledged(chunk)
            self._work.on_arrived()
            await self._work.tell()

    def _acknowledged(self, chunk: Range) -> None:
        self._work.schedule.acknowledged(chunk)
        self.has_worked = True
        sent_at = self._ahead.pop(chunk, None)
        if sent_at is not None:
            self._chunk.took(chunk[1] - chunk[0], time.monotonic() - sent_at)

    async def _doubt(self) -> None:
        """Raise ConnectionLost when chunks are on their way and none arrives: some proxies hold them back."""
        seen, arrived = self._work.schedule.arrived, -1
        while True:
            await asyncio.sleep(ACK_TIMEOUT)
            safe = self._work.schedule.arrived
            waits = any(time.monotonic() - sent_at > ACK_TIMEOUT for sent_at in self._ahead.values())
            if not waits or safe != seen or self._connection.kind == "http":
                seen, arrived = safe, -1
                continue
            before, arrived = arrived, await self._work.count_arrived()
            if arrived <= before:
                raise ConnectionLost("the connection stands, but nothing arrives over it")


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group that is none itself."""
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
