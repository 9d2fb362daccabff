"""A write of one upload that is not yet acknowledged, and which of its bytes are new."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from incoming.core.errors import StorageFailed, UploadError, copied
from incoming.core.extents import Extents, Range
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class PendingWrite:
    """A chunk or a piece of a body. `epoch` is None for a client without a session."""

    offset: int
    data: Buffer
    """Dropped as soon as the store has accepted it, for its memory is used again."""
    epoch: int | None
    acked: asyncio.Future[None]
    within: float
    """Seconds until it should be committed; 0 if its sender waits for that."""
    on_settled: Callable[[], None] | None
    """Called once, when its bytes are durable, or never will be."""
    held: bool = False
    """Whether it is not committed when it is written, but by `commit_held` with the rest of its body."""
    end: int = field(init=False)
    written_at: int = 0
    """The ticket's epoch when it was written. One written before the epoch rose may have been lost by then."""
    written_on: float = 0.0
    """When, by the clock of the event loop."""
    durable: bool = False
    """Whether every byte is durable in the store or committed."""

    def __post_init__(self) -> None:
        self.end = self.offset + len(self.data)

    @property
    def range(self) -> Range:
        return self.offset, self.end

    @property
    def can_be_written(self) -> bool:
        """Whether its data is still here."""
        return len(self.data) == self.end - self.offset

    def is_stale(self, ticket: Ticket) -> bool:
        """Return whether its sender's session has been replaced by a later one."""
        return self.epoch not in (None, ticket.epoch)

    def drop(self) -> None:
        """Forget the data: the store has accepted it."""
        self.data = b""

    def release(self) -> None:
        """Stop counting it as memory in use: every byte is durable, or never will be."""
        self.durable = True
        self.drop()
        self.settled()

    def settled(self) -> None:
        """Stop counting its bytes as memory in use."""
        if self.on_settled is not None:
            self.on_settled()
            self.on_settled = None

    def ack(self) -> None:
        self.release()
        if not self.acked.done():
            self.acked.set_result(None)

    def fail(self, error: UploadError) -> None:
        self.release()
        if not self.acked.done():
            self.acked.set_exception(copied(error))


def as_upload_error(error: Exception, what: str, ticket_id: str) -> UploadError:
    """Return the error for the senders; the details of a defect are only logged."""
    if isinstance(error, UploadError):
        return error
    log.error("upload %s: %s failed", ticket_id, what, exc_info=error)
    return StorageFailed(f"the {what} failed by a defect of the server")


def new_parts(batch: Sequence[PendingWrite], before: Extents, ticket: Ticket) -> list[tuple[int, Buffer]]:
    """Return the (offset, bytes) of each write that are neither committed nor submitted before (`before`).

    So acknowledged bytes are never overwritten.
    """
    under_way = before
    news: list[tuple[int, Buffer]] = []
    for piece in batch:
        start, end = piece.range
        for gap in ticket.extents.missing(start, end):
            for low, high in under_way.missing(*gap):
                whole = (low, high) == (start, end)
                news.append((low, piece.data if whole else memoryview(piece.data)[low - start : high - start]))
        under_way = under_way.add(start, end)
    return news
