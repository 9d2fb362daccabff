"""ByteStore: the Protocol of stores for the bytes of uploads.

Each method states its guarantees. Nothing here knows a file system or an object store. All methods are called on the
event loop and never block it. They get the ticket as the caller knows it: with `store_data`, which only the store
writes and reads, and with the extents that must be stored. Abilities of some stores are Protocols of their own, which
callers check by isinstance, or by `has_ability` where that is done for each upload.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeGuard, TypeVar, runtime_checkable

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents, Range
from incoming.core.location import Location
from incoming.core.ticket import Ticket

Ability = TypeVar("Ability")

_abilities: dict[tuple[type, object], bool] = {}
"""Which classes of stores have which abilities: as many entries as there are classes."""

Buffer = bytes | memoryview


class BytesLost(StorageFailed):
    """Bytes of the ticket's extents are no longer in the store. `kept` are the extents that surely are.

    The caller records the loss with the ticket; clients must send the bytes again. With `discard` the object or file in
    the final place is unusable, and is removed once the loss is recorded.
    """

    def __init__(self, message: str, kept: Extents | None = None, *, discard: bool = False) -> None:
        super().__init__(message)
        self.kept = kept or Extents()
        self.discard = discard

    @property
    def name(self) -> str:
        """The error code for clients, which only have to send the bytes again."""
        return "storage_failed"


@dataclass(frozen=True, slots=True)
class Record:
    """A value that a store keeps with a ticket, in a row of its own; `value` None removes it.

    It is written in the commit with which the ticket counts all bytes of `within`; a `stale` one in the next commit,
    unless the ticket counts them again by then.
    """

    name: str
    value: str | None
    within: Range
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a call that stores bytes.

    `durable` are ranges that now survive the death of this process, whichever call of this epoch has written them.
    `data` becomes the ticket's `store_data` in the commit of these ranges; empty if nothing is stored yet. `records`
    are those that no call has returned before.
    """

    durable: list[Range]
    data: str
    records: Sequence[Record] = ()


@runtime_checkable
class FencingStore(Protocol):
    """The ability of a store whose late writes could overwrite what a later session has stored.

    Such a store writes only in the current epoch, which it reads while no one can raise it, and raises TakenOver in any
    other.
    """

    def fence(self, ticket: Ticket) -> AbstractAsyncContextManager[None]:
        """Keep all processes from writing to the upload while this is entered. Raises TooBusy."""
        ...


@runtime_checkable
class BufferingStore(Protocol):
    """The ability of a store that accepts bytes before they are durable, because it can store only whole parts.

    It copies what it needs: the caller may reuse buffers when `write` returns. Bytes of an earlier epoch that are not
    durable are discarded and never reported, at the latest by `release`, which keeps those of the current epoch.
    """

    async def flush(self, ticket: Ticket) -> Written:
        """Make durable all that was written in the ticket's epoch; return at least what was not reported before.

        It is no error if nothing is buffered. Raises like `write`; what was not reported is discarded then.
        """
        ...


@runtime_checkable
class SpoolingStore(Protocol):
    """The ability of a BufferingStore that buffers outside the memory, and stores whole parts by itself meanwhile.

    What `write` has accepted uses no memory any more.
    """

    def listen(self, ticket_id: str, changed: Callable[[], None] | None) -> None:
        """Call `changed` whenever `collect` has something to return or to raise; None unsubscribes."""
        ...

    async def collect(self, ticket: Ticket) -> Written:
        """Return what has become durable since the last call. Raises like `flush`."""
        ...

    def recorded(self, ticket: Ticket) -> None:
        """Note that a commit of what was returned is this ticket: it needs none of its bytes any more."""
        ...


@dataclass(frozen=True, slots=True)
class SignedPart:
    """A part that a client may PUT to `url`, which is a secret: it appears in no log, error or status page."""

    number: int
    range: Range
    url: str = field(repr=False)


SIGNED_FOR = 900.0
"""Seconds for which a signed URL is valid: a client must begin to send the part by then."""


