"""An object store in memory to which clients send parts themselves, and an upload service on it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from incoming.core.errors import BadRange
from incoming.core.extents import Extents, Range
from incoming.core.identity import Identity
from incoming.core.ticket import Ticket, TicketOptions
from incoming.core.token_bucket import RateLimiter
from incoming.settings.settings import Settings
from incoming.storage.byte_store import BytesLost, Record, SignedPart, Written
from incoming.storage.memory.files import MemoryByteStore, MemoryFile
from incoming.storage.memory.tickets import MemoryTicketStore
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.direct import DirectUploads, parts_in
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import Hello
from tests.support.stores import Clock
from tests.unit.storage.tickets import new

PART = 10


class MemoryObjects(MemoryByteStore):
    """`sent` are the parts that clients have sent, with their lengths; `signed` those that URLs were made for."""

    def __init__(self) -> None:
        super().__init__()
        self.offers_direct = True
        self.sent: dict[int, int] = {}
        self.signed: list[int] = []
        self.looks = 0
        self.is_aborted = False

    def part_size(self, size: int) -> int:
        return PART

    async def begin_direct(self, ticket: Ticket) -> Written:
        return Written([], self.files.setdefault(ticket.id, MemoryFile()).name)

    async def sign_parts(self, ticket: Ticket, numbers: Sequence[int]) -> list[SignedPart]:
        there_are = parts_in(ticket, numbers)
        if unknown := [number for number in numbers if number not in there_are]:
            raise BadRange(f"there is no part {unknown[0]}")
        missing = [number for number in numbers if not ticket.extents.covers(*there_are[number])]
        self.signed += missing
        return [SignedPart(number, there_are[number], f"https://store/{number}?signature") for number in missing]

    async def seen_parts(self, ticket: Ticket, after: int) -> Written:
        self.looks += 1
        if self.is_aborted:
            self.sent.clear()
            raise BytesLost("the multipart upload was aborted")
        file = self.files[ticket.id]
        found: list[Range] = []
        for number, (start, end) in parts_in(ticket, [one for one in sorted(self.sent) if one > after]).items():
            if self.sent[number] == end - start and not ticket.extents.covers(start, end):
                found.append((start, end))
                file.content.extend(bytes(max(0, end - len(file.content))))
                file.extents = file.extents.add(start, end)
        return Written(found, file.name, [Record(f"part-{start}", "etag", (start, end)) for start, end in found])


class DirectWorker:
    """One worker's upload service, and the store that its clients send to. Time passes while rates are waited for."""

    def __init__(self) -> None:
        self.tickets, self.store, self.clock = MemoryTicketStore(), MemoryObjects(), Clock(0.0)
        self.service = UploadService(self.tickets, self.store, Settings())
        report = (self.service._listeners.learned, self.service._complete)
        self.direct = self.service.direct = DirectUploads(self.tickets, self.store, *report, self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.clock.advance(seconds + 0.001)
        await asyncio.sleep(0)

    async def begun(self, size: int = 45, **options: object) -> ActiveUpload:
        """Return an upload of a new ticket, of five parts unless its size is given."""
        wanted = TicketOptions("http://app/finished", "s", **options)  # type: ignore[arg-type]
        self.ticket = replace(new(), options=wanted)
        await self.tickets.create(self.ticket)
        return await self.open("session-1", size)

    async def open(self, session: str, size: int = 45) -> ActiveUpload:
        upload = await self.service.open(self.ticket.id, Hello(session, None, Identity("a", size)))
        upload.allowance = RateLimiter(self.clock).allowance(self.ticket.id, self.ticket.options.max_rate)
        return upload

    async def sign(self, upload: ActiveUpload, *numbers: int, epoch: int | None = None) -> list[SignedPart]:
        """Return all URLs that the upload's epoch, or another one, gets for these parts."""
        batches = self.direct.sign(upload, epoch or upload.ticket.epoch, numbers)
        return [part async for batch in batches for part in batch]

    async def look(self, upload: ActiveUpload, after: int = 0) -> Extents:
        return await self.direct.look(upload, upload.ticket.epoch, after)

    async def known(self) -> Ticket:
        return await self.service.get_ticket(self.ticket.id)
