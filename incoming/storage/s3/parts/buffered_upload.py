"""The parts of one upload that one process is storing, in one epoch: spooled, stored whole, or parked.

A part is stored when all its bytes are here or parked; what is missing then is fetched. An incomplete part is parked
when it must be durable: its ranges that are not yet safe become objects of their own, the same bytes never twice. What
is durable is collected with the records that belong to it. Decides nothing about when to park, and completes no file.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from incoming.core.errors import AlreadyComplete, StorageFailed, UploadError
from incoming.core.extents import Extents, Range
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, BytesLost, Record, Written
from incoming.storage.s3.bucket.bucket_access import BucketAccess, Records
from incoming.storage.s3.bucket.spool import Region
from incoming.storage.s3.parts.place import Place
from incoming.storage.s3.parts.receipts import Receipts, no_longer_parked, parked_record, parse_receipts, part_record
from incoming.storage.s3.requests.answers import S3Error


@dataclass(eq=False)
class PartBuffer:
    """One part. `here` are the offsets in the file of what is spooled, `parked` what this process parked of it."""

    number: int
    start: int
    region: Region
    here: Extents = field(default_factory=Extents)
    parked: dict[Range, str] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    async def write(self, *pieces: tuple[int, Buffer]) -> None:
        await self.region.write(*((offset - self.start, data) for offset, data in pieces))
        for offset, data in pieces:
            self.here = self.here.add(offset, offset + len(data))

    async def forget(self) -> None:
        self.here = Extents()
        await self.region.close()


def parked_prefix(prefix: str, ticket_id: str) -> str:
    """Return how the keys of an upload's parked ranges begin."""
    return f"{prefix}parked/{ticket_id}/"


