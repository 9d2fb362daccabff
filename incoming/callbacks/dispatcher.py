"""The outbox dispatcher: calls every app about each file that arrived and each upload that was cancelled.

Decides when a callback is tried and how many calls one app gets at once, so that a slow app delays no other one. The
worker that records an arrival makes the first attempt itself if the app can be called now; what is due otherwise, any
worker claims. What an attempt does to the ticket is decided by delivery.py; the TicketStore keeps the outbox. When a
worker dies, another one continues as soon as the dead worker's leases have expired.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial

from incoming.callbacks.client import CallbackClient
from incoming.callbacks.delivery import Delivery, changed, longest_pause
from incoming.callbacks.trial import CallbackTrial
from incoming.core.callback_url import app_host
from incoming.core.errors import UnknownTicket, UploadError
from incoming.core.ticket import Callback, State, Ticket, TicketOptions
from incoming.monitoring.metrics import WorkerCounters
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import TicketStore

log = logging.getLogger(__name__)

CLAIMED_AT_ONCE = 100
"""Callbacks of one claim; the rest waits for the next BATCH_DELAY. That is 5,000 a second, more than apps answer."""

LONGEST_SLEEP = 15.0
"""Seconds after which the outbox is read although nothing is due: the clock may have been set meanwhile."""

BATCH_DELAY = 0.02
"""Seconds between news of the outbox and reading it."""

BEGUN_FOR = 2.0
"""Seconds that a recorded attempt may wait for its turn. Later it is recorded anew: its lease would end too early."""


@dataclass(slots=True)
class _Claimed:
    """A claimed callback that waits for its turn, and since when, by the monotonic clock.

    `unmade` is the callback as it was before its next attempt was recorded, the same one if that is still to be done.
    """

    ticket: Ticket
    callback: Callback
    unmade: Callback
    since: float


@dataclass(slots=True)
class _HostQueue:
    """The callbacks of one app: how many are under way, and the claimed ones that wait for their turn, by ticket.

    `arriving` are those whose first attempt is being recorded.
    """

    active: int = 0
    arriving: int = 0
    waiting: OrderedDict[str, _Claimed] = field(default_factory=OrderedDict)


class CallbackDispatcher:
    """One worker's part in emptying the outbox."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ByteStore,
        settings: Settings,
        counters: WorkerCounters | None = None,
    ) -> None:
        self._tickets = tickets
        self._clock = tickets.clock
        self._horizon = longest_pause(settings)
        self._at_once = settings.handover_connections
        self._caller = CallbackClient(settings, tickets.clock.now)
        self._counters = counters or WorkerCounters()
        self._delivery = Delivery(tickets, store, settings, self._caller, self._counters)
        self._trial = CallbackTrial(self._caller, settings.storage_dir)
        self._queues: dict[str, _HostQueue] = {}
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._news = asyncio.Event()
        self._running = False
        self._stopping = False
        tickets.watch_outbox(self._news.set)

    # --- which callback when ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Deliver what is due until `stop`."""
        self._running = True
        while not self._stopping:
            wake_at = self._clock.now() + LONGEST_SLEEP
            try:
                await self._claim_due()
                wake_at = min(wake_at, await self._next_due())
                await self._sleep(wake_at)
            except UploadError as error:
                log.warning("cannot read the outbox: %s; retrying in 1 s", error.message)
                await asyncio.sleep(1.0)

    async def _claim_due(self) -> None:
        tickets = await self._tickets.claim(self._delivery.lease, CLAIMED_AT_ONCE, self._horizon)
        if self._stopping:
            found = ((ticket, ticket.callback) for ticket in tickets)
            await self._give_back(*(_Claimed(ticket, owed, owed, 0.0) for ticket, owed in found if owed is not None))
            return
        for ticket in tickets:
            host = app_host(ticket.options.signal_finish_url)
            queue = self._queues.setdefault(host, _HostQueue())
            _enqueue(queue, ticket, self._clock.monotonic())
            self._start_next(host, queue)

    async def _next_due(self) -> float:
        due_at = await self._tickets.next_due()
        return float("inf") if due_at is None else due_at

    async def _sleep(self, wake_at: float) -> None:
        """Sleep until `wake_at`, or until a change of the outbox has made a callback due earlier."""
        try:
            async with asyncio.timeout(max(min(wake_at - self._clock.now(), LONGEST_SLEEP), BATCH_DELAY)):
                while not self._stopping:
                    await self._news.wait()
                    await asyncio.sleep(BATCH_DELAY)
                    self._news.clear()
                    if await self._next_due() < wake_at:
                        return
        except TimeoutError:
            return

    def _start_next(self, host: str, queue: _HostQueue) -> None:
        """Start as many callbacks as this app gets at once. A slow app's callbacks wait here, not in others' places."""
        while queue.waiting and queue.active < self._at_once and not self._stopping:
            ticket_id, claimed = queue.waiting.popitem(last=False)
            # After its lease a callback is due again for any worker, so it need not be given back.
            if self._clock.now() < claimed.callback.due_at and ticket_id not in self._under_way:
                queue.active += 1
                task = asyncio.get_running_loop().create_task(self._deliver(claimed))
                self._under_way[ticket_id] = task
                task.add_done_callback(partial(self._ended, host, ticket_id))
        if not queue.waiting and not queue.active and not queue.arriving:
            self._queues.pop(host, None)

    def _ended(self, host: str, ticket_id: str, task: asyncio.Task[None]) -> None:
        del self._under_way[ticket_id]
        queue = self._queues[host]
        queue.active -= 1
        self._start_next(host, queue)

    async def _deliver(self, claimed: _Claimed) -> None:
        ticket, waited = claimed.ticket, self._clock.monotonic() - claimed.since
        try:
            if claimed.unmade is not claimed.callback and waited < BEGUN_FOR:
                await self._delivery.make(ticket, claimed.callback)
            else:
                await self._delivery.attempt(ticket.id, claimed.callback, waited, ticket, claimed.unmade)
        except UnknownTicket:
            return
        except UploadError as error:
            log.warning("upload %s: callback postponed: %s", ticket.id, error.message)
        except Exception:
            log.exception("upload %s: callback failed unexpectedly; repeated after its lease", ticket.id)

    # --- at once ------------------------------------------------------------------------------------------------------

    async def record_arrival(
        self, options: TicketOptions, notice: Callback, commit: Callable[[Callback], Awaitable[Ticket]]
    ) -> Ticket:
        """Have `commit` record an arrival and its callback: with the first attempt, which is made then, if the app can
        be called soon; otherwise due for any worker.

        Returns the ticket as committed. Raises what `commit` raises; nothing is called then.
        """
        host = app_host(options.signal_finish_url)
        queue = self._queues.get(host) or _HostQueue()
        if not self._running or self._stopping or not self._is_short(queue):
            return await commit(notice)
        self._queues[host] = queue
        queue.arriving += 1
        try:
            begun = self._delivery.begun(notice)
            ticket = await commit(begun)
            if ticket.callback == begun:
                self._counters.passed[State.ARRIVED] += 1
                await self._expect(queue, _Claimed(ticket, begun, notice, self._clock.monotonic()))
            return ticket
        finally:
            queue.arriving -= 1
            self._start_next(host, queue)

    def _is_short(self, queue: _HostQueue) -> bool:
        """Return whether one more callback waits for no more than the calls that are under way."""
        return queue.active + queue.arriving + len(queue.waiting) < 2 * self._at_once

    async def _expect(self, queue: _HostQueue, claimed: _Claimed) -> None:
        """Queue a recorded attempt; give it back if this worker has stopped meanwhile."""
        if self._stopping:
            await self._give_back(claimed)
        else:
            queue.waiting.setdefault(claimed.ticket.id, claimed)

    async def try_out(self, options: TicketOptions) -> None:
        """Make a trial call. Raises CallbackTestFailed unless the app accepts it, TooBusy above a limit."""
        await self._trial.check(options, self._clock.now())

    # --- the end ------------------------------------------------------------------------------------------------------

    async def stop(self, within: float) -> None:
        """Start no more callbacks, give back the waiting ones, and wait up to `within` seconds for the apps that are
        about to answer.
        """
        self._stopping = True
        self._news.set()
        waiting = [claimed for queue in self._queues.values() for claimed in queue.waiting.values()]
        for queue in self._queues.values():
            queue.waiting.clear()
        await self._give_back(*waiting)
        try:
            if self._under_way:
                await asyncio.wait(tuple(self._under_way.values()), timeout=within)
        finally:
            unanswered = tuple(self._under_way.values())
            for task in unanswered:
                task.cancel()
            self._caller.close()
        await asyncio.gather(*unanswered, return_exceptions=True)

    async def _give_back(self, *claimed: _Claimed) -> None:
        await asyncio.gather(*(self._give_back_one(one.ticket.id, one.callback, one.unmade) for one in claimed))

    async def _give_back_one(self, ticket_id: str, callback: Callback, unmade: Callback) -> None:
        due = replace(unmade, due_at=self._clock.now())
        try:
            await self._tickets.update(ticket_id, lambda known: changed(known, callback, due), durable=False)
        except UploadError as error:
            log.warning("upload %s: callback not given back (%s); due after its lease", ticket_id, error.message)


def _enqueue(queue: _HostQueue, ticket: Ticket, now: float) -> None:
    """Queue the callback. One that is queued already keeps its place, with its new lease."""
    if ticket.callback is not None:
        waiting = queue.waiting.get(ticket.id)
        since = waiting.since if waiting is not None and waiting.callback.id == ticket.callback.id else now
        queue.waiting[ticket.id] = _Claimed(ticket, ticket.callback, ticket.callback, since)
