"""The two Protocols behind which the outside systems hide: where bytes are kept and where tickets are kept.

Each method says who must guarantee what. Nothing here knows a file system, a database or a transport. All methods may
be called from the event loop and never block it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from incoming.core.extents import Extents, Range
from incoming.core.ticket import Callback, State, Ticket

Buffer = bytes | memoryview


class ByteStore(Protocol):
    """Keeps the bytes of uploads. Raises StorageFull when there is no room, StorageFailed for any other fault and
    ServerShutdown once it is closed.
    """

    @property
    def grain(self) -> int:
        """The alignment, in bytes, of what can be stored on its own: 1 for files, the part size for an object store."""
        ...

    async def write(self, ticket_id: str, pieces: Sequence[tuple[int, Buffer]]) -> list[Range]:
        """Stores (offset, bytes) pieces; returns the ranges that now survive the death of this process.

        Creates what is needed at the first write. The caller sees to it that writes of one upload come one after the
        other and never touch bytes acked before. Raises AlreadyComplete when the file was completed meanwhile, by
        whichever process: from then on it is never touched.
        """
        ...

    async def sync(self, ticket_id: str) -> None:
        """After this, all that was written before survives a power cut. When it raises, nothing since the last success
        does.
        """
        ...

    async def present(self, ticket_id: str) -> int | None:
        """How many bytes at most the partial file can hold (its length), None when there is none."""
        ...

    async def complete(self, ticket_id: str, size: int) -> str:
        """Makes the whole file durable under its final name and returns that absolute path. May be called again at any
        point.
        """
        ...

    async def kept(self, ticket_id: str) -> bool:
        """Whether the complete file is where `complete` left it, that is, nobody has moved it away or removed it."""
        ...

    async def remove(self, ticket_id: str, *, finished: bool) -> None:
        """Removes the partial file and, with `finished`, the complete one as well. What is not there is no error."""
        ...

    async def release(self, ticket_id: str) -> None:
        """Lets go of what is held open for this upload. May be called at any time."""
        ...

    async def free_bytes(self) -> int:
        """How much can still be written, in bytes."""
        ...

    async def close(self) -> None:
        """Releases everything; writes under way are awaited."""
        ...


Change = Callable[[Ticket], Ticket]


@dataclass(frozen=True, slots=True)
class Claim:
    """A callback that this worker may now try; nobody else tries it before its lease (`until`, seconds since the
    epoch) ends.
    """

    ticket: Ticket
    callback: Callback
    until: float


class TicketStore(Protocol):
    """Keeps the tickets. Raises StorageFull, StorageFailed or, once closed, ServerShutdown; nothing is changed then."""

    async def create(self, ticket: Ticket) -> None:
        """Adds a ticket; it survives a power cut when this returns. Raises TooBusy when its backend has too many."""
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
    ) -> Ticket:
        """Reads, changes and writes one ticket in one transaction, and returns it as it now is.

        `change` is pure and runs on another thread; what it raises is raised here and nothing is changed; returning the
        ticket it was given changes nothing. Updates that are under way together are committed together. A `durable` one
        survives a power cut when this returns, any one the death of every process. The store raises the ticket's
        `version` with every change. Raises UnknownTicket; and FileTooLarge or StorageFull when the ticket would reserve
        more than all together may, which is decided in the same transaction.

        A `quiet` one is not told to the listeners of this process, whose caller knows of it; other processes' are told.
        A `patient` one may wait for some milliseconds, so that it is committed together with others. `believed` is the
        newest version of the ticket that the caller got from this store; if it still is, the ticket need not be read.
        """
        ...

    async def claim(self, now: float, lease: float, limit: int) -> list[Claim]:
        """Takes up to `limit` callbacks that are due, for `lease` seconds each. Two workers never get the same one.

        One that is due further in the future than any back-off reaches (the clock was set back) counts as due.
        """
        ...

    async def next_due(self) -> float | None:
        """When the next callback is due, seconds since the epoch; None when none is owed."""
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
        """Removes a tombstone for good."""
        ...

    async def swept(self, state: State) -> float | None:
        """What `note_swept` noted last for this state, whichever process did; None before."""
        ...

    async def note_swept(self, state: State, until: float) -> None:
        """Of tickets that entered `state` before `until`, all has been cleared up that was to be."""
        ...

    def watch(self, listener: Callable[[str], None]) -> None:
        """Calls `listener` on the event loop with the id of every ticket that any process changes, soon after."""
        ...

    async def distrust_after_boot(self, boot_id: str) -> int:
        """If the machine has booted since the last call, lets every unfinished upload believe only its synced extents.

        Returns how many tickets were changed. Only the first worker after a boot does anything.
        """
        ...

    async def check(self) -> None:
        """Proves that the store answers and can be written to."""
        ...

    async def close(self) -> None:
        """Commits what is under way and lets go."""
        ...


TRAFFIC_SLOT = 10
"""Seconds that one entry of Notes.traffic stands for."""

TRAFFIC_SLOTS = 360
"""Entries that are kept: an hour."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What all workers have noted: the facts of each that noted any lately, by its name; what all have counted since
    the store was made; and the bytes that came in each slot of TRAFFIC_SLOT seconds since the epoch.
    """

    facts: Mapping[str, str]
    counted: Mapping[str, float]
    traffic: Mapping[int, int]


class OperatorStore(Protocol):
    """What operators see of all workers together. Raises like TicketStore; the same store offers both."""

    async def note(
        self, worker: str, now: float, facts: str | None, counted: Mapping[str, float], traffic: int = 0
    ) -> None:
        """Replaces what this worker told of itself (None: it ends), adds to what all have counted and to the traffic of
        this moment, in one transaction that no power cut needs to spare.
        """
        ...

    async def notes(self, since: float) -> Notes:
        """All that is noted; facts only of workers that noted them at or after `since`, seconds since the epoch.

        Counted are besides, as `entered/<state>`, how many tickets ever came into each state.
        """
        ...

    async def latest(self, states: Sequence[State], limit: int) -> list[Ticket]:
        """The tickets in these states in which something happened last, newest first."""
        ...

    async def matching(self, beginning: str, limit: int) -> list[Ticket]:
        """Tickets whose id begins so: logs and pages show only the first part of an id."""
        ...


__all__ = [
    "TRAFFIC_SLOT",
    "TRAFFIC_SLOTS",
    "Buffer",
    "ByteStore",
    "Change",
    "Claim",
    "Extents",
    "Notes",
    "OperatorStore",
    "TicketStore",
]
