"""The body of one PUT on its way into the upload_service, as it arrives and within bounds.

Decides where the next bytes go and when a body is too long or too short. Knows nothing of headers and answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from incoming.core.errors import BadRange
from incoming.monitoring.connections import ClientActivity
from incoming.storage.byte_store import Buffer
from incoming.uploads.active_upload import COMMIT_INTERVAL, ActiveUpload
from incoming.uploads.flow_control import GULP, MemoryBudget, UploadWriter, sip
from incoming.uploads.receive_buffer import ReceiveBuffer

UNDER_WAY = 16 * 1024 * 1024
"""Bytes of one body that may have been received but not written; then no more of it is read."""

UNHEARD_INTERVAL = 0.1
"""Seconds from one commit to the next while more of a body is awaited: nobody is told before its end."""

GATHERED_FOR = 0.1
"""Seconds that bytes gather at most, because a few of them cost the store as much as many: a cut must not cost more."""


class BodyReceiver:
    """Writes what comes at rising offsets from `start` on; `end` is where it ends, None if only the body itself tells.

    After the first error nothing more is taken.
    """

    def __init__(
        self,
        upload: ActiveUpload,
        sender: ClientActivity,
        memory: MemoryBudget,
        start: int,
        end: int | None,
        epoch: int | None,
    ) -> None:
        self.position = start
        self._end = end
        self._leave: Callable[[], None] = sender.leave
        self._memory = memory
        self.receive_buffer = ReceiveBuffer(memory.buffers)
        """What is received into it need not be copied."""
        self._timer: asyncio.TimerHandle | None = None
        self._writer = UploadWriter(upload, sender, memory, UNDER_WAY, epoch)

    @property
    def busy(self) -> bool:
        """Whether bytes are under way: then it is not the sender who keeps the request waiting."""
        return self._writer.busy

    async def take(self, data: Buffer) -> None:
        """The next bytes. Returns when there is room for more, which is the flow control: TCP tells the sender.

        Raises the first error; what was committed before it is kept.
        """
        await self._writer.wait_allowed()
        self._check()
        count = len(data)
        if self._end is not None and self.position + count > self._end:
            raise BadRange(f"the body goes on beyond the announced end at byte {self._end}")
        if self.receive_buffer.holds(data):
            self.receive_buffer.fill(count)
            self._gathered(count)
        else:
            while data:
                poured = self.receive_buffer.pour(data)
                self._gathered(poured)
                data = memoryview(data)[poured:]
        await self._writer.wait_writable()
        await sip(count, GULP if self._end is None else self._end - self.position)

    def _gathered(self, count: int) -> None:
        self._memory.reserve(count)
        self.position += count
        is_last = self.position == self._end
        if self.receive_buffer.full or is_last:
            self._hand_on(is_last=is_last)
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHERED_FOR, self._hand_on)

    def _hand_on(self, *, is_last: bool = False) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.receive_buffer.length:
            data = self.receive_buffer.take()
            self._memory.release(len(data))
            # Of a body without a length nobody knows whether this was its end.
            within = 0.0 if is_last else COMMIT_INTERVAL if self._end is None else UNHEARD_INTERVAL
            self._writer.submit(self.position - len(data), data, within=within)

    async def finish(self) -> None:
        """The body has ended. Returns when all of it is committed; raises the first error."""
        self._hand_on(is_last=True)
        await self._writer.drain()
        self._check()
        if self._end is not None and self.position != self._end:
            raise BadRange(f"the body ends at byte {self.position}, announced was {self._end}")

    def let_go(self) -> None:
        """The request has ended, one way or the other. What has come is kept."""
        self._hand_on()
        self._leave()
        self._leave = lambda: None

    def _check(self) -> None:
        if self._writer.error is not None:
            raise self._writer.error
