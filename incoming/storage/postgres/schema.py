"""The tables, and how a database of an earlier release becomes one of this release.

Chunk commits change one narrow row of `progress`, whose columns have no index, so that PostgreSQL writes no index entry
for them (HOT). Everything else is in `tickets`, which changes some ten times in an upload's life. Decides which
migrations older instances may serve beside, and which need `incoming database upgrade`.
"""

from __future__ import annotations

from typing import NamedTuple

import asyncpg

from incoming.storage.postgres.connection.errors import UnusableDatabase


class Migration(NamedTuple):
    """The statements of one release that changed something, never edited later.

    `additive`: instances of the release before work with the new tables as with the old ones.
    """

    statements: tuple[str, ...]
    additive: bool = True


MIGRATIONS: tuple[Migration, ...] = (
    Migration(
        (
            "CREATE SEQUENCE versions",
            """CREATE TABLE tickets (
                id text COLLATE "C" PRIMARY KEY, state text NOT NULL, state_since float8 NOT NULL,
                touched float8 NOT NULL, due_at float8, terms text NOT NULL, rest text NOT NULL,
                reserved bigint NOT NULL, requested_by text NOT NULL,
                changed xid8 NOT NULL DEFAULT pg_current_xact_id())""",
            "CREATE INDEX tickets_touched ON tickets (state, touched)",
            "CREATE INDEX tickets_since ON tickets (state, state_since)",
            "CREATE INDEX tickets_due ON tickets (due_at) WHERE due_at IS NOT NULL",
            "CREATE INDEX tickets_changed ON tickets (changed)",
            """CREATE INDEX tickets_open ON tickets (requested_by)
                WHERE state NOT IN ('finished', 'cancelled', 'failed')""",
            "CREATE INDEX tickets_reserved ON tickets (reserved) WHERE reserved != 0",
            """CREATE TABLE progress (
                id text COLLATE "C" PRIMARY KEY REFERENCES tickets ON DELETE CASCADE, version bigint NOT NULL,
                active_at float8 NOT NULL, extents bytea NOT NULL, synced bytea NOT NULL,
                written_by text NOT NULL DEFAULT '') WITH (fillfactor = 50)""",
            """CREATE TABLE records (
                ticket_id text COLLATE "C" NOT NULL REFERENCES tickets ON DELETE CASCADE,
                name text COLLATE "C" NOT NULL, value text NOT NULL, PRIMARY KEY (ticket_id, name))""",
            "CREATE TABLE meta (key text PRIMARY KEY, value text NOT NULL)",
            "CREATE TABLE workers (name text PRIMARY KEY, noted_at float8 NOT NULL, facts text NOT NULL)",
            # In shards: a row that every transaction of every instance adds to would make them wait for each other.
            "CREATE TABLE counted (name text, shard integer, value float8 NOT NULL, PRIMARY KEY (name, shard))",
            "CREATE TABLE traffic (slot bigint, shard integer, bytes bigint NOT NULL, PRIMARY KEY (slot, shard))",
        )
    ),
    Migration(
        (
            # The instance that wrote bytes last, whose restart examines the file. Not indexed, so that updates stay
            # HOT.
            "ALTER TABLE progress ADD COLUMN writer text NOT NULL DEFAULT ''",
        )
    ),
    Migration(
        (
            # The lowest version that a release must know to work with the database.
            "ALTER TABLE schema_version ADD COLUMN needs integer NOT NULL DEFAULT 1",
            # What quotas are compared with, in shards: 'bytes', 'open/' and a backend's address, 'state/' and a state.
            """CREATE TABLE sums (name text, shard integer, value bigint NOT NULL, PRIMARY KEY (name, shard))
                WITH (fillfactor = 50)""",
            # Triggers also count what instances of the release before change.
            """CREATE FUNCTION count_ticket() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
                DECLARE part integer := floor(random() * 16);
                BEGIN
                    INSERT INTO sums SELECT change.name, part, sum(change.value) FROM (
                        SELECT * FROM (VALUES ('state/' || OLD.state, -1::bigint), ('bytes', -OLD.reserved),
                            ('open/' || OLD.requested_by,
                                -(OLD.state NOT IN ('finished', 'cancelled', 'failed'))::integer::bigint))
                            AS gone (name, value) WHERE TG_OP <> 'INSERT'
                        UNION ALL
                        SELECT * FROM (VALUES ('state/' || NEW.state, 1::bigint), ('bytes', NEW.reserved),
                            ('open/' || NEW.requested_by,
                                (NEW.state NOT IN ('finished', 'cancelled', 'failed'))::integer::bigint))
                            AS come (name, value) WHERE TG_OP <> 'DELETE'
                    ) AS change GROUP BY change.name HAVING sum(change.value) <> 0 ORDER BY change.name
                    ON CONFLICT (name, shard) DO UPDATE SET value = sums.value + excluded.value;
                    RETURN NULL;
                END $$""",
            "LOCK TABLE tickets IN SHARE ROW EXCLUSIVE MODE",
            "INSERT INTO sums SELECT 'bytes', 0, sum(reserved) FROM tickets HAVING sum(reserved) <> 0",
            "INSERT INTO sums SELECT 'state/' || state, 0, count(*) FROM tickets GROUP BY state",
            """INSERT INTO sums SELECT 'open/' || requested_by, 0, count(*) FROM tickets
                WHERE state NOT IN ('finished', 'cancelled', 'failed') GROUP BY requested_by""",
            """CREATE TRIGGER tickets_counted AFTER INSERT OR DELETE ON tickets
                FOR EACH ROW EXECUTE FUNCTION count_ticket()""",
            """CREATE TRIGGER tickets_recounted AFTER UPDATE ON tickets FOR EACH ROW
                WHEN (OLD.state <> NEW.state OR OLD.reserved <> NEW.reserved OR OLD.requested_by <> NEW.requested_by)
                EXECUTE FUNCTION count_ticket()""",
        )
    ),
    Migration(
        (
            # A row grows with its first bytes, and the rows of a page may all change while an older snapshot still
            # needs what they were: with half of the page free, one update in 250 had to leave it.
            "ALTER TABLE progress SET (fillfactor = 25)",
        )
    ),
)