@runtime_checkable
class DirectStore(Protocol):
    """The ability of a store to which clients may send whole parts directly. Parts are numbered from 1."""

    @property
    def offers_direct(self) -> bool:
        """Whether the operator allows it."""
        ...

    async def begin_direct(self, ticket: Ticket) -> Written:
        """Return the `store_data` of the parts to come, and nothing durable. Commit it before a part is signed."""
        ...

    async def sign_parts(self, ticket: Ticket, numbers: Sequence[int]) -> list[SignedPart]:
        """Return URLs for those of these parts that the ticket does not have. Raises BadRange, StorageFailed."""
        ...

    async def seen_parts(self, ticket: Ticket, after: int) -> Written:
        """Return the parts after this number that the store has as a whole and the ticket has not.

        Raises BytesLost when none of them can be used any more, AlreadyComplete, StorageFailed.
        """
        ...


@runtime_checkable
class RoutingStore(Protocol):
    """The ability of a ByteStore that consists of several: each upload uses one of them."""

    def of(self, dest_type: str) -> ByteStore:
        """Return the store of this name. Raises StorageFailed if it is not configured any more."""
        ...

    @property
    def all(self) -> Sequence[ByteStore]:
        """All of them."""
        ...


@runtime_checkable
class SyncingStore(Protocol):
    """The ability of a store whose bytes survive processes at once, and a power cut only after `sync`.

    Bytes of any other store survive both when it reports them: it needs no checkpoints, and loses nothing by a reboot.
    """

    async def sync(self, ticket: Ticket) -> None:
        """Make all that was written before survive a power cut. When this raises, nothing since the last success does.
        Raises BytesLost like `write`.
        """
        ...

    async def loss_recorded(self, ticket: Ticket) -> None:
        """Note that the ticket no longer has the bytes that a failed `sync` or `complete` has lost.

        Until then no other process may `sync` or `complete` the upload: the kernel may not report the failure to it.
        """
        ...


@runtime_checkable
class ReadableStore(Protocol):
    """The ability to read back what is stored, before and after the file is complete; a rearranged one afterwards."""

    async def read(self, ticket: Ticket, start: int, end: int, consume: Callable[[memoryview], None]) -> int:
        """Call `consume`, on a thread, with the bytes [start, end) in order; it keeps none of them. Return how many
        there were. Raises StorageFailed or ServerShutdown.
        """
        ...


@runtime_checkable
class JoiningStore(Protocol):
    """The ability to complete a file whose parts were stored in another order than they have in it."""

    async def join(self, ticket: Ticket, size: int) -> Location:
        """Complete the file of a rearranged ticket, like `complete`. The partial file stays until the caller removes
        it.

        Needs free space for another copy of the file. Raises BytesLost when a byte is missing.
        """
        ...


@runtime_checkable
class PartsStore(Protocol):
    """The ability of a store that keeps files as parts of a fixed size, each best sent as a whole by one connection."""

    def part_size(self, size: int) -> int:
        """Return the length of the parts, in bytes, of a file of this size; all but the last one have it.

        It is asked for once, when the size becomes known, and kept with the ticket as its `part_size`.
        """
        ...


@runtime_checkable
class ObjectsStore(Protocol):
    """The ability of a store whose complete files are objects: apps may choose their keys, and get URLs of them."""

    async def has_key(self, key: str) -> bool:
        """Return whether there is an object with this `destKey`. Raises StorageFailed."""
        ...

    async def describe(self, ticket: Ticket) -> dict[str, str]:
        """Return what an app is told of a complete object besides its location, by the names of the callback's fields.

        Nothing of it is logged: it has a signed URL. Raises StorageFailed.
        """
        ...


@runtime_checkable
class SweepingStore(Protocol):
    """The ability of a store in which parts may remain that no ticket refers to, as when two workers begin at once."""

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        ...

    async def sweep(self, unfinished: AsyncIterable[Ticket]) -> int:
        """Remove old parts that belong to no unfinished upload; return how many. Raises StorageFailed."""
        ...


@runtime_checkable
class CountingStore(Protocol):
    """The ability of a store that counts its requests over the network."""

    def counts(self) -> Mapping[str, float]:
        """Return how many there were since the start, by `object_requests/<operation>`."""
        ...


class SpoolUsage(Protocol):
    """Current use of the spool of one process: bytes, their limit, and how many uploads wait for space."""

    @property
    def used(self) -> int: ...

    @property
    def limit(self) -> int: ...

    @property
    def held(self) -> int: ...


