"""What the janitors of all workers note in the database: how far they have swept, and when a server ran."""

from __future__ import annotations

import sqlite3

from incoming.core.service_time import ServiceTime
from incoming.core.ticket import State


def swept(connection: sqlite3.Connection, state: State) -> float | None:
    """Return what `note_swept` noted last for this state."""
    value = _get(connection, f"swept/{state}")
    return None if value is None else float(str(value))


def note_swept(connection: sqlite3.Connection, state: State, until: float) -> None:
    _set(connection, f"swept/{state}", until)


def note_service(connection: sqlite3.Connection, now: float) -> ServiceTime:
    """Add `now` to the service time and return it; without a note, or with a damaged one, service begins now."""
    try:
        known = ServiceTime.from_text(str(_get(connection, "service")))
    except (ValueError, TypeError):
        known = ServiceTime(now)
    noted = known.noted(now)
    _set(connection, "service", noted.to_text())
    return noted


def _get(connection: sqlite3.Connection, key: str) -> object:
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return None if row is None else row[0]


def _set(connection: sqlite3.Connection, key: str, value: object) -> None:
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))
