"""The messages of one WebSocket about parts that its client sends straight to the object store.

Decides what is answered, and that one request is worked on at a time, while the connection is read further. Holds no
reference to the connection.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Protocol

from incoming.core.errors import BadRequest, InternalError, TooBusy, UploadError
from incoming.core.extents import Range
from incoming.storage.byte_store import SIGNED_FOR
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.direct import DirectUploads, parts_in
from incoming.wire import messages
from incoming.wire.messages import Sent, Sign

log = logging.getLogger(__name__)

MOST_WAITING = 20
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
        self._waiting: deque[Sign | Sent] = deque()
        self._task: asyncio.Task[None] | None = None

    def take(self, message: Sign | Sent) -> None:
        """Accept a message; it is answered later. Raises BadRequest, TooBusy."""
        if not self._direct.offered(self._upload.ticket):
            raise BadRequest("this upload has no parts that are sent straight to an object store")
        if len(self._waiting) >= MOST_WAITING:
            raise TooBusy(f"more than {MOST_WAITING} messages about parts wait for an answer")
        self._waiting.append(message)
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def close(self) -> None:
        """The connection has ended."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            while self._waiting:
                message = self._waiting.popleft()
                await (self._sign(message) if isinstance(message, Sign) else self._look(message))
        except UploadError as error:
            self._fail(error)
        except Exception:
            log.exception("upload %s: message about parts failed; closing the connection", self._upload.ticket.id)
            self._fail(InternalError())
        finally:
            self._task = None

    async def _sign(self, message: Sign) -> None:
        signed = await self._direct.sign(self._upload, self._epoch, message.parts)
        self._acknowledge(message.parts)
        if signed:
            self._results.send(messages.signed(((part.number, part.url) for part in signed), SIGNED_FOR))

    async def _look(self, message: Sent) -> None:
        """Look for all parts that were sent, together with those of messages that came meanwhile."""
        numbers = set(message.parts)
        while self._waiting and isinstance(more := self._waiting[0], Sent):
            numbers.update(more.parts)
            self._waiting.popleft()
        await self._direct.look(self._upload, self._epoch, min(numbers) - 1)
        there = self._acknowledge(sorted(numbers))
        if missing := sorted(numbers - there):
            self._results.send(messages.unseen(missing))

    def _acknowledge(self, numbers: tuple[int, ...] | list[int]) -> set[int]:
        """Acknowledge those that have arrived, and return them."""
        ticket = self._upload.ticket
        there = {number: one for number, one in parts_in(ticket, numbers).items() if ticket.extents.covers(*one)}
        for part in there.values():
            self._results.ack(part)
        return set(there)
