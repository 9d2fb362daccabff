"""Open, write, pause, cancel and complete uploads: what all transports and protocols share.

Decides which client may send, when a file is whole, and what happens to it then. Knows the stores, and no protocol.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from incoming.core.errors import ServerShutdown, StorageFailed, TakenOver, UnknownTicket, UploadError
from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import RECEIVING, Identity, State, Ticket
from incoming.core.token_bucket import RateLimiter
from incoming.settings.settings import Settings
from incoming.storage.byte_store import BytesLost, ByteStore, store_of, with_part_size
from incoming.storage.ticket_store import Change, TicketStore
from incoming.uploads import handover
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.arrivals import Outbox, leave_due, record_arrival
from incoming.uploads.cancellation import cancel, remove_bytes
from incoming.uploads.claims import Appends, ClaimedUpload, new_session
from incoming.uploads.completion_retries import CompletionRetries
from incoming.uploads.direct import DirectUploads
from incoming.uploads.file_digests import FileDigests
from incoming.uploads.subscriptions import Listener, TicketSubscriptions
from incoming.uploads.takeover import update_fenced
from incoming.wire.messages import Hello

log = logging.getLogger(__name__)

CHECKPOINT_RETRY_DELAY = 1.0
"""Seconds after which a failed checkpoint of an upload without connections is retried."""

RECONNECT_GRACE = 5.0
"""Seconds for a client to reconnect before the bytes spooled for it are made durable."""


class UploadService:
    """Everything that clients can do to uploads, for one worker; workers share nothing but the stores."""

    def __init__(self, tickets: TicketStore, store: ByteStore, settings: Settings, outbox: Outbox = leave_due) -> None:
        """Record arrivals through `outbox`."""
        self._tickets = tickets
        self._outbox = outbox
        self._store = store
        self._settings = settings
        self._clock = tickets.clock.now
        self._rates = RateLimiter()
        self.appends = Appends()
        self._uploads: dict[str, ActiveUpload] = {}
        self._listeners = TicketSubscriptions(tickets, self._uploads)
        self._digests = FileDigests(store)
        self.direct = DirectUploads(tickets, store, self._listeners.learned, self._complete)
        self._finalising: dict[str, asyncio.Task[Ticket]] = {}
        self._retries = CompletionRetries(self._complete)
        self._tasks: set[asyncio.Task[None]] = set()
        self._drain_begun = asyncio.Event()
        self._left = asyncio.Event()

    # --- connections begin and end ------------------------------------------------------------------------------------

    async def open(self, ticket_id: str, hello: Hello) -> ActiveUpload:
        """Open the upload for a client's hello. All its connections here share the result; each calls `leave` once.

        An upload that is complete or has ended is no error: see the ticket's state. Raises UnknownTicket, TakenOver,
        FileChanged, FileTooLarge, ServerShutdown or what the stores raise.
        """
        upload = await self._open(ticket_id, hello.identity, hello.session, hello.epoch)
        ticket = upload.ticket
        if ticket.state in RECEIVING and ticket.session not in ("", hello.session):
            # Two clients sent hello at the same time, this one first: the epoch belongs to the newer one.
            self.leave(upload)
            raise TakenOver
        return upload

    async def open_plain(self, ticket_id: str, identity: Identity, read: Ticket | None = None) -> ActiveUpload:
        """Open the upload for a client without sessions, at any epoch. `read` is the ticket as just read."""
        return await self._open(ticket_id, identity, "", None, read)

    async def claim(self, ticket_id: str, identity: Identity | None = None) -> ClaimedUpload:
        """Make a client without a session the only sender: all others are disconnected with `taken_over`.

        Without an `identity` state, pause and the time of the last activity stay. A complete or ended upload stays
        unchanged. Raises like `open`; leave the upload once.
        """
        session = new_session()
        if identity is None:
            return await self.claim_by(ticket_id, lambda known: known.claim(session), durable=False)
        return await self.claim_by(ticket_id, self._opening(identity, session, None), durable=self._is_first(ticket_id))

    async def claim_by(
        self, ticket_id: str, change: Change, *, appends: str = "", durable: bool = True
    ) -> ClaimedUpload:
        """Claim the upload by another change of the ticket. The appends entered as `appends`, by default the ticket's,
        end first.
        """
        self._check_open()
        await self.appends.displace(appends or ticket_id)
        ticket = await update_fenced(self._tickets, self._store, ticket_id, change, durable)
        return ClaimedUpload(self._welcome(ticket), ticket)

    async def set_size(self, claimed: ClaimedUpload, size: int) -> None:
        """Set the size of a file whose length was unknown. Raises TakenOver, FileChanged or FileTooLarge."""

        def change(known: Ticket) -> Ticket:
            if known.state in RECEIVING and known.epoch != claimed.ticket.epoch:
                raise TakenOver
            return with_part_size(self._store, known.identify(Identity(size=size), self._settings.max_size))

        self._listeners.learned(await self._tickets.update(claimed.ticket.id, change))

    async def _open(
        self, ticket_id: str, identity: Identity, session: str, epoch: int | None, read: Ticket | None = None
    ) -> ActiveUpload:
        self._check_open()
        opening, is_first = self._opening(identity, session, epoch), self._is_first(ticket_id)
        return self._welcome(await update_fenced(self._tickets, self._store, ticket_id, opening, is_first, read))

    def _is_first(self, ticket_id: str) -> bool:
        """Return whether the identity is new: it must survive a power cut, and no checkpoint may follow."""
        return (known := self._uploads.get(ticket_id)) is None or known.ticket.size is None

    def _opening(self, identity: Identity, session: str, epoch: int | None) -> Change:
        def change(known: Ticket) -> Ticket:
            if known.state in (State.CANCELLED, State.FAILED):
                return known
            identified = known.identify(identity, self._settings.max_size)
            if known.state not in RECEIVING:
                return known
            return with_part_size(self._store, identified).open(session, epoch, self._clock())

        return change

    def _welcome(self, ticket: Ticket) -> ActiveUpload:
        upload = self._enter(ticket)
        if ticket.awaits_completion:
            self._complete(ticket.id)
        return upload

    async def join(self, ticket_id: str, epoch: int) -> ActiveUpload:
        """Add a connection of a client that was welcomed with `epoch`; changes nothing. `leave` it once.

        Raises TakenOver, UnknownTicket or ServerShutdown.
        """
        self._check_open()
        known = self._uploads.get(ticket_id)
        ticket = known.ticket if known is not None and known.ticket.epoch == epoch else await self.get_ticket(ticket_id)
        if ticket.epoch != epoch and ticket.state in RECEIVING:
            raise TakenOver
        return self._enter(ticket)

    def _check_open(self) -> None:
        if self.draining:
            raise ServerShutdown

    def _enter(self, ticket: Ticket) -> ActiveUpload:
        upload = self._uploads.get(ticket.id)
        if upload is None:
            stores, notify = (self._tickets, store_of(self._store, ticket)), partial(self._listeners.notify, ticket.id)
            upload = ActiveUpload(ticket, *stores, self._settings, self._clock, self._rates, notify, self._complete)
            upload.checkpoints.committed = self._digests.follow
            self._uploads[ticket.id] = upload
        upload.users += 1
        self._listeners.learned(ticket)
        self._digests.follow(upload.ticket)
        return upload

    def leave(self, upload: ActiveUpload) -> None:
        """Remove a connection. What it has submitted is still written and synced."""
        upload.users -= 1
        if not upload.users:
            self._left.set()
            self._spawn(self._close(upload))

    async def _close(self, upload: ActiveUpload) -> None:
        ticket_id = upload.ticket.id
        if upload.has_spooled:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._drain_begun.wait(), RECONNECT_GRACE)
        while not upload.users and upload.busy:
            await self._settle(upload)
            if self.draining:
                break
            if upload.busy:
                await asyncio.sleep(CHECKPOINT_RETRY_DELAY)
        if not upload.users and self._uploads.get(ticket_id) is upload:
            upload.close()
            del self._uploads[ticket_id]
            try:
                await self._store.release(upload.ticket)
            except UploadError as error:
                log.debug("upload %s: not released: %s", ticket_id, error.message)

    async def _settle(self, upload: ActiveUpload) -> None:
        """Wait for pending writes and take a checkpoint; log a failure."""
        await upload.settle()
        try:
            await upload.checkpoints.take()
        except UploadError as error:
            if not isinstance(error, BytesLost):  # which is in the log
                log.warning("upload %s: checkpoint failed: %s", upload.ticket.id, error.message)

    # --- requests besides writing -------------------------------------------------------------------------------------

    async def settled(self, upload: ActiveUpload) -> Ticket:
        """Return the ticket once the file is completed, if all its bytes are there. Raises like `finalise`."""
        return await self.finalise(upload.ticket.id) if upload.ticket.awaits_completion else upload.ticket

    async def pause(self, ticket_id: str, epoch: int | None) -> Ticket:
        """Pause for the user. Raises TakenOver, UnknownTicket or the ticket's outcome."""
        ticket = await self._tickets.update(ticket_id, lambda known: known.pause(epoch, self._clock()))
        self._listeners.learned(ticket)
        return ticket

    async def cancel(self, ticket_id: str, reason: str, *, notify_app: bool) -> Ticket:
        """Cancel for good and remove what has arrived. Raises UnknownTicket, or WrongState when it is too late."""
        ticket = await cancel(self._tickets, ticket_id, reason, notify_app=notify_app)
        self._listeners.learned(ticket)
        await self._discard(ticket)
        return ticket

    async def _discard(self, ticket: Ticket) -> None:
        """Remove the bytes of a cancelled upload; what cannot be removed now the janitor removes later."""
        if (upload := self._uploads.get(ticket.id)) is not None:
            await upload.settle()
            upload.checkpoints.stop()
        await remove_bytes(self._store, ticket)

    async def finish(self, ticket_id: str) -> Ticket:
        """Finish an upload for the app. Raises like `handover.finish`."""
        ticket = await handover.finish(self._tickets, self._store, ticket_id)
        self._listeners.learned(ticket)
        return ticket

    async def retry_handover(self, ticket_id: str) -> Ticket:
        """Make a callback due at once. Raises like `handover.retry`."""
        ticket = await handover.retry(self._tickets, ticket_id)
        self._listeners.learned(ticket)
        return ticket

    async def get_ticket(self, ticket_id: str) -> Ticket:
        """Return the ticket as last committed. Raises UnknownTicket."""
        if (ticket := await self._tickets.get(ticket_id)) is None:
            raise UnknownTicket("unknown ticket: it was never issued, or it expired long ago")
        return ticket

    def received(self, ticket_id: str) -> Extents:
        """Return what this worker has received of an upload and is not safe yet."""
        return known.received if (known := self._uploads.get(ticket_id)) else Extents()

    def listen(self, ticket_id: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` at each change of the ticket by any process. The result unsubscribes."""
        return self._listeners.add(ticket_id, listener)

    # --- the whole file -----------------------------------------------------------------------------------------------

    def _complete(self, ticket_id: str) -> None:
        self._spawn(self._complete_and_report(ticket_id))

    async def _complete_and_report(self, ticket_id: str) -> None:
        try:
            await self.finalise(ticket_id)
            self._retries.ended(ticket_id)
        except UploadError as error:
            self._listeners.notify(ticket_id, error)
            if isinstance(error, StorageFailed):
                self._retries.failed(ticket_id)
            else:
                self._retries.ended(ticket_id)
        except Exception:
            log.exception("upload %s: completing the file failed", ticket_id)
            self._listeners.notify(ticket_id, StorageFailed("completing the file failed by a defect of the server"))

    async def finalise(self, ticket_id: str) -> Ticket:
        """Complete a file of which every byte has arrived, durably, and record that its callback is due.

        May be called at any time, by several workers at once; exactly one succeeds. Raises what the stores raise; the
        ranges that were not synced are discarded then.
        """
        if (task := self._finalising.get(ticket_id)) is None:
            task = asyncio.get_running_loop().create_task(self._finalise(ticket_id))
            self._finalising[ticket_id] = task
            task.add_done_callback(lambda _: self._finalising.pop(ticket_id, None))
        return await asyncio.shield(task)

    async def _finalise(self, ticket_id: str, *, anew: bool = False) -> Ticket:
        """Start from the ticket that this worker knows, or with `anew` read it: the stores refuse an outdated one."""
        known = self._uploads.get(ticket_id)
        upload = self._enter(await self.get_ticket(ticket_id) if anew or known is None else known.ticket)
        try:
            await upload.settle()
            if anew or not upload.ticket.awaits_completion:
                upload.adopt(await self.get_ticket(ticket_id))
            ticket = upload.ticket
            if ticket.size is not None and ticket.awaits_completion:
                self._listeners.learned(ticket := await self._make_whole(upload, ticket.size))
            return ticket
        finally:
            self.leave(upload)

    async def _make_whole(self, upload: ActiveUpload, size: int) -> Ticket:
        ticket_id = upload.ticket.id
        try:
            location, digest = await self._complete_with_digest(upload, size)
        except TakenOver:
            return await self._finalise(ticket_id, anew=True)  # as it is in the new epoch
        except UploadError as error:
            ticket = await self.get_ticket(ticket_id)
            if ticket.state != State.UPLOADING:
                return ticket
            if not isinstance(error, BytesLost):
                log.warning("upload %s: completing the file failed: %s", ticket_id, error.message)
            raise
        return await self._note_arrival(upload.ticket, location, digest)

    async def _note_arrival(self, whole: Ticket, location: Location, digest: str) -> Ticket:
        ticket, is_wrong = await record_arrival(self._tickets, self._outbox, whole, location, digest)
        self._digests.forget(ticket.id)
        if ticket.state in (State.UPLOADING, State.CANCELLED) or (is_wrong and ticket.state == State.FAILED):
            await self._discard(ticket)
        elif ticket.is_rearranged:
            await remove_bytes(self._store, ticket, finished=False)  # the parts, which are in the file now
        return ticket

    async def _complete_with_digest(self, upload: ActiveUpload, size: int) -> tuple[Location, str]:
        """Complete the file; return where it is and the digest that the app asked for. Raises like both."""
        if upload.ticket.is_rearranged:  # only the complete file has its bytes in their order
            location = await upload.checkpoints.complete(size)
            return location, await self._digests.finish(upload.ticket, size)
        try:
            digest = await self._digests.finish(upload.ticket, size)
        except StorageFailed as error:  # completing finds out why it could not be read, and records what is lost
            log.warning("upload %s: digest not computed: %s", upload.ticket.id, error.message)
            location = await upload.checkpoints.complete(size)
            return location, await self._digests.finish(upload.ticket, size)
        return await upload.checkpoints.complete(size), digest

    # --- the end ------------------------------------------------------------------------------------------------------

    @property
    def draining(self) -> bool:
        """Whether this worker takes nothing new any more."""
        return self._drain_begun.is_set()

    async def drain(self) -> None:
        """Refuse new connections, ask all to reconnect to another worker, and take checkpoints of what has arrived."""
        self._drain_begun.set()
        self._retries.stop()
        self._listeners.notify_all(ServerShutdown())
        await self._digests.close()
        await asyncio.gather(*(self._settle(upload) for upload in tuple(self._uploads.values())))
        await self.wait_until_settled()
        await self._listeners.close()

    async def wait_until_settled(self) -> None:
        """Return when the bytes of connections that have ended are synced, and no file is being completed."""
        while under_way := (*self._tasks, *self._finalising.values()):
            await asyncio.wait(under_way)

    def uploads(self) -> list[tuple[Ticket, int]]:
        """Return the uploads with connections to this worker, each with their number."""
        return [(upload.ticket, upload.users) for upload in self._uploads.values() if upload.users]

    async def wait_until_left(self) -> None:
        """Return when no upload has a connection to this worker."""
        while self.uploads():
            self._left.clear()
            await self._left.wait()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
