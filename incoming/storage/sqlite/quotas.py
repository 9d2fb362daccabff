"""The sums that quotas are compared with. The database's triggers keep them (schema.py), so each is one look-up."""

from __future__ import annotations

import sqlite3


def unfinished_of(connection: sqlite3.Connection, requested_by: str) -> int:
    """Return how many unfinished uploads the backend at this address has."""
    return _sum(connection, f"open/{requested_by}")


def reserved(connection: sqlite3.Connection) -> int:
    """Return the bytes of the quota that all uploads use together."""
    return _sum(connection, "bytes")


def _sum(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM sums WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])
