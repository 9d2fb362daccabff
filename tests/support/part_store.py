"""A ByteStore that buffers, as an object store does: bytes are durable only when the whole part that they are in is.

A server with it, as a process: `python -m tests.support.part_store`, with PART_SIZE in the environment.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from incoming.cli.main import main
from incoming.core.errors import UploadError
from incoming.core.extents import Extents, Range
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, Written
from incoming.storage.filesystem.store import FileStore


class _Buffer:
    """What is buffered of one upload in one epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        self.extents = Extents()
        self._content = bytearray()

    def put(self, offset: int, data: Buffer) -> None:
        end = offset + len(data)
        self._content.extend(bytes(max(0, end - len(self._content))))
        self._content[offset:end] = data
        self.extents = self.extents.add(offset, end)

    def take(self, start: int, end: int) -> list[tuple[int, Buffer]]:
        pieces: list[tuple[int, Buffer]] = [(low, bytes(self._content[low:high])) for low, high in
                                            self.extents.within(start, end)]  # fmt: skip
        self.extents = self.extents.without(start, end)
        return pieces


class PartStore(FileStore):
    """Files, but a part of `part_bytes` bytes is written when it is whole, or at `flush`.

    `parts` are the whole ones that were stored, `flushed` the ranges that were stored because the caller asked for it.
    """

    def __init__(self, root: str | Path, *, part_size: int, **others: Any) -> None:
        super().__init__(root, **others)
        self.part_bytes = part_size
        self.parts: dict[str, list[Range]] = defaultdict(list)
        self.flushed: dict[str, list[Range]] = defaultdict(list)
        self.flush_errors: list[UploadError] = []
        """Raised by the next flushes, one each."""
        self._buffers: dict[str, _Buffer] = {}

    def buffered(self, ticket_id: str) -> Extents:
        """What would be lost if the process died now."""
        buffer = self._buffers.get(ticket_id)
        return buffer.extents if buffer else Extents()

    def part_size(self, size: int) -> int:
        return self.part_bytes

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        buffer = self._of(ticket)
        touched = set[int]()
        for offset, data in pieces:
            buffer.put(offset, data)
            touched.update(range(offset // self.part_bytes, (offset + len(data) - 1) // self.part_bytes + 1))
        whole: list[tuple[int, Buffer]] = []
        for number in sorted(touched):
            part = self._part(ticket, number)
            if (buffer.extents | ticket.extents).covers(*part):
                self.parts[ticket.id].append(part)
                whole += buffer.take(*part)
        return await self._store(ticket, whole)

    async def flush(self, ticket: Ticket) -> Written:
        buffer = self._of(ticket)
        pieces = buffer.take(0, buffer.extents.end)
        if self.flush_errors:
            raise self.flush_errors.pop(0)
        self.flushed[ticket.id] += [(offset, offset + len(data)) for offset, data in pieces]
        return await self._store(ticket, pieces)

    async def release(self, ticket: Ticket) -> None:
        self._of(ticket)
        if not self.buffered(ticket.id):
            self._buffers.pop(ticket.id, None)
        await super().release(ticket)

    def _of(self, ticket: Ticket) -> _Buffer:
        buffer = self._buffers.get(ticket.id)
        if buffer is None or buffer.epoch < ticket.epoch:
            buffer = self._buffers[ticket.id] = _Buffer(ticket.epoch)
        return buffer

    def _part(self, ticket: Ticket, number: int) -> Range:
        end = (number + 1) * self.part_bytes
        return number * self.part_bytes, end if ticket.size is None else min(end, ticket.size)

    async def _store(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        return await super().write(ticket, pieces) if pieces else Written([], "")


def part_files(part_size: int) -> Any:
    """What to put in the place of FileStore."""
    return lambda root, **others: PartStore(root, part_size=part_size, **others)


if __name__ == "__main__":
    with patch("incoming.storage.open.FileStore", part_files(int(os.environ["PART_SIZE"]))):
        sys.exit(main())
