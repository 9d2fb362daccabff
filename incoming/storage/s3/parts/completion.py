"""Making one object of the parts of an upload: from our own receipts, and believed only when the object is seen.

Decides which parts are listed, what a refusal means for the bytes, and when an object is this upload's.
"""

from __future__ import annotations

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import BytesLost
from incoming.storage.s3.bucket.bucket_access import BucketAccess, Records
from incoming.storage.s3.parts.buffered_upload import BufferedUpload
from incoming.storage.s3.parts.place import Place, object_key
from incoming.storage.s3.parts.receipts import parse_receipts
from incoming.storage.s3.requests.answers import S3Error, StoredObject
from incoming.storage.s3.requests.client import NOTHING

S3 = "s3"
"""The kind of a location whose address is a URL of this scheme."""

PARTS_REFUSED = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})


class Completion:
    """That of one ticket whose file has `size` bytes. All methods raise S3Error, StorageFailed."""

    def __init__(self, access: BucketAccess, records: Records, ticket: Ticket, size: int) -> None:
        self._access = access
        self._records = records
        self._ticket = ticket
        self._size = size

    async def run(self, upload: BufferedUpload | None) -> Location:
        """Complete the object and return its location. `upload` is what this process has of it, if anything.

        Raises BytesLost with what is left, or StorageFailed.
        """
        try:
            return await self._run(upload)
        except S3Error as error:
            raise self._access.failure(error) from error

    async def _run(self, upload: BufferedUpload | None) -> Location:
        if not self._size:
            return await self._put_empty()
        if upload is None and not self._ticket.store_data:
            raise BytesLost("there is no record of where the bytes of this upload are")
        place = upload.place if upload is not None else Place.parse(self._ticket.store_data)
        if self._ticket.options.dest_key and (known := await self._head(place.key)) is not None:
            return self._location(place.key, self._ours(known, place))
        parts = await self._parts(place, upload)
        try:
            await self._access.call(lambda: self._try_complete(place, parts))
        except S3Error as error:
            if error.code in PARTS_REFUSED:
                raise await self._lost_parts(place, parts, error) from error
            if not error.is_missing:
                raise
        known = await self._head(place.key)
        if known is None:
            raise BytesLost("the multipart upload is no longer in the object store")
        return self._location(place.key, self._ours(known, place))

    async def _try_complete(self, place: Place, parts: list[tuple[int, str]]) -> None:
        """Raise S3Error that is missing when there is no such upload (any more)."""
        client = self._access.client
        try:
            await client.complete_upload(place.key, place.upload, parts)
        except S3Error as error:
            if error.is_transient:  # Ceph answers 500 also for an upload that was completed or aborted: each time
                await client.list_parts(place.key, place.upload, most=1)
            raise

    async def _parts(self, place: Place, upload: BufferedUpload | None) -> list[tuple[int, str]]:
        """Return numbers and ETags of all parts. Those of which only ranges are parked are stored now."""
        receipts = parse_receipts(await self._records(self._ticket.id))
        parts = []
        for number in range(1, place.count(self._size) + 1):
            receipt = receipts.parts.get(number)
            start, end = place.range_of(number, self._size)
            if receipt is not None and receipt.size == end - start:
                parts.append((number, receipt.etag))
                continue
            upload = upload or BufferedUpload(self._access, self._records, self._ticket, place)
            parts.append((number, await upload.store_missing(self._ticket, number)))
        return parts

    async def _lost_parts(self, place: Place, parts: list[tuple[int, str]], error: S3Error) -> BytesLost:
        """Return which bytes are left when the store has other parts than those of the receipts."""
        seen = await self._access.call(lambda: self._access.client.list_parts(place.key, place.upload))
        there = {(part.number, part.etag) for part in seen}
        kept = [place.range_of(number, self._size) for number, etag in parts if (number, etag) in there]
        if len(kept) == len(parts):
            raise StorageFailed(f"object store {self._access.store.name}: {error}, although it has all parts")
        return BytesLost(f"the object store has not all parts as they were sent ({error.code})", Extents(kept))

    async def _put_empty(self) -> Location:
        place = self._place
        key = place.key if place is not None else object_key(self._access.store.prefix, self._ticket)
        known = await self._head(key)
        if known is None:
            headers = {"x-amz-meta-incoming": place.mark if place is not None else self._ticket.id}
            await self._access.call(lambda: self._access.client.put(key, NOTHING, headers), is_put=True)
            known = await self._head(key)
        if known is None:
            raise StorageFailed(f"object store {self._access.store.name}: an object that was just stored is not there")
        return self._location(key, self._ours(known, place))

    @property
    def _place(self) -> Place | None:
        return Place.parse(self._ticket.store_data) if self._ticket.store_data else None

    # --- what is there ------------------------------------------------------------------------------------------------

    async def completed(self) -> Location | None:
        """Return the location of the complete object, None if there is none. Raises BytesLost for a wrong one."""
        place = self._place
        key = place.key if place is not None else object_key(self._access.store.prefix, self._ticket)
        known = await self._head(key)
        if known is None or not self._is_marked(known, place):
            return None
        return self._location(key, self._ours(known, place))

    async def _head(self, key: str) -> StoredObject | None:
        return await self._access.call(lambda: self._access.client.head(key))

    def _is_marked(self, known: StoredObject, place: Place | None) -> bool:
        return known.metadata.get("incoming") == (place.mark if place is not None else self._ticket.id)

    def _ours(self, known: StoredObject, place: Place | None) -> StoredObject:
        if not self._is_marked(known, place):
            raise StorageFailed(
                f"object store {self._access.store.name}: another object has the key of this upload; it is not replaced"
            )
        if known.size != self._size:
            raise BytesLost(f"the complete object has {known.size} bytes, not {self._size}", discard=True)
        return known

    def _location(self, key: str, known: StoredObject) -> Location:
        address = f"s3://{self._access.store.bucket}/{key}"
        return Location(S3, address, etag=known.etag, version=known.version)
