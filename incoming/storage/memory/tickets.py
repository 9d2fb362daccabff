"""The TicketStore and OperatorStore in memory: what the Protocols promise, in the plainest way.

A MemoryDatabase is what several stores share, as several workers share one database. Everything happens on the event
loop and in one step, so every call is a transaction. What the Protocols leave open for speed makes no difference here:
`durable`, `patient` and `believed`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from incoming.core.errors import ServerShutdown, StorageFailed, UnknownTicket
from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import FINAL, RECEIVING, State, Ticket
from incoming.storage.change_listeners import ChangeListeners
from incoming.storage.operator_store import REPORT_KEPT_FOR, TRAFFIC_SLOT, TRAFFIC_SLOTS, Notes, instance_of
from incoming.storage.quotas import NO_LIMITS, StoreLimits
from incoming.storage.text_search import SEARCHED, mentions
from incoming.storage.ticket_store import Change, Records

Key = TypeVar("Key")


@dataclass
class MemoryDatabase:
    """What stores share. `writers` are the hosts on which bytes of a ticket were written that are not synced."""

    tickets: dict[str, Ticket] = field(default_factory=dict)
    writers: dict[str, set[str]] = field(default_factory=dict)
    last_writers: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, str]] = field(default_factory=dict)
    leases: dict[str, tuple[object, float]] = field(default_factory=dict)
    version: int = 0
    boots: dict[str, str] = field(default_factory=dict)
    swept: dict[State, float] = field(default_factory=dict)
    service: ServiceTime | None = None
    reports: dict[str, tuple[float, str]] = field(default_factory=dict)
    counted: Counter[str] = field(default_factory=Counter)
    traffic: Counter[int] = field(default_factory=Counter)
    stores: list[MemoryTicketStore] = field(default_factory=list)


class MemoryTicketStore:
    """One worker's view of a database. `host` names the machine that it runs on, `instance` its server."""

    def __init__(
        self,
        database: MemoryDatabase | None = None,
        *,
        limits: StoreLimits = NO_LIMITS,
        clock: StoreClock | None = None,
        host: str = "here",
        instance: str = "",
    ) -> None:
        self.clock = clock or StoreClock()
        self._database = database or MemoryDatabase()
        self._database.stores.append(self)
        self._limits = limits
        self._host = host
        self._instance = instance or host
        self._listeners = ChangeListeners()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    # --- one ticket ---------------------------------------------------------------------------------------------------

    async def create(self, *tickets: Ticket) -> None:
        self._check_open()
        added: dict[str, Ticket] = {}
        for ticket in tickets:
            if ticket.id in self._database.tickets or ticket.id in added:
                raise StorageFailed("there is a ticket of this id already")
            added[ticket.id] = ticket
            known = (*self._database.tickets.values(), *added.values())
            backend = ticket.options.requested_by
            unfinished = sum(one.state not in FINAL and one.options.requested_by == backend for one in known)
            self._limits.check_created(ticket, unfinished, sum(one.reserved for one in known))
        for ticket in tickets:
            self._put(None, ticket)

    async def get(self, ticket_id: str) -> Ticket | None:
        self._check_open()
        return self._database.tickets.get(ticket_id)

    async def update(
        self,
        ticket_id: str,
        change: Change,
        *,
        durable: bool = True,
        quiet: bool = False,
        patient: bool = False,
        believed: Ticket | None = None,
        records: Records | None = None,
    ) -> Ticket:
        self._check_open()
        known = self._database.tickets.get(ticket_id)
        if known is None:
            raise UnknownTicket("unknown ticket: it was never issued, or it expired long ago")
        changed = change(known)
        if changed.id != ticket_id:
            raise ValueError("a change gave the ticket another id")
        if changed is known:
            return known
        self._limits.check_saved(known, changed, self._reserved() - known.reserved + changed.reserved)
        saved = replace(changed, version=self._database.version + 1)
        written = {} if records is None else records(saved)
        for name, value in written.items():
            belonging = self._database.records.setdefault(ticket_id, {})
            if value is None:
                belonging.pop(name, None)
            else:
                belonging[name] = value
        return self._put(known, changed, quiet=quiet)

    async def records(self, ticket_id: str) -> dict[str, str]:
        self._check_open()
        return dict(sorted(self._database.records.get(ticket_id, {}).items()))

    async def forget(self, ticket_id: str) -> None:
        self._check_open()
        if self._database.tickets.pop(ticket_id, None) is not None:
            self._database.writers.pop(ticket_id, None)
            self._database.last_writers.pop(ticket_id, None)
            self._database.records.pop(ticket_id, None)
            self._tell(ticket_id)

    def _reserved(self) -> int:
        return sum(ticket.reserved for ticket in self._database.tickets.values())

    def _put(self, known: Ticket | None, changed: Ticket, *, quiet: bool = False) -> Ticket:
        database = self._database
        database.version += 1
        saved = replace(changed, version=database.version)
        database.tickets[saved.id] = saved
        if saved.extents == saved.synced:
            database.writers.pop(saved.id, None)
        elif known is None or known.extents != saved.extents:
            database.writers.setdefault(saved.id, set()).add(self._host)
        if known is not None and known.extents != saved.extents:
            database.last_writers[saved.id] = self._instance
        if known is None or known.state != saved.state:
            database.counted[f"entered/{saved.state}"] += 1
        self._tell(saved.id, quiet=quiet)
        if saved.callback != (None if known is None else known.callback):
            self._notify_outbox()
        return saved

    def _check_open(self) -> None:
        if self._closed:
            raise ServerShutdown("the server is stopping")

    # --- the outbox ---------------------------------------------------------------------------------------------------

    async def claim(self, lease: float, limit: int, horizon: float) -> list[Ticket]:
        self._check_open()
        now = self.clock.now()
        until = now + lease
        due = [
            ticket
            for ticket in self._database.tickets.values()
            if ticket.callback is not None and not now < ticket.callback.due_at <= until + horizon
        ]
        due.sort(key=lambda ticket: ticket.callback.due_at if ticket.callback else 0.0)
        return [
            self._put(ticket, replace(ticket, callback=replace(ticket.callback, due_at=until)))
            for ticket in due[:limit]
            if ticket.callback is not None
        ]

    async def next_due(self) -> float | None:
        self._check_open()
        owed = (ticket.callback for ticket in self._database.tickets.values())
        return min((callback.due_at for callback in owed if callback is not None), default=None)

    # --- many tickets -------------------------------------------------------------------------------------------------

    async def find(
        self,
        states: Sequence[State] = (),
        *,
        idle_since: float | None = None,
        state_before: float | None = None,
        after: float | None = None,
        limit: int = 1000,
    ) -> list[Ticket]:
        def key(ticket: Ticket) -> float:
            return ticket.active_at if state_before is None else ticket.state_since

        found = [
            ticket
            for ticket in self._in(states or State)
            if (idle_since is None or ticket.active_at < idle_since)
            and (state_before is None or ticket.state_since < state_before)
            and (after is None or key(ticket) >= after)
        ]
        return sorted(found, key=key)[:limit]

    async def counts(self) -> dict[State, int]:
        found = Counter(ticket.state for ticket in self._in(State))
        return {state: found[state] for state in State}

    def _in(self, states: Iterable[State]) -> list[Ticket]:
        self._check_open()
        wanted = frozenset(states)
        return [ticket for ticket in self._database.tickets.values() if ticket.state in wanted]

    # --- what workers note for those after them -----------------------------------------------------------------------

    async def swept(self, state: State) -> float | None:
        self._check_open()
        return self._database.swept.get(state)

    async def note_swept(self, state: State, until: float) -> None:
        self._check_open()
        self._database.swept[state] = until

    async def note_service(self) -> ServiceTime:
        self._check_open()
        now = self.clock.now()
        self._database.service = (self._database.service or ServiceTime(now)).noted(now)
        return self._database.service

    async def lease(self, name: str, seconds: float) -> bool:
        self._check_open()
        now, leases = self.clock.now(), self._database.leases
        holder, until = leases.get(name, (self, now))
        if holder is not self and (not seconds or now < until <= now + 2 * seconds):
            return False
        leases[name] = (self, now + seconds)
        return True

    async def unfinished_here(self, after: str = "", limit: int = 100) -> list[Ticket]:
        return self._unfinished(lambda writer: writer == self._instance, after)[:limit]

    async def adopt(self, silent: float, limit: int = 100) -> list[Ticket]:
        since = self.clock.now() - silent
        alive = {instance_of(name) for name, (at, _) in self._database.reports.items() if at >= since}
        found = self._unfinished(lambda writer: writer not in (*alive, self._instance))[:limit]
        self._database.last_writers.update((ticket.id, self._instance) for ticket in found)
        return found

    def _unfinished(self, is_wanted: Callable[[str], bool], after: str = "") -> list[Ticket]:
        last = self._database.last_writers
        found = [ticket for ticket in self._in([State.UPLOADING]) if is_wanted(last.get(ticket.id, ""))]
        return sorted((ticket for ticket in found if ticket.id > after), key=lambda ticket: ticket.id)

    async def distrust_after_boot(self, boot_id: str) -> int:
        self._check_open()
        if self._database.boots.get(self._host) == boot_id:
            return 0
        self._database.boots[self._host] = boot_id
        unsynced = [ticket for ticket in self._in(RECEIVING) if self._host in self._database.writers.get(ticket.id, ())]
        for ticket in unsynced:
            self._put(ticket, ticket.distrust())
        return len(unsynced)

    # --- what operators see -------------------------------------------------------------------------------------------

    async def note(self, worker: str, facts: str | None, counted: Mapping[str, float], traffic: int = 0) -> None:
        self._check_open()
        now, database = self.clock.now(), self._database
        if facts is None:
            database.reports.pop(worker, None)
        else:
            database.reports[worker] = (now, facts)
            _drop(database.reports, [name for name, (at, _) in database.reports.items() if at < now - REPORT_KEPT_FOR])
        database.counted.update(counted)  # adds what is no integer as well
        if traffic:
            slot = int(now // TRAFFIC_SLOT)
            database.traffic[slot] += traffic
            _drop(database.traffic, [old for old in database.traffic if old <= slot - TRAFFIC_SLOTS])

    async def notes(self, within: float) -> Notes:
        self._check_open()
        since = self.clock.now() - within
        facts = {name: facts for name, (at, facts) in self._database.reports.items() if at >= since}
        return Notes(facts, dict(self._database.counted), dict(self._database.traffic))

    async def latest(self, states: Sequence[State], limit: int) -> list[Ticket]:
        return sorted(self._in(states), key=lambda ticket: ticket.active_at, reverse=True)[:limit]

    async def search(self, states: Sequence[State], text: str, limit: int) -> list[Ticket]:
        near = [ticket for state in dict.fromkeys(states) for ticket in await self.latest((state,), SEARCHED)]
        found = [ticket for ticket in near if mentions(ticket, text)]
        return sorted(found, key=lambda ticket: ticket.active_at, reverse=True)[:limit]

    async def matching(self, beginning: str, limit: int) -> list[Ticket]:
        found = [ticket for ticket in self._in(State) if ticket.id.startswith(beginning)]
        return sorted(found, key=lambda ticket: ticket.id)[:limit]

    # --- the store itself ---------------------------------------------------------------------------------------------

    def watch(self, listener: Callable[[str], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners.add(listener)

    def watch_outbox(self, listener: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._listeners.add_outbox(listener)

    def _notify_outbox(self) -> None:
        for store in self._database.stores:
            if store._loop is not None:
                with suppress(RuntimeError):
                    store._loop.call_soon_threadsafe(store._listeners.notify_outbox)

    def _tell(self, ticket_id: str, *, quiet: bool = False) -> None:
        for store in self._database.stores:
            if store._loop is not None and not (quiet and store is self):
                with suppress(RuntimeError):  # the loop has ended, so nobody listens
                    store._loop.call_soon_threadsafe(store._listeners.notify, (ticket_id,))

    async def check(self) -> None:
        self._check_open()

    async def close(self) -> None:
        self._closed = True
        with suppress(ValueError):
            self._database.stores.remove(self)


def _drop(entries: MutableMapping[Key, Any], keys: Iterable[Key]) -> None:
    for key in keys:
        del entries[key]
