"""Expire abandoned uploads, and remove files and tombstones past their time.

Decides what has expired and what may be removed; removes nothing that the TicketStore does not know. Every worker of
every instance has a janitor, and one at a time is on duty, by a lease. Correctness does not depend on that: each change
is a transaction on the ticket's current state, and removing twice is no error. It knows no file system, no database and
no client.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace

from incoming.core.errors import UnknownTicket, UploadError
from incoming.core.service_time import ServiceTime
from incoming.core.ticket import FINAL, RECEIVING, Callback, State, Ticket
from incoming.maintenance import recovery
from incoming.maintenance.ticket_scan import idle, older
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore, SweepingStore, stores_in
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.upload_service import UploadService

log = logging.getLogger(__name__)

LONGEST_INTERVAL = 30.0
SHORTEST_INTERVAL = 0.5

NOTE_INTERVAL = 20.0
"""Seconds between two time stamps of a running server."""

NOTE_LEASE = 45.0
"""Seconds for which one worker notes them; with NOTE_INTERVAL well below OUTAGE, if that worker dies."""

GIVE_UP_WITHIN = 1.0
"""Seconds to give back a lease when the worker ends."""

LEASE_ROUNDS = 3
"""Rounds for which the duty is leased, so that the next janitor soon replaces one that died."""

ORPHAN_SWEEP_INTERVAL = 3600.0
"""Seconds between two looks for what is left in object stores."""

CLEANUP_DELAY = 60.0
"""Seconds for the worker that changed a ticket to finish with its files, before a janitor does it."""

IDLE_REASON = "upload timed out"
WAIT_REASON = "Timed out waiting for app backend to retrieve the file"


class _NotAnyMore(Exception):
    """The upload was resumed, or another worker's janitor was faster."""


