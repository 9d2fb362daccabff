"""Real stores in a directory of the test's own, and tickets in them at any point of their life."""

import asyncio
import inspect
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import Callback, Identity, State, Ticket, TicketOptions
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite.store import SqliteStore
from incoming.uploads import handover

T = TypeVar("T")


class Clock:
    """A clock that stands still until it is set; as a StoreClock needs it, both the time of day and the monotonic."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


async def until(condition: Callable[[], T | Awaitable[T]], what: str, seconds: float = 20.0) -> T:
    """Return the first true value of `condition()`, which may be a coroutine; after so many seconds raise."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        result: T = await value if inspect.isawaitable(value) else value
        if result:
            return result
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:g} s in vain for: {what}")
        await asyncio.sleep(0.01)


class Stores:
    """The stores of one worker. Several on one directory are several workers."""

    def __init__(self, directory: Path, clock: Clock | None = None, ticks: Clock | None = None) -> None:
        """`clock` is the time of day, `ticks` the monotonic clock if it is another one."""
        directory.mkdir(exist_ok=True)
        self.directory = directory
        store_clock = StoreClock() if clock is None else StoreClock(clock, ticks or clock)
        self.clock = store_clock.now
        self.tickets = SqliteStore(directory / "incoming.sqlite", clock=store_clock)
        self.files = FileStore(directory, epochs_of=self.tickets.epochs_of)

    async def close(self) -> None:
        await self.files.close()
        await self.tickets.close()

    # --- tickets ------------------------------------------------------------------------------------------------------

    async def new(self, url: str = "http://127.0.0.1:9/", **options: object) -> Ticket:
        now = self.clock()
        wanted = TicketOptions(signal_finish_url=url, **options)  # type: ignore[arg-type]
        ticket = Ticket(str(uuid.uuid4()), wanted, created_at=now, active_at=now, state_since=now)
        await self.tickets.create(ticket)
        return await self.get(ticket)

    async def uploading(
        self,
        content: bytes = b"half",
        size: int | None = None,
        url: str = "http://127.0.0.1:9/",
        name: str = "a file.txt",
        **options: object,
    ) -> Ticket:
        """A ticket of which `content` has arrived, by default half of it, and nothing is synced."""
        ticket = await self.new(url, **options)
        length = 2 * len(content) if size is None else size
        if content:
            await self.files.write(ticket, [(0, content)])

        def change(known: Ticket) -> Ticket:
            opened = known.identify(Identity(name=name, size=length)).open("session-1", None, self.clock())
            return opened.store([(0, len(content))], None, self.clock())

        return await self.tickets.update(ticket.id, change)

    async def arrived(
        self, url: str, content: bytes = b"content", name: str = "a file.txt", **options: object
    ) -> Ticket:
        """A ticket whose file is complete and of which the app does not know yet."""
        ticket = await self.uploading(content, len(content), url, name, **options)
        path = await self.files.complete(ticket, len(content))
        return await self.tickets.update(ticket.id, lambda known: known.arrive(path, self.notice(), self.clock()))

    async def cancelled(self, url: str, reason: str = "changed my mind", **options: object) -> Ticket:
        """A ticket that the user cancelled, of which the app does not know yet."""
        ticket = await self.uploading(url=url, **options)  # type: ignore[arg-type]
        notice = self.notice(cancelled=True)
        ticket = await self.tickets.update(ticket.id, lambda known: known.cancel(reason, notice, self.clock()))
        await self.files.remove_partial(ticket)
        return ticket

    async def waiting(self, url: str = "http://127.0.0.1:9/", **options: object) -> Ticket:
        """A ticket to whose callback the app said `wait`."""
        ticket = await self.arrived(url, **options)  # type: ignore[arg-type]
        return await self.answer(ticket, lambda known, now: known.answered("wait", now))

    async def finished(self, url: str = "http://127.0.0.1:9/", **options: object) -> Ticket:
        """A ticket to whose callback the app said `done`; its file is still there."""
        ticket = await self.arrived(url, **options)  # type: ignore[arg-type]
        return await self.answer(ticket, lambda known, now: known.answered("done", now))

    async def failed(self, url: str = "http://127.0.0.1:9/", **options: object) -> Ticket:
        """A ticket whose file the app refused."""
        ticket = await self.arrived(url, **options)  # type: ignore[arg-type]
        return await self.answer(ticket, lambda known, now: known.refuse("refused", now))

    async def answer(self, ticket: Ticket, change: Callable[[Ticket, float], Ticket]) -> Ticket:
        """The ticket after a callback that nobody made."""
        now = self.clock()
        return await self.tickets.update(ticket.id, lambda known: change(replace(known, state=State.HANDING_OVER), now))

    async def finish(self, ticket_id: str) -> Ticket:
        """The app calls finish_upload."""
        return await handover.finish(self.tickets, self.files, ticket_id)

    async def retry(self, ticket_id: str) -> Ticket:
        """An operator asks for the handover now."""
        return await handover.retry(self.tickets, ticket_id)

    def notice(self, *, cancelled: bool = False) -> Callback:
        now = self.clock()
        return Callback(str(uuid.uuid4()), cancelled=cancelled, since=now, due_at=now)

    # --- what is there ------------------------------------------------------------------------------------------------

    async def state(self, ticket: Ticket) -> State | None:
        """Its state now, None when it is forgotten."""
        known = await self.tickets.get(ticket.id)
        return known.state if known else None

    async def get(self, ticket: Ticket) -> Ticket:
        known = await self.tickets.get(ticket.id)
        assert known is not None
        return known

    def files_of(self, ticket: Ticket) -> list[str]:
        """The names of the files that this upload has."""
        return sorted(path.name for path in self.directory.rglob(f"{ticket.id}*"))

    def content_of(self, ticket: Ticket) -> bytes:
        """What is in the complete file."""
        return Path(ticket.location.address).read_bytes()

    def obstruct(self, ticket: Ticket) -> Callable[[], None]:
        """Make it impossible to remove the complete file; the result makes it possible again."""
        path = Path(ticket.location.address)
        path.unlink()
        path.mkdir()

        def mend() -> None:
            path.rmdir()
            path.write_bytes(b"again")

        return mend
