"""The `TicketStore` in an SQLite database, which all workers of one machine share.

Decides which question is asked how, so that a million tombstones slow none of them. How writes are grouped is
decided by group_commit.py, how a ticket is laid out by ticket_row.py; what a ticket means it does not know.
"""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from incoming.core.errors import ServerShutdown, UnknownTicket
from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import State, Ticket
from incoming.storage.change_listeners import ChangeListeners
from incoming.storage.operator_store import Notes
from incoming.storage.quotas import NO_LIMITS, StoreLimits
from incoming.storage.sqlite import maintenance, quotas, reports
from incoming.storage.sqlite.epochs import EpochReader
from incoming.storage.sqlite.errors import DatabaseFaults
from incoming.storage.sqlite.group_commit import GroupCommitWriter, Transaction
from incoming.storage.sqlite.host_lock import HostLock
from incoming.storage.sqlite.schema import THIS_HOST, connect, open_database
from incoming.storage.sqlite.tickets import (
    SEARCH,
    SELECT,
    advance,
    insert,
    load,
    read_records,
    rows_at,
    save,
    unsynced_of_host,
    write_records,
)
from incoming.storage.sqlite.watcher import Watcher
from incoming.storage.text_search import SEARCHED, mentions, needle
from incoming.storage.ticket_row import readable
from incoming.storage.ticket_store import Change, Records

T = TypeVar("T")

MAX_DAMAGED_SKIPPED = 100
"""Damaged records that are passed over before a list of tickets comes out shorter than it should."""


