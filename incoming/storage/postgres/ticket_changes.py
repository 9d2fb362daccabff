"""Changes of single tickets, each in a transaction of its own.

Decides whether the ticket must be read before: not if it still is what the caller believes. What is only progress is
grouped by progress.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from incoming.core.errors import UnknownTicket
from incoming.core.ticket import Ticket
from incoming.storage.postgres.connection.transactions import Transactions
from incoming.storage.postgres.statements import quotas
from incoming.storage.postgres.statements.tickets import (
    News,
    Saved,
    is_there,
    lock,
    save,
    save_if_current,
    write_records,
)
from incoming.storage.quotas import StoreLimits
from incoming.storage.ticket_store import Change, Records

UNKNOWN = "unknown ticket: it was never issued, or it expired long ago"


class TicketChanges:
    """Those of one process."""

    def __init__(
        self,
        transactions: Transactions,
        limits: StoreLimits,
        who: tuple[str, str],
        read: Callable[[Sequence[Any]], Ticket],
        news: Callable[[Ticket, Ticket], News],
    ) -> None:
        """`who` are the host and the instance that write, `news` what others learn of a ticket before and after."""
        self._transactions = transactions
        self._limits = limits
        self._who = who
        self._read = read
        self._news = news

    async def make(
        self, ticket_id: str, change: Change, records: Records | None = None, believed: Ticket | None = None
    ) -> Saved:
        """Return the ticket once its change is committed; arguments and errors as those of `TicketStore.update`."""

        async def apply(connection: asyncpg.Connection) -> Saved:
            known, saved = believed, None
            if known is not None and (after := foreseen(known, change)) is not None:
                saved = await save_if_current(connection, known, after, *self._who, self._news(known, after))
            if known is None or saved is None:
                known = await self._lock(connection, ticket_id)
                after = change(known)
                if after.id != ticket_id:
                    raise ValueError("a change gave the ticket another id")
                if after is known:
                    return Saved(known, None)
                saved = await save(connection, known, after, *self._who, self._news(known, after))
            await quotas.check_saved(connection, self._limits, known, saved.ticket)
            if records is not None:
                await write_records(connection, ticket_id, records(saved.ticket))
            return saved

        return await self._transactions.run(apply, _is_there, lambda saved: saved.xid)

    async def _lock(self, connection: asyncpg.Connection, ticket_id: str) -> Ticket:
        row = await lock(connection, ticket_id)
        if row is None:
            raise UnknownTicket(UNKNOWN)
        return self._read(row)


def foreseen(believed: Ticket, change: Change) -> Ticket | None:
    """Return the ticket after the change if it is as believed. None for an error, which the newest version decides, and
    if nothing changes.
    """
    try:
        after = change(believed)
    except Exception:
        return None
    return after if after is not believed and after.id == believed.id else None


async def _is_there(connection: asyncpg.Connection, saved: Saved) -> bool:
    return await is_there(connection, saved.ticket)
