"""Writes that the store has accepted and that are not acknowledged yet, and what the store has reported of them.

Decides which bytes may be committed, which writes may be acknowledged after a commit, and from when on their bytes no
longer count as received and unsafe. Calls neither store.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from incoming.core.errors import BadRange, StorageFailed, TakenOver
from incoming.core.extents import Extents, Range
from incoming.core.ticket import RECEIVING, Ticket
from incoming.storage.byte_store import Record, Written
from incoming.uploads.writes.pending_write import PendingWrite


@dataclass(frozen=True, slots=True)
class StoredRanges:
    """What is to be committed: ranges that are durable, the epoch in which they were written, the store's data."""

    ranges: tuple[Range, ...]
    epoch: int
    data: str
    records: tuple[Record, ...] = ()

    def records_of(self, ticket: Ticket) -> dict[str, str | None]:
        """Return the records that count with this ticket, by name: those of bytes that it has."""
        if ticket.epoch != self.epoch:
            return {}
        return {one.name: one.value for one in self.records if ticket.extents.covers(*one.within) != one.stale}


Selection = list[tuple[PendingWrite, list[Range], bool]]
"""Writes that a commit is for, each with its ranges in it and whether they are all that was missing."""


class SubmittedWrites:
    """Submitted writes of one upload. A report counts only in the epoch in which its bytes were written."""

    def __init__(self) -> None:
        self._writes: list[PendingWrite] = []
        self._ranges: Extents | None = None
        """The bytes of the writes of this epoch; None if they must be computed."""
        self._reported = Extents()
        """What the store has reported as durable in this epoch, committed or not."""
        self._epoch = 0
        self._data = ""
        self._records: list[Record] = []
        """What the store has reported with them, and no commit has written yet."""

    def __bool__(self) -> bool:
        return bool(self._writes)

    def add(self, batch: Iterable[PendingWrite], ticket: Ticket) -> None:
        """Add writes that the store has accepted in the epoch in which they were written."""
        added = list(batch)
        for write in added:
            self._begin(write.written_at)
            self._writes.append(write)
            if self._ranges is not None and write.written_at == self._epoch:
                self._ranges = self._ranges.add(*write.range)
        self._release(added, ticket)

    def report(self, written: Written, epoch: int, ticket: Ticket) -> None:
        """Note what the store has reported of the bytes of this epoch."""
        self._begin(epoch)
        if epoch < self._epoch:
            return
        if self._data and written.data not in ("", self._data):
            self._reported, self._records = Extents(), []  # the store has begun anew elsewhere
        self._data = written.data or self._data
        self._reported |= Extents(written.durable)
        self._records += written.records
        if written.durable:
            self._release(self._writes, ticket)

    def _begin(self, epoch: int) -> None:
        if epoch > self._epoch:
            self._epoch, self._data, self._reported, self._records = epoch, "", Extents(), []
            self._ranges = None

    def _release(self, writes: Iterable[PendingWrite], ticket: Ticket) -> None:
        for write in writes:
            if not write.durable and self._is_durable(write, ticket):
                write.release()

    def _is_durable(self, write: PendingWrite, ticket: Ticket) -> bool:
        missing = ticket.extents.missing(*write.range)
        return not missing or (write.written_at == self._epoch and all(self._reported.covers(*gap) for gap in missing))

    def not_kept(self, epoch: int, ticket: Ticket) -> list[PendingWrite]:
        """Return the writes of this epoch that neither the store nor the ticket has as a whole."""
        self._release(self._writes, ticket)
        return self.buffered(epoch)

    def buffered(self, epoch: int) -> list[PendingWrite]:
        """Return the writes of this epoch that are not durable as a whole."""
        return [write for write in self._writes if not write.durable and write.written_at == epoch]

    def ranges(self, epoch: int) -> Extents:
        """Return all bytes of the writes of this epoch."""
        if epoch != self._epoch:
            return Extents(write.range for write in self._writes if write.written_at == epoch)
        if self._ranges is None:
            self._ranges = Extents(write.range for write in self._writes if write.written_at == epoch)
        return self._ranges

    def unsafe(self, ticket: Ticket) -> Extents:
        """Return the bytes of the writes of the ticket's epoch that are not committed."""
        ranges = self.ranges(ticket.epoch)
        return Extents(gap for start, end in ranges for gap in ticket.extents.missing(start, end))

    def has_records(self, ticket: Ticket) -> bool:
        """Return whether there are records to commit for bytes that the ticket has already."""
        return ticket.epoch == self._epoch and any(ticket.extents.covers(*one.within) for one in self._records)

    def remove(self, writes: Iterable[PendingWrite]) -> None:
        """Remove writes that have failed."""
        gone = set(map(id, writes))
        self._writes, self._ranges = [write for write in self._writes if id(write) not in gone], None

    def ready(self, epoch: int) -> tuple[Selection, StoredRanges]:
        """Return the writes that the next commit is for, and what it commits. Those of an epoch before the ticket's,
        `epoch`, are among them: nothing makes them durable any more, and they get their answer.
        """
        selection = []
        for write in self._writes:
            ranges = self._reported.within(*write.range) if write.written_at == self._epoch else []
            if ranges or write.durable or write.written_at != max(self._epoch, epoch):
                selection.append((write, ranges, write.durable))
        together = tuple(Extents(part for _, ranges, _ in selection for part in ranges))
        return selection, StoredRanges(together, self._epoch, self._data, tuple(self._records))

    def settle(self, selection: Selection, stored: StoredRanges, ticket: Ticket) -> None:
        """Acknowledge what the ticket has after a commit of `stored` for `selection`; fail what can no longer be
        committed.
        """
        written = {id(one) for one in stored.records if one.stale or one.name in stored.records_of(ticket)}
        self._records = [one for one in self._records if id(one) not in written]
        passed_over = {id(write) for write, ranges, whole in selection if whole or not _has(ticket, ranges)}
        left = []
        for write in self._writes:
            if write.is_stale(ticket):
                write.fail(TakenOver())
            elif ticket.extents.covers(*write.range):
                write.ack()
            elif write.written_at != ticket.epoch or id(write) in passed_over:
                write.fail(StorageFailed("the upload was taken up anew meanwhile; ask for what has arrived"))
            else:
                left.append(write)
        self._writes, self._ranges = left, None


def _has(ticket: Ticket, ranges: Sequence[Range]) -> bool:
    return all(ticket.extents.covers(*part) for part in ranges)


def with_stored(known: Ticket, stored: StoredRanges, now: float, max_extents: int, *, synced: bool) -> Ticket:
    """Return the ticket with the stored ranges, if they are still their senders' to send; else as it was.

    Raise BadRange when it would consist of more than `max_extents` ranges, and the outcome of an upload that has ended.
    """
    data = known.store_data or stored.data
    is_rightful = stored.epoch == known.epoch and stored.data in ("", data)
    if not is_rightful and known.state in RECEIVING:
        return known
    ticket = known.store(stored.ranges, None, now)
    if data != known.store_data:
        ticket = replace(ticket, store_data=data)
    if len(ticket.extents) > max_extents:
        raise BadRange(f"the upload would consist of more than {max_extents} separate ranges")
    return ticket.checkpoint(Extents(stored.ranges)) if synced else ticket
