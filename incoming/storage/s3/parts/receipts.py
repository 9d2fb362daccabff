"""What is kept with a ticket of the parts and parked ranges that its object store has: names and values of records.

A receipt says which ETag counts for a part, so that a late upload of other bytes cannot take its place unnoticed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents, Range
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Record
from incoming.storage.s3.parts.place import Place

_PART = re.compile(r"part-(\d{5})")
_PARKED = re.compile(r"parked-(\d+)-(\d+)")


@dataclass(frozen=True, slots=True)
class Receipt:
    etag: str
    size: int


@dataclass(slots=True)
class Receipts:
    """Parts by number, and the keys of parked ranges."""

    parts: dict[int, Receipt] = field(default_factory=dict)
    parked: dict[Range, str] = field(default_factory=dict)

    def extents(self, place: Place, size: int | None) -> Extents:
        """Return all bytes that these are of."""
        ranges = [place.range_of(number, size) for number in self.parts]
        return Extents(part for part in (*ranges, *self.parked) if part[0] < part[1])


def part_record(number: int, etag: str, part: Range) -> Record:
    """Return the record of a stored part."""
    return Record(_part_name(number), json.dumps({"etag": etag, "size": part[1] - part[0]}), part)


def parked_record(parked: Range, key: str) -> Record:
    """Return the record of a parked range."""
    return Record(_parked_name(parked), key, parked)


def no_longer_parked(parked: Range, part: Range) -> Record:
    """Return the removal of a parked range, because the part that it lies in is stored."""
    return Record(_parked_name(parked), None, part)


def stale_records(receipts: Receipts, place: Place, ticket: Ticket) -> list[Record]:
    """Return the removals of records whose bytes the ticket has lost since: another upload may take their place."""
    parts = ((_part_name(number), place.range_of(number, ticket.size)) for number in receipts.parts)
    parked = ((_parked_name(one), one) for one in receipts.parked)
    lost = [(name, within) for name, within in (*parts, *parked) if not ticket.extents.covers(*within)]
    return [Record(name, None, within, stale=True) for name, within in lost]


def _part_name(number: int) -> str:
    return f"part-{number:05}"


def _parked_name(parked: Range) -> str:
    return f"parked-{parked[0]}-{parked[1]}"


def parse_receipts(records: Mapping[str, str]) -> Receipts:
    """Return the receipts among a ticket's records. Raises StorageFailed."""
    found = Receipts()
    try:
        for name, value in records.items():
            if match := _PART.fullmatch(name):
                found.parts[int(match[1])] = Receipt(**json.loads(value))
            elif match := _PARKED.fullmatch(name):
                found.parked[int(match[1]), int(match[2])] = value
    except (ValueError, TypeError) as error:
        raise StorageFailed("a receipt of this upload is damaged") from error
    return found
