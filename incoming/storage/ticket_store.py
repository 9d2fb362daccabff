"""TicketStore: the Protocol of stores for tickets.

Each method states its guarantees. Nothing here knows a database. All methods are called on the event loop and never
block it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import State, Ticket

Change = Callable[[Ticket], Ticket]
Records = Callable[[Ticket], Mapping[str, str | None]]
"""Maps the changed ticket to the records to write with it, by name; None removes one."""


class TicketStore(Protocol):
    """Store for tickets. Raises StorageFull, StorageFailed or, once closed, ServerShutdown; nothing is changed then."""

    @property
    def clock(self) -> StoreClock:
        """The clock of all times in tickets: the same in all processes that share the store."""
        ...

    async def create(self, *tickets: Ticket) -> None:
        """Add tickets, all or none; they survive a power cut when this returns.

        Raises TooBusy when their backend has too many.
        """
        ...

    async def get(self, ticket_id: str) -> Ticket | None:
        """Return the ticket as last committed by any worker; None if there is none."""
        ...

    async def update(
        self,
        ticket_id: str,
        change: Change,
        *,
        durable: bool = True,
        quiet: bool = False,
        patient: bool = False,
        believed: Ticket | None = None,
        records: Records | None = None,
    ) -> Ticket:
        """Read, change and write one ticket in one transaction, and return it as committed.

        `change` is pure and runs on another thread. What it raises is raised here, and nothing is changed; nor is it
        when `change` returns its argument. Concurrent updates are committed together. A `durable` one survives a power
        cut when this returns, any other the death of every process. The store increments the ticket's `version` with
        every change. Raises UnknownTicket; and FileTooLarge or StorageFull when the ticket would exceed the quota of
        all uploads, which is checked in the same transaction.

        A `quiet` update does not notify the listeners of this process. Those of other processes are notified, but need
        not be when an upload only has more bytes.
        A `patient` update may be delayed by some milliseconds, to be committed together with others. `believed` is the
        newest version of the ticket that the caller got from this store; if it still is, the ticket need not be read.

        `records` belong to the ticket and are too large to be rewritten by every commit, such as the receipts of an
        object store. They are written in the same transaction, if the ticket changes; the function is pure.
        """
        ...

    async def records(self, ticket_id: str) -> dict[str, str]:
        """Return the records that belong to a ticket, by name, in the order of the names; none for an unknown one."""
        ...

    async def claim(self, lease: float, limit: int, horizon: float) -> list[Ticket]:
        """Take up to `limit` callbacks that are due, for `lease` seconds each, and return their tickets.

        Two workers never get the same one: the callback's `due_at` becomes the end of the lease. A callback that is due
        more than `horizon` seconds after that counts as due: the clock was set back.
        """
        ...

    async def next_due(self) -> float | None:
        """Return when the next callback is due, by the store's clock; None if none is pending."""
        ...

    async def find(
        self,
        states: Sequence[State] = (),
        *,
        idle_since: float | None = None,
        state_before: float | None = None,
        after: float | None = None,
        limit: int = 1000,
    ) -> list[Ticket]:
        """Return tickets in these states (all if empty), last active or changed before the given times, oldest first.

        They are ordered by `state_since` when `state_before` is given, otherwise by `active_at`; `after` skips those
        with an earlier time, so that they can be read in batches.
        """
        ...

    async def counts(self) -> dict[State, int]:
        """Return the number of tickets in each state."""
        ...

    async def forget(self, ticket_id: str) -> None:
        """Remove a tombstone for good, with its records."""
        ...

    async def swept(self, state: State) -> float | None:
        """Return what any process passed to `note_swept` last for this state; None before the first call."""
        ...

    async def note_swept(self, state: State, until: float) -> None:
        """Record that the files of all tickets that entered `state` before `until` have been cleaned up."""
        ...

    async def note_service(self) -> ServiceTime:
        """Note that a server runs now; return the service time so far, of all workers and their predecessors."""
        ...

    def watch(self, listener: Callable[[str], None]) -> None:
        """Call `listener` on the event loop with the id of every ticket that any process changes, soon after."""
        ...

    def watch_outbox(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop soon after any process has added, moved or claimed a callback.

        Progress of uploads is no such change.
        """
        ...

    # --- shared by several instances ----------------------------------------------------------------------------------

    async def lease(self, name: str, seconds: float) -> bool:
        """Take or renew the lease `name` for this store; return False while another store holds it.

        It ends after `seconds` by the store's clock, which are the same for all that ask for this name; 0 gives it back
        at once. A lease that lasts for more than twice as long was taken before the clock was set back, and is free;
        one that lasts a little longer was taken by a process whose reading of the clock is a little later.
        """
        ...

    async def unfinished_here(self, after: str = "", limit: int = 100) -> list[Ticket]:
        """Return unfinished uploads with bytes that this instance wrote last, ordered by id, from behind `after` on.

        A store used by a single machine returns those of all its processes.
        """
        ...

    async def adopt(self, silent: float, limit: int = 100) -> list[Ticket]:
        """Take over, and return, unfinished uploads whose last writer is an instance without a report (see
        `OperatorStore.note`) for `silent` seconds. This instance counts as their last writer then.
        """
        ...

    # --- the store itself ---------------------------------------------------------------------------------------------

    async def distrust_after_boot(self, boot_id: str) -> int:
        """If this host has booted since the last call, reduce the unfinished uploads that were written on it to their
        synced extents; return how many tickets were changed.

        The store records with each ticket on which hosts unsynced bytes were written: a reboot of this host loses only
        its own page cache. Only the first worker after a boot changes anything.
        """
        ...

    async def check(self) -> None:
        """Raise unless the store responds and can be written to."""
        ...

    async def close(self) -> None:
        """Commit what is pending, and close."""
        ...
