"""One ticket's row in the database: how it is read, written over, and moved on when its version is known.

Every function works in its caller's transaction, on the thread that the connection belongs to. What a transaction is
made of is decided by group_commit.py, how a ticket is laid out by ticket_row.py.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from incoming.core.ticket import RECEIVING, Ticket
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.ticket_row import COLUMNS, PROGRESS, from_row, is_progress, to_progress, to_row
from incoming.storage.ticket_store import Change

SELECT = f"SELECT {', '.join(COLUMNS)} FROM tickets"  # noqa: S608  (constants only, here and below)
SEARCH = """SELECT active_at, number FROM (
    SELECT active_at, rowid AS number, id, terms, rest FROM tickets WHERE state = :state ORDER BY active_at DESC
    LIMIT :most) WHERE instr(id, :sought) OR instr(lower(rest), :sought) OR instr(lower(terms), :sought)"""
"""Those among the latest of a state whose texts have what is sought, which is in lower case."""

_INSERT = f"INSERT INTO tickets ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_COUNTED = ("state", "reserved", "requested_by")
"""The columns that triggers watch. SQLite keeps copies of pages for a statement that sets one of them, in case that a
trigger fails; over ten thousand tickets in one transaction that takes minutes.
"""


_WRITTEN_BY = "written_by = CASE WHEN ? THEN '' WHEN instr(written_by, ?) THEN written_by ELSE written_by || ? END"
"""Adds the note of a host unless it is there. Takes the values of `_writers`."""


def _writers(transaction: Transaction, known: Ticket | None, saved: Ticket) -> tuple[bool, str, str]:
    """Return whether nothing is unsynced, and the note of this host if it has written unsynced bytes."""
    written = known is None or known.extents != saved.extents
    mark = _mark(transaction.host) if written else ""
    return saved.extents == saved.synced, mark, mark


def _mark(host: str) -> str:
    return f"<{host}>"


def _update(names: Iterable[str]) -> tuple[str, Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """Return a statement that sets these columns and _WRITTEN_BY, and a function that picks their values from a row."""
    names = tuple(names)
    values = itemgetter(*(COLUMNS.index(name) for name in names))
    columns = ", ".join((*(f"{name} = ?" for name in names), _WRITTEN_BY))
    return f"UPDATE tickets SET {columns} WHERE id = ?", values  # noqa: S608


_UPDATE = _update(COLUMNS[1:])
_UPDATE_UNCOUNTED = _update(name for name in COLUMNS[1:] if name not in _COUNTED)
_IF_VERSION = " AND version = ?"
_ADVANCE = _update(PROGRESS)[0] + _IF_VERSION


_NOTE_WRITER = f"UPDATE tickets SET {_WRITTEN_BY} WHERE id = ?"  # noqa: S608
_UNSYNCED = f"{SELECT} WHERE state = ? AND extents != synced AND (written_by = '' OR instr(written_by, ?))"


def load(connection: sqlite3.Connection, ticket_id: str) -> Ticket | None:
    row = connection.execute(f"{SELECT} WHERE id = ?", (ticket_id,)).fetchone()
    return None if row is None else from_row(row)


def rows_at(connection: sqlite3.Connection, rowids: Iterable[int]) -> Iterator[Sequence[Any]]:
    """Those that are still there, read one by one as they are wanted."""
    for rowid in rowids:
        yield from connection.execute(f"{SELECT} WHERE rowid = ?", (rowid,)).fetchall()


def insert(transaction: Transaction, ticket: Ticket) -> None:
    """Insert a row."""
    transaction.connection.execute(_INSERT, to_row(replace(ticket, version=transaction.change(ticket.id))))
    transaction.owes |= ticket.callback is not None
    if ticket.extents != ticket.synced:
        transaction.connection.execute(_NOTE_WRITER, (*_writers(transaction, None, ticket), ticket.id))


def save(transaction: Transaction, known: Ticket, changed: Ticket, *, quiet: bool = False) -> Ticket:
    """Write `changed` over the row, which is `known`, and return the ticket with its new version."""
    saved = replace(changed, version=transaction.change(known.id, quiet=quiet))
    statement, values = _statement(known, saved)
    transaction.connection.execute(statement, (*values(to_row(saved)), *_writers(transaction, known, saved), known.id))
    transaction.saved[known.id] = saved
    transaction.owes |= saved.callback != known.callback
    return saved


def _statement(known: Ticket, saved: Ticket) -> tuple[str, Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """Return the cheaper statement that writes all differences, and a function that picks its values from a row."""
    counted = (known.state, known.reserved, known.options) != (saved.state, saved.reserved, saved.options)
    return _UPDATE if counted else _UPDATE_UNCOUNTED


def advance(
    transaction: Transaction, believed: Ticket, change: Change, *, quiet: bool, may_reserve: bool
) -> Ticket | None:
    """Write the changed ticket over the row if that still has the version of `believed`, and return it.

    Otherwise, and if it would reserve more without `may_reserve`, write nothing and return None.
    """
    known = transaction.saved.get(believed.id, believed)
    changed = change(known)
    if changed is known or changed.id != known.id or (changed.reserved > known.reserved and not may_reserve):
        return None
    saved = replace(changed, version=transaction.change(known.id, quiet=quiet))
    if is_progress(known, saved):
        statement, values = _ADVANCE, to_progress(saved)
    else:
        update, pick = _statement(known, saved)
        statement, values = update + _IF_VERSION, pick(to_row(saved))
    writers = _writers(transaction, known, saved)
    if not transaction.connection.execute(statement, (*values, *writers, known.id, known.version)).rowcount:
        return None
    transaction.saved[known.id] = saved
    transaction.owes |= saved.callback != known.callback
    return saved


def unsynced_of_host(transaction: Transaction) -> Iterator[Sequence[Any]]:
    """Return the unfinished uploads with unsynced bytes that were written on this host."""
    for state in RECEIVING:
        yield from transaction.connection.execute(_UNSYNCED, (state.value, _mark(transaction.host))).fetchall()


def read_records(connection: sqlite3.Connection, ticket_id: str) -> dict[str, str]:
    """Return the records of a ticket, by name."""
    query = "SELECT name, value FROM records WHERE ticket_id = ? ORDER BY name"
    return dict(connection.execute(query, (ticket_id,)).fetchall())


def write_records(transaction: Transaction, ticket_id: str, records: Mapping[str, str | None]) -> None:
    """Write what belongs to a ticket; None removes a record."""
    for name, value in records.items():
        if value is None:
            transaction.connection.execute("DELETE FROM records WHERE ticket_id = ? AND name = ?", (ticket_id, name))
        else:
            transaction.connection.execute("INSERT OR REPLACE INTO records VALUES (?, ?, ?)", (ticket_id, name, value))