class Janitor:
    """One worker's janitor."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ByteStore,
        upload_service: UploadService,
        settings: Settings,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._upload_service = upload_service
        self._settings = settings
        self._clock = tickets.clock
        self._service: ServiceTime | None = None
        self._swept: dict[State, float] = {}
        self._unremoved: set[str] = set()
        self._orphans_at: float | None = None

    # --- sweeping -----------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Sweep until cancelled, at irregular intervals so that several workers do not sweep at the same time."""
        # A round may take long, which must not delay the time stamps.
        noting = asyncio.get_running_loop().create_task(self._note_regularly())
        try:
            while True:
                await asyncio.sleep(self._interval() * random.uniform(0.5, 1.0))
                await self._try(self._sweep_on_duty)
        finally:
            noting.cancel()
            await self._give_up_duties()

    async def _sweep_on_duty(self) -> None:
        if await self._tickets.lease("janitor", LEASE_ROUNDS * self._interval()):
            await self.sweep()

    async def _note_regularly(self) -> None:
        while True:
            await self._try(self._note_on_duty)
            await asyncio.sleep(NOTE_INTERVAL * random.uniform(0.8, 1.0))

    async def _note_on_duty(self) -> None:
        if await self._tickets.lease("service", NOTE_LEASE):
            await self._note_service()

    async def _give_up_duties(self) -> None:
        """Give the leases back, so that another janitor takes over at once; if that fails, when they end."""
        for duty in ("janitor", "service"):
            with suppress(UploadError, TimeoutError):
                async with asyncio.timeout(GIVE_UP_WITHIN):
                    await self._tickets.lease(duty, 0.0)

    async def _note_service(self) -> None:
        self._service = service = await self._tickets.note_service()
        if service.outages and service.outages[-1][1] == service.until:
            start, end = service.outages[-1]
            log.info("no server ran for %.0f s; this time does not count towards the idle limits", end - start)

    def _interval(self) -> float:
        """Return the seconds between two rounds: fewer for short limits, which are kept more exactly."""
        settings = self._settings
        limits = (
            *(settings.idle_timeout, settings.paused_timeout, settings.handover_wait_timeout),
            *(settings.failed_grace, settings.tombstone_time),
        )
        return min(LONGEST_INTERVAL, max(SHORTEST_INTERVAL, min(limit for limit in limits if limit) / 4))

    async def sweep(self) -> None:
        """Run every step once. A step that fails is logged and retried in the next round."""
        for step in (
            self._note_service,
            self._expire_idle,
            self._expire_waiting,
            self._recover_abandoned,
            self._complete_whole,
            self._remove_left_over,
            self._forget,
            self._sweep_orphans,
        ):
            await self._try(step)

    async def _try(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except UploadError as error:
            log.warning("cleanup step failed, will retry: %s", error.message)
        except Exception:
            log.exception("cleanup step failed, will retry")

    def _before(self, seconds: float) -> float:
        """Return the latest time that is at least `seconds` of service ago."""
        return -math.inf if self._service is None else self._service.before(self._clock.steady(), seconds)

    async def _sweep_orphans(self) -> None:
        """Have each store remove what belongs to no ticket, once per ORPHAN_SWEEP_INTERVAL over all processes."""
        now = self._clock.monotonic()
        if self._orphans_at is not None and now - self._orphans_at < ORPHAN_SWEEP_INTERVAL:
            return
        self._orphans_at = now
        for store in stores_in(self._store):
            if isinstance(store, SweepingStore) and await self._tickets.lease(
                f"orphans/{store.name}", ORPHAN_SWEEP_INTERVAL
            ):
                await store.sweep(older(self._tickets, tuple(RECEIVING), math.inf))

    # --- abandoned uploads --------------------------------------------------------------------------------------------

    async def _expire_idle(self) -> None:
        before = {
            True: self._before(self._settings.paused_timeout),
            False: self._before(self._settings.idle_timeout),
        }

        def is_abandoned(ticket: Ticket) -> bool:
            return ticket.state in RECEIVING and not ticket.complete and ticket.active_at <= before[ticket.paused]

        async for ticket in idle(self._tickets, tuple(RECEIVING), max(before.values())):
            if is_abandoned(ticket):
                await self._expire(ticket.id, IDLE_REASON, is_abandoned)

    async def _expire_waiting(self) -> None:
        limit = self._settings.handover_wait_timeout
        if not limit:
            return
        async for ticket in older(self._tickets, (State.WAITING,), self._before(limit)):
            await self._expire(ticket.id, WAIT_REASON, lambda known: known.state == State.WAITING)

    async def _expire(self, ticket_id: str, reason: str, still: Callable[[Ticket], bool]) -> None:
        """End the upload if it is `still` as it was found, decided in the transaction that ends it."""
        now = self._clock.now()
        notice = Callback(str(uuid.uuid4()), cancelled=True, since=now, due_at=now)

        def change(known: Ticket) -> Ticket:
            if not still(known):
                raise _NotAnyMore
            return known.expire(reason, notice, now)

        try:
            ticket = await self._tickets.update(ticket_id, change)
        except (_NotAnyMore, UnknownTicket):
            return
        log.info("upload %s: %s: %s", ticket_id, ticket.state, reason)
        if ticket.state == State.CANCELLED:
            await self._remove(ticket)

    async def _recover_abandoned(self) -> None:
        await recovery.recover_abandoned(self._tickets, self._store, self._upload_service)

    async def _complete_whole(self) -> None:
        """Complete files whose last byte was committed by a worker that then died."""
        async for ticket in idle(self._tickets, (State.UPLOADING,), self._clock.steady() - CLEANUP_DELAY):
            if ticket.complete:
                await recovery.finalise(self._upload_service, ticket)

    # --- files and tombstones -----------------------------------------------------------------------------------------

    async def _remove_left_over(self) -> None:
        """Remove the files of failed handovers past their time, and files that remain because a disk or a worker failed
        or a late write created them again. Each ticket is visited once, and again only if the removal failed.
        """
        for ticket_id in tuple(self._unremoved):
            ticket = await self._tickets.get(ticket_id)
            if ticket is None or ticket.state not in FINAL or await self._remove(ticket):
                self._unremoved.discard(ticket_id)
        await self._sweep_ended(State.FAILED, self._before(self._settings.failed_grace))
        for state in (State.FINISHED, State.CANCELLED):
            await self._sweep_ended(state, self._clock.steady() - CLEANUP_DELAY)

    async def _sweep_ended(self, state: State, before: float) -> None:
        """Visit the tickets that ended since any worker's last round; a restart must not visit a million tombstones."""
        noted = await self._tickets.swept(state)
        after = max((at for at in (noted, self._swept.get(state)) if at is not None), default=None)
        if after is not None and after > before:
            after = None  # the clock was set back
        async for ticket in older(self._tickets, (state,), before, after):
            if not await self._remove(ticket):
                self._unremoved.add(ticket.id)
            self._swept[state] = ticket.state_since
        swept = self._swept.get(state)
        # Failed removals are known to this process only, so the next one has to visit them again.
        if swept is not None and swept != noted and not self._unremoved:
            await self._tickets.note_swept(state, swept)

    async def _forget(self) -> None:
        """Remove tombstones past their time, files first. A ticket with a pending callback is kept."""
        kept_since = self._before(self._settings.failed_grace)
        async for ticket in older(self._tickets, tuple(FINAL), self._before(self._settings.tombstone_time)):
            kept = ticket.state == State.FAILED and ticket.state_since > kept_since
            if ticket.callback is None and not kept and await self._remove(ticket):
                await self._tickets.forget(ticket.id)
                log.debug("upload %s: forgotten", ticket.id)

    async def _remove(self, ticket: Ticket) -> bool:
        """Remove an ended upload's files, except for those that the app removes. Return False if some may remain."""
        try:
            if ticket.state == State.FAILED:
                # Without its file the handover cannot be retried; if it was just retried, the file stays.
                ticket = await self._tickets.update(ticket.id, _without_file)
                if ticket.state != State.FAILED:
                    return False
            theirs = ticket.state == State.FINISHED and not ticket.options.remove_file_when_finished
            await (self._store.remove_partial(ticket) if theirs else self._store.remove(ticket))
        except UnknownTicket:
            return True
        except UploadError as error:
            log.warning("upload %s: its file could not be removed now: %s", ticket.id, error.message)
            return False
        return True


def _without_file(known: Ticket) -> Ticket:
    return replace(known, file_kept=False) if known.state == State.FAILED and known.file_kept else known
