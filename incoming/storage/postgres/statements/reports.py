"""What workers note for operators. Counts are added, not replaced, and kept in shards.

Decides how long what was noted is kept, and nothing about what it means.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import asyncpg

from incoming.storage.operator_store import REPORT_KEPT_FOR, TRAFFIC_SLOT, TRAFFIC_SLOTS, Notes
from incoming.storage.postgres.statements.tickets import SHARDS, count


async def write(
    connection: asyncpg.Connection,
    worker: str,
    now: float,
    facts: str | None,
    counted: Mapping[str, float],
    traffic: int,
) -> None:
    """Write one worker's note, in the caller's transaction."""
    if facts is None:
        await connection.execute("DELETE FROM workers WHERE name = $1", worker)
    else:
        await connection.execute(
            """INSERT INTO workers VALUES ($1, $2, $3)
                ON CONFLICT (name) DO UPDATE SET noted_at = excluded.noted_at, facts = excluded.facts""",
            *(worker, now, facts),
        )
        await connection.execute("DELETE FROM workers WHERE noted_at < $1", now - REPORT_KEPT_FOR)
    await count(connection, counted)
    if traffic:
        slot = int(now // TRAFFIC_SLOT)
        await connection.execute(
            """INSERT INTO traffic VALUES ($1, $2, $3)
                ON CONFLICT (slot, shard) DO UPDATE SET bytes = traffic.bytes + excluded.bytes""",
            *(slot, random.randrange(SHARDS), traffic),
        )
        await connection.execute("DELETE FROM traffic WHERE slot <= $1", slot - TRAFFIC_SLOTS)


async def read(connection: asyncpg.Connection, since: float) -> Notes:
    """Return all of it, as of one moment."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        facts = await connection.fetch("SELECT name, facts FROM workers WHERE noted_at >= $1", since)
        counted = await connection.fetch("SELECT name, sum(value) AS value FROM counted GROUP BY name")
        traffic = await connection.fetch("SELECT slot, sum(bytes)::bigint AS bytes FROM traffic GROUP BY slot")
    return Notes(
        facts={row["name"]: row["facts"] for row in facts},
        counted={row["name"]: row["value"] for row in counted},
        traffic={row["slot"]: row["bytes"] for row in traffic},
    )
