"""The tables, and how a database of an earlier release becomes one of this release.

Chunk commits change one narrow row of `progress`, whose columns have no index, so that PostgreSQL writes no index entry
for them (HOT). Everything else is in `tickets`, which changes some ten times in an upload's life.
"""

from __future__ import annotations

import asyncpg

from incoming.core.errors import StorageFailed

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE SEQUENCE versions",
        """CREATE TABLE tickets (
            id text COLLATE "C" PRIMARY KEY, state text NOT NULL, state_since float8 NOT NULL, touched float8 NOT NULL,
            due_at float8, terms text NOT NULL, rest text NOT NULL, reserved bigint NOT NULL,
            requested_by text NOT NULL, changed xid8 NOT NULL DEFAULT pg_current_xact_id())""",
        "CREATE INDEX tickets_touched ON tickets (state, touched)",
        "CREATE INDEX tickets_since ON tickets (state, state_since)",
        "CREATE INDEX tickets_due ON tickets (due_at) WHERE due_at IS NOT NULL",
        "CREATE INDEX tickets_changed ON tickets (changed)",
        "CREATE INDEX tickets_open ON tickets (requested_by) WHERE state NOT IN ('finished', 'cancelled', 'failed')",
        "CREATE INDEX tickets_reserved ON tickets (reserved) WHERE reserved != 0",
        """CREATE TABLE progress (
            id text COLLATE "C" PRIMARY KEY REFERENCES tickets ON DELETE CASCADE, version bigint NOT NULL,
            active_at float8 NOT NULL, extents bytea NOT NULL, synced bytea NOT NULL,
            written_by text NOT NULL DEFAULT '') WITH (fillfactor = 50)""",
        """CREATE TABLE records (
            ticket_id text COLLATE "C" NOT NULL REFERENCES tickets ON DELETE CASCADE, name text COLLATE "C" NOT NULL,
            value text NOT NULL, PRIMARY KEY (ticket_id, name))""",
        "CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)",
        "CREATE TABLE workers (name text PRIMARY KEY, noted_at float8 NOT NULL, facts text NOT NULL)",
        # In shards: a row that every transaction of every instance adds to would make them wait for each other.
        "CREATE TABLE counted (name text, shard integer, value float8 NOT NULL, PRIMARY KEY (name, shard))",
        "CREATE TABLE traffic (slot bigint, shard integer, bytes bigint NOT NULL, PRIMARY KEY (slot, shard))",
    ),
    (
        # The instance that wrote bytes last, whose restart examines the file. Not indexed, so that updates stay HOT.
        "ALTER TABLE progress ADD COLUMN writer text NOT NULL DEFAULT ''",
    ),
)
"""One tuple of statements for each release that changed something, never edited later."""

LOCK = 4_717_001
"""The advisory lock under which one instance at a time migrates. It ends with the transaction."""


async def migrate(connection: asyncpg.Connection) -> None:
    """Bring the schema up to date; several instances may do so at once. Raises StorageFailed for a later release's."""
    async with connection.transaction():
        # Others may be at it, and a large table takes its time.
        await connection.execute("SET LOCAL lock_timeout = 0")
        await connection.execute("SET LOCAL statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
        await connection.execute("CREATE TABLE IF NOT EXISTS schema_version (version integer NOT NULL)")
        found = await connection.fetchval("SELECT version FROM schema_version")
        if found is not None and found > len(MIGRATIONS):
            raise StorageFailed(
                f"the ticket database has version {found}, this release knows up to {len(MIGRATIONS)}: "
                "run the release that it was used with last, or a later one"
            )
        for statements in MIGRATIONS[found or 0 :]:
            for statement in statements:
                await connection.execute(statement)
        if found is None:
            await connection.execute("INSERT INTO schema_version VALUES ($1)", len(MIGRATIONS))
        elif found < len(MIGRATIONS):
            await connection.execute("UPDATE schema_version SET version = $1", len(MIGRATIONS))


async def version_of(connection: asyncpg.Connection) -> int:
    """How many of MIGRATIONS the database has been through; 0 for an empty one. Changes nothing."""
    if await connection.fetchval("SELECT to_regclass('schema_version')") is None:
        return 0
    return int(await connection.fetchval("SELECT version FROM schema_version") or 0)
