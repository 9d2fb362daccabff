"""The chunks of one WebSocket on their way into the assembler: stored while they come, acked when they are whole.

Decides in what parts a chunk is handed on, and when all of it is safe. Knows nothing of frames and control messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from incoming.connections import Sender
from incoming.core import messages
from incoming.core.errors import BadRequest, UploadError
from incoming.core.extents import Range
from incoming.core.messages import CHUNK_HEADER
from incoming.intake import Intake, Memory
from incoming.storage.base import Buffer
from incoming.upload import Upload

PART = 512 * 1024
"""Bytes of a chunk that are gathered before they are handed on, unless it ends: a slow line must not cost a write for
each packet, and a fast one not hold 8 MiB.
"""

PART_SECONDS = 2.0
"""So long they are gathered at most while more comes: it is to be seen that a slow line does not stand still."""

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


class Chunks:
    """One connection's. `ack` is called once for each chunk, `failed` once for each part that could not be stored."""

    def __init__(
        self,
        upload: Upload,
        sender: Sender,
        memory: Memory,
        chunk_max: int,
        epoch: int,
        ack: Callable[[Range], None],
        failed: Callable[[UploadError], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ack = ack
        self._clock = clock
        self._gathered = bytearray()
        self._gathering_since = 0.0
        self._coming: _Chunk | None = None
        """The chunk of which parts have been handed on already and more is to come."""
        self._waiting: dict[Range, list[_Chunk]] = {}
        """The chunks that wait for a part, by its range. If two wait for the same one, either may have it: once it is
        committed, its bytes are safe for both.
        """
        limit = CHUNKS_UNDER_WAY * chunk_max
        self._intake = Intake(upload, sender, memory, limit, epoch, self._stored, failed)

    @property
    def busy(self) -> bool:
        """Whether bytes are under way: then it is not the sender who keeps the connection waiting."""
        return self._intake.busy

    async def take(self, data: bytes, *, last: bool) -> None:
        """The next bytes of a binary message. Returns when there is room for more, which is the flow control.

        Raises BadRequest for what is no chunk; then nothing more may be taken.
        """
        if not self._gathered:
            self._gathering_since = self._clock()
        self._gathered += data
        if last or len(self._gathered) >= PART or self._is_old():
            self._hand_on(last=last)
            if last:
                await asyncio.sleep(0)  # Its way begins: a chunk that cannot be taken is refused before what follows.
            await self._intake.room()

    def _is_old(self) -> bool:
        has_data = len(self._gathered) > (CHUNK_HEADER.size if self._coming is None else 0)
        return has_data and self._clock() - self._gathering_since >= PART_SECONDS

    def cut(self) -> None:
        """The connection has ended: what came of a chunk and its end did not is kept, so it need not come again."""
        if self._gathered:
            with suppress(BadRequest):
                self._hand_on(last=False)

    def let_go(self) -> None:
        """The connection is gone, and nobody is told any more."""
        self._intake.let_go()

    async def settle(self) -> None:
        """Returns when nothing is under way any more."""
        await self._intake.settle()

    def _hand_on(self, *, last: bool) -> None:
        part: Buffer = memoryview(self._gathered)
        self._gathered = bytearray()
        if self._coming is None:
            offset, part = messages.parse_chunk(part)
            self._coming = _Chunk(offset, offset)
        chunk = self._coming
        if part:
            start = chunk.end
            chunk.end += len(part)
            chunk.under_way += 1
            self._waiting.setdefault((start, chunk.end), []).append(chunk)
            self._intake.put(start, part)
        if last:
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
