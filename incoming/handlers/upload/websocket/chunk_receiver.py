"""Receive the chunks of one WebSocket: write them in parts while they arrive, acknowledge them when they are whole.

Decides when a part of a chunk is submitted, and when all of it is safe. Knows nothing of frames and control messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from incoming.core.errors import UploadError
from incoming.core.extents import Range
from incoming.monitoring.connections import ClientActivity
from incoming.storage.byte_store import Buffer
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.writes.flow_control import MemoryBudget, UploadWriter
from incoming.uploads.writes.receive_buffer import ReceiveBuffer
from incoming.wire import messages
from incoming.wire.messages import CHUNK_HEADER

PART_SECONDS = 2.0
"""Seconds that bytes of a chunk gather at most while more arrive, so that progress on a slow line is visible."""

CHUNKS_UNDER_WAY = 2
"""Chunks of the largest size that a connection may have pending. Above it the connection is read no further."""


class Results(Protocol):
    """The queue for the acks of whole chunks and the errors of parts. It holds no reference to the connection."""

    def ack(self, chunk: Range) -> None: ...

    def fail(self, error: UploadError) -> None: ...


@dataclass(eq=False, slots=True)
class _Chunk:
    results: Results
    start: int
    end: int
    """The end of what has arrived."""
    under_way: int = 0
    """Parts that are not committed yet."""
    is_whole: bool = False

    def part_done(self, error: UploadError | None) -> None:
        """Note that a part is committed, or failed; a chunk with a failed part is never acknowledged."""
        if error is not None:
            self.results.fail(error)
            return
        self.under_way -= 1
        self.ack_if_safe()

    def ack_if_safe(self) -> None:
        if self.is_whole and not self.under_way:
            self.results.ack((self.start, self.end))


class ChunkReceiver:
    """One connection's. `results` gets an ack for each chunk, and the error of each part that could not be stored.

    Where it `skips`, the first chunk is read and dropped.
    """

    def __init__(
        self,
        upload: ActiveUpload,
        sender: ClientActivity,
        memory: MemoryBudget,
        chunk_max: int,
        epoch: int,
        results: Results,
        clock: Callable[[], float],
        skips: bool = False,
    ) -> None:
        self._results = results
        self._clock = clock
        self._skips = skips
        self._receive_buffer = ReceiveBuffer(memory.buffers)
        self._gathering_since = 0.0
        self._head = b""
        """The beginning of a chunk whose header is not complete."""
        self._coming: _Chunk | None = None
        """The chunk of which more is expected."""
        limit = CHUNKS_UNDER_WAY * chunk_max
        self._writer = UploadWriter(upload, sender, memory, limit, epoch)

    @property
    def busy(self) -> bool:
        """Whether writes are pending: then the connection waits for the server, not for the sender."""
        return self._writer.busy

    @property
    def idle(self) -> bool:
        """Whether nothing has gathered, and no write is pending."""
        return not (self.busy or self._head or self._coming is not None or self._receive_buffer.length)

    def shrink(self) -> None:
        """Free the buffer, if nothing has gathered in it."""
        self._receive_buffer.shrink()

    async def take(self, data: bytes, *, last: bool) -> None:
        """Accept the next bytes of a binary message. Return when there is room for more, which is the flow control.

        Raise BadRequest for a malformed chunk; the connection must end then.
        """
        await self._writer.wait_allowed()
        if self._skips:
            self._skips = not last
            return
        rest: Buffer = data
        if self._coming is None:
            rest = self._begin(data, last=last)
        if not self._receive_buffer.length:
            self._gathering_since = self._clock()
        while rest:
            rest = memoryview(rest)[self._receive_buffer.pour(rest) :]
            if self._receive_buffer.full:
                self._hand_on()
                await self._writer.wait_writable()
        if self._coming is not None and (last or self._clock() - self._gathering_since >= PART_SECONDS):
            self._hand_on()
            if last:
                self._end(self._coming)
                await asyncio.sleep(0)  # A chunk that is refused at once is refused before the next message is read.
            await self._writer.wait_writable()

    def _begin(self, data: bytes, *, last: bool) -> Buffer:
        """Read the header once it is complete; return the bytes after it."""
        message = self._head + data
        if len(message) <= CHUNK_HEADER.size and not last:
            self._head = message
            return b""
        self._head = b""
        offset, rest = messages.parse_chunk(message)
        self._coming = _Chunk(self._results, offset, offset)
        return rest

    def cut(self) -> None:
        """Write what has arrived of an incomplete chunk, so that the client need not send it again."""
        self._hand_on()

    async def settle(self) -> None:
        """Return when no write is pending."""
        await self._writer.drain()

    def _hand_on(self) -> None:
        """Submit what has gathered of the present chunk."""
        chunk = self._coming
        if chunk is None or not self._receive_buffer.length:
            return
        part = self._receive_buffer.take()
        start = chunk.end
        chunk.end += len(part)
        chunk.under_way += 1
        self._writer.submit(start, part, done=chunk.part_done)

    def _end(self, chunk: _Chunk) -> None:
        self._coming = None
        chunk.is_whole = True
        chunk.ack_if_safe()