class SqliteStore:
    """Tickets in the database at `path`, used from one event loop. Its clock is that of the machine.

    `host` names the machine. All processes that share a database run on the same one, whatever it calls itself; `lock`
    keeps those of others out.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        file_mode: int = 0o640,
        limits: StoreLimits = NO_LIMITS,
        clock: StoreClock | None = None,
        host: str = THIS_HOST,
        lock: HostLock | None = None,
    ) -> None:
        """Open the database, or create it. Raises OSError or StorageFailed if it cannot be used."""
        self.clock = clock or StoreClock()
        self._path = Path(path)
        self._limits = limits
        self._listeners = ChangeListeners()
        self._lock = lock
        if lock is not None:
            lock.acquire()
        try:
            open_database(self._path, file_mode)
        except BaseException:
            self._unlock()
            raise
        self._faults = DatabaseFaults(self._path)
        self._reading = connect(self._path)
        self._reader = ThreadPoolExecutor(1, "incoming-sqlite-read")
        told = self._listeners.notify, host, self._listeners.notify_outbox
        keep = (lambda: None) if lock is None else lock.keep
        self._writer = GroupCommitWriter(self._path, self._faults, *told, keep)
        self._holder = secrets.token_hex(8)
        self._watcher: Watcher | None = None
        self.epochs_of = EpochReader(self._path, self._faults)

    # --- one ticket ---------------------------------------------------------------------------------------------------

    async def create(self, *tickets: Ticket) -> None:
        def add(transaction: Transaction) -> None:
            for ticket in tickets:
                insert(transaction, ticket)
                unfinished = quotas.unfinished_of(transaction.connection, ticket.options.requested_by)
                self._limits.check_created(ticket, unfinished, quotas.reserved(transaction.connection))

        await self._writer.perform(add, durable=True)

    async def get(self, ticket_id: str) -> Ticket | None:
        return await self._read(lambda connection: load(connection, ticket_id))

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
        def apply(transaction: Transaction) -> Ticket:
            known = load(transaction.connection, ticket_id)
            if known is None:
                raise UnknownTicket("unknown ticket: it was never issued, or it expired long ago")
            changed = change(known)
            if changed.id != ticket_id:
                raise ValueError("a change gave the ticket another id")
            if changed is known:
                return known
            saved = save(transaction, known, changed, quiet=quiet)
            if saved.reserved > known.reserved:
                self._limits.check_saved(known, saved, quotas.reserved(transaction.connection))
            if records is not None:
                write_records(transaction, ticket_id, records(saved))
            return saved

        def move_on(transaction: Transaction) -> Ticket | None:
            if believed is None:
                return None
            # A limit on what all reserve can refuse a change after it was written, which takes a savepoint.
            return advance(transaction, believed, change, quiet=quiet, may_reserve=not self._limits.quota)

        quick = move_on if believed and records is None else None
        return await self._writer.perform(apply, durable=durable, patient=patient, quick=quick)

    async def records(self, ticket_id: str) -> dict[str, str]:
        return await self._read(lambda connection: read_records(connection, ticket_id))

    async def forget(self, ticket_id: str) -> None:
        def delete(transaction: Transaction) -> None:
            if transaction.connection.execute("DELETE FROM tickets WHERE id = ?", (ticket_id,)).rowcount:
                transaction.change(ticket_id)

        await self._writer.perform(delete, durable=False)

    async def swept(self, state: State) -> float | None:
        return await self._read(lambda connection: maintenance.swept(connection, state))

    async def note_swept(self, state: State, until: float) -> None:
        await self._writer.perform(lambda its: maintenance.note_swept(its.connection, state, until), durable=False)

    async def note_service(self) -> ServiceTime:
        now = self.clock.now()
        return await self._writer.perform(lambda its: maintenance.note_service(its.connection, now), durable=False)

    # --- the outbox ---------------------------------------------------------------------------------------------------

    async def claim(self, lease: float, limit: int, horizon: float) -> list[Ticket]:
        now = self.clock.now()
        until = now + lease
        # Two questions, for an OR would keep SQLite from reading the index in order.
        due = (
            (f"{SELECT} WHERE due_at <= ? ORDER BY due_at LIMIT ?", now),
            (f"{SELECT} WHERE due_at > ? ORDER BY due_at LIMIT ?", until + horizon),
        )

        def take(transaction: Transaction) -> list[Ticket]:
            most = limit + MAX_DAMAGED_SKIPPED
            rows = [row for query, bound in due for row in transaction.connection.execute(query, (bound, most))]
            return [
                save(transaction, ticket, replace(ticket, callback=replace(ticket.callback, due_at=until)))
                for ticket in self._readable(rows, limit)
                if ticket.callback is not None
            ]

        return await self._writer.perform(take, durable=False)

    async def next_due(self) -> float | None:
        query = "SELECT MIN(due_at) FROM tickets WHERE due_at IS NOT NULL"
        return await self._read(lambda connection: connection.execute(query).fetchone()[0])

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
        order = "active_at" if state_before is None else "state_since"
        bounds = {"active_at": idle_since, "state_since": state_before}
        where = "".join(f" AND {column} < :{column}" for column, bound in bounds.items() if bound is not None)
        where += "" if after is None else f" AND {order} >= :after"
        # One state at a time: each is a walk along an index that ends at the limit, however many there are.
        query = f"SELECT rowid, {order} FROM tickets WHERE state = :state{where} ORDER BY {order} LIMIT :limit"  # noqa: S608

        def search(connection: sqlite3.Connection) -> list[Ticket]:
            found: list[tuple[float, int]] = []
            for state in dict.fromkeys(states or State):
                values = {**bounds, "after": after, "state": state.value, "limit": limit + MAX_DAMAGED_SKIPPED}
                found += [(when, rowid) for rowid, when in connection.execute(query, values)]
            return self._readable(rows_at(connection, [rowid for _, rowid in sorted(found)]), limit)

        return await self._read(search)

    async def counts(self) -> dict[State, int]:
        def count(connection: sqlite3.Connection) -> dict[State, int]:
            found = dict(connection.execute("SELECT state, number FROM counts").fetchall())
            return {state: found.get(state.value, 0) for state in State}

        return await self._read(count)

    async def lease(self, name: str, seconds: float) -> bool:
        return await self._writer.perform(
            lambda its: maintenance.lease(its.connection, name, self._holder, self.clock.now, seconds), durable=False
        )

    async def unfinished_here(self, after: str = "", limit: int = 100) -> list[Ticket]:
        query = "SELECT rowid FROM tickets WHERE state = ? AND id > ? ORDER BY id LIMIT ?"
        values = (State.UPLOADING.value, after, limit)

        def search(connection: sqlite3.Connection) -> list[Ticket]:
            return self._readable(rows_at(connection, [row[0] for row in connection.execute(query, values).fetchall()]))

        return await self._read(search)

    async def adopt(self, silent: float, limit: int = 100) -> list[Ticket]:
        return []  # no other machine writes

    async def distrust_after_boot(self, boot_id: str) -> int:
        def distrust(transaction: Transaction) -> int:
            if not maintenance.note_boot(transaction.connection, transaction.host, boot_id):
                return 0
            tickets = self._readable(unsynced_of_host(transaction))
            for ticket in tickets:
                save(transaction, ticket, ticket.distrust())
            return len(tickets)

        return await self._writer.perform(distrust, durable=True)

    # --- what operators see -------------------------------------------------------------------------------------------

    async def note(self, worker: str, facts: str | None, counted: Mapping[str, float], traffic: int = 0) -> None:
        now = self.clock.now()

        def write(transaction: Transaction) -> None:
            reports.write(transaction.connection, worker, now, facts, counted, traffic)

        await self._writer.perform(write, durable=False)

    async def notes(self, within: float) -> Notes:
        since = self.clock.now() - within
        return await self._read(lambda connection: reports.read(connection, since))

    async def latest(self, states: Sequence[State], limit: int) -> list[Ticket]:
        query = "SELECT active_at, rowid FROM tickets WHERE state = ? ORDER BY active_at DESC LIMIT ?"

        def search(connection: sqlite3.Connection) -> list[Ticket]:
            found: list[tuple[float, int]] = []
            for state in dict.fromkeys(states):
                found += connection.execute(query, (state.value, limit))
            return self._readable(rows_at(connection, [rowid for _, rowid in sorted(found, reverse=True)]), limit)

        return await self._read(search)

    async def search(self, states: Sequence[State], text: str, limit: int) -> list[Ticket]:
        sought = needle(text)

        def search(connection: sqlite3.Connection) -> list[Ticket]:
            found: list[tuple[float, int]] = []
            for state in dict.fromkeys(states):
                found += connection.execute(SEARCH, {"state": state.value, "most": SEARCHED, "sought": sought})
            rows = rows_at(connection, [rowid for _, rowid in sorted(found, reverse=True)])
            return self._readable(rows, limit, lambda ticket: mentions(ticket, text))

        return await self._read(search)

    async def matching(self, beginning: str, limit: int) -> list[Ticket]:
        query = "SELECT rowid FROM tickets WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
        bounds = (beginning, beginning + "\U0010ffff")

        def search(connection: sqlite3.Connection) -> list[Ticket]:
            return self._readable(
                rows_at(connection, [row[0] for row in connection.execute(query, (*bounds, limit))]), limit
            )

        return await self._read(search)

    # --- the store itself ---------------------------------------------------------------------------------------------

    def watch(self, listener: Callable[[str], None]) -> None:
        self._listeners.add(listener)
        self._start_watching()

    def watch_outbox(self, listener: Callable[[], None]) -> None:
        self._listeners.add_outbox(listener)
        self._start_watching()

    def _start_watching(self) -> None:
        if self._watcher is not None:
            return
        loop = asyncio.get_running_loop()

        def changed(ids: list[str]) -> None:
            with suppress(RuntimeError):  # the loop has ended, so nobody listens
                loop.call_soon_threadsafe(self._listeners.notify, ids)

        def owed() -> None:
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(self._listeners.notify_outbox)

        self._watcher = Watcher(self._path, self._faults, self._writer.own, changed, owed)

    async def check(self) -> None:
        def touch(transaction: Transaction) -> None:
            transaction.connection.execute("UPDATE meta SET value = value + 1 WHERE key = 'checked'")

        await self._writer.perform(touch, durable=True)

    async def close(self) -> None:
        closer = ThreadPoolExecutor(1, "incoming-sqlite-close")
        await asyncio.get_running_loop().run_in_executor(closer, self._close)
        closer.shutdown()

    def _close(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
        self._writer.stop()
        self._reader.shutdown()
        self._reading.close()
        self.epochs_of.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _readable(
        self,
        rows: Iterable[Sequence[Any]],
        limit: int | None = None,
        wanted: Callable[[Ticket], bool] = lambda ticket: True,
    ) -> list[Ticket]:
        return readable(rows, self._faults.damaged, limit, wanted)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            call = self._reader.submit(query, self._reading)
        except RuntimeError as error:
            raise ServerShutdown("the server is stopping") from error
        try:
            return await asyncio.wrap_future(call)
        except sqlite3.Error as error:
            raise self._faults.blame(error) from error
