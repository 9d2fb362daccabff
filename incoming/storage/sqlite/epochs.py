"""The epoch of a ticket as it is committed just now, for threads that hold a lock while they ask.

One connection for all threads of a process: the question takes some microseconds. Knows nothing of who asks and why.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from threading import Lock

from incoming.storage.sqlite.errors import DatabaseFaults
from incoming.storage.sqlite.schema import connect

QUERY = "SELECT json_extract(rest, '$.epoch') FROM tickets WHERE id = ?"


class EpochReader:
    """Called with the id of a ticket. Blocks; may be called by any thread."""

    def __init__(self, path: Path, faults: DatabaseFaults) -> None:
        self._connection = connect(path)
        self._faults = faults
        self._lock = Lock()

    def __call__(self, ticket_id: str) -> int | None:
        """Return the ticket's epoch, None if there is no such ticket. Raises StorageFailed."""
        try:
            with self._lock:
                row = self._connection.execute(QUERY, (ticket_id,)).fetchone()
        except sqlite3.Error as error:
            raise self._faults.blame(error) from error
        return None if row is None else int(row[0] or 0)

    def close(self) -> None:
        with self._lock:
            self._connection.close()
