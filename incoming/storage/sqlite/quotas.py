"""How much all uploads together may take: decided in the transaction that would take it, so that none slip by together.

Decides what is too much. The database's triggers keep the sums (sqlite_schema.py), so asking costs one look-up.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, replace

from incoming.core.errors import FileTooLarge, StorageFull, TooBusy
from incoming.core.ticket import Identity, Ticket


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """`quota`: bytes that uploads may take together; `tickets`: unfinished uploads of one backend's address. 0 means
    none.
    """

    quota: int = 0
    tickets: int = 0

    def check_created(self, connection: sqlite3.Connection, ticket: Ticket) -> None:
        """To be asked when the ticket is in the database and not yet committed. Raises TooBusy, or like
        `check_saved` if the file's size is known already.
        """
        self.check_saved(connection, replace(ticket, identity=Identity()), ticket)
        if self.tickets and _sum(connection, f"open/{ticket.options.requested_by}") > self.tickets:
            raise TooBusy(f"{ticket.options.requested_by} has {self.tickets} unfinished uploads, which is the limit")

    def check_saved(self, connection: sqlite3.Connection, before: Ticket, after: Ticket) -> None:
        """The same for a change. Raises FileTooLarge for what can never be taken, StorageFull for what can later."""
        wanted = after.reserved
        if not self.quota or wanted <= before.reserved:
            return
        if (whole := max(wanted, after.size or 0)) > self.quota:
            raise FileTooLarge(f"the file has {whole} bytes, all files together may have {self.quota}")
        if _sum(connection, "bytes") > self.quota:
            raise StorageFull(
                f"no room for {wanted} bytes now: all unfinished uploads together may have {self.quota} bytes"
            )


def _sum(connection: sqlite3.Connection, name: str) -> int:
    row = connection.execute("SELECT value FROM sums WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])
