"""Parts that clients send straight to the object store: where they go, URLs for them, and which of them are there.

Decides for how long a URL is valid. What a client says of a part counts for nothing: the store is asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from incoming.core.errors import BadRange
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import SIGNED_FOR, Record, SignedPart, Written
from incoming.storage.s3.bucket.bucket_access import BucketAccess
from incoming.storage.s3.parts.buffered_upload import BufferedUpload
from incoming.storage.s3.parts.place import Place
from incoming.storage.s3.parts.receipts import part_record
from incoming.storage.s3.requests.answers import S3Error, StoredPart


async def sign_parts(access: BucketAccess, ticket: Ticket, numbers: Sequence[int]) -> list[SignedPart]:
    """Return a URL for each part that the ticket does not have. Raises BadRange, StorageFailed."""
    place, size = Place.parse(ticket.store_data), ticket.size or 0
    if unknown := [number for number in numbers if not 1 <= number <= place.count(size)]:
        raise BadRange(f"there is no part {unknown[0]}: the file has the parts 1 to {place.count(size)}")
    ranges = {number: place.range_of(number, size) for number in numbers}
    missing = {number: within for number, within in ranges.items() if not ticket.extents.covers(*within)}
    lengths = [(number, end - start) for number, (start, end) in missing.items()]
    urls = await access.client.presign_parts(place.key, place.upload, lengths, SIGNED_FOR)
    return [SignedPart(number, within, url) for (number, within), url in zip(missing.items(), urls, strict=True)]


async def look_for_parts(access: BucketAccess, upload: BufferedUpload, ticket: Ticket, after: int) -> Written:
    """Return which parts from number `after` + 1 on the store has as a whole and the ticket has not.

    Raises BytesLost when the multipart upload is gone, AlreadyComplete, StorageFailed.
    """
    place = upload.place
    try:
        parts = await access.call(lambda: access.client.list_parts(place.key, place.upload, after=after))
    except S3Error as error:
        raise await upload.meaning(error) from error
    found = [record for part in parts if (record := _receipt(part, place, ticket)) is not None]
    return Written([record.within for record in found], place.text, found)


def _receipt(part: StoredPart, place: Place, ticket: Ticket) -> Record | None:
    """Return the receipt of a part that is new and has its exact length."""
    size = ticket.size or 0
    if not 1 <= part.number <= place.count(size):
        return None
    start, end = place.range_of(part.number, size)
    if part.size != end - start or ticket.extents.covers(start, end):
        return None
    return part_record(part.number, part.etag, (start, end))
