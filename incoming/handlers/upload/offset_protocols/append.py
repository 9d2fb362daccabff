"""An append: the body of a request that has claimed its upload is stored from the claimed offset on.

Serves the dialects that know one offset. Decides what ends an append before its body does: a newer claim, another
client's session, an upload that has ended, a worker that drains; what has come by then is kept. Knows nothing of
headers and answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from incoming.core.errors import BadRange, TakenOver, UploadError
from incoming.core.extents import Range
from incoming.core.ticket import RECEIVING, Event, State
from incoming.handlers.services import Services
from incoming.handlers.upload.body_receiver import BodyReceiver
from incoming.handlers.upload.upload_connections import Seat
from incoming.handlers.upload.upload_request import epoch_is_over
from incoming.storage.byte_store import Buffer
from incoming.uploads.claims import ClaimedUpload
from incoming.uploads.parts import appends_of
from incoming.uploads.subscriptions import News
from incoming.uploads.writes.held_writes import HeldWrites
from incoming.uploads.writes.receive_buffer import ReceiveBuffer

T = TypeVar("T")


class AppendRequest(Seat, Protocol):
    """The request that an append belongs to."""

    services: Services

    @property
    def client(self) -> str: ...

    def end_with(self, error: UploadError) -> None:
        """Answer with this error wherever the body is, and close the connection. Calls `Append.release`."""
        ...


class Append:
    """The body from `start` on; `length` is None if it is not announced. The caller has checked that it fits the file.

    With a `part` it stays within that range of the partial file, else within the file.
    With `held` nothing of it counts before `finish`, else each part at once. `progressed` is called with the committed
    prefix whenever that has grown. `release` must be called once at the end.
    """

    def __init__(
        self,
        request: AppendRequest,
        claimed: ClaimedUpload,
        start: int,
        length: int | None,
        *,
        part: Range | None = None,
        held: bool = False,
        progressed: Callable[[int], None] | None = None,
    ) -> None:
        services, ticket = request.services, claimed.ticket
        self._request = request
        self._service = services.upload_service
        self._connections = services.upload_connections
        self._upload = claimed.upload
        self._ticket_id, self._epoch, self._session = ticket.id, ticket.epoch, ticket.session
        self._held = HeldWrites(claimed.upload, start, ticket.epoch) if held else None
        self._progressed = progressed
        self._prefix = ticket.extents.prefix
        self._finishing = False
        self._gone = False
        self._settled = asyncio.Event()
        """Set when all that will count of the body is committed."""
        sender = services.connections.enter(ticket.id, "http", request.client, claimed.upload.checkpoints.storage_time)
        end = None if length is None else start + length
        self._body = BodyReceiver(
            self._held or claimed.upload, sender, services.memory_budget, start, end, ticket.epoch, self._note_stored
        )
        self._part_end = None if part is None else part[1]
        name = ticket.id if part is None else appends_of(ticket.id, part)
        self._leave_appends = self._service.appends.enter(name, self)
        self._stop_listening = self._service.listen(ticket.id, self._on_change)
        self._connections.take(ticket.id, request, services.settings.connections_per_upload)
        self._on_change(claimed.upload.ticket)

    @property
    def receive_buffer(self) -> ReceiveBuffer:
        """Return the buffer into which the body is received without a copy."""
        return self._body.receive_buffer

    @property
    def busy(self) -> bool:
        """Whether the body waits for the server, not for the sender."""
        return self._body.busy

    @property
    def position(self) -> int:
        """Where the next byte goes."""
        return self._body.position

    async def take(self, data: Buffer) -> None:
        """Accept the next bytes; return when there is room for more.

        Raise BadRange for what is beyond the file, after what is not was taken; else as a write.
        """
        size = self._upload.ticket.size if self._part_end is None else self._part_end
        room = len(data) if size is None else max(0, size - self.position)
        if room >= len(data):
            await self._unless_lost(self._body.take(data))
            return
        if room:
            await self._unless_lost(self._body.take(memoryview(data)[:room]))
        raise BadRange(f"the body continues beyond the end of the file at byte {size}")

    async def finish(self, check: Callable[[], None] | None = None) -> None:
        """Return when the whole body is committed. Raise the first error; after that of `check` no held byte counts."""
        self._finishing = True
        try:
            await self._unless_lost(self._body.finish())
            if check is not None:
                check()
            if self._held is not None:
                await self._unless_lost(self._held.commit())
        finally:
            self._settled.set()

    async def _unless_lost(self, step: Awaitable[T]) -> T:
        """Return what `step` returns. Raise why the epoch is over if it is."""
        try:
            return await step
        except TakenOver as error:
            raise epoch_is_over(await self._service.get_ticket(self._ticket_id), self._session) from error

    # --- what ends it -------------------------------------------------------------------------------------------------

    async def step_aside(self) -> None:
        """End the request for a newer one, unless its body is there already. Return when what counts is committed."""
        self._end(TakenOver())
        await self._settled.wait()

    def _on_change(self, news: News) -> None:
        if isinstance(news, UploadError):
            self._end(news)
        elif news.state in (State.CANCELLED, State.FAILED):
            self._end(news.rejection(Event.STORE))
        elif news.state in RECEIVING and news.epoch != self._epoch:
            self._end(epoch_is_over(news, self._session))

    def _end(self, error: UploadError) -> None:
        if not self._finishing and not self._gone:
            self._request.end_with(error)

    def _note_stored(self) -> None:
        prefix = self._upload.ticket.extents.prefix
        if prefix > self._prefix and self._progressed is not None:
            self._prefix = prefix
            self._progressed(prefix)

    def release(self) -> None:
        """Release the request. What has arrived is written; until it is committed, newer claims wait for it."""
        if self._gone:
            return
        self._gone = True
        self._stop_listening()
        self._connections.leave(self._ticket_id, self._request)
        self._body.release()
        self._leaving = asyncio.get_running_loop().create_task(self._leave())

    async def _leave(self) -> None:
        if not self._finishing:
            await self._body.drain()
            self._settled.set()
        await self._settled.wait()
        self._leave_appends()
