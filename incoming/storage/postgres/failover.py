"""What this process knows to be committed, and what becomes of it when the database has gone back.

Decides which tickets are remembered, and how the rows are brought up to what clients have been told: a row that has
lost commits gets what was committed before, if its bytes need no receipts, and a higher epoch in any case, so that its
clients ask what has arrived. Knows no connection.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace

import asyncpg

from incoming.core.errors import StorageFailed
from incoming.core.ticket import FINAL, RECEIVING, Ticket
from incoming.storage.postgres.connection.history import LOCK, History
from incoming.storage.postgres.statements.tickets import insert, lock, save
from incoming.storage.ticket_row import from_row

MOST_REMEMBERED = 10_000
"""Tickets of which a process remembers the last version; the least recently used are dropped."""


@dataclass(slots=True)
class Remembered:
    """The newest version of a ticket that this process has seen. `has_records`: more belongs to it than its row."""

    ticket: Ticket
    has_records: bool = False


class RememberedTickets:
    """Those of one process."""

    def __init__(self, most: int = MOST_REMEMBERED) -> None:
        self._most = most
        self._tickets: OrderedDict[str, Remembered] = OrderedDict()

    def note(self, ticket: Ticket, *, has_records: bool = False) -> None:
        """Remember a ticket as it was committed."""
        known = self._tickets.get(ticket.id)
        if known is None:
            self._tickets[ticket.id] = Remembered(ticket, has_records)
            if len(self._tickets) > self._most:
                self._tickets.popitem(last=False)
            return
        known.has_records |= has_records
        if ticket.version > known.ticket.version:
            known.ticket = ticket
        self._tickets.move_to_end(ticket.id)

    def forget(self, ticket_id: str, before: int | None = None) -> None:
        """Remember nothing of it; with `before` only if what is remembered is of an earlier version."""
        known = self._tickets.get(ticket_id)
        if known is not None and (before is None or known.ticket.version < before):
            del self._tickets[ticket_id]

    def ids(self) -> list[str]:
        """Return the ids of all."""
        return list(self._tickets)

    def at(self, ids: Iterable[str]) -> list[Remembered]:
        """Return those of `ids` that are remembered."""
        return [self._tickets[ticket_id] for ticket_id in ids if ticket_id in self._tickets]


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """One comparison with the rows, by an instance on a host, in a transaction of the caller's."""

    connection: asyncpg.Connection
    host: str
    instance: str

    async def run(self, remembered: RememberedTickets, before: History, now: History) -> list[Ticket]:
        """Compare all that is remembered; return the tickets that had gone back, as they are mended."""
        await self.connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)  # one instance at a time
        query = "SELECT id, version FROM progress WHERE id = ANY($1)"
        rows = await self.connection.fetch(query, remembered.ids())
        versions: dict[str, int] = {row["id"]: row["version"] for row in rows}
        # Versions of a history that this process has missed tell nothing of what came before them.
        base = now.base if now.before == before.name else 0
        mended = []
        for known in remembered.at(sorted(remembered.ids())):
            if _is_suspect(known.ticket, versions.get(known.ticket.id), base):
                mended.append(await self._mend(known))
        return [ticket for ticket in mended if ticket is not None]

    async def _mend(self, known: Remembered) -> Ticket | None:
        ticket = known.ticket
        row = await lock(self.connection, ticket.id)
        if row is None:
            return None if known.has_records else await self._insert(_anew(ticket, ticket.epoch))
        try:
            found = from_row(row)
        except StorageFailed:
            return None  # a call for it is refused, and the operator learns which it is
        is_older = found.version < ticket.version or await self._is_restored_from_older(found, ticket.version)
        if is_older and not known.has_records:
            restored = await self._save(found, _anew(ticket, max(ticket.epoch, found.epoch)))
            await self._note_restored(restored, ticket.version)
            return restored
        if found.state not in RECEIVING:
            return None
        # Another instance has restored what it knew; what this one has committed after that is missing there.
        joined = found if known.has_records else _joined(found, ticket)
        if joined is not found or found.epoch <= ticket.epoch:
            return await self._save(found, _anew(joined, max(ticket.epoch, found.epoch)))
        return None

    async def _note_restored(self, restored: Ticket, version: int) -> None:
        """Note which version of the last history this one was restored from: another instance may know a later one."""
        await self.connection.execute(
            "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            f"restored/{restored.id}",
            f"{restored.version} {version}",
        )

    async def _is_restored_from_older(self, found: Ticket, version: int) -> bool:
        """Return whether the row is as another instance has restored it, from a version before this one."""
        query = "SELECT value FROM meta WHERE key = $1"
        noted = await self.connection.fetchval(query, f"restored/{found.id}")
        return noted is not None and int(noted.split()[0]) == found.version and int(noted.split()[1]) < version

    async def _insert(self, ticket: Ticket) -> Ticket:
        return await insert(self.connection, ticket, self.host)

    async def _save(self, found: Ticket, mended: Ticket) -> Ticket:
        return (await save(self.connection, found, mended, self.host, self.instance)).ticket


def _is_suspect(ticket: Ticket, version: int | None, base: int) -> bool:
    """Return whether the row may lack what was committed before: it is gone, older, or was changed since."""
    if version is None:
        return ticket.state not in FINAL
    return version < ticket.version or (version > ticket.version and version > base)


def _joined(found: Ticket, known: Ticket) -> Ticket:
    """Return the row with all that was committed of the same bytes, or as it is.

    They are the same unless the file was begun anew, or the store has lost bytes of it meanwhile. A file that would be
    complete by that stays incomplete, so that a client sends what is missing and the file is completed.
    """
    same = (known.identity, known.store_data, known.losses, known.is_rearranged)
    if same != (found.identity, found.store_data, found.losses, found.is_rearranged):
        return found
    joined = replace(found, extents=found.extents | known.extents, synced=found.synced | known.synced)
    return found if joined.extents == found.extents or joined.complete else joined


def _anew(ticket: Ticket, epoch: int) -> Ticket:
    """Return the ticket with no session, in a later epoch: its clients come back and ask what has arrived."""
    if ticket.state not in RECEIVING:
        return ticket
    return replace(ticket, epoch=epoch + 1, session="")
