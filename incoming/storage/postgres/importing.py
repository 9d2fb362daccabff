"""Fills an empty database with what another store keeps, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import asyncpg

from incoming.core.ticket import State
from incoming.storage.contents import THIS_HOST, Contents
from incoming.storage.postgres.connection.connector import Connector
from incoming.storage.postgres.connection.errors import UnusableDatabase, without_password
from incoming.storage.postgres.connection.history import HistoryWatch
from incoming.storage.postgres.opening import use_with_retries
from incoming.storage.postgres.schema import migrate
from incoming.storage.postgres.statements.tickets import mark
from incoming.storage.ticket_row import COLUMNS

_TICKETS = ("id", "state", "state_since", "touched", "due_at", "terms", "rest", "reserved", "requested_by")
_PROGRESS = ("id", "version", "active_at", "extents", "synced", "written_by", "writer")
LONG = 24 * 3600.0
"""Seconds that a batch may take."""


async def import_contents(dsn: str, direct: str, contents: Contents, host: str, instance: str) -> tuple[int, str]:
    """Fill the database and return how many tickets it has, and its name. Raises like `fill`, and StorageFailed."""
    number = 0

    async def write(connection: asyncpg.Connection) -> None:
        nonlocal number
        number = await fill(connection, contents, host, instance)

    await use_with_retries(Connector(dsn, direct), write, direct or dsn, timeout=0)
    return number, without_password(direct or dsn)


async def fill(connection: asyncpg.Connection, contents: Contents, host: str, instance: str) -> int:
    """Write `contents` and return the number of tickets. Raises UnusableDatabase if there are tickets already.

    What was written on the host of the contents was written on `host`, and `instance` examines unfinished uploads.
    """
    await migrate(connection)
    await HistoryWatch().examine(connection)
    number = 0
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        await connection.execute("LOCK TABLE tickets IN SHARE ROW EXCLUSIVE MODE")
        if await connection.fetchval("SELECT 1 FROM tickets LIMIT 1") is not None:
            raise UnusableDatabase("it has tickets already: name an empty database or schema")
        for batch in contents.tickets:
            rows = [dict(zip((*COLUMNS, "written_by"), row, strict=True)) for row in batch]
            await _write(connection, rows, host, instance)
            number += len(batch)
        await _copy(connection, "records", ("ticket_id", "name", "value"), list(contents.records))
        noted = {**contents.noted, **({f"boot/{host}": contents.boot} if contents.boot else {})}
        await _copy(connection, "meta", ("key", "value"), list(noted.items()))
        counted = [(name, 0, float(value)) for name, value in contents.counted.items()]
        await _copy(connection, "counted", ("name", "shard", "value"), counted)
        traffic = [(slot, 0, count) for slot, count in contents.traffic.items()]
        await _copy(connection, "traffic", ("slot", "shard", "bytes"), traffic)
    await connection.execute("ANALYZE tickets, progress", timeout=LONG)
    return number


async def _write(connection: asyncpg.Connection, rows: list[dict[str, Any]], host: str, instance: str) -> None:
    query = "SELECT setval('versions', last_value + $1::bigint) - $1::bigint FROM versions"
    first = await connection.fetchval(query, len(rows))
    for version, row in enumerate(rows, first + 1):
        row["version"], row["touched"] = version, row["active_at"]
        row["requested_by"] = row["requested_by"].replace("\0", "?")
        row["written_by"] = row["written_by"].replace(THIS_HOST, mark(host))
        row["writer"] = instance if row["state"] == State.UPLOADING.value else ""
    for table, columns in (("tickets", _TICKETS), ("progress", _PROGRESS)):
        await _copy(connection, table, columns, [tuple(row[name] for name in columns) for row in rows])


async def _copy(
    connection: asyncpg.Connection, table: str, columns: Sequence[str], records: Sequence[tuple[Any, ...]]
) -> None:
    await connection.copy_records_to_table(table, columns=columns, records=records, timeout=LONG)
