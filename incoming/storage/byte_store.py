"""ByteStore: the Protocol of everything that keeps the bytes of uploads.

Each method says who must guarantee what. Nothing here knows a file system or an object store. All methods may be called
from the event loop and never block it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from incoming.core.extents import Range

Buffer = bytes | memoryview


class ByteStore(Protocol):
    """Keeps the bytes of uploads. Raises StorageFull when there is no room, StorageFailed for any other fault and
    ServerShutdown once it is closed.
    """

    @property
    def grain(self) -> int:
        """The alignment, in bytes, of what can be stored on its own: 1 for files, the part size for an object store."""
        ...

    async def write(self, ticket_id: str, pieces: Sequence[tuple[int, Buffer]]) -> list[Range]:
        """Stores (offset, bytes) pieces; returns the ranges that now survive the death of this process.

        Creates what is needed at the first write. The caller sees to it that writes of one upload come one after the
        other and never touch bytes acked before. Raises AlreadyComplete when the file was completed meanwhile, by
        whichever process: from then on it is never touched.
        """
        ...

    async def sync(self, ticket_id: str) -> None:
        """After this, all that was written before survives a power cut. When it raises, nothing since the last success
        does.
        """
        ...

    async def present(self, ticket_id: str) -> int | None:
        """How many bytes at most the partial file can hold (its length), None when there is none."""
        ...

    async def complete(self, ticket_id: str, size: int) -> str:
        """Makes the whole file durable under its final name and returns that absolute path. May be called again at any
        point.
        """
        ...

    async def kept(self, ticket_id: str) -> bool:
        """Whether the complete file is where `complete` left it, that is, nobody has moved it away or removed it."""
        ...

    async def remove(self, ticket_id: str, *, finished: bool) -> None:
        """Removes the partial file and, with `finished`, the complete one as well. What is not there is no error."""
        ...

    async def release(self, ticket_id: str) -> None:
        """Lets go of what is held open for this upload. May be called at any time."""
        ...

    async def free_bytes(self) -> int:
        """How much can still be written, in bytes."""
        ...

    async def close(self) -> None:
        """Releases everything; writes under way are awaited."""
        ...
