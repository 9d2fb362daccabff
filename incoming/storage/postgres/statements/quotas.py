"""The sums that quotas are compared with. Triggers keep them in shards (schema.py), so that nobody waits for another.

Decides when it must be known exactly, one after the other, and when a sum that others are just adding to is enough.
"""

from __future__ import annotations

import asyncpg

from incoming.core.ticket import State, Ticket
from incoming.storage.postgres.statements.tickets import address_of
from incoming.storage.quotas import StoreLimits

LOCK = 4_717_002
"""The advisory lock under which sums are compared with a limit, by those that reserve more."""

FAR_BELOW = 1000
"""Tickets below `max_tickets` from which nobody is counted one after the other: fewer transactions run at a time."""


async def check_created(connection: asyncpg.Connection, limits: StoreLimits, ticket: Ticket) -> None:
    """Raise unless there may be this ticket, which is inserted already. Raises like StoreLimits.check_created."""
    if not (limits.quota or limits.tickets):
        return
    if not limits.quota and await _unfinished(connection, ticket) < limits.tickets - FAR_BELOW:
        return
    await _one_after_the_other(connection, limits)
    limits.check_created(ticket, await _unfinished(connection, ticket), await sum_of(connection, "bytes"))


async def check_saved(connection: asyncpg.Connection, limits: StoreLimits, before: Ticket, after: Ticket) -> None:
    """Do the same for a change, which is written already. Raises like StoreLimits.check_saved."""
    if limits.quota and after.reserved > before.reserved:
        await _one_after_the_other(connection, limits)
        limits.check_saved(before, after, await sum_of(connection, "bytes"))


async def _one_after_the_other(connection: asyncpg.Connection, limits: StoreLimits) -> None:
    if limits.exact:
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)


async def _unfinished(connection: asyncpg.Connection, ticket: Ticket) -> int:
    return await sum_of(connection, f"open/{address_of(ticket)}")


async def sum_of(connection: asyncpg.Connection, name: str) -> int:
    """Return one sum, with what this transaction has added and others have committed."""
    return int(await connection.fetchval("SELECT coalesce(sum(value), 0)::bigint FROM sums WHERE name = $1", name))


async def counts(connection: asyncpg.Connection) -> dict[State, int]:
    """Return how many tickets are in each state."""
    rows = await connection.fetch(
        """SELECT substr(name, 7) AS state, sum(value)::bigint AS number FROM sums
            WHERE name LIKE 'state/%' GROUP BY name"""
    )
    found = {row["state"]: row["number"] for row in rows}
    return {state: found.get(state.value, 0) for state in State}
