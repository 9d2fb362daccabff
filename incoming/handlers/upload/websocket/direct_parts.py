"""The messages of one WebSocket about parts that its client sends straight to the object store.

Decides what is answered, and that one message of each kind is worked on at a time, while the connection is read
further: URLs wait for the upload's rate, and acknowledgements must not wait behind them. Holds no reference to the
connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

from incoming.core.errors import BadRequest, InternalError, TooBusy, UploadError
from incoming.core.extents import Range
from incoming.storage.byte_store import SIGNED_FOR
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.direct import DirectUploads, parts_in
from incoming.wire import messages
from incoming.wire.messages import Sent, Sign

M = TypeVar("M")

log = logging.getLogger(__name__)

MAX_QUEUED = 20
"""Messages that wait for their turn. A client has a few, each for many parts."""


class Results(Protocol):
    """The queue of what is sent to the client."""

    def ack(self, chunk: Range) -> None: ...

    def send(self, message: str) -> None: ...


class DirectParts:
    """One connection's, in one epoch. `fail` is called with what ends the connection."""

    def __init__(
        self,
        direct: DirectUploads,
        upload: ActiveUpload,
        epoch: int,
        results: Results,
        fail: Callable[[UploadError], None],
    ) -> None:
        self._direct = direct
        self._upload = upload
        self._epoch = epoch
        self._results = results
        self._fail = fail
        self._signs: _Queue[Sign] = _Queue()
        self._looks: _Queue[Sent] = _Queue()

    def take(self, message: Sign | Sent) -> None:
        """Accept a message; it is answered later. Raises BadRequest, TooBusy."""
        if not self._direct.offered(self._upload.ticket):
            raise BadRequest("this upload has no parts that are sent straight to an object store")
        if len(self._signs.waiting) + len(self._looks.waiting) >= MAX_QUEUED:
            raise TooBusy(f"more than {MAX_QUEUED} messages about parts wait for an answer")
        if isinstance(message, Sign):
            self._signs.add(message, self._sign, self._failed)
        else:
            self._looks.add(message, self._look, self._failed)

    def close(self) -> None:
        """Stop: the connection has ended."""
        self._signs.close()
        self._looks.close()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, UploadError):
            self._fail(error)
            return
        ticket_id = self._upload.ticket.id
        log.error("upload %s: message about parts failed; closing the connection", ticket_id, exc_info=error)
        self._fail(InternalError())

    async def _sign(self, waiting: deque[Sign]) -> None:
        arrived = set(numbers := waiting.popleft().parts)
        async for signed in self._direct.sign(self._upload, self._epoch, numbers):
            if signed:
                self._results.send(messages.signed(((part.number, part.url) for part in signed), SIGNED_FOR))
            arrived -= {part.number for part in signed}
        self._acknowledge(sorted(arrived))

    async def _look(self, waiting: deque[Sent]) -> None:
        """List the parts that were sent, once for all messages that arrived meanwhile."""
        numbers = {number for message in waiting for number in message.parts}
        waiting.clear()
        await self._direct.look(self._upload, self._epoch, min(numbers) - 1)
        there = self._acknowledge(sorted(numbers))
        if missing := sorted(numbers - there):
            self._results.send(messages.unseen(missing))

    def _acknowledge(self, numbers: list[int]) -> set[int]:
        """Acknowledge those that have arrived, and return them."""
        ticket = self._upload.ticket
        there = {number: one for number, one in parts_in(ticket, numbers).items() if ticket.extents.covers(*one)}
        for part in there.values():
            self._results.ack(part)
        return set(there)


class _Queue(Generic[M]):
    """Messages of one kind. Keeps no reference to its owner while none waits: a cycle would outlive the connection."""

    def __init__(self) -> None:
        self.waiting: deque[M] = deque()
        self._task: asyncio.Task[None] | None = None

    def add(
        self, message: M, answer: Callable[[deque[M]], Awaitable[None]], failed: Callable[[Exception], None]
    ) -> None:
        """Let `answer` take it, which takes at least one of those that wait; `failed` gets what that raises."""
        self.waiting.append(message)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(answer, failed))

    def close(self) -> None:
        self.waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self, answer: Callable[[deque[M]], Awaitable[None]], failed: Callable[[Exception], None]) -> None:
        try:
            while self.waiting:
                await answer(self.waiting)
        except Exception as error:
            failed(error)
        finally:
            self._task = None
