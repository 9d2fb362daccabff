"""Real stores with faults on order: a call that fails, one that does not return yet, a disk that loses what it took.

Every fault is counted in `hit`, so that a test can assert that it really happened.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from incoming.core.errors import StorageFailed, UploadError
from incoming.core.extents import Extents, Range
from incoming.core.location import Location
from incoming.core.service_time import ServiceTime
from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import State, Ticket
from incoming.storage.byte_store import Buffer, Written
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite.store import SqliteStore
from incoming.storage.ticket_store import Change
from tests.support.part_store import PartStore
from tests.support.stores import until

T = TypeVar("T")


class Faults:
    """What is wrong with the calls of one store. `calls` counts all of them by name, `hit` those that met a fault."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.hit: Counter[str] = Counter()
        self._errors: dict[str, list[UploadError | None]] = {}
        self._always: dict[str, UploadError] = {}
        self._gates: dict[str, asyncio.Event] = {}
        self._waiting: Counter[str] = Counter()

    def fail(self, call: str, *errors: UploadError | None) -> None:
        """The next calls raise these, one each; None lets one through."""
        self._errors.setdefault(call, []).extend(errors)

    def fail_always(self, call: str, error: UploadError | None) -> None:
        """Every call raises this, until it is set to None."""
        if error is None:
            self._always.pop(call, None)
        else:
            self._always[call] = error

    def clear(self) -> None:
        """No call raises any more."""
        self._errors.clear()
        self._always.clear()

    def hold(self, call: str) -> None:
        """Calls do not begin until `release`."""
        self._gates[call] = asyncio.Event()

    def release(self, call: str) -> None:
        self._gates.pop(call).set()

    def pass_by(self, call: str) -> Callable[[], None]:
        """Those that are held stay so, later calls pass them by; the result lets them go on."""
        return self._gates.pop(call).set

    async def until_held(self, call: str, count: int = 1) -> None:
        """Returns when `count` calls are being held."""
        await until(lambda: self._waiting[call] >= count, f"{count} times {call} being held")

    async def meet(self, call: str) -> None:
        """What each call goes through first."""
        self.calls[call] += 1
        if gate := self._gates.get(call):
            self.hit[call] += 1
            self._waiting[call] += 1
            await gate.wait()
            self._waiting[call] -= 1
        errors = self._errors.get(call)
        error = errors.pop(0) if errors else self._always.get(call)
        if error is not None:
            self.hit[call] += 1
            raise type(error)(error.message)


_UNSYNCED: dict[Path, dict[str, list[Range]]] = {}
"""By storage directory and upload, what was written and not yet synced, by whichever worker: it is one page cache."""

_WORKERS: WeakSet["FaultyFiles"] = WeakSet()


class FaultyFiles:
    """A FileStore with `faults`. After `lose_unsynced` the next sync fails, and what was not synced is garbage.

    As in the kernel, everybody who has the file open is told of that once, and nobody who opens it later.
    """

    def __init__(self, root: Path, inner: FileStore | None = None) -> None:
        self.root = root
        self.faults = Faults()
        self.inner = inner or FileStore(root)
        self._losing: dict[str, UploadError] = {}
        self._told: dict[str, UploadError] = {}
        self._open: set[str] = set()
        _WORKERS.add(self)

    def part(self, ticket_id: str) -> Path:
        return self.root / ticket_id[:2] / f"{ticket_id}.part"

    def final(self, ticket_id: str) -> Path:
        return self.root / ticket_id[:2] / ticket_id

    def lose_unsynced(self, ticket_id: str, error: UploadError | None = None) -> None:
        """The next `sync` or `complete` of this upload fails as fsync does when the disk did not take the pages."""
        self._losing[ticket_id] = error or StorageFailed("the disk did not take it")

    def unsynced(self, ticket_id: str) -> list[Range]:
        return _UNSYNCED.setdefault(self.root, {}).setdefault(ticket_id, [])

    def garble_unsynced(self, ticket_id: str) -> None:
        """What a power cut may make of it."""
        if self.part(ticket_id).exists():
            with self.part(ticket_id).open("r+b") as file:
                for start, end in self.unsynced(ticket_id):
                    os.pwrite(file.fileno(), b"\xdb" * (end - start), start)
        self.unsynced(ticket_id).clear()

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        await self.faults.meet("write")
        self._open.add(ticket.id)
        written = await self.inner.write(ticket, pieces)
        self.unsynced(ticket.id).extend(written.durable)
        return written

    async def sync(self, ticket: Ticket) -> None:
        await self.faults.meet("sync")
        self._maybe_lose(ticket.id)
        before = len(self.unsynced(ticket.id))
        await self.inner.sync(ticket)
        del self.unsynced(ticket.id)[:before]

    async def loss_recorded(self, ticket: Ticket) -> None:
        await self.faults.meet("loss_recorded")
        await self.inner.loss_recorded(ticket)

    def _maybe_lose(self, ticket_id: str) -> None:
        error = self._losing.pop(ticket_id, None)
        if error is not None:
            self.garble_unsynced(ticket_id)
            for worker in _WORKERS:
                if worker.root == self.root and ticket_id in worker._open:
                    worker._told[ticket_id] = error
            self._told[ticket_id] = error
        error = self._told.pop(ticket_id, None)
        if error is not None:
            self._open.discard(ticket_id)
            self.faults.hit["lost"] += 1
            raise error

    async def stored(self, ticket: Ticket) -> Extents | None:
        await self.faults.meet("stored")
        return await self.inner.stored(ticket)

    async def complete(self, ticket: Ticket, size: int) -> Location:
        await self.faults.meet("complete")
        self._maybe_lose(ticket.id)
        path = await self.inner.complete(ticket, size)
        await self.faults.meet("completed")
        return path

    async def join(self, ticket: Ticket, size: int) -> Location:
        await self.faults.meet("join")
        return await self.inner.join(ticket, size)

    async def completed(self, ticket: Ticket, size: int) -> Location | None:
        return await self.inner.completed(ticket, size)

    async def kept(self, ticket: Ticket) -> bool:
        await self.faults.meet("kept")
        return await self.inner.kept(ticket)

    async def remove_partial(self, ticket: Ticket) -> None:
        await self.faults.meet("remove")
        await self.inner.remove_partial(ticket)

    async def remove(self, ticket: Ticket) -> None:
        await self.faults.meet("remove")
        await self.inner.remove(ticket)

    async def release(self, ticket: Ticket) -> None:
        await self.faults.meet("release")
        self._open.discard(ticket.id)
        self._told.pop(ticket.id, None)
        await self.inner.release(ticket)

    def fence(self, ticket: Ticket) -> AbstractAsyncContextManager[None]:
        return self.inner.fence(ticket)

    async def read(self, ticket: Ticket, start: int, end: int, consume: Callable[[memoryview], None]) -> int:
        await self.faults.meet("read")
        return await self.inner.read(ticket, start, end, consume)

    async def free_bytes(self) -> int:
        return await self.inner.free_bytes()

    async def close(self) -> None:
        await self.inner.close()


