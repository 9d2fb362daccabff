"""Examines a database file. Decides what is a fault; changes nothing."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from incoming.storage.inspection import Fact, judged

CURE = "restore it; see 'The database is damaged' in doc/operations.md"


def inspect(path: Path) -> list[Fact]:
    """Return what was found of a database of this release."""
    try:
        with closing(sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True)) as connection:
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            (number,) = connection.execute("SELECT coalesce(sum(number), 0) FROM counts").fetchone()
    except sqlite3.DatabaseError as error:
        return [Fact(f"{path}: {error}", CURE)]
    return [
        Fact(f"{path} is of this release and keeps {number} tickets"),
        judged(f"SQLite's check of its structure says: {found}", CURE, is_good=found == "ok"),
    ]
