"""The ByteStore on one object store: multipart uploads through this server.

Decides when a multipart upload is begun, and what a process keeps of it. Bytes are durable when the part that they are
in is stored, or when they are parked; ranges, the receipts of parts and the place of the upload are committed together,
so one instance's part counts, whatever another one still sends.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeVar

from incoming.core.errors import ServerShutdown, TakenOver
from incoming.core.extents import Extents, Range
from incoming.core.location import Location
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, BytesLost, SignedPart, SpoolUsage, Written
from incoming.storage.s3.bucket.bucket_access import BucketAccess, Records
from incoming.storage.s3.orphans import sweep_orphans
from incoming.storage.s3.parts.buffered_upload import BufferedUpload, parked_prefix
from incoming.storage.s3.parts.completion import Completion
from incoming.storage.s3.parts.direct import look_for_parts, sign_parts
from incoming.storage.s3.parts.place import Place, object_key, part_size_for
from incoming.storage.s3.parts.receipts import parse_receipts, stale_records
from incoming.storage.s3.requests.answers import S3Error, StoredObject

T = TypeVar("T")

log = logging.getLogger(__name__)

AGAIN = (60.0, 3600.0)
"""Seconds after which an aborted upload is aborted again: a part that was under way may have come after the abort."""


class Lease(Protocol):
    """Lets one process at a time complete an upload."""

    def __call__(self, ticket: Ticket) -> AbstractAsyncContextManager[None]:
        """Enter when no other process has the lease. Raises what the TicketStore raises."""
        ...


class S3Bytes:
    """Objects in one bucket. `records` returns the records of a ticket, `lease` lets one process complete it."""

    def __init__(self, access: BucketAccess, records: Records, lease: Lease) -> None:
        self.access = access
        self.records = records
        self._lease = lease
        self._uploads: dict[str, BufferedUpload] = {}
        self._turns: dict[str, asyncio.Lock] = {}
        self._listeners: dict[str, Callable[[], None]] = {}
        self._aborts: set[asyncio.TimerHandle] = set()
        self._closed = False

    @property
    def name(self) -> str:
        return self.access.store.name

    @property
    def spool(self) -> SpoolUsage:
        return self.access.spool

    def counts(self) -> Mapping[str, float]:
        return {f"object_requests/{name}": count for name, count in self.access.client.requests.items()}

    # --- bytes come ---------------------------------------------------------------------------------------------------

    def part_size(self, size: int) -> int:
        return part_size_for(size, self.access.store.part_size)

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        upload = await self.begin(ticket)
        await upload.put(ticket, pieces)
        return upload.collect()

    async def flush(self, ticket: Ticket) -> Written:
        upload = await self._known(ticket)
        if upload is None:
            return Written([], "")
        try:
            await upload.flush(ticket)
        except BaseException:
            self._uploads.pop(ticket.id, None)
            raise
        return upload.collect()

    async def collect(self, ticket: Ticket) -> Written:
        upload = self._uploads.get(ticket.id)
        if upload is None or upload.epoch != ticket.epoch:
            return Written([], "")
        try:
            upload.check()
        except BaseException:
            del self._uploads[ticket.id]
            await upload.discard()
            raise
        return upload.collect()

    def listen(self, ticket_id: str, changed: Callable[[], None] | None) -> None:
        if changed is None:
            self._listeners.pop(ticket_id, None)
        else:
            self._listeners[ticket_id] = changed
        if (upload := self._uploads.get(ticket_id)) is not None:
            upload.changed = changed

    def recorded(self, ticket: Ticket) -> None:
        if (upload := self._uploads.get(ticket.id)) is not None:
            upload.recorded(ticket)

    async def begin(self, ticket: Ticket) -> BufferedUpload:
        """Return what is here of the upload; create the multipart upload if there is none.

        Raises BytesLost when it is gone, AlreadyComplete.
        """
        async with self._turns.setdefault(ticket.id, asyncio.Lock()):
            return await self._known(ticket) or await self._open(ticket, await self._create(ticket))

    async def _known(self, ticket: Ticket) -> BufferedUpload | None:
        """Return what is here in the ticket's epoch, also of an upload that another process has begun."""
        self._check_open()
        upload = self._uploads.get(ticket.id)
        if upload is not None and upload.epoch > ticket.epoch:
            raise TakenOver
        if upload is not None and upload.epoch == ticket.epoch and ticket.store_data in ("", upload.place.text):
            return upload
        if upload is not None:
            await self._replace(upload, ticket)
        if not ticket.store_data:
            return None
        place = Place.parse(ticket.store_data)
        is_verified = upload is not None and upload.place == place
        opened = await self._open(ticket, place)
        if not is_verified:
            await self._verify(opened)
        return opened

    async def _replace(self, upload: BufferedUpload, ticket: Ticket) -> None:
        """Discard what is here: it is of an earlier epoch, or another process has begun the upload elsewhere."""
        del self._uploads[ticket.id]
        await upload.discard()
        if ticket.store_data not in ("", upload.place.text):
            self._abort(upload.place)

    async def _open(self, ticket: Ticket, place: Place) -> BufferedUpload:
        upload = BufferedUpload(self.access, self.records, ticket, place)
        upload.changed = self._listeners.get(ticket.id)
        if ticket.losses:
            upload.forget(stale_records(parse_receipts(await self.records(ticket.id)), place, ticket))
        self._uploads[ticket.id] = upload
        return upload

    async def _create(self, ticket: Ticket) -> Place:
        store, mark = self.access.store, uuid.uuid4().hex
        if ticket.extents:
            raise BytesLost("there is no record of where the bytes of this upload are")
        key = object_key(store.prefix, ticket)
        headers = object_headers(ticket, mark)
        try:
            upload = await self.access.call(lambda: self.access.client.create_upload(key, headers))
        except S3Error as error:
            raise self.access.failure(error) from error
        is_known = ticket.size is not None
        part = ticket.part_size or (part_size_for(ticket.size or 0, store.part_size) if is_known else store.part_size)
        return Place(store.bucket, key, upload, part, not is_known, mark)

    async def _verify(self, upload: BufferedUpload) -> None:
        place = upload.place
        try:
            await self.access.call(lambda: self.access.client.list_parts(place.key, place.upload, most=1))
        except S3Error as error:
            self._uploads.pop(upload.id, None)
            raise await upload.meaning(error) from error

    # --- parts that clients send themselves ---------------------------------------------------------------------------

    @property
    def offers_direct(self) -> bool:
        return self.access.store.direct

    async def begin_direct(self, ticket: Ticket) -> Written:
        return Written([], (await self.begin(ticket)).place.text)

    async def sign_parts(self, ticket: Ticket, numbers: Sequence[int]) -> list[SignedPart]:
        self._check_open()
        return await sign_parts(self.access, ticket, numbers)

    async def seen_parts(self, ticket: Ticket, after: int) -> Written:
        return await look_for_parts(self.access, await self.begin(ticket), ticket, after)

    # --- what is there ------------------------------------------------------------------------------------------------

    async def stored(self, ticket: Ticket) -> Extents | None:
        self._check_open()
        if not ticket.store_data:
            return None
        place = Place.parse(ticket.store_data)
        try:
            parts = await self.access.call(lambda: self.access.client.list_parts(place.key, place.upload))
        except S3Error as error:
            if not error.is_missing:
                raise self.access.failure(error) from error
            return Extents() if await self._guarded(self._is_another_begun(place)) else None
        there = {(part.number, part.etag) for part in parts}
        receipts = parse_receipts(await self.records(ticket.id))
        receipts.parts = {n: one for n, one in receipts.parts.items() if (n, one.etag) in there}
        receipts.parked = await self._guarded(self._still_parked(ticket.id, receipts.parked))
        return ticket.extents & receipts.extents(place, ticket.size)

    async def _is_another_begun(self, place: Place) -> bool:
        async def attempt() -> bool:
            return any([upload.key == place.key async for upload in self.access.client.list_uploads(place.key)])

        return await self.access.call(attempt)

    async def _still_parked(self, ticket_id: str, parked: dict[Range, str]) -> dict[Range, str]:
        if not parked:
            return parked
        keys = await self._parked_keys(ticket_id)
        return {one: key for one, key in parked.items() if key in keys}

    async def _parked_keys(self, ticket_id: str) -> set[str]:
        prefix = parked_prefix(self.access.store.prefix, ticket_id)

        async def attempt() -> set[str]:
            return {found.key async for found in self.access.client.list_objects(prefix)}

        return await self.access.call(attempt)

    # --- the complete file --------------------------------------------------------------------------------------------

    async def complete(self, ticket: Ticket, size: int) -> Location:
        self._check_open()
        async with self._lease(ticket):
            upload = self._uploads.get(ticket.id)
            is_present = upload is not None and ticket.store_data in ("", upload.place.text)
            location = await Completion(self.access, self.records, ticket, size).run(upload if is_present else None)
        if (upload := self._uploads.pop(ticket.id, None)) is not None:
            await upload.discard()
        self._turns.pop(ticket.id, None)
        self.access.in_background(self._remove_parked(ticket), "removing parked ranges")
        return location

    async def completed(self, ticket: Ticket, size: int) -> Location | None:
        self._check_open()
        return await self._guarded(Completion(self.access, self.records, ticket, size).completed())

    async def kept(self, ticket: Ticket) -> bool:
        self._check_open()
        known = await self._head(ticket)
        return known is not None and self._is_ours(ticket, known)

    async def has_key(self, key: str) -> bool:
        self._check_open()
        known = self.access.call(lambda: self.access.client.head(self.access.store.prefix + key))
        return await self._guarded(known) is not None

    async def describe(self, ticket: Ticket) -> dict[str, str]:
        key, store = self._key(ticket), self.access.store
        return {
            "destType": store.name,
            "bucket": store.bucket,
            "key": key,
            "size": str(ticket.size or 0),
            "etag": ticket.location.etag,
            "checksum": f"sha-256={ticket.digest}" if ticket.digest else "",
            "versionId": ticket.location.version,
            "url": await self.access.client.presign_get(key, store.url_lifetime),
        }

    async def _head(self, ticket: Ticket) -> StoredObject | None:
        key = self._key(ticket)
        try:
            return await self.access.call(lambda: self.access.client.head(key))
        except S3Error as error:
            raise self.access.failure(error) from error

    def _key(self, ticket: Ticket) -> str:
        return Place.parse(ticket.store_data).key if ticket.store_data else object_key(self.access.store.prefix, ticket)

    @staticmethod
    def _is_ours(ticket: Ticket, known: StoredObject) -> bool:
        """Return whether the object is the one that this upload has made, and has not been replaced since."""
        if ticket.location.etag:
            return known.etag == ticket.location.etag
        mark = Place.parse(ticket.store_data).mark if ticket.store_data else ticket.id
        return known.metadata.get("incoming") == mark

    # --- the end ------------------------------------------------------------------------------------------------------

    async def remove_partial(self, ticket: Ticket) -> None:
        self._check_open()
        upload = self._uploads.pop(ticket.id, None)
        self._turns.pop(ticket.id, None)
        if upload is not None:
            await upload.discard()
        places = {Place.parse(ticket.store_data)} if ticket.store_data else set()
        for place in places | ({upload.place} if upload is not None else set()):
            await self._guarded(self.access.abort(place.key, place.upload))
            self._abort_later(place)
        if places or upload is not None:
            await self._guarded(self._remove_parked(ticket))

    async def remove(self, ticket: Ticket) -> None:
        await self.remove_partial(ticket)
        known = await self._head(ticket)
        if known is None:
            return
        if not self._is_ours(ticket, known):
            log.warning("upload %s: its object was replaced by another one, which stays", ticket.id)
            return
        key = self._key(ticket)
        await self._guarded(self.access.delete_all([key]))

    async def _remove_parked(self, ticket: Ticket) -> None:
        await self.access.delete_all(sorted(await self._parked_keys(ticket.id)))

    async def _guarded(self, work: Awaitable[T]) -> T:
        try:
            return await work
        except S3Error as error:
            raise self.access.failure(error) from error

    def _abort(self, place: Place) -> None:
        self.access.in_background(self.access.abort(place.key, place.upload), "aborting an upload")

    def _abort_later(self, place: Place) -> None:
        def abort() -> None:
            self._aborts.discard(timer)
            self._abort(place)

        for delay in AGAIN:
            timer = asyncio.get_running_loop().call_later(delay, abort)
            self._aborts.add(timer)

    async def sweep(self, unfinished: AsyncIterable[Ticket]) -> int:
        self._check_open()
        return await self._guarded(sweep_orphans(self.access, self.records, unfinished))

    async def release(self, ticket: Ticket) -> None:
        self._check_open()
        upload = self._uploads.get(ticket.id)
        if upload is not None and (upload.epoch < ticket.epoch or upload.is_safe):
            del self._uploads[ticket.id]
            self._turns.pop(ticket.id, None)
            await upload.discard()

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        for timer in self._aborts:
            timer.cancel()
        for upload in self._uploads.values():
            await upload.discard()
        self._uploads.clear()
        await self.access.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ServerShutdown("the server is stopping")


def object_headers(ticket: Ticket, mark: str) -> dict[str, str]:
    """Return the headers with which an object is begun: its type, and the mark that tells it from others."""
    media_type = ticket.identity.media_type or ""
    is_sendable = media_type.isascii() and media_type.isprintable() and "/" in media_type
    headers = {"x-amz-meta-incoming": mark}
    return {**headers, "Content-Type": media_type} if is_sendable else headers
