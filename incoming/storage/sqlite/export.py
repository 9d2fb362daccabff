"""Reads all that a SQLite database keeps, and marks it as moved, so that no server starts on it by mistake."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from incoming.core.errors import StorageFailed
from incoming.storage.contents import THIS_HOST, Contents
from incoming.storage.sqlite.host_lock import HostLock
from incoming.storage.sqlite.schema import MOVED, connect, open_database
from incoming.storage.sqlite.schema import THIS_HOST as HERE
from incoming.storage.ticket_row import COLUMNS

BATCH = 2000
_TICKETS = f"SELECT {', '.join(COLUMNS)}, replace(written_by, '<{HERE}>', '{THIS_HOST}') FROM tickets"  # noqa: S608 - constants


@contextmanager
def exported(path: Path, mode: int) -> Iterator[tuple[Contents, Callable[[str], None]]]:
    """Yield the contents of a database that no other process uses, and what marks it as moved to another place.

    An older database is upgraded first. Raises StorageFailed, also while a server runs.
    """
    if not path.is_file():
        raise StorageFailed(f"there is no ticket database {path}")
    lock = HostLock(path)
    lock.acquire()
    try:
        lock.be_alone()
        open_database(path, mode)
        with closing(connect(path)) as connection:
            yield _contents(connection), partial(_mark_moved, connection)
    finally:
        lock.release()


def _mark_moved(connection: sqlite3.Connection, where: str) -> None:
    """Mark the database so that no server uses it any more."""
    connection.execute("PRAGMA synchronous = FULL")
    text = f"{where} on {time.strftime('%Y-%m-%d %H:%M')}"
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (MOVED, text))


def _contents(connection: sqlite3.Connection) -> Contents:
    def read(query: str) -> list[tuple[Any, ...]]:
        return connection.execute(query).fetchall()

    meta = {str(key): str(value) for key, value in read("SELECT key, value FROM meta")}
    return Contents(
        tickets=_batches(connection),
        records=read("SELECT ticket_id, name, value FROM records"),
        noted={key: value for key, value in meta.items() if key == "service" or key.startswith("swept/")},
        boot=meta.get(f"boot/{HERE}", ""),
        counted=dict(read("SELECT name, value FROM counted")),
        traffic=dict(read("SELECT slot, bytes FROM traffic")),
    )


def _batches(connection: sqlite3.Connection) -> Iterator[Sequence[Sequence[Any]]]:
    cursor = connection.execute(_TICKETS)
    while batch := cursor.fetchmany(BATCH):
        yield batch
