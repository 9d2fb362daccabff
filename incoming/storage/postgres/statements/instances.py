"""What instances share out: leases on duties, and the unfinished uploads of one that has gone.

Every function works in its caller's transaction. Decides nothing about what a duty is or how an upload is examined.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from incoming.core.ticket import RECEIVING, State
from incoming.storage.postgres.statements.tickets import SELECT, mark

_LEASE = """WITH before AS (SELECT split_part(value, ' ', 1) AS holder FROM meta WHERE key = 'lease/' || $1::text)
    INSERT INTO meta VALUES ('lease/' || $1::text,
        CASE WHEN $4::float8 > 0 THEN $2::text ELSE '' END || ' ' || ($3::float8 + $4::float8)::text)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value
    WHERE split_part(meta.value, ' ', 1) = $2
        OR ($4 > 0 AND (split_part(meta.value, ' ', 2)::float8 <= $3
            OR split_part(meta.value, ' ', 2)::float8 > $3 + 2 * $4))
    RETURNING coalesce((SELECT holder FROM before), '')"""
"""One that ends later than twice its time from now was taken before the clock was set back; one that ends only a little
later, by a process that read the clock a little later. Nobody holds one that was given back.
"""

_ADOPT = """UPDATE progress SET writer = $1 WHERE id IN (
        SELECT p.id FROM tickets t JOIN progress p USING (id)
        WHERE t.state = $2 AND p.writer != $1
            AND NOT EXISTS (SELECT 1 FROM workers w WHERE w.noted_at >= $3 AND starts_with(w.name, p.writer || ':'))
        ORDER BY p.id LIMIT $4 FOR UPDATE OF p SKIP LOCKED)
    RETURNING id"""


async def lease(connection: asyncpg.Connection, name: str, holder: str, now: float, seconds: float) -> str | None:
    """Take, renew or (0 seconds) give back a lease; return its last holder or "", or None while another has it."""
    before: str | None = await connection.fetchval(_LEASE, name, holder, now, seconds)
    return before


async def unfinished(connection: asyncpg.Connection, instance: str, after: str, limit: int) -> Sequence[Sequence[Any]]:
    """Return the rows of uploads in progress that this instance wrote to last, by id."""
    query = f"{SELECT} WHERE t.state = $1 AND p.writer = $2 AND t.id > $3 ORDER BY t.id LIMIT $4"
    rows: Sequence[Sequence[Any]] = await connection.fetch(query, State.UPLOADING.value, instance, after, limit)
    return rows


async def adopt(connection: asyncpg.Connection, instance: str, since: float, limit: int) -> Sequence[Sequence[Any]]:
    """Take over uploads in progress whose last writer has noted nothing since; return their rows."""
    found = await connection.fetch(_ADOPT, instance, State.UPLOADING.value, since, limit)
    ids = [row["id"] for row in found]
    rows: Sequence[Sequence[Any]] = await connection.fetch(f"{SELECT} WHERE t.id = ANY($1) ORDER BY t.id", ids)
    return rows


async def unsynced(connection: asyncpg.Connection, host: str) -> Sequence[Sequence[Any]]:
    """Lock and return the rows of unfinished uploads of which bytes were written on this host that are not synced."""
    query = f"""{SELECT} WHERE t.state = ANY($1) AND p.extents != p.synced
        AND (p.written_by = '' OR strpos(p.written_by, $2) > 0) ORDER BY t.id FOR UPDATE"""
    rows: Sequence[Sequence[Any]] = await connection.fetch(query, [state.value for state in RECEIVING], mark(host))
    return rows
