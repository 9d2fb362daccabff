"""Assemblers as workers have them, on stores with faults on order; at the end nothing must be left of them."""

import asyncio
import uuid
from collections.abc import Callable
from pathlib import Path

from incoming.core.steady_clock import StoreClock
from incoming.core.ticket import Identity, Ticket, TicketOptions
from incoming.settings.settings import Settings
from incoming.storage.filesystem.store import FileStore
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.subscriptions import News
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import Hello
from tests.support.faulty_stores import FaultyFiles, FaultyParts, FaultyTickets
from tests.support.part_store import PartStore
from tests.support.stores import Clock, until


class Bench:
    """One worker's upload_service, to be made on the event loop. Several on one directory are several workers."""

    def __init__(
        self,
        directory: Path,
        clock: Clock | None = None,
        files: FileStore | None = None,
        part_size: int = 0,
        **settings: object,
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.descriptors = open_descriptors(directory)
        self.tickets = FaultyTickets(directory / "incoming.sqlite", StoreClock(clock, clock) if clock else None)
        self.files = self._files(directory, files, part_size)
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.upload_service = UploadService(self.tickets, self.files, self.settings)

    def _files(self, directory: Path, files: FileStore | None, part_size: int) -> FaultyFiles:
        epochs_of = self.tickets.inner.epochs_of
        if part_size:
            return FaultyParts(directory, PartStore(directory, part_size=part_size, epochs_of=epochs_of))
        return FaultyFiles(directory, files or FileStore(directory, epochs_of=epochs_of))

    async def new(self, url: str = "http://127.0.0.1:9/", **options: object) -> str:
        """A new ticket's id."""
        now = self.tickets.clock.now()
        wanted = TicketOptions(signal_finish_url=url, **options)  # type: ignore[arg-type]
        ticket = Ticket(str(uuid.uuid4()), wanted, created_at=now, active_at=now, state_since=now)
        await self.tickets.create(ticket)
        return ticket.id

    async def open(
        self, ticket_id: str, size: int | None = 100, session: str = "session-1", epoch: int | None = None
    ) -> ActiveUpload:
        """An uploader says hello."""
        return await self.upload_service.open(ticket_id, Hello(session, epoch, Identity("a.bin", size)))

    async def ticket(self, ticket_id: str) -> Ticket:
        return await self.upload_service.get_ticket(ticket_id)

    def hear(self, ticket_id: str) -> "Heard":
        """What a connection of this upload would be told."""
        return Heard(self, ticket_id)

    def content(self, ticket_id: str) -> bytes:
        """What is in the complete file."""
        return self.files.final(ticket_id).read_bytes()

    async def idle(self) -> None:
        """Returns when nobody is connected to anything, nothing is under way and nothing is held open or in mind."""
        await until(lambda: self.held() == (), f"nothing being held: {self.held()}")

    def held(self) -> tuple[object, ...]:
        """What this worker still has in mind; upload, task, listener or open file."""
        upload_service = self.upload_service
        listeners = upload_service._listeners
        return (
            *upload_service._uploads,
            *upload_service._tasks,
            *upload_service._finalising,
            *upload_service.appends._under_way,
            *listeners._listeners,
            *listeners._reading,
            *(set(open_descriptors(self.files.root)) - set(self.descriptors)),
        )

    async def close(self) -> None:
        await self.files.close()
        await self.tickets.close()


class Heard:
    """The news of one upload, in the order in which they came."""

    def __init__(self, bench: Bench, ticket_id: str) -> None:
        self.news: list[News] = []
        self.stop = bench.upload_service.listen(ticket_id, self.news.append)

    async def until(self, condition: Callable[[News], object], what: str = "the news") -> News:
        """The first news of which this is true."""

        def found() -> list[News]:
            return [news for news in self.news if condition(news)]

        return (await until(found, f"{what}; heard: {self.news}"))[0]


def open_descriptors(directory: Path) -> list[str]:
    """The uploaded files below `directory` that this process holds open, those removed meanwhile included."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except FileNotFoundError:
            continue
        if target.startswith(f"{directory}/") and "incoming.sqlite" not in target:
            found.append(target)
    return found


async def outcome(writing: "asyncio.Future[None]") -> BaseException | None:
    """The error with which it ended, None if it went well."""
    [result] = await asyncio.gather(writing, return_exceptions=True)
    return result


def start_write(upload: ActiveUpload, offset: int, data: bytes, epoch: int | None = None) -> "asyncio.Future[None]":
    """A write under way."""
    return upload.write(offset, data, epoch)
