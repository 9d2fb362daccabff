"""Bytes of one upload on their way to the store, and who waits for them to be safe."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from incoming.core.errors import UploadError
from incoming.core.extents import Range
from incoming.storage.base import Buffer


@dataclass(eq=False, slots=True)
class Piece:
    """A chunk or a part of a body on its way. `epoch` is None for a client that knows of no sessions."""

    offset: int
    data: Buffer
    """Let go of as soon as nobody needs it any more, for its memory is used again."""
    epoch: int | None
    acked: asyncio.Future[None]
    is_awaited: bool = False
    """Whether its sender does nothing else until it is safe."""
    end: int = field(init=False)
    written_at: int = 0
    """The ticket's epoch when it was written. One written before the epoch rose may have been lost by then."""

    def __post_init__(self) -> None:
        self.end = self.offset + len(self.data)

    @property
    def range(self) -> Range:
        return self.offset, self.end

    def ack(self) -> None:
        self.data = b""
        if not self.acked.done():
            self.acked.set_result(None)

    def fail(self, error: UploadError) -> None:
        """One error each: whoever raises it hangs its traceback on it."""
        self.data = b""
        if not self.acked.done():
            self.acked.set_exception(type(error)(error.message))