@runtime_checkable
class MeasuredStore(Protocol):
    """The ability of a store that keeps bytes of incomplete parts in a spool, which it may share with others."""

    @property
    def spool(self) -> SpoolUsage:
        """The spool, whose numbers are live."""
        ...


@runtime_checkable
class BoundedStore(Protocol):
    """The ability of a store that knows its free space."""

    async def free_bytes(self) -> int:
        """Return how much can still be written, in bytes."""
        ...


class ByteStore(Protocol):
    """Store for the bytes of uploads. Raises StorageFull when there is no space, StorageFailed for any other fault and
    ServerShutdown once it is closed.
    """

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        """Store (offset, bytes) pieces; return what is durable now, of these and of earlier ones of this epoch.

        Only a BufferingStore may return less than it was given; nothing else is acknowledged. The first write, and only
        that one, creates the file or object: raises BytesLost when the ticket has extents and that is gone or was
        replaced. The caller ensures that writes of one upload come one after the other and never touch acknowledged
        bytes. Raises AlreadyComplete when the file was completed meanwhile by any process: then it is never touched.
        """
        ...

    async def stored(self, ticket: Ticket) -> Extents | None:
        """Return those of the ticket's extents that are surely in its partial file; None when there is no such file."""
        ...

    async def complete(self, ticket: Ticket, size: int) -> Location:
        """Make the whole file durable in its final place and return that.

        Raises BytesLost when a byte is missing. May be called again at any point.
        """
        ...

    async def completed(self, ticket: Ticket, size: int) -> Location | None:
        """Return the location of the complete file if `complete` has put it there; never touch a partial one."""
        ...

    async def kept(self, ticket: Ticket) -> bool:
        """Return whether the complete file is still where `complete` put it."""
        ...

    async def remove_partial(self, ticket: Ticket) -> None:
        """Remove the partial file. It is no error if there is none."""
        ...

    async def remove(self, ticket: Ticket) -> None:
        """Remove everything of the upload, the complete file as well. It is no error if there is nothing."""
        ...

    async def release(self, ticket: Ticket) -> None:
        """Close the descriptors of this upload. May be called at any time."""
        ...

    async def close(self) -> None:
        """Close everything, after pending calls."""
        ...


def has_ability(store: object, ability: Callable[..., Ability]) -> TypeGuard[Ability]:
    """Return `isinstance(store, ability)`, which looks for every attribute of the Protocol each time."""
    known = _abilities.get((type(store), ability))
    if known is None:
        known = _abilities[type(store), ability] = isinstance(store, ability)  # type: ignore[arg-type]
    return known


def store_of(store: ByteStore, ticket: Ticket) -> ByteStore:
    """Return the store of this ticket, whose abilities count. Raises StorageFailed if it is not configured any more."""
    return store_named(store, ticket.options.dest_type)


def store_named(store: ByteStore, dest_type: str) -> ByteStore:
    """Return the store of tickets with this `destType`. Raises StorageFailed if it is not configured any more."""
    return store.of(dest_type) if has_ability(store, RoutingStore) else store


def with_part_size(store: ByteStore, ticket: Ticket) -> Ticket:
    """Return the ticket with the length of its store's parts, which is fixed as soon as the file's size is known."""
    if ticket.size is None or ticket.part_size or ticket.store_data:
        return ticket
    its = store_of(store, ticket)
    return replace(ticket, part_size=its.part_size(ticket.size)) if has_ability(its, PartsStore) else ticket


def stores_in(store: ByteStore) -> Sequence[ByteStore]:
    """Return the stores that this one consists of."""
    return store.all if isinstance(store, RoutingStore) else (store,)


def spools_of(store: ByteStore) -> Sequence[SpoolUsage]:
    """Return the spools that a store and those that it consists of use, each once."""
    return [*{id(one.spool): one.spool for one in stores_in(store) if isinstance(one, MeasuredStore)}.values()]


async def free_bytes(store: ByteStore) -> int | None:
    """Return the free space in bytes; None if the store does not know it. Raises what the store raises."""
    return await store.free_bytes() if isinstance(store, BoundedStore) else None
