"""What workers note for operators, in three small tables of the ticket database (see OperatorStore).

Counts are added, not replaced, so that those of a worker that ends stay in the sum, which never goes back. Decides how
long what was noted is kept, and nothing about what it means.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from incoming.storage.operator_store import REPORT_KEPT_FOR, TRAFFIC_SLOT, TRAFFIC_SLOTS, Notes


def write(
    connection: sqlite3.Connection,
    worker: str,
    now: float,
    facts: str | None,
    counted: Mapping[str, float],
    traffic: int,
) -> None:
    """Write one worker's note, in the caller's transaction."""
    if facts is None:
        connection.execute("DELETE FROM workers WHERE name = ?", (worker,))
    else:
        connection.execute("INSERT OR REPLACE INTO workers VALUES (?, ?, ?)", (worker, now, facts))
        connection.execute("DELETE FROM workers WHERE noted_at < ?", (now - REPORT_KEPT_FOR,))
    connection.executemany(
        "INSERT INTO counted VALUES (?, ?) ON CONFLICT DO UPDATE SET value = value + excluded.value",
        list(counted.items()),
    )
    if traffic:
        slot = int(now // TRAFFIC_SLOT)
        connection.execute(
            "INSERT INTO traffic VALUES (?, ?) ON CONFLICT DO UPDATE SET bytes = bytes + excluded.bytes",
            (slot, traffic),
        )
        connection.execute("DELETE FROM traffic WHERE slot <= ?", (slot - TRAFFIC_SLOTS,))


def read(connection: sqlite3.Connection, since: float) -> Notes:
    """Return all notes, as of one moment."""
    connection.execute("BEGIN")
    try:
        return Notes(
            facts=dict(connection.execute("SELECT name, facts FROM workers WHERE noted_at >= ?", (since,)).fetchall()),
            counted=dict(connection.execute("SELECT name, value FROM counted").fetchall()),
            traffic=dict(connection.execute("SELECT slot, bytes FROM traffic").fetchall()),
        )
    finally:
        connection.execute("COMMIT")
