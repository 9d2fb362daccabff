"""Where an upload's bytes are in its object store: the multipart upload, its key, and the borders of its parts.

Decides the layout of parts, which is fixed when the upload is begun and kept with the ticket.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from incoming.core.errors import StorageFailed
from incoming.core.extents import Range
from incoming.core.ticket import Ticket

MIB = 1024 * 1024
MAX_PARTS = 10_000
WANTED_PARTS = 9_000
"""Parts of the largest file, so that some are left of the 10,000 that S3 allows."""

STEP = 1_000
"""Parts of one length while the size is unknown; those of the next step are twice as long."""


def part_size_for(size: int, least: int) -> int:
    """Return the length of all parts but the last one of a file of `size` bytes; whole MiB, unless it is `least`."""
    needed = -(-size // WANTED_PARTS)
    return least if needed <= least else -(-needed // MIB) * MIB


def object_key(prefix: str, ticket: Ticket) -> str:
    """Return where the complete file will be: what the application wants, else the ticket's id, below the prefix."""
    return prefix + (ticket.options.dest_key or ticket.id)


@dataclass(frozen=True, slots=True)
class Place:
    """`part` is the length of parts; with `grows` of the first 1,000, because the size was unknown.

    `mark` is in the object's metadata and tells it from another one with the same key.
    """

    bucket: str
    key: str
    upload: str
    part: int
    grows: bool
    mark: str

    @property
    def text(self) -> str:
        """As it is kept with the ticket."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @staticmethod
    def parse(text: str) -> Place:
        """Return the place of a ticket's `store_data`. Raises StorageFailed."""
        try:
            return Place(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise StorageFailed("the record of where the bytes of this upload are is damaged") from error

    def number_at(self, offset: int) -> int:
        """Return the number, from 1 on, of the part that holds the byte at `offset`."""
        if not self.grows:
            return offset // self.part + 1
        step, start, length = self._step_at(offset)
        return step * STEP + (offset - start) // length + 1

    def range_of(self, number: int, size: int | None) -> Range:
        """Return the offsets of a part in a file of `size` bytes, or of an unknown length."""
        if self.grows:
            step, within = divmod(number - 1, STEP)
            length = self.part << step
            start = STEP * self.part * ((1 << step) - 1) + within * length
        else:
            start, length = (number - 1) * self.part, self.part
        return start, start + length if size is None else min(start + length, size)

    def count(self, size: int) -> int:
        """Return how many parts a file of `size` bytes has."""
        return self.number_at(size - 1) if size else 0

    def _step_at(self, offset: int) -> tuple[int, int, int]:
        step, start, length = 0, 0, self.part
        while offset >= start + STEP * length:
            step, start, length = step + 1, start + STEP * length, length * 2
        return step, start, length
