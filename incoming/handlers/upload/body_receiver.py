"""Receive the body of one request: gather its bytes and submit them for writing, within bounds.

Decides where the next bytes go and when a body is too long or too short. Knows nothing of headers and answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from incoming.core.errors import BadRange, UploadError
from incoming.monitoring.connections import ClientActivity
from incoming.storage.byte_store import Buffer
from incoming.uploads.writes.commit_schedule import COMMIT_INTERVAL
from incoming.uploads.writes.flow_control import (
    MEDIUM_READ,
    MemoryBudget,
    ReadPacing,
    UploadWriter,
    WriteTarget,
)
from incoming.uploads.writes.receive_buffer import ReceiveBuffer

MAX_UNWRITTEN = 16 * 1024 * 1024
"""Bytes of one body that may be received but not written. Above it the body is read no further."""

BODY_COMMIT_INTERVAL = 0.1
"""Seconds between two commits while more of a body is expected: only its end is answered."""

GATHER_SECONDS = 0.1
"""Seconds that bytes gather at most. A few of them cost the store as much as many; a lost connection costs these."""


class BodyReceiver:
    """Write a body at rising offsets from `start` on; `end` is where it ends, None if its length is not announced.

    After the first error nothing more is accepted.
    """

    def __init__(
        self,
        upload: WriteTarget,
        sender: ClientActivity,
        memory: MemoryBudget,
        start: int,
        end: int | None,
        epoch: int | None,
        stored: Callable[[], None] | None = None,
    ) -> None:
        """`stored` is called each time when a part is committed."""
        self.position = start
        self._stored = stored
        self._end = end
        self._leave: Callable[[], None] = sender.leave
        self._memory = memory
        self.receive_buffer = ReceiveBuffer(memory.buffers)
        """Bytes that are received into it are not copied."""
        self._timer: asyncio.TimerHandle | None = None
        self._pacing = ReadPacing()
        self._writer = UploadWriter(upload, sender, memory, MAX_UNWRITTEN, epoch)

    @property
    def busy(self) -> bool:
        """Whether writes are pending: then the request waits for the server, not for the sender."""
        return self._writer.busy

    async def take(self, data: Buffer) -> None:
        """Accept the next bytes. Return when there is room for more, which is the flow control: TCP slows the sender.

        Raise the first error; what was committed before it is kept.
        """
        await self._writer.wait_allowed()
        self._check()
        count = len(data)
        if self._end is not None and self.position + count > self._end:
            raise BadRange(f"the body continues beyond the announced end at byte {self._end}")
        if self.receive_buffer.holds(data):
            self.receive_buffer.fill(count)
            self._gathered(count)
        else:
            while data:
                poured = self.receive_buffer.pour(data)
                self._gathered(poured)
                data = memoryview(data)[poured:]
        await self._writer.wait_writable()
        await self._pacing.pause(count, MEDIUM_READ if self._end is None else self._end - self.position)

    def _gathered(self, count: int) -> None:
        self._memory.reserve(count)
        self.position += count
        is_last = self.position == self._end
        if self.receive_buffer.full or is_last:
            self._hand_on(is_last=is_last)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._hand_on)

    def _hand_on(self, *, is_last: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.receive_buffer.length:
            data = self.receive_buffer.take()
            self._memory.release(len(data))
            # Without an announced length this may be the end of the body.
            within = 0.0 if is_last else COMMIT_INTERVAL if self._end is None else BODY_COMMIT_INTERVAL
            self._writer.submit(self.position - len(data), data, within=within, done=self._note_stored)

    def _note_stored(self, error: UploadError | None) -> None:
        if error is None and self._stored is not None:
            self._stored()

    async def finish(self) -> None:
        """Submit the rest. Return when the whole body is committed; raise the first error."""
        self._hand_on(is_last=True)
        await self._writer.drain()
        self._check()
        if self._end is not None and self.position != self._end:
            raise BadRange(f"the body ends at byte {self.position}, announced was {self._end}")

    async def drain(self) -> None:
        """Return when nothing that was handed on is pending."""
        await self._writer.drain()

    def release(self) -> None:
        """Release the request. What has arrived is written."""
        self._hand_on()
        self._leave()
        self._leave = lambda: None

    def _check(self) -> None:
        if self._writer.error is not None:
            raise self._writer.error
