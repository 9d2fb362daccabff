"""The body of one PUT on its way into the assembler, as it arrives and within bounds.

Decides where the next bytes go, how many may be under way, and when a body is too long or too slow. Knows nothing of
headers and answers.
"""

from __future__ import annotations

import asyncio
import time

from incoming.connections import Sender
from incoming.core.errors import BadRange, UploadError
from incoming.upload import Upload

UNDER_WAY = 16 * 1024 * 1024
"""Bytes of one body that may have been received but not committed; then no more of it is read."""


class Body:
    """Writes what comes at rising offsets; `problem` is the first error, after which everything else is thrown away."""

    def __init__(self, upload: Upload, sender: Sender, start: int, end: int | None, epoch: int | None) -> None:
        self.position = start
        self.problem: UploadError | None = None
        self._upload = upload
        self._sender: Sender | None = sender
        self._end = end
        self._epoch = epoch
        self._under_way = 0
        self._room = asyncio.Event()
        self._writes: set[asyncio.Task[None]] = set()

    async def take(self, data: bytes) -> None:
        """The next bytes. Returns when there is room for more, which is the flow control: TCP tells the sender."""
        if self.problem is not None:
            return
        if self._end is not None and self.position + len(data) > self._end:
            self.problem = BadRange(f"the body goes on beyond the announced end at byte {self._end}")
            return
        task = asyncio.get_running_loop().create_task(self._write(self.position, data, self._sender))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        self.position += len(data)
        self._under_way += len(data)
        while self._under_way > UNDER_WAY:
            self._room.clear()
            await self._room.wait()

    def let_go(self) -> None:
        """The request has ended, one way or the other."""
        sender, self._sender = self._sender, None
        if sender is not None:
            sender.leave()

    async def _write(self, offset: int, data: bytes, sender: Sender | None) -> None:
        came_at = time.perf_counter()
        try:
            await self._upload.write(offset, data, self._epoch)
            if sender is not None:
                sender.stored(len(data), time.perf_counter() - came_at)
        except UploadError as error:
            self.problem = self.problem or error
        finally:
            self._under_way -= len(data)
            self._room.set()

    async def finish(self) -> None:
        """Returns when all of it is committed. Raises the first error; what was committed before it is kept."""
        while self._writes:
            await asyncio.wait(tuple(self._writes))
        if self.problem is not None:
            raise self.problem
