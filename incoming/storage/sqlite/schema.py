"""The database file: how it is opened, its tables, and how a file of an earlier release becomes one of this release.

Decides which settings every connection has and which indexes keep a million tombstones from slowing anything. It does
not know what a ticket means.
"""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from incoming.core.errors import StorageFailed
from incoming.platform.files import sync_directory
from incoming.storage.sqlite.errors import result_code

T = TypeVar("T")

THIS_HOST = "here"
"""The name of the host whose processes share the database, as long as there is only one."""

MOVED = "moved"
"""The key in `meta` of where all tickets were copied to."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        # What there is one of: 'version' (the last one given to a ticket), 'checked' (how often the database was proved
        # writable), 'boot/' and a host (the id of its last boot).
        "CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('version', 0), ('boot', ''), ('checked', 0)",
        """CREATE TABLE tickets (
            id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, state TEXT NOT NULL, active_at REAL NOT NULL,
            state_since REAL NOT NULL, due_at REAL, extents BLOB NOT NULL, synced BLOB NOT NULL, terms TEXT NOT NULL,
            rest TEXT NOT NULL)""",
        # What changed since? Asked ten times a second by every worker, answered from the index alone.
        "CREATE INDEX tickets_version ON tickets (version, id)",
        "CREATE INDEX tickets_active ON tickets (state, active_at)",
        "CREATE INDEX tickets_since ON tickets (state, state_since)",
        "CREATE INDEX tickets_due ON tickets (due_at) WHERE due_at IS NOT NULL",
        # Counting a million rows for every look at the metrics would be slow; triggers cannot forget to count one.
        "CREATE TABLE counts (state TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID",
        """CREATE TRIGGER count_new AFTER INSERT ON tickets BEGIN
            INSERT INTO counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET number = number + 1; END""",
        """CREATE TRIGGER count_gone AFTER DELETE ON tickets BEGIN
            UPDATE counts SET number = number - 1 WHERE state = old.state; END""",
        """CREATE TRIGGER count_moved AFTER UPDATE OF state ON tickets WHEN old.state IS NOT new.state BEGIN
            UPDATE counts SET number = number - 1 WHERE state = old.state;
            INSERT INTO counts VALUES (new.state, 1) ON CONFLICT DO UPDATE SET number = number + 1; END""",
    ),
    (
        # What operators see of all workers together; see OperatorStore in storage/base.py.
        "CREATE TABLE workers (name TEXT PRIMARY KEY, noted_at REAL NOT NULL, facts TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE counted (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID",
        "CREATE TABLE traffic (slot INTEGER PRIMARY KEY, bytes INTEGER NOT NULL)",
        """CREATE TRIGGER entered_new AFTER INSERT ON tickets BEGIN
            INSERT INTO counted VALUES ('entered/' || new.state, 1) ON CONFLICT DO UPDATE SET value = value + 1; END""",
        """CREATE TRIGGER entered AFTER UPDATE OF state ON tickets WHEN old.state IS NOT new.state BEGIN
            INSERT INTO counted VALUES ('entered/' || new.state, 1) ON CONFLICT DO UPDATE SET value = value + 1; END""",
    ),
    (
        # How much all uploads together take (sqlite_limits.py): 'bytes', and 'open/' and a backend's address for its
        # unfinished ones.
        "ALTER TABLE tickets ADD COLUMN reserved INTEGER NOT NULL DEFAULT 0",
        "ALTER TABLE tickets ADD COLUMN requested_by TEXT NOT NULL DEFAULT ''",
        """UPDATE tickets SET reserved = coalesce(json_extract(rest, '$.identity.size'), 0)
            WHERE state NOT IN ('finished', 'cancelled', 'failed') AND json_valid(rest)""",
        """UPDATE tickets SET requested_by = coalesce(json_extract(terms, '$.requested_by'), '')
            WHERE json_valid(terms)""",
        "CREATE TABLE sums (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "INSERT INTO sums SELECT 'bytes', coalesce(sum(reserved), 0) FROM tickets",
        """INSERT INTO sums SELECT 'open/' || requested_by, count(*) FROM tickets
            WHERE state NOT IN ('finished', 'cancelled', 'failed') GROUP BY requested_by""",
        """CREATE TRIGGER reserved_new AFTER INSERT ON tickets WHEN new.reserved != 0 BEGIN
            UPDATE sums SET value = value + new.reserved WHERE name = 'bytes'; END""",
        """CREATE TRIGGER reserved_gone AFTER DELETE ON tickets WHEN old.reserved != 0 BEGIN
            UPDATE sums SET value = value - old.reserved WHERE name = 'bytes'; END""",
        """CREATE TRIGGER reserved_changed AFTER UPDATE OF reserved ON tickets WHEN old.reserved != new.reserved BEGIN
            UPDATE sums SET value = value + new.reserved - old.reserved WHERE name = 'bytes'; END""",
        """CREATE TRIGGER open_new AFTER INSERT ON tickets
            WHEN new.state NOT IN ('finished', 'cancelled', 'failed') BEGIN
            INSERT INTO sums VALUES ('open/' || new.requested_by, 1)
            ON CONFLICT DO UPDATE SET value = value + 1; END""",
        """CREATE TRIGGER open_gone AFTER DELETE ON tickets
            WHEN old.state NOT IN ('finished', 'cancelled', 'failed') BEGIN
            UPDATE sums SET value = value - 1 WHERE name = 'open/' || old.requested_by; END""",
        """CREATE TRIGGER open_ended AFTER UPDATE OF state ON tickets
            WHEN old.state NOT IN ('finished', 'cancelled', 'failed')
            AND new.state IN ('finished', 'cancelled', 'failed') BEGIN
            UPDATE sums SET value = value - 1 WHERE name = 'open/' || old.requested_by;
            DELETE FROM sums WHERE name = 'open/' || old.requested_by AND value <= 0; END""",
        """CREATE TRIGGER open_again AFTER UPDATE OF state ON tickets
            WHEN old.state IN ('finished', 'cancelled', 'failed')
            AND new.state NOT IN ('finished', 'cancelled', 'failed') BEGIN
            INSERT INTO sums VALUES ('open/' || new.requested_by, 1)
            ON CONFLICT DO UPDATE SET value = value + 1; END""",
    ),
    (
        # On which hosts bytes were written that are not synced (tickets.py). Rows without a note may be of any host.
        "ALTER TABLE tickets ADD COLUMN written_by TEXT NOT NULL DEFAULT ''",
        "UPDATE meta SET key = 'boot/here' WHERE key = 'boot'",
    ),
    (
        # What belongs to a ticket and is not written again with each of its changes.
        """CREATE TABLE records (ticket_id TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
            PRIMARY KEY (ticket_id, name)) WITHOUT ROWID""",
        """CREATE TRIGGER records_gone AFTER DELETE ON tickets BEGIN
            DELETE FROM records WHERE ticket_id = old.id; END""",
    ),
)
"""One tuple of statements for each release that changed something, never edited later; user_version counts them."""

BUSY_TIMEOUT = 60.0
"""Seconds to wait for another process's transaction: milliseconds as a rule, more for the first one after a boot."""


