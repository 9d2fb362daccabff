"""Limits of all uploads together: bytes, and unfinished uploads of one backend.

A store checks them in the transaction that would exceed them, so that concurrent requests cannot. How it gets the sums
is its own matter.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from incoming.core.errors import FileTooLarge, StorageFull, TooBusy
from incoming.core.ticket import Identity, Ticket


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """`quota`: bytes that uploads may take together; `tickets`: unfinished uploads of one backend's address. 0 means
    none. `exact`: never more, also by those that ask at the same moment; otherwise a store may let these pass together.
    """

    quota: int = 0
    tickets: int = 0
    exact: bool = True

    def check_created(self, ticket: Ticket, unfinished: int, reserved: int) -> None:
        """Raise unless there may be this new ticket.

        It counts already: `unfinished` are the tickets of its backend, `reserved` the bytes of all uploads. Raises
        TooBusy, or like `check_saved` if the file's size is known already.
        """
        self.check_saved(replace(ticket, identity=Identity()), ticket, reserved)
        if self.tickets and unfinished > self.tickets:
            raise TooBusy(f"{ticket.options.requested_by} has {self.tickets} unfinished uploads, which is the limit")

    def check_saved(self, before: Ticket, after: Ticket, reserved: int) -> None:
        """Raise unless the change is within the quota: FileTooLarge if it never will be, StorageFull if it may be."""
        wanted = after.reserved
        if not self.quota or wanted <= before.reserved:
            return
        if (whole := max(wanted, after.size or 0)) > self.quota:
            raise FileTooLarge(f"the file has {whole} bytes, all files together may have {self.quota}")
        if reserved > self.quota:
            raise StorageFull(
                f"no room for {wanted} bytes now: all unfinished uploads together may have {self.quota} bytes"
            )


NO_LIMITS = StoreLimits()
