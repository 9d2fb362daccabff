"""Bytes of one upload on their way to the store: which of them are new, and who waits for them to be safe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from incoming.core.errors import BadRange, UploadError
from incoming.core.extents import Extents, Range
from incoming.core.ticket import RECEIVING, Ticket
from incoming.storage.byte_store import Buffer


@dataclass(eq=False, slots=True)
class PendingWrite:
    """A chunk or a part of a body on its way. `epoch` is None for a client that knows of no sessions."""

    offset: int
    data: Buffer
    """Let go of as soon as it is written, for its memory is used again."""
    epoch: int | None
    acked: asyncio.Future[None]
    within: float
    """Seconds after which it is to be committed; 0 if its sender does nothing else until then."""
    let_go: Callable[[], None] | None
    """Called once, when its data is not needed any more."""
    held: bool = False
    """Whether it is not committed when it is written, but by `commit_held` with the rest of its body."""
    end: int = field(init=False)
    written_at: int = 0
    """The ticket's epoch when it was written. One written before the epoch rose may have been lost by then."""
    store_data: str = ""
    """What the store says of where it was written; in another place it does not count."""

    def __post_init__(self) -> None:
        self.end = self.offset + len(self.data)

    @property
    def range(self) -> Range:
        return self.offset, self.end

    def drop(self) -> None:
        """It is written, or never will be."""
        self.data = b""
        if self.let_go is not None:
            self.let_go()
            self.let_go = None

    def ack(self) -> None:
        self.drop()
        if not self.acked.done():
            self.acked.set_result(None)

    def fail(self, error: UploadError) -> None:
        """One error each: whoever raises it hangs its traceback on it."""
        self.drop()
        if not self.acked.done():
            self.acked.set_exception(type(error)(error.message))


def new_parts(
    batch: Sequence[PendingWrite], before: Sequence[PendingWrite], ticket: Ticket
) -> list[tuple[int, Buffer]]:
    """Of each piece what is neither committed nor, as `before`, on its way there: what was acked is never overwritten.

    What was written in an epoch that is over does not count, for it will not be committed.
    """
    under_way = Extents(piece.range for piece in before if piece.written_at == ticket.epoch)
    news: list[tuple[int, Buffer]] = []
    for piece in batch:
        start, end = piece.range
        for gap in ticket.extents.missing(start, end):
            for low, high in under_way.missing(*gap):
                whole = (low, high) == (start, end)
                news.append((low, piece.data if whole else memoryview(piece.data)[low - start : high - start]))
        under_way = under_way.add(start, end)
    return news


def with_written(known: Ticket, batch: Sequence[PendingWrite], now: float, max_extents: int, *, synced: bool) -> Ticket:
    """Return the ticket with the pieces that are still their senders' to send; the others are as if never written.

    Raise BadRange when it would consist of more than `max_extents` ranges.
    """
    data = known.store_data or next((piece.store_data for piece in reversed(batch) if piece.store_data), "")
    rightful = [piece.range for piece in batch if piece.written_at == known.epoch and piece.store_data in ("", data)]
    if not rightful and known.state in RECEIVING:
        return known
    stored = known.store(rightful, None, now)
    if data != known.store_data:
        stored = replace(stored, store_data=data)
    if len(stored.extents) > max_extents:
        raise BadRange(f"the upload would consist of more than {max_extents} separate ranges")
    return stored.checkpoint(Extents(rightful)) if synced else stored
