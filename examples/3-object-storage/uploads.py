"""The uploads that the app has given tickets for, in a database: a callback may come after the app was restarted."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLE = """
CREATE TABLE IF NOT EXISTS upload (
    id TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    name TEXT,
    size INTEGER,
    key TEXT,
    arrived_at REAL
)"""

MOST_SHOWN = 100


@dataclass(frozen=True)
class Upload:
    """One that is complete: the server's id for it, the file's name and length, and the object's key."""

    id: str
    name: str
    size: int
    key: str


class Uploads:
    """For many threads at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._database() as database:
            database.execute(_TABLE)

    def add(self, upload_id: str, secret: str) -> None:
        """Remember a new ticket."""
        with self._database() as database:
            database.execute("INSERT INTO upload (id, secret) VALUES (?, ?)", (upload_id, secret))

    def secret_of(self, upload_id: str) -> str | None:
        """Return the secret of a ticket, if there is one."""
        with self._database() as database:
            found = database.execute("SELECT secret FROM upload WHERE id = ?", (upload_id,)).fetchone()
        return found[0] if found else None

    def note(self, upload: Upload) -> None:
        """Note that the object is there; a second time changes nothing."""
        values = (upload.name, upload.size, upload.key, time.time(), upload.id)
        with self._database() as database:
            database.execute(
                "UPDATE upload SET name = ?, size = ?, key = ?, arrived_at = ? WHERE id = ? AND key IS NULL", values
            )

    def find(self, upload_id: str) -> Upload | None:
        """Return the complete upload with that id, if there is one."""
        found = self._select("id = ?", upload_id)
        return found[0] if found else None

    def arrived(self) -> list[Upload]:
        """Return the latest complete uploads, the last one first."""
        return self._select("1")

    def _select(self, condition: str, *values: str) -> list[Upload]:
        query = f"SELECT id, name, size, key FROM upload WHERE key IS NOT NULL AND {condition} ORDER BY arrived_at DESC"
        with self._database() as database:
            return [Upload(*row) for row in database.execute(f"{query} LIMIT {MOST_SHOWN}", values)]

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """One transaction; no other one writes meanwhile."""
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as database, database:
            database.execute("BEGIN IMMEDIATE")
            yield database
