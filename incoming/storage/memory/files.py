"""The ByteStore in memory: what the Protocol promises, in the plainest way.

Several stores may share their files, as several workers share one directory. Everything happens on the event loop and
in one step, so no write is ever late, and nothing is to be synced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count

from incoming.core.errors import AlreadyComplete, ServerShutdown
from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, BytesLost, Written

MEMORY = "memory"
"""The kind of a location whose address is the id of the upload."""

_names = count(1)


@dataclass
class MemoryFile:
    """The bytes of one upload. `name` tells it from a later file of the same upload."""

    name: str = field(default_factory=lambda: f"memory-{next(_names)}")
    content: bytearray = field(default_factory=bytearray)
    extents: Extents = field(default_factory=Extents)
    complete: bool = False


class MemoryByteStore:
    """Files in `files`, by the ids of their tickets."""

    def __init__(self, files: dict[str, MemoryFile] | None = None) -> None:
        self.files = {} if files is None else files
        self._closed = False

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        file = self._partial(ticket)
        if file is None:
            file = self.files.setdefault(ticket.id, MemoryFile())
        for offset, data in pieces:
            end = offset + len(data)
            file.content.extend(bytes(max(0, end - len(file.content))))
            file.content[offset:end] = data
            file.extents = file.extents.add(offset, end)
        return Written([(offset, offset + len(data)) for offset, data in pieces], file.name)

    def _partial(self, ticket: Ticket) -> MemoryFile | None:
        """Return the file that the ticket is about, None if nothing has come yet. Raises BytesLost, AlreadyComplete."""
        self._check_open()
        file = self.files.get(ticket.id)
        if file is not None and file.complete:
            raise AlreadyComplete("the file is complete; nothing more can be sent or changed")
        is_begun = bool(ticket.extents or ticket.store_data)
        if is_begun and (file is None or ticket.store_data not in ("", file.name)):
            raise BytesLost("the partial file of this upload is no longer in memory")
        return file

    def _check_open(self) -> None:
        if self._closed:
            raise ServerShutdown("the server is stopping")

    async def stored(self, ticket: Ticket) -> Extents | None:
        self._check_open()
        file = self.files.get(ticket.id)
        if file is None or file.complete:
            return None
        return ticket.extents & file.extents if ticket.store_data in ("", file.name) else Extents()

    async def complete(self, ticket: Ticket, size: int) -> Location:
        try:
            file = self._partial(ticket)
        except AlreadyComplete:
            file = self.files[ticket.id]
        if file is None and size == 0:
            file = self.files[ticket.id] = MemoryFile()
        if file is None or not file.extents.covers(0, size):
            kept = ticket.extents & file.extents if file is not None else Extents()
            raise BytesLost(f"the partial file of this upload has not all of its {size} bytes", kept)
        del file.content[size:]
        file.complete = True
        return Location(MEMORY, ticket.id)

    async def completed(self, ticket: Ticket, size: int) -> Location | None:
        self._check_open()
        file = self.files.get(ticket.id)
        if file is None or not file.complete:
            return None
        if len(file.content) != size or ticket.store_data not in ("", file.name):
            raise BytesLost(f"the complete file is not a file of {size} bytes", discard=True)
        return Location(MEMORY, ticket.id)

    async def kept(self, ticket: Ticket) -> bool:
        self._check_open()
        file = self.files.get(ticket.id)
        return file is not None and file.complete

    async def remove_partial(self, ticket: Ticket) -> None:
        self._check_open()
        if (file := self.files.get(ticket.id)) is not None and not file.complete:
            del self.files[ticket.id]

    async def remove(self, ticket: Ticket) -> None:
        self._check_open()
        self.files.pop(ticket.id, None)

    async def release(self, ticket: Ticket) -> None:
        self._check_open()

    async def close(self) -> None:
        self._closed = True