class BufferedUpload:
    """That of one epoch. `place` is where its bytes go."""

    def __init__(self, access: BucketAccess, records: Records, ticket: Ticket, place: Place) -> None:
        self.epoch = ticket.epoch
        self.place = place
        self._store_data = place.text
        self.changed: Callable[[], None] | None = None
        self._access = access
        self._records = records
        self.id = ticket.id
        self._ticket = ticket
        self._parts: dict[int, PartBuffer] = {}
        self._durable: list[Range] = []
        self._new_records: list[Record] = []
        self._garbage: dict[int, list[str]] = {}
        """By part, the keys of parked ranges that are not needed when its receipt is committed."""
        self._error: UploadError | None = None

    # --- bytes come ---------------------------------------------------------------------------------------------------

    async def put(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> None:
        """Accept bytes; those beyond the end of the file and those that the ticket has are not stored.

        Waits while the spool is full. Raises StorageFull, StorageFailed, BytesLost.
        """
        self._ticket = ticket
        parts: dict[int, list[tuple[int, memoryview]]] = {}
        for offset, data in pieces:
            view, at = memoryview(data), offset
            end = offset + len(view) if ticket.size is None else min(offset + len(view), ticket.size)
            while at < end:
                number = self.place.number_at(at)
                upto = min(end, self.place.range_of(number, ticket.size)[1])
                missing = ticket.extents.missing(at, upto)
                parts.setdefault(number, []).extend((low, view[low - offset : high - offset]) for low, high in missing)
                self._durable += ticket.extents.within(at, upto)
                at = upto
        for number, missed in parts.items():
            if missed:
                await self._put_in_part(number, missed)
            self._store_if_whole(number)

    async def _put_in_part(self, number: int, pieces: Sequence[tuple[int, memoryview]]) -> None:
        if self._access.spool.is_full:
            await self._make_room()
        start = self.place.range_of(number, None)[0]
        part = self._part(number, start)
        while part.task is not None:  # the same bytes came before, by writes that did not count
            await asyncio.wait([part.task])
            part = self._part(number, start)
        await part.write(*pieces)

    def _part(self, number: int, start: int) -> PartBuffer:
        if (part := self._parts.get(number)) is None:
            length = self.place.range_of(number, None)[1] - start
            part = self._parts[number] = PartBuffer(number, start, self._access.spool.region(length))
        return part

    async def _make_room(self) -> None:
        """Park what is here, so that others can go on; then wait for room."""
        await self._park_all()
        for part in list(self._parts.values()):
            if part.task is None and all(part.here.covers(*parked) for parked in part.parked):
                await part.forget()
        await self._access.spool.wait_for_room()

    # --- whole parts --------------------------------------------------------------------------------------------------

    def _store_if_whole(self, number: int) -> None:
        part = self._parts.get(number)
        if part is None or part.task is not None or not part.here:
            return
        within = self.place.range_of(number, self._ticket.size)
        if self._ticket.extents.covers(*within):
            del self._parts[number]  # another process has stored it
            self._access.in_background(part.forget(), "freeing the spool")
            return
        there = part.here | self._ticket.extents | Extents(part.parked)
        if there.covers(*within):
            part.task = asyncio.get_running_loop().create_task(self._store_in_background(part))

    async def _store_in_background(self, part: PartBuffer) -> None:
        try:
            records = await self.store(part)
            self._new_records += records
            self._durable.append(self.place.range_of(part.number, self._ticket.size))
        except UploadError as error:
            self._error = self._error or error
        finally:
            part.task = None
            if self.changed is not None:
                self.changed()

    async def store_missing(self, ticket: Ticket, number: int) -> str:
        """Store a part whose bytes are parked or here, and return its ETag. Raises BytesLost."""
        self._ticket = ticket
        part = self._part(number, self.place.range_of(number, ticket.size)[0])
        if part.task is not None:
            await asyncio.wait([part.task])
        records = await self.store(part)
        stored = {one.name: one.value for one in records if one.value is not None}
        return parse_receipts(stored or await self._records(self.id)).parts[number].etag

    async def store(self, part: PartBuffer) -> list[Record]:
        """Store a whole part, fetching what is parked of it, and return its records. Raises BytesLost."""
        within = self.place.range_of(part.number, self._ticket.size)
        receipts = await self._fetch(part, within)
        if part.here.missing(*within):  # another process has just stored it, and what was parked is gone
            await part.forget()
            self._parts.pop(part.number, None)
            return []
        length = within[1] - within[0]
        content = await self._access.checked(part.region, 0, length)
        key, upload = self.place.key, self.place.upload
        try:
            etag = await self._access.call(
                lambda: self._access.client.upload_part(key, upload, part.number, content), is_put=True
            )
        except S3Error as error:
            raise await self.meaning(error) from error
        parked = {**{one: key for one, key in receipts.parked.items() if _is_within(one, within)}, **part.parked}
        self._garbage[part.number] = list(parked.values())
        await part.forget()
        self._parts.pop(part.number, None)
        return [part_record(part.number, etag, within), *(no_longer_parked(one, within) for one in parked)]

    async def _fetch(self, part: PartBuffer, within: Range) -> Receipts:
        """Spool what is parked of a part and not here; return the receipts. Raises BytesLost for what is nowhere."""
        receipts = parse_receipts(await self._records(self.id))
        parked = {**receipts.parked, **part.parked}
        for parked_range, key in sorted(parked.items()):
            low, high = max(parked_range[0], within[0]), min(parked_range[1], within[1])
            for start, end in part.here.missing(low, high) if low < high else []:
                await self._fetch_range(part, key, start, end, start - parked_range[0])
        is_stored = part.number in receipts.parts and not self._ticket.losses
        if part.here.missing(*within) and not is_stored:
            kept = receipts.extents(self.place, self._ticket.size)
            raise BytesLost(f"of part {part.number} of this upload not all bytes are in the object store", kept)
        return receipts

    async def _fetch_range(self, part: PartBuffer, key: str, start: int, end: int, offset: int) -> None:
        content = bytearray()

        async def attempt() -> None:
            content.clear()
            await self._access.client.get(key, offset, offset + end - start, content.extend)

        try:
            await self._access.call(attempt)
        except S3Error as error:
            if error.is_missing:
                raise BytesLost("parked bytes of this upload are no longer in the object store") from error
            raise self._access.failure(error) from error
        if len(content) != end - start:
            raise StorageFailed(f"object store {self._access.store.name}: a parked range came back with another length")
        await part.write((start, memoryview(content)))

    async def meaning(self, error: S3Error) -> UploadError:
        """Return what it means that the multipart upload cannot be used."""
        if not error.is_missing:
            return self._access.failure(error)
        try:
            known = await self._access.call(lambda: self._access.client.head(self.place.key))
        except S3Error as refusal:
            return self._access.failure(refusal)
        if known is not None and known.metadata.get("incoming") == self.place.mark:
            return AlreadyComplete("the file is complete; nothing more can be sent or changed")
        return BytesLost("the multipart upload is no longer in the object store")

    # --- incomplete parts ---------------------------------------------------------------------------------------------

    async def flush(self, ticket: Ticket) -> None:
        """Make durable all that is here. Raises what could not be stored; all of it is discarded then."""
        self._ticket = ticket
        for number in tuple(self._parts):
            self._store_if_whole(number)
        try:
            await self._park_all()
        except UploadError as error:
            self._error = self._error or error
        await self._settle()
        if self._error is not None:
            await self.discard()
            raise self._error

    async def _settle(self) -> None:
        while tasks := [part.task for part in self._parts.values() if part.task is not None]:
            await asyncio.wait(tasks)

    async def _park_all(self) -> None:
        await asyncio.gather(*(self._park(part) for part in tuple(self._parts.values()) if part.task is None))

    async def _park(self, part: PartBuffer) -> None:
        safe = self._ticket.extents | Extents(part.parked)
        for low, high in part.here:
            for start, end in safe.missing(low, high):
                await self._park_range(part, start, end)

    async def _park_range(self, part: PartBuffer, start: int, end: int) -> None:
        # A late PUT of an earlier epoch must not overwrite what a later one has parked: each has a key of its own.
        name = f"{start}-{end}-{uuid.uuid4().hex[:8]}"
        key = parked_prefix(self._access.store.prefix, self.id) + name
        content = await self._access.checked(part.region, start - part.start, end - start)
        try:
            await self._access.call(lambda: self._access.client.put(key, content), is_put=True)
        except S3Error as error:
            raise self._access.failure(error) from error
        part.parked[start, end] = key
        self._durable.append((start, end))
        self._new_records.append(parked_record((start, end), key))

    # --- what is durable ----------------------------------------------------------------------------------------------

    def collect(self) -> Written:
        """Return what became durable since the last call."""
        durable, self._durable = self._durable, []
        records, self._new_records = self._new_records, []
        return Written(durable, self._store_data, records)

    def check(self) -> None:
        """Raise the error of a part that could not be stored."""
        if self._error is not None:
            raise self._error

    def forget(self, stale: list[Record]) -> None:
        """Let records be removed with the next commit."""
        self._new_records += stale

    def recorded(self, ticket: Ticket) -> None:
        """Remove the parked ranges of parts whose receipts are committed."""
        for number, keys in list(self._garbage.items()):
            if ticket.epoch == self.epoch and ticket.extents.covers(*self.place.range_of(number, ticket.size)):
                del self._garbage[number]
                if keys:
                    self._access.in_background(self._access.delete_all(keys), "removing parked ranges")

    @property
    def is_safe(self) -> bool:
        """Whether nothing is here that would be lost with this process."""
        if self._durable or any(part.task for part in self._parts.values()):
            return False
        safe = self._ticket.extents | Extents(one for part in self._parts.values() for one in part.parked)
        return all(safe.covers(*here) for part in self._parts.values() for here in part.here)

    async def discard(self) -> None:
        """Forget all that is here."""
        parts, self._parts = list(self._parts.values()), {}
        for part in parts:
            if part.task is not None:
                part.task.cancel()
                await asyncio.wait([part.task])
            await part.forget()


def _is_within(inner: Range, outer: Range) -> bool:
    return outer[0] <= inner[0] and inner[1] <= outer[1]
