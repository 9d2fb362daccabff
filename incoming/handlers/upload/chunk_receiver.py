"""The chunks of one WebSocket on their way into the upload_service: stored while they come, acked when they are whole.

Decides when a part of a chunk is handed on, and when all of it is safe. Knows nothing of frames and control messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from incoming.core.errors import UploadError
from incoming.core.extents import Range
from incoming.monitoring.connections import ClientActivity
from incoming.storage.byte_store import Buffer
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.flow_control import MemoryBudget, UploadWriter
from incoming.uploads.receive_buffer import ReceiveBuffer
from incoming.wire import messages
from incoming.wire.messages import CHUNK_HEADER

PART_SECONDS = 2.0
"""So long the bytes of a chunk gather at most while more comes: it is to be seen that a slow line goes on."""

CHUNKS_UNDER_WAY = 2
"""Chunks of the largest size that a connection may have received but not acked; then it is read no further."""


@dataclass(eq=False, slots=True)
class _Chunk:
    start: int
    end: int
    """As far as it has come."""
    under_way: int = 0
    """Parts that are not yet safe."""
    is_whole: bool = False


class ChunkReceiver:
    """One connection's. `ack` is called once for each chunk, `failed` once for each part that could not be stored."""

    def __init__(
        self,
        upload: ActiveUpload,
        sender: ClientActivity,
        memory: MemoryBudget,
        chunk_max: int,
        epoch: int,
        ack: Callable[[Range], None],
        failed: Callable[[UploadError], None],
        clock: Callable[[], float],
    ) -> None:
        self._ack = ack
        self._clock = clock
        self._receive_buffer = ReceiveBuffer(memory.buffers)
        self._gathering_since = 0.0
        self._head = b""
        """What has come of a chunk whose offset is not complete."""
        self._coming: _Chunk | None = None
        """The chunk of which more is to come."""
        self._waiting: dict[Range, list[_Chunk]] = {}
        """The chunks that wait for a part, by its range. If two wait for the same one, either may have it: once it is
        committed, its bytes are safe for both.
        """
        limit = CHUNKS_UNDER_WAY * chunk_max
        self._writer = UploadWriter(upload, sender, memory, limit, epoch, self._stored, failed)

    @property
    def busy(self) -> bool:
        """Whether bytes are under way: then it is not the sender who keeps the connection waiting."""
        return self._writer.busy

    async def take(self, data: bytes, *, last: bool) -> None:
        """The next bytes of a binary message. Returns when there is room for more, which is the flow control.

        Raises BadRequest for what is no chunk; then nothing more may be taken.
        """
        await self._writer.wait_allowed()
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
                await asyncio.sleep(0)  # Its way begins: a chunk that cannot be taken is refused before what follows.
            await self._writer.wait_writable()

    def _begin(self, data: bytes, *, last: bool) -> Buffer:
        """Reads where the chunk lies, once that is complete, and returns the bytes behind it."""
        message = self._head + data
        if len(message) <= CHUNK_HEADER.size and not last:
            self._head = message
            return b""
        self._head = b""
        offset, rest = messages.parse_chunk(message)
        self._coming = _Chunk(offset, offset)
        return rest

    def cut(self) -> None:
        """The connection has ended: what came of a chunk and its end did not is kept, so it need not come again."""
        self._hand_on()

    def let_go(self) -> None:
        """The connection is gone, and nobody is told any more."""
        self._writer.detach()

    async def settle(self) -> None:
        """Returns when nothing is under way any more."""
        await self._writer.drain()

    def _hand_on(self) -> None:
        """What has gathered of the chunk that comes."""
        chunk = self._coming
        if chunk is None or not self._receive_buffer.length:
            return
        part = self._receive_buffer.take()
        start = chunk.end
        chunk.end += len(part)
        chunk.under_way += 1
        self._waiting.setdefault((start, chunk.end), []).append(chunk)
        self._writer.submit(start, part)

    def _end(self, chunk: _Chunk) -> None:
        self._coming = None
        chunk.is_whole = True
        self._ack_if_safe(chunk)

    def _stored(self, part: Range) -> None:
        waiting = self._waiting[part]
        chunk = waiting.pop()
        if not waiting:
            del self._waiting[part]
        chunk.under_way -= 1
        self._ack_if_safe(chunk)

    def _ack_if_safe(self, chunk: _Chunk) -> None:
        if chunk.is_whole and not chunk.under_way:
            self._ack((chunk.start, chunk.end))