class FaultyParts(FaultyFiles):
    """The same with a store that buffers."""

    def __init__(self, root: Path, inner: PartStore) -> None:
        super().__init__(root, inner)
        self._parts = inner

    async def flush(self, ticket: Ticket) -> Written:
        await self.faults.meet("flush")
        written = await self._parts.flush(ticket)
        self.unsynced(ticket.id).extend(written.durable)
        return written


class FaultyTickets:
    """An SqliteStore with `faults`: `update` before it begins, `updated` after it was committed."""

    def __init__(self, path: Path, clock: StoreClock | None = None) -> None:
        self.faults = Faults()
        self.inner = SqliteStore(path, clock=clock)
        self.clock = self.inner.clock

    async def create(self, *tickets: Ticket) -> None:
        await self._through("create", lambda: self.inner.create(*tickets))

    async def get(self, ticket_id: str) -> Ticket | None:
        return await self._through("get", lambda: self.inner.get(ticket_id))

    async def update(self, ticket_id: str, change: Change, **how: Any) -> Ticket:
        ticket = await self._through("update", lambda: self.inner.update(ticket_id, change, **how))
        await self.faults.meet("updated")
        return ticket

    async def records(self, ticket_id: str) -> dict[str, str]:
        return await self.inner.records(ticket_id)

    async def claim(self, lease: float, limit: int, horizon: float) -> list[Ticket]:
        return await self._through("claim", lambda: self.inner.claim(lease, limit, horizon))

    async def next_due(self) -> float | None:
        return await self._through("next_due", self.inner.next_due)

    async def find(
        self,
        states: Sequence[State] = (),
        *,
        idle_since: float | None = None,
        state_before: float | None = None,
        after: float | None = None,
        limit: int = 1000,
    ) -> list[Ticket]:
        return await self.inner.find(states, idle_since=idle_since, state_before=state_before, after=after, limit=limit)

    async def counts(self) -> dict[State, int]:
        return await self.inner.counts()

    async def forget(self, ticket_id: str) -> None:
        await self.inner.forget(ticket_id)

    async def swept(self, state: State) -> float | None:
        return await self.inner.swept(state)

    async def note_swept(self, state: State, until: float) -> None:
        await self.inner.note_swept(state, until)

    async def note_service(self) -> ServiceTime:
        return await self.inner.note_service()

    def watch(self, listener: Callable[[str], None]) -> None:
        self.inner.watch(listener)

    def watch_outbox(self, listener: Callable[[], None]) -> None:
        self.inner.watch_outbox(listener)

    async def lease(self, name: str, seconds: float) -> bool:
        return await self._through("lease", lambda: self.inner.lease(name, seconds))

    async def unfinished_here(self, after: str = "", limit: int = 100) -> list[Ticket]:
        return await self.inner.unfinished_here(after, limit)

    async def adopt(self, silent: float, limit: int = 100) -> list[Ticket]:
        return await self._through("adopt", lambda: self.inner.adopt(silent, limit))

    async def distrust_after_boot(self, boot_id: str) -> int:
        return await self.inner.distrust_after_boot(boot_id)

    async def check(self) -> None:
        await self.inner.check()

    async def close(self) -> None:
        await self.inner.close()

    async def _through(self, call: str, work: Callable[[], Awaitable[T]]) -> T:
        await self.faults.meet(call)
        return await work()
