"""The upload tickets that an app has asked for, in a database: a callback may come after the app was restarted.

Decides which name belongs to which upload, and how long a ticket is remembered after its end.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

# The Incoming!! server repeats a callback whose answer it did not get, for a day unless its options say otherwise.
REMEMBERED_S = 7 * 24 * 60 * 60

_TABLE = """
CREATE TABLE IF NOT EXISTS ticket (
    id TEXT PRIMARY KEY,
    secret TEXT NOT NULL,
    filename TEXT NOT NULL,
    arrived TEXT,
    name TEXT,
    answer TEXT,
    closed_at REAL
)"""


@dataclass(frozen=True)
class Ticket:
    """One upload: the server's id for it, our secret, and what has become of it so far."""

    id: str
    secret: str
    filename: str = ""
    """What the browser calls the file, if it was asked before the upload."""
    arrived: str | None = None
    """Where the server keeps the file that has arrived."""
    name: str | None = None
    """The name that the file has in our folder, or will have."""
    answer: str | None = None
    """The answer to the server's callback."""


class Tickets:
    """Tickets by id, for many threads and processes at once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._database() as database:
            database.execute(_TABLE)

    def add(self, ticket: Ticket) -> None:
        """Remember a new ticket, and forget those that were closed long ago."""
        with self._database() as database:
            database.execute("DELETE FROM ticket WHERE closed_at < ?", (time.time() - REMEMBERED_S,))
            values = (ticket.id, ticket.secret, ticket.filename)
            database.execute("INSERT INTO ticket (id, secret, filename) VALUES (?, ?, ?)", values)

    def find(self, upload_id: str) -> Ticket | None:
        """Return the ticket with that id, if there is one."""
        found = self._select("id = ?", upload_id)
        return found[0] if found else None

    def secret_of(self, upload_id: str) -> str | None:
        """Return the secret of the ticket with that id, if there is one."""
        ticket = self.find(upload_id)
        return ticket.secret if ticket else None

    def waiting(self) -> list[Ticket]:
        """Return the tickets about which the server was told "wait" and nothing since."""
        return self._select("answer = ?", "wait")

    def reserve_name(self, ticket: Ticket, names: Iterable[str]) -> str:
        """Return the name for the ticket's file: the first of `names` that no other upload under way has.

        It is noted before the file is moved. So whatever happens meanwhile, the next call finds the same name.
        """
        with self._database() as database:
            (name,) = database.execute("SELECT name FROM ticket WHERE id = ?", (ticket.id,)).fetchone()
            if name is None:
                reserved = database.execute("SELECT name FROM ticket WHERE closed_at IS NULL").fetchall()
                name = next(name for name in names if (name,) not in reserved)
                database.execute("UPDATE ticket SET name = ? WHERE id = ?", (name, ticket.id))
            return str(name)

    def begin_work(self, ticket: Ticket, arrived: Path) -> bool:
        """Note that the server is told "wait". Returns False if another call has done so before."""
        with self._database() as database:
            change = "UPDATE ticket SET answer = 'wait', arrived = ? WHERE id = ? AND answer IS NULL"
            return database.execute(change, (str(arrived), ticket.id)).rowcount == 1

    def close(self, ticket: Ticket, answer: str) -> None:
        """Nothing more is expected about it, except the same callback once more; that gets this answer."""
        with self._database() as database:
            change = "UPDATE ticket SET answer = ?, closed_at = ? WHERE id = ?"
            database.execute(change, (answer, time.time(), ticket.id))

    def _select(self, condition: str, value: str) -> list[Ticket]:
        columns = "id, secret, filename, arrived, name, answer"
        with self._database() as database:
            return [
                Ticket(*row) for row in database.execute(f"SELECT {columns} FROM ticket WHERE {condition}", (value,))
            ]

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        """One transaction; no other one writes meanwhile."""
        with closing(sqlite3.connect(self._path, timeout=30, isolation_level=None)) as database, database:
            database.execute("BEGIN IMMEDIATE")
            yield database
