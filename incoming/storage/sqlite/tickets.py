"""One ticket's row in the database: how it is read, written over, and moved on when nothing but bytes have come.

Every function works in its caller's transaction, on the thread that the connection belongs to. What a transaction is
made of is storage/sqlite_writer.py's, how a ticket is laid out storage/rows.py's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

from incoming.core.ticket import Ticket
from incoming.storage.sqlite.group_commit import Transaction
from incoming.storage.ticket_row import COLUMNS, PROGRESS, from_row, is_progress, to_progress, to_row
from incoming.storage.ticket_store import Change

SELECT = f"SELECT {', '.join(COLUMNS)} FROM tickets"  # noqa: S608  (constants only, here and below)
_INSERT = f"INSERT INTO tickets ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"  # noqa: S608
_COUNTED = ("state", "reserved", "requested_by")
"""The columns that triggers watch. SQLite keeps copies of pages for a statement that sets one of them, in case that a
trigger fails; over ten thousand tickets in one transaction that takes minutes.
"""


def _update(names: Iterable[str]) -> tuple[str, Callable[[Sequence[Any]], tuple[Any, ...]]]:
    """The statement that sets these columns, and what picks its values from a row."""
    names = tuple(names)
    values = itemgetter(*(COLUMNS.index(name) for name in (*names, "id")))
    return f"UPDATE tickets SET {', '.join(f'{name} = ?' for name in names)} WHERE id = ?", values  # noqa: S608


_UPDATE = _update(COLUMNS[1:])
_UPDATE_UNCOUNTED = _update(name for name in COLUMNS[1:] if name not in _COUNTED)
_ADVANCE = f"UPDATE tickets SET {', '.join(f'{name} = ?' for name in PROGRESS)} WHERE id = ? AND version = ?"  # noqa: S608


def load(connection: sqlite3.Connection, ticket_id: str) -> Ticket | None:
    row = connection.execute(f"{SELECT} WHERE id = ?", (ticket_id,)).fetchone()
    return None if row is None else from_row(row)


def rows_at(connection: sqlite3.Connection, rowids: Iterable[int]) -> Iterator[Sequence[Any]]:
    """Those that are still there, read one by one as they are wanted."""
    for rowid in rowids:
        yield from connection.execute(f"{SELECT} WHERE rowid = ?", (rowid,)).fetchall()


def insert(transaction: Transaction, ticket: Ticket) -> None:
    """A new row."""
    transaction.connection.execute(_INSERT, to_row(replace(ticket, version=transaction.change(ticket.id))))


def save(transaction: Transaction, known: Ticket, changed: Ticket, *, quiet: bool = False) -> Ticket:
    """Writes `changed` over the row, which is `known`, and returns the ticket with its new version."""
    saved = replace(changed, version=transaction.change(known.id, quiet=quiet))
    counted = (known.state, known.reserved, known.options) != (saved.state, saved.reserved, saved.options)
    statement, values = _UPDATE if counted else _UPDATE_UNCOUNTED
    transaction.connection.execute(statement, values(to_row(saved)))
    transaction.saved[known.id] = saved
    return saved


def advance(transaction: Transaction, believed: Ticket, change: Change, *, quiet: bool) -> Ticket | None:
    """Writes progress over the row if it still is the version that it is believed to be; None, and nothing, if not."""
    known = transaction.saved.get(believed.id, believed)
    changed = change(known)
    if changed is known or not is_progress(known, changed):
        return None
    saved = replace(changed, version=transaction.change(known.id, quiet=quiet))
    if not transaction.connection.execute(_ADVANCE, (*to_progress(saved), known.id, known.version)).rowcount:
        return None
    transaction.saved[known.id] = saved
    return saved
