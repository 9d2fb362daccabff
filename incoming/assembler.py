"""Opens, writes, pauses, cancels and completes uploads: the one place where both transports meet.

Decides who is the rightful sender, when a file is whole, and whom in this worker to tell of a change. It knows no wire
and no outside system but the two Protocols of storage/base.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

from incoming.config import Settings
from incoming.core.errors import ServerShutdown, StorageFailed, TakenOver, UnknownTicket, UploadError
from incoming.core.messages import Hello
from incoming.core.ticket import FINAL, RECEIVING, Callback, Identity, State, Ticket
from incoming.storage.base import ByteStore, TicketStore
from incoming.upload import Upload

log = logging.getLogger("incoming.assembler")

News = Ticket | UploadError
Listener = Callable[[News], None]
"""Called on the event loop with the ticket after each change, or with the error for which to let go and come back."""


class Assembler:
    """Everything that clients can do to uploads, for one worker; workers share nothing but the stores."""

    def __init__(
        self, tickets: TicketStore, store: ByteStore, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._clock = clock
        self._uploads: dict[str, Upload] = {}
        self._listeners: dict[str, set[Listener]] = {}
        self._refreshing: dict[str, bool] = {}
        self._finalising: dict[str, asyncio.Task[Ticket]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        tickets.watch(self._changed)

    # --- what clients do ----------------------------------------------------------------------------------------------

    async def open(self, ticket_id: str, hello: Hello) -> Upload:
        """An uploader says hello. The result is shared by all its connections here; each calls `leave` once.

        Past uploading it is not an error: the ticket's state tells the outcome. Raises UnknownTicket, TakenOver,
        FileChanged, FileTooLarge, ServerShutdown or what the stores raise.
        """
        return await self._open(ticket_id, hello.identity, hello.session, hello.epoch)

    async def open_plain(self, ticket_id: str, identity: Identity) -> Upload:
        """The same for a client that knows nothing of sessions and is taken at any epoch."""
        return await self._open(ticket_id, identity, "", None)

    async def _open(self, ticket_id: str, identity: Identity, session: str, epoch: int | None) -> Upload:
        if self._draining:
            raise ServerShutdown("the server is restarting")

        def change(known: Ticket) -> Ticket:
            if known.state in (State.CANCELLED, State.FAILED):
                return known
            told = known.identify(identity, self._settings.max_size)
            if known.state not in RECEIVING:
                return known
            return told.open(session, epoch, self._clock())

        ticket = await self._tickets.update(ticket_id, change, durable=False)
        upload = self._join(ticket)
        if ticket.complete and ticket.state == State.UPLOADING:
            self._complete(ticket_id)
        return upload

    async def join(self, ticket_id: str, epoch: int) -> Upload:
        """One more connection of an uploader that was welcomed with `epoch`; changes nothing. `leave` it once.

        Raises TakenOver, UnknownTicket or ServerShutdown.
        """
        if self._draining:
            raise ServerShutdown("the server is restarting")
        known = self._uploads.get(ticket_id)
        ticket = known.ticket if known is not None and known.ticket.epoch == epoch else await self.look(ticket_id)
        if ticket.epoch != epoch and ticket.state in RECEIVING:
            raise TakenOver("the upload goes on in another window")
        return self._join(ticket)

    async def settled(self, upload: Upload) -> Ticket:
        """The ticket as it is when all that was written by now counts: complete ones have arrived. Raises like
        `finalise`.
        """
        if upload.ticket.complete and upload.ticket.state == State.UPLOADING:
            return await self.finalise(upload.ticket.id)
        return upload.ticket

    def _join(self, ticket: Ticket) -> Upload:
        upload = self._uploads.get(ticket.id)
        if upload is None:
            upload = Upload(ticket, self._tickets, self._store, self._settings, self._clock)
            upload.on(lambda error: self._tell(ticket.id, error), lambda: self._complete(ticket.id))
            self._uploads[ticket.id] = upload
        elif upload.know(ticket):
            self._tell(ticket.id, ticket)
        upload.users += 1
        return upload

    def leave(self, upload: Upload) -> None:
        """A connection lets go. What is on its way is still written and synced."""
        upload.users -= 1
        if not upload.users:
            self._spawn(self._close_upload(upload))

    async def _close_upload(self, upload: Upload) -> None:
        await upload.settle()
        try:
            await upload.checkpoint()
        except UploadError as error:
            log.warning("upload %s: checkpoint failed: %s", upload.ticket.id, error.message)
        if not upload.users and not upload.busy and self._uploads.get(upload.ticket.id) is upload:
            upload.stop_timer()
            del self._uploads[upload.ticket.id]
            await self._store.release(upload.ticket.id)

    async def pause(self, ticket_id: str, epoch: int | None) -> Ticket:
        """The user pauses. Raises TakenOver, UnknownTicket or the ticket's outcome."""
        return await self._tickets.update(ticket_id, lambda known: known.pause(epoch, self._clock()))

    async def cancel(self, ticket_id: str, reason: str, *, notify_app: bool) -> Ticket:
        """Cancels for good and removes what has arrived. Raises UnknownTicket, or WrongState when it is too late."""
        now = self._clock()
        notice = Callback(str(uuid.uuid4()), cancelled=True, since=now, due_at=now) if notify_app else None
        ticket = await self._tickets.update(ticket_id, lambda known: known.cancel(reason, notice, now))
        log.info("upload %s: cancelled: %s", ticket_id, ticket.reason)
        await self._discard(ticket)
        return ticket

    async def _discard(self, ticket: Ticket) -> None:
        """Removes the bytes of a cancelled upload; what cannot be removed now the janitor removes later."""
        upload = self._uploads.get(ticket.id)
        if upload is not None:
            if upload.know(ticket):
                self._tell(ticket.id, ticket)
            await upload.settle()
            upload.stop_timer()
        try:
            await self._store.remove(ticket.id, finished=True)
        except UploadError as error:
            log.warning("upload %s: the partial file could not be removed now: %s", ticket.id, error.message)

    async def look(self, ticket_id: str) -> Ticket:
        """The ticket as it is now. Raises UnknownTicket."""
        ticket = await self._tickets.get(ticket_id)
        if ticket is None:
            raise UnknownTicket("unknown ticket: it was never issued, or it expired long ago")
        return ticket

    async def wait_for_change(self, ticket_id: str, seen: str, seconds: float) -> Ticket:
        """The ticket as soon as its state is another than `seen`, or as it is after `seconds`."""
        changed = asyncio.Event()
        stop = self.listen(ticket_id, lambda news: changed.set())
        try:
            async with asyncio.timeout(seconds):
                while True:
                    changed.clear()
                    ticket = await self.look(ticket_id)
                    if ticket.state != seen or ticket.state in FINAL or self._draining:
                        return ticket
                    await changed.wait()
        except TimeoutError:
            return await self.look(ticket_id)
        finally:
            stop()

    # --- who is told --------------------------------------------------------------------------------------------------

    def listen(self, ticket_id: str, listener: Listener) -> Callable[[], None]:
        """Calls `listener` at each change of the ticket by whomever; the result ends that."""
        self._listeners.setdefault(ticket_id, set()).add(listener)

        def stop() -> None:
            listeners = self._listeners.get(ticket_id, set())
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(ticket_id, None)

        return stop

    def _tell(self, ticket_id: str, news: News) -> None:
        for listener in tuple(self._listeners.get(ticket_id, ())):
            listener(news)

    def _changed(self, ticket_id: str) -> None:
        if ticket_id not in self._listeners and ticket_id not in self._uploads:
            return
        if ticket_id in self._refreshing:
            self._refreshing[ticket_id] = True
            return
        self._refreshing[ticket_id] = False
        self._spawn(self._refresh(ticket_id))

    async def _refresh(self, ticket_id: str) -> None:
        """Reads a changed ticket, again when it changed meanwhile: at most one reading of a ticket is under way."""
        try:
            again = True
            while again:
                self._refreshing[ticket_id] = False
                ticket = await self._tickets.get(ticket_id)
                if ticket is not None:
                    if upload := self._uploads.get(ticket_id):
                        upload.know(ticket)
                    self._tell(ticket_id, ticket)
                again = self._refreshing[ticket_id]
        except UploadError as error:
            log.warning("upload %s: cannot be read: %s", ticket_id, error.message)
        finally:
            del self._refreshing[ticket_id]

    # --- the whole file -----------------------------------------------------------------------------------------------

    def _complete(self, ticket_id: str) -> None:
        self._spawn(self._complete_and_report(ticket_id))

    async def _complete_and_report(self, ticket_id: str) -> None:
        try:
            await self.finalise(ticket_id)
        except UploadError as error:
            log.error("upload %s: completing the file failed: %s", ticket_id, error.message)
            self._tell(ticket_id, error)

    async def finalise(self, ticket_id: str) -> Ticket:
        """Puts a file whose every byte has arrived on the disk for good and owes the app its callback.

        May be called at any time, by several workers at once; exactly one wins. Raises what the stores raise; then what
        was not synced is not believed any more.
        """
        task = self._finalising.get(ticket_id)
        if task is None:
            task = asyncio.get_running_loop().create_task(self._finalise(ticket_id))
            self._finalising[ticket_id] = task
            task.add_done_callback(lambda _: self._finalising.pop(ticket_id, None))
        return await asyncio.shield(task)

    async def _finalise(self, ticket_id: str) -> Ticket:
        ticket = await self.look(ticket_id)
        if ticket.state != State.UPLOADING or ticket.size is None or not ticket.complete:
            return ticket
        if upload := self._uploads.get(ticket_id):
            await upload.settle()
        try:
            path = await self._store.complete(ticket_id, ticket.size)
        except StorageFailed:
            # With the partial file still there, only what was synced is believed; without, the next try finds the
            # whole.
            if await self._store.present(ticket_id) is not None:
                await self._tickets.update(ticket_id, _distrust_partial)
            raise
        now = self._clock()
        notice = Callback(str(uuid.uuid4()), cancelled=False, since=now, due_at=now)

        def change(known: Ticket) -> Ticket:
            return known.arrive(path, notice, now) if known.state == State.UPLOADING else known

        ticket = await self._tickets.update(ticket_id, change)
        if ticket.state == State.CANCELLED:
            await self._discard(ticket)
        else:
            log.info("upload %s: %d bytes have arrived", ticket_id, ticket.size or 0)
        if upload := self._uploads.get(ticket_id):
            upload.stop_timer()
            if upload.know(ticket):
                self._tell(ticket_id, ticket)
        return ticket

    # --- the end ------------------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether this worker takes nothing new any more."""
        return self._draining

    async def drain(self) -> None:
        """Opens nothing any more, tells every connection to come back elsewhere, and checkpoints what has arrived."""
        self._draining = True
        for ticket_id in tuple(self._listeners):
            self._tell(ticket_id, ServerShutdown("the server is restarting"))
        for upload in tuple(self._uploads.values()):
            await upload.settle()
            try:
                await upload.checkpoint()
            except UploadError as error:
                log.warning("upload %s: checkpoint failed: %s", upload.ticket.id, error.message)
            upload.stop_timer()
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))

    def uploads(self) -> list[tuple[Ticket, int]]:
        """The uploads that somebody here is connected to, each with its number of connections."""
        return [(upload.ticket, upload.users) for upload in self._uploads.values() if upload.users]

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _distrust_partial(known: Ticket) -> Ticket:
    return known.distrust() if known.state == State.UPLOADING else known
