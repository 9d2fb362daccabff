"""Ticket databases as earlier releases left them: their statements, and a row as they wrote it."""

import json
import sqlite3
import struct
import time
from pathlib import Path

from incoming.storage.sqlite.schema import MIGRATIONS


def old_database(directory: Path, version: int, ticket_id: str, content: bytes, size: int, url: str) -> None:
    """Make a storage directory with a database of that schema version, in which `content`, the beginning of a file of
    `size` bytes, has arrived and is synced.
    """
    part = directory / ticket_id[:2] / f"{ticket_id}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    database = sqlite3.connect(directory / "incoming.sqlite")
    for statements in MIGRATIONS[:version]:
        for statement in statements:
            database.execute(statement)
    database.execute(f"PRAGMA user_version = {version}")
    now = time.time()
    extents = struct.pack("<QQ", 0, len(content))
    terms = {"signal_finish_url": url, "backend_secret": "s", "requested_by": "127.0.0.1"}
    rest = {
        "created_at": now,
        "paused": False,
        "epoch": 0,
        "session": "",
        "path": "",
        "reason": "",
        "error_code": 0,
        "identity": {"name": "old.bin", "size": size, "last_modified": None, "fingerprint": None},
        "callback": None,
    }
    columns = "id, version, state, active_at, state_since, due_at, extents, synced, terms, rest"
    values = (ticket_id, 1, "uploading", now, now, None, extents, extents, json.dumps(terms), json.dumps(rest))
    database.execute(f"INSERT INTO tickets ({columns}) VALUES ({', '.join('?' * len(values))})", values)
    database.execute("UPDATE meta SET value = 1 WHERE key = 'version'")
    database.commit()
    database.close()
