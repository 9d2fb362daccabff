"""What processes note in the database for those after them: a value by its key, and when a server ran.

Every function works in its caller's transaction.
"""

from __future__ import annotations

import asyncpg

from incoming.core.service_time import ServiceTime


async def noted(connection: asyncpg.Connection, key: str) -> str | None:
    """Return the value, None if there is none."""
    text: str | None = await connection.fetchval("SELECT value FROM meta WHERE key = $1", key)
    return text


async def note(connection: asyncpg.Connection, key: str, value: str) -> None:
    """Set the value."""
    await connection.execute(
        "INSERT INTO meta VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value", key, value
    )


async def note_service(connection: asyncpg.Connection, now: float) -> ServiceTime:
    """Add `now` to the service time and return it; without a note, or with a damaged one, service begins now."""
    await connection.execute("INSERT INTO meta VALUES ('service', '') ON CONFLICT DO NOTHING")
    text = await connection.fetchval("SELECT value FROM meta WHERE key = 'service' FOR UPDATE")
    try:
        known = ServiceTime.from_text(text)
    except ValueError:
        known = ServiceTime(now)
    after = known.noted(now)
    await note(connection, "service", after.to_text())
    return after


async def note_boot(connection: asyncpg.Connection, host: str, boot_id: str) -> bool:
    """Note that this boot of the host is the present one; return whether it is another one than before."""
    key = f"boot/{host}"
    await connection.execute("INSERT INTO meta VALUES ($1, '') ON CONFLICT DO NOTHING", key)
    if await connection.fetchval("SELECT value FROM meta WHERE key = $1 FOR UPDATE", key) == boot_id:
        return False
    await note(connection, key, boot_id)
    return True
