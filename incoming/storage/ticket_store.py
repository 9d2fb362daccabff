"""TicketStore: the Protocol of everything that keeps tickets.

Each method says who must guarantee what. Nothing here knows a database. All methods may be called from the event loop
and never block it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import State, Ticket

Change = Callable[[Ticket], Ticket]
Records = Callable[[Ticket], Mapping[str, str | None]]
"""From the ticket as it will be, which records of it are to be written, by name; None removes one."""


class TicketStore(Protocol):
    """Keeps the tickets. Raises StorageFull, StorageFailed or, once closed, ServerShutdown; nothing is changed then."""

    @property
    def clock(self) -> StoreClock:
        """The clock by which tickets live: that of all processes which share the store, however wrong their own is."""
        ...

    async def create(self, *tickets: Ticket) -> None:
        """Adds tickets, all or none; they survive a power cut when this returns.

        Raises TooBusy when their backend has too many.
        """
        ...

    async def get(self, ticket_id: str) -> Ticket | None:
        """The ticket as last committed by any worker."""
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
        """Reads, changes and writes one ticket in one transaction, and returns it as it now is.

        `change` is pure and runs on another thread; what it raises is raised here and nothing is changed; returning the
        ticket it was given changes nothing. Updates that are under way together are committed together. A `durable` one
        survives a power cut when this returns, any one the death of every process. The store raises the ticket's
        `version` with every change. Raises UnknownTicket; and FileTooLarge or StorageFull when the ticket would reserve
        more than all together may, which is decided in the same transaction.

        A `quiet` one is not told to the listeners of this process, whose caller knows of it. Those of other processes
        are told, except that more bytes of an upload need be no news to anybody.
        A `patient` one may wait for some milliseconds, so that it is committed together with others. `believed` is the
        newest version of the ticket that the caller got from this store; if it still is, the ticket need not be read.

        `records` are what belongs to the ticket and is too much for every commit to write again, such as the receipts
        of an object store. They are written in the same transaction, if the ticket changes; pure like `change`.
        """
        ...

    async def records(self, ticket_id: str) -> dict[str, str]:
        """Return the records that belong to a ticket, by name, in the order of the names; none for an unknown one."""
        ...

    async def claim(self, lease: float, limit: int, horizon: float) -> list[Ticket]:
        """Take up to `limit` callbacks that are due, for `lease` seconds each, and return their tickets.

        Two workers never get the same one: until the lease ends, which is the callback's `due_at` then, it is not due.
        A callback that is due more than `horizon` seconds after that counts as due: the clock was set back.
        """
        ...

    async def next_due(self) -> float | None:
        """When the next callback is due, by the store's clock; None when none is owed."""
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
        """Tickets in these states (all if empty), last active or changed before the given times, oldest first.

        The order is that of `state_since` when `state_before` is given, of `active_at` otherwise; `after` leaves out
        those in which that is earlier, so that many can be had batch by batch.
        """
        ...

    async def counts(self) -> dict[State, int]:
        """How many tickets are in each state."""
        ...

    async def forget(self, ticket_id: str) -> None:
        """Removes a tombstone for good, with the records that belong to it."""
        ...

    async def swept(self, state: State) -> float | None:
        """What `note_swept` noted last for this state, whichever process did; None before."""
        ...

    async def note_swept(self, state: State, until: float) -> None:
        """Of tickets that entered `state` before `until`, all has been cleared up that was to be."""
        ...

    async def note_service(self) -> ServiceTime:
        """Note that a server runs now; return the service time so far, of all workers and their predecessors."""
        ...

    def watch(self, listener: Callable[[str], None]) -> None:
        """Calls `listener` on the event loop with the id of every ticket that any process changes, soon after."""
        ...

    def watch_outbox(self, listener: Callable[[], None]) -> None:
        """Call `listener` on the event loop soon after any process has added, moved or claimed a callback.

        Progress of uploads is no such change.
        """
        ...

    # --- what several instances share out -----------------------------------------------------------------------------

    async def lease(self, name: str, seconds: float) -> bool:
        """Take or renew the lease `name` for this store; return False while another store holds it.

        It ends after `seconds` by the store's clock, which are the same for all that ask for this name; 0 gives it back
        at once.
        """
        ...

    async def unfinished_here(self, after: str = "", limit: int = 100) -> list[Ticket]:
        """Return uploads of which bytes have come and which this instance wrote to last, by id, those behind `after`.

        A store that one machine uses alone returns those of all its processes.
        """
        ...

    async def adopt(self, silent: float, limit: int = 100) -> list[Ticket]:
        """Return uploads of which bytes have come, and whose last writer is an instance that reported nothing (see
        `OperatorStore.note`) for `silent` seconds. From now on this instance counts as their last writer.
        """
        ...

    # --- the store itself ---------------------------------------------------------------------------------------------

    async def distrust_after_boot(self, boot_id: str) -> int:
        """If this host has booted since the last call, let the unfinished uploads that were written on it believe only
        their synced extents; return how many tickets were changed.

        The store notes with each ticket on which hosts bytes were written that are not synced: the page cache of other
        hosts is none of this host's. Only the first worker after a boot does anything.
        """
        ...

    async def check(self) -> None:
        """Proves that the store answers and can be written to."""
        ...

    async def close(self) -> None:
        """Commits what is under way and lets go."""
        ...
