"""Notices what other processes change in the database, soon after they have.

Decides how often to look. SQLite tells nobody of a change, but `PRAGMA data_version` says for the price of a glance
into shared memory that there was one, and versions of tickets only grow: what is above the last one seen has changed.
"""

from __future__ import annotations

import sqlite3
import threading
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path

from incoming.storage.sqlite.errors import DatabaseFaults
from incoming.storage.sqlite.schema import connect

POLL_INTERVAL = 0.1
"""Seconds between two looks, which is how late a worker may learn of a cancellation made by another."""

DUE = "SELECT min(due_at) FROM tickets WHERE due_at IS NOT NULL"
NEWS = "SELECT version, id FROM tickets WHERE version > ? ORDER BY version"


class Watcher:
    """A thread with a connection of its own. `changed` is called on it with the ids of what others changed.

    `own` gives the versions of this process's transactions, as (from, to] in ascending order; those are not reported.
    `owed` is called on it when another callback is the first one due.
    """

    def __init__(
        self,
        path: Path,
        faults: DatabaseFaults,
        own: Iterable[tuple[int, int]],
        changed: Callable[[list[str]], None],
        owed: Callable[[], None],
    ) -> None:
        self._connection = connect(path)
        self._faults = faults
        self._own = own
        self._changed = changed
        self._owed = owed
        self._seen = self._version()
        self._due = self._connection.execute(DUE).fetchone()
        self._generation = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="incoming-sqlite-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop, and block until the thread has ended."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(POLL_INTERVAL):
            try:
                self._look()
            except sqlite3.Error as error:
                self._faults.blame(error)
        self._connection.close()

    def _look(self) -> None:
        # Asked first: what is committed between the two questions changes it again, and is not missed.
        generation: int = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if generation == self._generation:
            return
        rows = self._connection.execute(NEWS, (self._seen,)).fetchall()
        own = tuple(self._own)
        ends = [end for _, end in own]
        news = [ticket_id for version, ticket_id in rows if not _within(version, own, ends)]
        # A database put back from a backup has gone back in its versions, too.
        self._seen = rows[-1][0] if rows else min(self._seen, self._version())
        self._generation = generation
        if news:
            self._changed(news)
        due = self._connection.execute(DUE).fetchone()
        if due != self._due:
            self._due = due
            self._owed()

    def _version(self) -> int:
        return int(self._connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0])


def _within(version: int, own: tuple[tuple[int, int], ...], ends: list[int]) -> bool:
    index = bisect_left(ends, version)
    return index < len(own) and own[index][0] < version
