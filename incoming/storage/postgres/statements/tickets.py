"""A ticket's rows: how they are read, and written whole.

Every function works in its caller's transaction. Rows are locked in one order: a ticket's row in `tickets`, then the
one in `progress`; of several tickets by id.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import asyncpg

from incoming.core.ticket import Ticket
from incoming.storage.ticket_row import COLUMNS, PROGRESS, to_row

SHARDS = 16
"""Rows that a sum is spread over."""

_COLUMNS = ", ".join(("p." if name in PROGRESS else "t.") + name for name in COLUMNS)
SELECT = f"SELECT {_COLUMNS} FROM tickets t JOIN progress p USING (id)"  # noqa: S608 - constants only, here and below

SEARCH = f"""{SELECT} WHERE t.id IN (
    SELECT near.id FROM unnest($1::text[]) AS wanted(state), LATERAL (
        SELECT id, terms, rest FROM tickets WHERE state = wanted.state ORDER BY touched DESC LIMIT $2) AS near
    WHERE strpos(near.id, $3) > 0 OR strpos(lower(near.rest COLLATE "C"), $3) > 0
        OR strpos(lower(near.terms COLLATE "C"), $3) > 0) ORDER BY t.touched DESC"""  # noqa: S608
"""Those among the latest of each state whose texts have what is sought, which is in lower case."""

WRITTEN_BY = (
    "CASE WHEN {all_synced} THEN '' WHEN {mark} = '' OR strpos(p.written_by, {mark}) > 0 THEN p.written_by "
    "ELSE p.written_by || {mark} END"
)
"""Adds the note of a host unless it is there; nothing unsynced needs no note."""

OUTBOX = "'incoming_outbox_' || current_schema()"
"""The channel of the outbox, an SQL expression."""

_COUNT = """INSERT INTO counted SELECT 'entered/' || {state}, {shard}::integer, 1 {condition}
    ON CONFLICT (name, shard) DO UPDATE SET value = counted.value + excluded.value"""
_ANNOUNCE = (
    "CASE WHEN {news}::text != '' THEN pg_notify('incoming_' || current_schema(), {news} || ' ' || version) END, "
    f"CASE WHEN {{outbox}}::boolean THEN pg_notify({OUTBOX}, '') END"
)
_INSERT = f"""WITH ticket AS (
        INSERT INTO tickets (id, state, state_since, touched, due_at, terms, rest, reserved, requested_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)),
    entered AS ({_COUNT.format(state="$2", shard="$13", condition="")})
    INSERT INTO progress (id, version, active_at, extents, synced, written_by)
    VALUES ($1, nextval('versions'), $4, $10, $11, $12)
    RETURNING version, {_ANNOUNCE.format(news="$14", outbox="$15")}"""  # noqa: S608
_SAVE = f"""WITH current AS MATERIALIZED (
        SELECT t.id FROM tickets t JOIN progress p USING (id) WHERE t.id = $1 AND p.version = $19 FOR UPDATE OF t, p),
    ticket AS (
        UPDATE tickets SET state = $2, state_since = $3, touched = $4, due_at = $5, terms = $6, rest = $7,
            reserved = $8, requested_by = $9, changed = pg_current_xact_id() WHERE id = $1 AND EXISTS (TABLE current)),
    entered AS ({_COUNT.format(state="$2", shard="$15", condition="WHERE $16::boolean AND EXISTS (TABLE current)")})
    UPDATE progress p SET version = nextval('versions'), active_at = $4, extents = $10, synced = $11,
        written_by = {WRITTEN_BY.format(all_synced="$12::boolean", mark="$13::text")},
        writer = CASE WHEN p.extents = $10 THEN p.writer ELSE $14 END
    WHERE p.id = $1 AND EXISTS (TABLE current)
    RETURNING p.version, pg_current_xact_id()::text AS xid, {_ANNOUNCE.format(news="$17", outbox="$18")}"""  # noqa: S608
"""Both rows, what is counted and the news in one round trip; nothing if the version is not the one believed."""


@dataclass(frozen=True, slots=True)
class News:
    """What other processes learn at the commit: `text` of the ticket, if any, and its version; and whether the outbox
    has changed.
    """

    text: str = ""
    outbox: bool = False


NO_NEWS = News()


@dataclass(frozen=True, slots=True)
class Saved:
    """A `ticket` as it was written, with its new version, by the transaction `xid`; None if nothing was written."""

    ticket: Ticket
    xid: str | None


def mark(host: str) -> str:
    """Return the note that bytes were written on this host."""
    return f"<{host}>"


def writer(known: Ticket | None, saved: Ticket, host: str) -> tuple[bool, str]:
    """Return whether nothing unsynced is left, and the note of this host if it has written."""
    written = known is None or known.extents != saved.extents
    return saved.extents == saved.synced, mark(host) if written else ""


def address_of(ticket: Ticket) -> str:
    """Return the address of its backend as it is kept: PostgreSQL's text has no NUL."""
    return ticket.options.requested_by.encode("ascii", "replace").decode("ascii").replace("\0", "?")


