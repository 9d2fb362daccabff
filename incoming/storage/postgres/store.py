"""The `TicketStore` on a PostgreSQL server, which the instances of several machines share.

Decides which question is asked how. How transactions are tried again is decided by transactions.py, how progress is
grouped by progress.py, how news arrive by watcher.py; what a ticket means it does not know.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import asyncpg

from incoming.core.errors import StorageFailed
from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import State, Ticket
from incoming.storage.change_listeners import ChangeListeners
from incoming.storage.operator_store import Notes
from incoming.storage.postgres.connection.connector import Connector
from incoming.storage.postgres.connection.errors import DatabaseFaults
from incoming.storage.postgres.connection.history import History, HistoryWatch
from incoming.storage.postgres.connection.outage import OUTAGE_TIMEOUT
from incoming.storage.postgres.connection.transactions import Transactions
from incoming.storage.postgres.failover import Reconciliation, RememberedTickets
from incoming.storage.postgres.grouped_reads import GroupedReads
from incoming.storage.postgres.progress import ProgressWriter
from incoming.storage.postgres.statements import instances, maintenance, outbox, quotas, reports
from incoming.storage.postgres.statements.tickets import SEARCH, SELECT, News, insert, is_there, save
from incoming.storage.postgres.ticket_changes import TicketChanges
from incoming.storage.postgres.watcher import ANSWER_WITHIN, Watcher
from incoming.storage.quotas import NO_LIMITS, StoreLimits
from incoming.storage.text_search import SEARCHED, mentions, needle
from incoming.storage.ticket_row import from_row, readable
from incoming.storage.ticket_store import Change, Records

log = logging.getLogger(__name__)

SPARE_ROWS = 100
"""Damaged records that are passed over before a list of tickets comes out shorter than it should."""


class PostgresStore:
    """One process's view of the database, used from one event loop; `open_postgres` makes it."""

    def __init__(
        self,
        connector: Connector,
        pool: asyncpg.Pool,
        faults: DatabaseFaults,
        history: HistoryWatch,
        clock: StoreClock,
        host: str,
        instance: str,
        limits: StoreLimits = NO_LIMITS,
    ) -> None:
        self.clock = clock
        self.watcher: Watcher | None = None
        self.process = secrets.token_hex(8)
        """The name of this process, in its notifications and leases."""
        self._pool = pool
        self._faults = faults
        self._history = history
        self._host = host
        self._instance = instance
        self._limits = limits
        self._listeners = ChangeListeners()
        self._remembered = RememberedTickets()
        self._events: Counter[str] = Counter()
        self._transactions = Transactions(connector, pool, faults, history, self._mend, self.notifications_lost)
        self._progress = ProgressWriter(self._transactions, host, instance)
        self._changes = TicketChanges(
            self._transactions,
            limits,
            (host, instance),
            self._one,
            lambda known, after: self._news(known.id, outbox=after.callback != known.callback),
        )
        self._reads = GroupedReads(self._rows)
        self._loop = asyncio.get_running_loop()
        self._closed = False

    # --- one ticket ---------------------------------------------------------------------------------------------------

    async def create(self, *tickets: Ticket) -> None:
        async def add(connection: asyncpg.Connection) -> list[Ticket]:
            return [await self._add(connection, ticket) for ticket in tickets]

        for created in await self._transactions.run(add, _is_first_there):
            self._remembered.note(created)
        self._listeners.notify([ticket.id for ticket in tickets])

    async def _add(self, connection: asyncpg.Connection, ticket: Ticket) -> Ticket:
        try:
            news = self._news(ticket.id, outbox=ticket.callback is not None)
            created = await insert(connection, ticket, self._host, news)
        except asyncpg.UniqueViolationError as error:
            raise StorageFailed("there is a ticket of this id already") from error
        await quotas.check_created(connection, self._limits, ticket)
        return created

    async def get(self, ticket_id: str) -> Ticket | None:
        row = await self._reads.row(ticket_id)
        if row is None:
            return None
        ticket = self._one(row)
        self._remembered.note(ticket)
        return ticket

    async def _rows(self, ticket_ids: list[str]) -> dict[str, asyncpg.Record]:
        query = f"{SELECT} WHERE t.id = ANY($1)"
        rows = await self._transactions.read(lambda connection: connection.fetch(query, ticket_ids))
        return {row[0]: row for row in rows}

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
        advanced = None
        if believed is not None and records is None:
            advanced = await self._progress.advance(believed, change, patient=patient)
        if advanced is not None:
            self._remembered.note(advanced)
            self._listeners.notify([] if quiet else [ticket_id])
            return advanced
        saved = await self._changes.make(ticket_id, change, records, believed)
        self._remembered.note(saved.ticket, has_records=records is not None)
        if saved.xid is not None and not quiet:
            self._listeners.notify([ticket_id])
        return saved.ticket

    async def records(self, ticket_id: str) -> dict[str, str]:
        query = "SELECT name, value FROM records WHERE ticket_id = $1 ORDER BY name"
        rows = await self._transactions.read(lambda connection: connection.fetch(query, ticket_id))
        return {row["name"]: row["value"] for row in rows}

    async def forget(self, ticket_id: str) -> None:
        async def delete(connection: asyncpg.Connection) -> bool:
            if await connection.fetchval("DELETE FROM tickets WHERE id = $1 RETURNING 1", ticket_id) is None:
                return False
            await self._announce(connection, ticket_id)
            return True

        self._remembered.forget(ticket_id)
        if await self._transactions.run(delete):
            self._listeners.notify([ticket_id])

    # --- the outbox ---------------------------------------------------------------------------------------------------

    async def claim(self, lease: float, limit: int, horizon: float) -> list[Ticket]:
        now = self.clock.now()
        claim = outbox.Claim(now, now + lease, horizon, limit, self._host, self._instance)
        claimed = await self._transactions.run(
            lambda connection: claim.take(connection, self._readable), _is_first_there
        )
        for ticket in claimed:
            self._remembered.note(ticket)
        return claimed

    async def next_due(self) -> float | None:
        return await self._transactions.read(outbox.next_due)

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
        order = "p.active_at" if state_before is None else "t.state_since"
        # `touched` is never later than `active_at` by more than a clock was set back, and has an index.
        query = f"""{SELECT} WHERE t.state = ANY($1)
            AND ($2::float8 IS NULL OR (t.touched < $2 AND p.active_at < $2))
            AND ($3::float8 IS NULL OR t.state_since < $3) AND ($4::float8 IS NULL OR {order} >= $4)
            ORDER BY {order}, t.id LIMIT $5"""
        bounds = ([state.value for state in states or State], idle_since, state_before, after, limit + SPARE_ROWS)
        return self._readable(await self._transactions.read(lambda connection: connection.fetch(query, *bounds)), limit)

    async def counts(self) -> dict[State, int]:
        return await self._transactions.read(quotas.counts)

    # --- what processes note for those after them ---------------------------------------------------------------------

    async def swept(self, state: State) -> float | None:
        text = await self._transactions.read(partial(maintenance.noted, key=f"swept/{state}"))
        return None if text is None else float(text)

    async def note_swept(self, state: State, until: float) -> None:
        await self._transactions.run(partial(maintenance.note, key=f"swept/{state}", value=repr(until)))

    async def note_service(self) -> ServiceTime:
        now = self.clock.now()
        return await self._transactions.run(lambda connection: maintenance.note_service(connection, now))

    async def lease(self, name: str, seconds: float) -> bool:
        wanted = name, self.process, self.clock.now(), seconds
        before = await self._transactions.run(lambda connection: instances.lease(connection, *wanted))
        if before not in (None, "", self.process):
            self._events[f"takeovers/{name}"] += 1
        return before is not None

    async def unfinished_here(self, after: str = "", limit: int = 100) -> list[Ticket]:
        wanted = self._instance, after, limit
        return self._readable(
            await self._transactions.read(lambda connection: instances.unfinished(connection, *wanted))
        )

    async def adopt(self, silent: float, limit: int = 100) -> list[Ticket]:
        since = self.clock.now() - silent
        adopted = self._readable(
            await self._transactions.run(lambda connection: instances.adopt(connection, self._instance, since, limit))
        )
        self._events["takeovers/upload"] += len(adopted)
        return adopted

    async def distrust_after_boot(self, boot_id: str) -> int:
        async def distrust(connection: asyncpg.Connection) -> list[str]:
            if not await maintenance.note_boot(connection, self._host, boot_id):
                return []
            tickets = self._readable(await instances.unsynced(connection, self._host))
            for ticket in tickets:
                who = self._host, self._instance
                await save(connection, ticket, ticket.distrust(), *who, self._news(ticket.id))
            return [ticket.id for ticket in tickets]

        ids = await self._transactions.run(distrust)
        self._listeners.notify(ids)
        return len(ids)

    # --- what operators see -------------------------------------------------------------------------------------------

    async def note(self, worker: str, facts: str | None, counted: Mapping[str, float], traffic: int = 0) -> None:
        now = self.clock.now()
        await self._transactions.run(lambda connection: reports.write(connection, worker, now, facts, counted, traffic))

    async def notes(self, within: float) -> Notes:
        since = self.clock.now() - within
        return await self._transactions.read(lambda connection: reports.read(connection, since))

    def events(self) -> Mapping[str, float]:
        return {
            **self._events,
            "database/outage": self._transactions.outages,
            "database/failover": self._history.changes,
            "database/reconnection": self.watcher.reconnections if self.watcher is not None else 0,
        }

    async def latest(self, states: Sequence[State], limit: int) -> list[Ticket]:
        query = f"{SELECT} WHERE t.state = ANY($1) ORDER BY t.touched DESC LIMIT $2"
        values = [state.value for state in states], limit
        found = self._readable(await self._transactions.read(lambda connection: connection.fetch(query, *values)))
        return sorted(found, key=lambda ticket: ticket.active_at, reverse=True)

    async def search(self, states: Sequence[State], text: str, limit: int) -> list[Ticket]:
        values = [state.value for state in states], SEARCHED, needle(text)

        async def search(connection: asyncpg.Connection) -> list[Ticket]:
            found: list[Ticket] = []
            async with connection.transaction(readonly=True):
                async for row in connection.cursor(SEARCH, *values):
                    found += self._readable([row], wanted=lambda ticket: mentions(ticket, text))
                    if len(found) == limit:
                        break
            return found

        found = await self._transactions.read(search)
        return sorted(found, key=lambda ticket: ticket.active_at, reverse=True)

    async def matching(self, beginning: str, limit: int) -> list[Ticket]:
        query = f"{SELECT} WHERE id >= $1 AND id < $2 ORDER BY id LIMIT $3"
        bounds = (beginning, beginning + "\U0010ffff", limit)
        return self._readable(await self._transactions.read(lambda connection: connection.fetch(query, *bounds)))

    # --- the store itself ---------------------------------------------------------------------------------------------

    def epochs_of(self, ticket_ids: Sequence[str]) -> dict[str, int]:
        """Return the tickets' epochs as they are committed, without those that there are no tickets of. Blocks; not for
        the loop's thread. Raises like `get`.
        """
        asked = asyncio.run_coroutine_threadsafe(self._epochs(ticket_ids), self._loop)
        try:
            return asked.result(2 * OUTAGE_TIMEOUT)
        except TimeoutError as error:  # an OSError, which callers would take for one of their files
            asked.cancel()
            raise self._faults.blame(error) from error

    async def _epochs(self, ticket_ids: Sequence[str]) -> dict[str, int]:
        # Asked before writes: it waits neither for whole changes nor for the rest of the rows.
        query = "SELECT id, coalesce((rest::json ->> 'epoch')::bigint, 0) FROM tickets WHERE id = ANY($1)"
        rows = await self._transactions.read(lambda connection: connection.fetch(query, list(ticket_ids)), at_once=True)
        return dict(map(tuple, rows))

    def watch(self, listener: Callable[[str], None]) -> None:
        self._listeners.add(listener)

    def watch_outbox(self, listener: Callable[[], None]) -> None:
        self._listeners.add_outbox(listener)

    def _news(self, ticket_id: str, *, outbox: bool = False) -> News:
        return News(f"{ticket_id} {self.process}", outbox)

    async def _announce(self, connection: asyncpg.Connection, ticket_id: str) -> None:
        """Tell other processes, once the transaction is committed."""
        text = self._news(ticket_id).text
        await connection.execute("SELECT pg_notify('incoming_' || current_schema(), $1)", text)

    async def check(self) -> None:
        await self._transactions.run(partial(maintenance.note, key="checked", value=""))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        if self.watcher is not None:
            await self.watcher.stop()
        await self._transactions.close()
        # Closing terminates what does not answer in time, such as a half-open connection.
        with suppress(TimeoutError):
            async with asyncio.timeout(ANSWER_WITHIN):
                await self._pool.close()

    def _one(self, row: Sequence[Any]) -> Ticket:
        try:
            return from_row(row)
        except StorageFailed:
            self._faults.damaged(row[0])
            raise

    def _readable(
        self,
        rows: Iterable[Sequence[Any]],
        limit: int | None = None,
        wanted: Callable[[Ticket], bool] = lambda ticket: True,
    ) -> list[Ticket]:
        return readable(rows, self._faults.damaged, limit, wanted)

    def tickets_changed(self, versions: Mapping[str, int | None]) -> None:
        """Notify listeners of what other processes have changed."""
        if self._transactions.is_mended:  # otherwise what is remembered here was perhaps lost before that change
            for ticket_id, version in versions.items():
                self._remembered.forget(ticket_id, version)
        self._listeners.notify(list(versions))

    def callbacks_changed(self) -> None:
        """Notify listeners of the outbox: any process may have changed a callback."""
        self._listeners.notify_outbox()

    def notifications_lost(self) -> None:
        """Notify listeners of all that is remembered: notifications may have been lost."""
        self._listeners.notify(self._remembered.ids())
        self._listeners.notify_outbox()

    async def _mend(self, connection: asyncpg.Connection, before: History, now: History) -> None:
        mended = await Reconciliation(connection, self._host, self._instance).run(self._remembered, before, now)
        for ticket in mended:
            self._remembered.note(ticket)
            await self._announce(connection, ticket.id)
        self._events["database/restored_upload"] += len(mended)
        if mended:
            log.warning("the database has lost commits of %d uploads; restored what is known of them here", len(mended))


async def _is_first_there(connection: asyncpg.Connection, tickets: list[Ticket]) -> bool:
    """Return whether tickets that were changed together are in the database as they were."""
    return not tickets or await is_there(connection, tickets[0])
