"""Callbacks that are due: each is claimed by one process at a time.

Every function works in its caller's transaction. Decides nothing about when a callback is made again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from incoming.core.ticket import Ticket
from incoming.storage.postgres.statements.tickets import SELECT, save

_DUE = """SELECT id FROM tickets WHERE (due_at <= $1 OR due_at > $2) AND id != ALL($4::text[])
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED"""


@dataclass(frozen=True, slots=True)
class Claim:
    """At most `limit` callbacks that are due `now`, or later than `horizon` after `until`, to which they are leased."""

    now: float
    until: float
    horizon: float
    limit: int
    host: str
    instance: str

    async def take(
        self, connection: asyncpg.Connection, readable: Callable[[Sequence[Sequence[Any]]], list[Ticket]]
    ) -> list[Ticket]:
        """Return their tickets. `readable` reads rows, without damaged ones."""
        found: list[Ticket] = []
        seen: list[str] = []
        # No more rows than are wanted are locked: the others are for those who ask at the same time.
        while len(found) < self.limit:
            wanted = (self.now, self.until + self.horizon, self.limit - len(found), seen)
            ids = [row["id"] for row in await connection.fetch(_DUE, *wanted)]
            if not ids:
                break
            rows = await connection.fetch(f"{SELECT} WHERE t.id = ANY($1) ORDER BY t.id FOR UPDATE OF p", ids)
            found += readable(sorted(rows, key=lambda row: ids.index(row[0])))
            seen += ids
        claimed = [
            (ticket, replace(ticket, callback=replace(ticket.callback, due_at=self.until)))
            for ticket in found
            if ticket.callback is not None
        ]
        return [(await save(connection, known, changed, self.host, self.instance)).ticket for known, changed in claimed]


async def next_due(connection: asyncpg.Connection) -> float | None:
    """Return when the next callback is due; None if there is none."""
    found: float | None = await connection.fetchval("SELECT min(due_at) FROM tickets WHERE due_at IS NOT NULL")
    return found
