"""The outbox dispatcher: calls every app about each file that arrived and each upload that was cancelled.

Decides when a callback is tried and how many calls one app gets at once, so that a slow app delays no other one. What
an attempt does to the ticket is decided by delivery.py; the TicketStore keeps the outbox. When a worker dies, another
one continues as soon as the dead worker's leases have expired.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial

from incoming.callbacks.client import CallbackClient
from incoming.callbacks.delivery import Delivery, changed
from incoming.callbacks.trial import CallbackTrial
from incoming.core.callback_url import app_host
from incoming.core.errors import UnknownTicket, UploadError
from incoming.core.steady_clock import Clock
from incoming.core.ticket import Callback, TicketOptions
from incoming.monitoring.metrics import WorkerCounters
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import Claim, TicketStore

log = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 100
"""Callbacks of one claim; the rest waits for the next GATHERING. That is 5,000 a second, more than apps answer."""

LONGEST_SLEEP = 15.0
"""Seconds after which the outbox is read although nothing is due: the clock may have been set meanwhile."""

GATHERING = 0.02
"""Seconds between a ticket's change and reading the outbox. Every commit of chunks is such a change."""


@dataclass(slots=True)
class _HostQueue:
    """The callbacks of one app: how many are under way, and the claimed ones that wait for their turn."""

    active: int = 0
    waiting: OrderedDict[str, Claim] = field(default_factory=OrderedDict)


class CallbackDispatcher:
    """One worker's part in emptying the outbox. `clock` gives seconds since the epoch."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ByteStore,
        settings: Settings,
        clock: Clock = time.time,
        counters: WorkerCounters | None = None,
    ) -> None:
        self._tickets = tickets
        self._clock = clock
        self._at_once = settings.handover_connections
        self._caller = CallbackClient(settings, clock)
        self._delivery = Delivery(tickets, store, settings, clock, self._caller, counters)
        self._trial = CallbackTrial(self._caller, settings.storage_dir)
        self._queues: dict[str, _HostQueue] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._stopping = False
        tickets.watch(lambda ticket_id: self._news.set())

    # --- which callback when ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver what is due until `stop`."""
        while not self._stopping:
            wake_at = self._clock() + LONGEST_SLEEP
            try:
                await self._claim_due()
                wake_at = min(wake_at, await self._next_due())
                await self._sleep(wake_at)
            except UploadError as error:
                log.warning("cannot read the outbox: %s; retrying in 1 s", error.message)
                await asyncio.sleep(1.0)

    async def _claim_due(self) -> None:
        claims = await self._tickets.claim(self._clock(), self._delivery.lease, CLAIMED_AT_ONCE)
        if self._stopping:
            await self._give_back(claims)
            return
        for claim in claims:
            host = app_host(claim.ticket.options.signal_finish_url)
            queue = self._queues.setdefault(host, _HostQueue())
            queue.waiting[claim.ticket.id] = claim
            self._start_next(host, queue)

    async def _next_due(self) -> float:
        due_at = await self._tickets.next_due()
        return float("inf") if due_at is None else due_at

    async def _sleep(self, wake_at: float) -> None:
        """Sleep until `wake_at`, or until a ticket's change has made a callback due earlier."""
        try:
            async with asyncio.timeout(max(min(wake_at - self._clock(), LONGEST_SLEEP), GATHERING)):
                while not self._stopping:
                    await self._news.wait()
                    await asyncio.sleep(GATHERING)
                    self._news.clear()
                    if await self._next_due() < wake_at:
                        return
        except TimeoutError:
            return

    def _start_next(self, host: str, queue: _HostQueue) -> None:
        """Start as many callbacks as this app gets at once. A slow app's callbacks wait here, not in others' places."""
        while queue.waiting and queue.active < self._at_once and not self._stopping:
            ticket_id, claim = queue.waiting.popitem(last=False)
            # After its lease a callback is due again for any worker, so it need not be given back.
            if self._clock() < claim.until and ticket_id not in self._under_way:
                queue.active += 1
                task = asyncio.get_running_loop().create_task(self._deliver(claim))
                self._under_way[ticket_id] = task
                task.add_done_callback(partial(self._ended, host, ticket_id))
        if not queue.waiting and not queue.active:
            self._queues.pop(host, None)

    def _ended(self, host: str, ticket_id: str, task: asyncio.Task[None]) -> None:
        del self._under_way[ticket_id]
        queue = self._queues[host]
        queue.active -= 1
        self._start_next(host, queue)

    async def _deliver(self, claim: Claim) -> None:
        try:
            await self._delivery.attempt(claim)
        except UnknownTicket:
            return
        except UploadError as error:
            log.warning("upload %s: callback postponed: %s", claim.ticket.id, error.message)
        except Exception:
            log.exception("upload %s: callback failed unexpectedly; repeated after its lease", claim.ticket.id)

    async def try_out(self, options: TicketOptions) -> None:
        """Make a trial call. Raises CallbackTestFailed unless the app accepts it, TooBusy above a limit."""
        await self._trial.check(options, self._clock())

    # --- the end ------------------------------------------------------------------------------------------------------

    async def stop(self, within: float) -> None:
        """Start no more callbacks, give back the waiting ones, and wait up to `within` seconds for the apps that are
        about to answer.
        """
        self._stopping = True
        self._news.set()
        await self._give_back([claim for queue in self._queues.values() for claim in queue.waiting.values()])
        try:
            if self._under_way:
                await asyncio.wait(tuple(self._under_way.values()), timeout=within)
        finally:
            unanswered = tuple(self._under_way.values())
            for task in unanswered:
                task.cancel()
            self._caller.close()
        await asyncio.gather(*unanswered, return_exceptions=True)

    async def _give_back(self, claims: Iterable[Claim]) -> None:
        async def give_back(claim: Claim, due: Callback) -> None:
            try:
                await self._tickets.update(
                    claim.ticket.id, lambda known: changed(known, claim.callback, due), durable=False
                )
            except UploadError as error:
                log.warning(
                    "upload %s: callback not given back (%s); due after its lease", claim.ticket.id, error.message
                )

        now = self._clock()
        await asyncio.gather(*(give_back(claim, replace(claim.callback, due_at=now)) for claim in claims))