def _values(ticket: Ticket) -> tuple[dict[str, Any], tuple[Any, ...]]:
    row: dict[str, Any] = dict(zip(COLUMNS, to_row(ticket), strict=True))
    row["requested_by"] = address_of(ticket)
    names = ("id", "state", "state_since", "active_at", "due_at", "terms", "rest", "reserved", "requested_by")
    return row, tuple(row[name] for name in names)


async def insert(connection: asyncpg.Connection, ticket: Ticket, host: str, news: News = NO_NEWS) -> Ticket:
    """Insert new rows. Return the ticket with its version."""
    row, values = _values(ticket)
    all_synced, note = writer(None, ticket, host)
    progress = (row["extents"], row["synced"], "" if all_synced else note)
    announced = (news.text, news.outbox)
    version = await connection.fetchval(_INSERT, *values, *progress, random.randrange(SHARDS), *announced)
    return replace(ticket, version=version)


async def save_if_current(
    connection: asyncpg.Connection, known: Ticket, changed: Ticket, host: str, instance: str, news: News = NO_NEWS
) -> Saved | None:
    """Write `changed` over the rows if they are `known`, which locks them; else write nothing and return None."""
    row, values = _values(changed)
    progress = (row["extents"], row["synced"], *writer(known, changed, host), instance)
    counted = (random.randrange(SHARDS), known.state != changed.state)
    announced = (news.text, news.outbox)
    saved = await connection.fetchrow(_SAVE, *values, *progress, *counted, *announced, known.version)
    return None if saved is None else Saved(replace(changed, version=saved["version"]), saved["xid"])


async def save(
    connection: asyncpg.Connection, known: Ticket, changed: Ticket, host: str, instance: str, news: News = NO_NEWS
) -> Saved:
    """Write `changed` over the rows, which are `known` and locked."""
    saved = await save_if_current(connection, known, changed, host, instance, news)
    if saved is None:
        raise RuntimeError(f"the rows of {known.id[:8]}... have changed although they are locked")
    return saved


async def lock(connection: asyncpg.Connection, ticket_id: str) -> Sequence[Any] | None:
    """Return the row of a ticket with COLUMNS, which nobody else changes until the transaction ends."""
    row: Sequence[Any] | None = await connection.fetchrow(f"{SELECT} WHERE t.id = $1 FOR UPDATE OF t, p", ticket_id)
    return row


async def count(connection: asyncpg.Connection, counted: Mapping[str, float]) -> None:
    """Add to what all have counted."""
    shard = random.randrange(SHARDS)
    await connection.executemany(
        """INSERT INTO counted VALUES ($1, $2, $3)
            ON CONFLICT (name, shard) DO UPDATE SET value = counted.value + excluded.value""",
        [(name, shard, float(value)) for name, value in sorted(counted.items())],
    )


async def write_records(connection: asyncpg.Connection, ticket_id: str, records: Mapping[str, str | None]) -> None:
    """Write what belongs to a ticket; None removes a record."""
    gone = [name for name, value in records.items() if value is None]
    kept = [(ticket_id, name, value) for name, value in records.items() if value is not None]
    if gone:
        await connection.execute("DELETE FROM records WHERE ticket_id = $1 AND name = ANY($2)", ticket_id, gone)
    if kept:
        await connection.executemany(
            """INSERT INTO records VALUES ($1, $2, $3)
                ON CONFLICT (ticket_id, name) DO UPDATE SET value = excluded.value""",
            kept,
        )


async def is_there(connection: asyncpg.Connection, ticket: Ticket) -> bool:
    """Return whether this very version of the ticket is in the database."""
    query = "SELECT 1 FROM progress WHERE id = $1 AND version = $2"
    return await connection.fetchval(query, ticket.id, ticket.version) is not None