def open_database(path: Path, mode: int) -> None:
    """Create the file if there is none and upgrade its schema; several processes may do so at once.

    Raises OSError if it cannot be made, StorageFailed if it is no database or one of a later release.
    """
    new = not path.exists()
    # SQLite gives its side files (-wal, -shm) the mode of the main one.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode))
    if new:
        path.chmod(mode)
        sync_directory(path.parent)
    connection: sqlite3.Connection | None = None
    try:
        connection = connect(path)
        _migrate(connection)
        moved = connection.execute("SELECT value FROM meta WHERE key = ?", (MOVED,)).fetchone()
        if moved is not None:
            raise StorageFailed(f"the tickets were copied to {moved[0]}: set `database`; see doc/scaling.md to go back")
    except sqlite3.DatabaseError as error:
        raise StorageFailed(f"the ticket database cannot be opened ({error})") from error
    finally:
        if connection is not None:
            connection.close()


def version_of(path: Path) -> int:
    """Return how many of MIGRATIONS were applied to the existing database; change nothing. Raises StorageFailed."""
    try:
        connection = sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True, timeout=BUSY_TIMEOUT)
        try:
            return int(connection.execute("PRAGMA user_version").fetchone()[0])
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        raise StorageFailed(f"the ticket database cannot be opened ({error})") from error


def connect(path: Path) -> sqlite3.Connection:
    """Open a connection that one thread at a time may use; transactions are begun and ended explicitly."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False)
    try:
        # Turning it on once takes an exclusive lock, for which SQLite does not wait by itself.
        retry_while_busy(lambda: connection.execute("PRAGMA journal_mode = WAL").fetchall())
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        connection.execute("PRAGMA temp_store = MEMORY")
        # On macOS a sync of SQLite ends in the cache of the drive without these; elsewhere they change nothing.
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def retry_while_busy(attempt: Callable[[], T], timeout: float = BUSY_TIMEOUT) -> T:
    """Return what `attempt` returns, retried for `timeout` seconds while another process holds the database."""
    deadline = time.monotonic() + timeout
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            busy = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
            if result_code(error) not in busy or time.monotonic() > deadline:
                raise
        # SQLite's own waiting grows to 100 ms and lets newcomers past; short, random pauses get a turn sooner.
        time.sleep(random.uniform(0.0005, 0.005))


def _migrate(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > len(MIGRATIONS):
            raise StorageFailed(
                f"the ticket database has version {found}, this release knows up to {len(MIGRATIONS)}: "
                "run the release that it was used with last, or a later one"
            )
        for statements in MIGRATIONS[found:]:
            for statement in statements:
                connection.execute(statement)
        if found < len(MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
