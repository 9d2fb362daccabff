"""What SQLite's errors mean: a full disk or a failed one. Knows result codes, and nothing of what was being done."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from incoming.core.errors import StorageFailed, StorageFull
from incoming.storage.fault_log import RateLimitedLog

NEARLY_FULL = 1024 * 1024
"""Free bytes below which an I/O error means a full disk: that is how SQLite reports one for its shared memory file."""


class DatabaseFaults:
    """Turns errors of one database into those of the tree, for the client without a path, for the operator with it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = RateLimitedLog()

    def blame(self, error: BaseException) -> StorageFull | StorageFailed:
        """Return the error for the caller and log the details."""
        name = getattr(error, "sqlite_errorname", "no code")
        self._log.report(name, "ticket database %s: %s (%s)", self._path, error, name)
        code = result_code(error)
        if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and self._nearly_full()):
            return StorageFull("no space is left for the ticket database of the server")
        return StorageFailed(f"the ticket database of the server reported an error ({error})")

    def damaged(self, ticket_id: str) -> None:
        """Log which record cannot be read, and return the error for the caller."""
        self._log.report(("damaged", ticket_id), "ticket database %s: the record of upload %s... is damaged",
                         self._path, ticket_id[:8])  # fmt: skip

    def _nearly_full(self) -> bool:
        try:
            facts = os.statvfs(self._path)
        except OSError:
            return False
        return facts.f_bavail * facts.f_frsize < NEARLY_FULL


def result_code(error: BaseException) -> int:
    """Return SQLite's result code without the extension in the upper bits; 0 for errors of other origin."""
    code: int = getattr(error, "sqlite_errorcode", 0)
    return code & 0xFF
