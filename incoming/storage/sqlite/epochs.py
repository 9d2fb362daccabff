"""The epochs of tickets as they are committed just now, for threads that hold a lock while they ask.

One connection for all threads of a process: the question takes some microseconds. Knows nothing of who asks and why.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from incoming.storage.sqlite.errors import DatabaseFaults
from incoming.storage.sqlite.schema import connect

QUERY = "SELECT coalesce(json_extract(rest, '$.epoch'), 0) FROM tickets WHERE id = ?"


class EpochReader:
    """Called with the ids of tickets. Blocks; may be called by any thread."""

    def __init__(self, path: Path, faults: DatabaseFaults) -> None:
        self._connection = connect(path)
        self._faults = faults
        self._lock = Lock()

    def __call__(self, ticket_ids: Sequence[str]) -> dict[str, int]:
        """Return the tickets' epochs, without those that there are no tickets of. Raises StorageFailed."""
        try:
            with self._lock:
                rows = {ticket_id: self._connection.execute(QUERY, (ticket_id,)).fetchone() for ticket_id in ticket_ids}
        except sqlite3.Error as error:
            raise self._faults.blame(error) from error
        return {ticket_id: int(row[0]) for ticket_id, row in rows.items() if row is not None}

    def close(self) -> None:
        with self._lock:
            self._connection.close()