LOCK = 4_717_001
"""The advisory lock under which one instance at a time migrates. It ends with the transaction."""

LOCK_TIMEOUT = "5s"
"""For the locks of tables: while a migration waits for one, every other transaction queues behind it."""


async def migrate(connection: asyncpg.Connection, *, upgrade: bool = False) -> None:
    """Bring the schema up to date; several instances may do so at once.

    Without `upgrade` only by what older instances can serve beside. Raises UnusableDatabase for what needs it, for a
    later release's schema, and for tables of another program.
    """
    async with connection.transaction():
        # Others may be at it, and a large table takes its time.
        await connection.execute("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK, timeout=3600)
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        found, needs = await version_of(connection)
        check_version(found, needs)
        pending = MIGRATIONS[found:]
        if found and not upgrade and not all(migration.additive for migration in pending):
            raise UnusableDatabase(
                f"its tables have version {found}, and older instances cannot work with version {len(MIGRATIONS)}: "
                "stop all instances, back it up, and run `incoming database upgrade`"
            )
        if not found:
            await connection.execute("CREATE TABLE schema_version (version integer NOT NULL)")
            await connection.execute("INSERT INTO schema_version VALUES (0)")
        for statement in (statement for migration in pending for statement in migration.statements):
            await connection.execute(statement, timeout=3600)
        if pending:
            await connection.execute("UPDATE schema_version SET version = $1, needs = $2", len(MIGRATIONS), _needs())


def check_version(found: int, needs: int) -> None:
    """Raise UnusableDatabase if only later releases can work with these tables."""
    if needs > len(MIGRATIONS):
        raise UnusableDatabase(
            f"its tables have version {found}, which needs a release that knows version {needs}, and this one knows "
            f"{len(MIGRATIONS)}: run the release that it was used with last, or a later one"
        )


def _needs() -> int:
    """Return the version of the last migration that is not additive, or of the first one."""
    return max((number for number, migration in enumerate(MIGRATIONS, 1) if not migration.additive), default=1)


async def version_of(connection: asyncpg.Connection) -> tuple[int, int]:
    """Return how many of MIGRATIONS the database has been through, and the lowest version that a release must know.

    (0, 0) for an empty one. Changes nothing. Raises UnusableDatabase for tables of another program.
    """
    rows = await connection.fetch(
        # The catalog, not information_schema, which hides tables that this user may not read.
        """SELECT c.relname::text AS name, array_agg(a.attname::text) AS columns FROM pg_class c
            JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
            WHERE c.relname IN ('schema_version', 'tickets') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')
            GROUP BY c.relname"""
    )
    tables = {row["name"]: set(row["columns"]) for row in rows}
    if not tables:
        return 0, 0
    columns = tables.get("schema_version", set())
    if "version" not in columns or not columns <= {"version", "needs"} or "tickets" not in tables:
        found = " and ".join(sorted(tables))
        raise UnusableDatabase(f"another program's tables are in it ({found}): name an empty database or schema")
    row = await connection.fetchrow("SELECT * FROM schema_version")
    if row is None:
        raise UnusableDatabase("its table schema_version is empty: restore it from a backup")
    return row["version"], row["needs"] if "needs" in columns else row["version"]
