"""Which bytes are committed, and which writes are acknowledged, after what a store has reported of them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from incoming.core.errors import BadRange, StorageFailed, TakenOver, UploadCancelled
from incoming.core.extents import Extents, Range
from incoming.core.ticket import State, Ticket, TicketOptions
from incoming.storage.byte_store import Record, Written
from incoming.uploads.writes.pending_write import PendingWrite
from incoming.uploads.writes.submitted_writes import StoredRanges, SubmittedWrites, with_stored

NEW = Ticket("id", TicketOptions("http://127.0.0.1:9/"), 1.0, 1.0, 1.0)
TICKET = replace(NEW, state=State.UPLOADING, epoch=3)


def with_extents(*ranges: Range, epoch: int = 3) -> Ticket:
    return replace(TICKET, extents=Extents(ranges), epoch=epoch)


class Bench:
    """The writes of one upload; `freed` are those that count no longer as memory in use."""

    def __init__(self) -> None:
        self.submitted = SubmittedWrites()
        self.freed: list[Range] = []

    def add(self, start: int, end: int, epoch: int | None = 3, written_at: int = 3) -> PendingWrite:
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        write = PendingWrite(start, bytes(end - start), epoch, future, 0.0, lambda: self.freed.append((start, end)))
        write.written_at = written_at
        write.drop()
        self.submitted.add([write], TICKET)
        return write

    def report(self, *ranges: Range, epoch: int = 3, data: str = "place", records: Sequence[Record] = ()) -> None:
        self.submitted.report(Written(list(ranges), data, records), epoch, TICKET)

    def committed(self) -> tuple[Range, ...]:
        """What the next commit would commit."""
        return self.submitted.ready(3)[1].ranges


def outcome(write: PendingWrite) -> object:
    """None while it has none, True when it was acknowledged, else the error."""
    return write.acked.done() and (write.acked.exception() or True)


async def test_unreported_bytes_are_neither_committed_nor_freed() -> None:
    bench = Bench()
    write = bench.add(0, 10)
    assert (bench.committed(), bench.freed, bench.submitted.buffered(3)) == ((), [], [write])


async def test_the_durable_part_of_a_write_is_committed_and_the_write_acknowledged_when_all_is() -> None:
    bench = Bench()
    write = bench.add(0, 10)
    bench.report((0, 6))
    selection, stored = bench.submitted.ready(3)
    assert stored == StoredRanges(((0, 6),), 3, "place")
    bench.report((6, 10))  # while that is being committed
    bench.submitted.settle(selection, stored, with_extents((0, 6)))
    assert (outcome(write), bench.freed) == (False, [(0, 10)])
    selection, stored = bench.submitted.ready(3)
    bench.submitted.settle(selection, stored, with_extents((0, 10)))
    assert outcome(write) is True
    assert not bench.submitted


async def test_ranges_without_a_waiting_write_are_not_committed() -> None:
    """A store may report bytes of writes that have failed, or that must not count yet."""
    bench = Bench()
    bench.add(0, 10)
    bench.report((0, 50))
    assert bench.committed() == ((0, 10),)
    bench.add(30, 40)
    assert bench.committed() == ((0, 10), (30, 40))


async def test_a_report_of_an_earlier_epoch_counts_for_nothing() -> None:
    bench = Bench()
    bench.add(0, 10)
    bench.report((0, 5), epoch=2)
    assert bench.committed() == ()
    bench.report((0, 5))
    later = bench.add(0, 10, epoch=4, written_at=4)
    assert bench.committed() == ()
    bench.report((0, 10))
    assert bench.submitted.buffered(4) == [later]


async def test_bytes_stored_in_another_place_do_not_count() -> None:
    bench = Bench()
    bench.add(0, 10)
    bench.report((0, 5), data="one")
    bench.report(data="")
    assert bench.committed() == ((0, 5),)
    bench.report((5, 10), data="other")
    assert bench.committed() == ((5, 10),)


@pytest.mark.parametrize(("epoch", "error"), [(3, TakenOver), (None, StorageFailed)])
async def test_writes_of_an_earlier_epoch_fail(epoch: int | None, error: type[Exception]) -> None:
    bench = Bench()
    write = bench.add(0, 10, epoch)
    selection, stored = bench.submitted.ready(3)
    bench.submitted.settle(selection, stored, with_extents(epoch=4))
    assert type(outcome(write)) is error
    assert bench.freed == [(0, 10)]


async def test_a_durable_write_that_was_not_committed_fails() -> None:
    bench = Bench()
    whole, part = bench.add(0, 10), bench.add(20, 30)
    bench.report((0, 10), (20, 25))
    selection, stored = bench.submitted.ready(3)
    waiting = bench.add(40, 50)
    bench.submitted.settle(selection, stored, with_extents())
    assert [type(outcome(write)) for write in (whole, part, waiting)] == [StorageFailed, StorageFailed, bool]


async def test_bytes_that_the_ticket_has_from_elsewhere_are_kept() -> None:
    bench = Bench()
    theirs, lost = bench.add(0, 10), bench.add(20, 30)
    assert bench.submitted.not_kept(3, with_extents((0, 10))) == [lost]
    assert (theirs.durable, bench.freed) == (True, [(0, 10)])


async def test_the_ranges_of_writes_follow_what_is_added_removed_and_settled() -> None:
    bench = Bench()
    first, second = bench.add(0, 10), bench.add(20, 30)
    assert bench.submitted.ranges(3) == Extents([(0, 10), (20, 30)])
    bench.add(30, 40)
    bench.add(50, 60, epoch=2, written_at=2)
    assert bench.submitted.ranges(3) == Extents([(0, 10), (20, 40)])
    assert bench.submitted.ranges(2) == Extents([(50, 60)])
    bench.submitted.remove([second])
    assert bench.submitted.ranges(3) == Extents([(0, 10), (30, 40)])
    bench.submitted.settle(*bench.submitted.ready(3), with_extents((0, 10)))
    assert outcome(first) is True
    assert bench.submitted.ranges(3) == Extents([(30, 40)])
    bench.add(60, 70, epoch=4, written_at=4)
    assert bench.submitted.ranges(4) == Extents([(60, 70)])


def test_a_commit_counts_only_for_its_epoch_and_place() -> None:
    stored = StoredRanges(((0, 10),), 3, "place")
    known = replace(TICKET, store_data="place")
    for ticket in (TICKET, known):
        after = with_stored(ticket, stored, 5.0, 10, synced=False)
        assert (after.extents, after.store_data, after.active_at) == (Extents([(0, 10)]), "place", 5.0)
        assert after.synced == Extents()
        assert with_stored(ticket, stored, 5.0, 10, synced=True).synced == Extents([(0, 10)])
    for ticket in (replace(known, epoch=4), replace(known, store_data="other")):
        assert with_stored(ticket, stored, 5.0, 10, synced=False) is ticket
    with pytest.raises(UploadCancelled):
        with_stored(known.cancel("enough", None, 1.0), stored, 5.0, 10, synced=False)
    with pytest.raises(BadRange):
        with_stored(known, StoredRanges(((0, 1), (2, 3)), 3, ""), 5.0, 1, synced=False)


def test_a_sender_of_known_bytes_is_active() -> None:
    assert with_stored(TICKET, StoredRanges((), 3, ""), 5.0, 10, synced=False).active_at == 5.0


async def test_records_are_committed_with_the_bytes_that_they_belong_to() -> None:
    bench = Bench()
    bench.add(0, 10)
    bench.add(10, 20)
    bench.report((0, 10), records=[Record("a", "1", (0, 10)), Record("b", None, (0, 20))])
    selection, stored = bench.submitted.ready(3)
    after = with_extents((0, 10))
    assert stored.records_of(after) == {"a": "1"}
    assert stored.records_of(with_extents((0, 10), epoch=4)) == {}
    bench.submitted.settle(selection, stored, after)
    assert not bench.submitted.has_records(after)
    assert bench.submitted.has_records(with_extents((0, 20)))
    assert bench.submitted.ready(3)[1].records == (Record("b", None, (0, 20)),)


async def test_records_of_an_earlier_epoch_or_of_another_place_are_forgotten() -> None:
    bench = Bench()
    bench.report((0, 10), records=[Record("a", "1", (0, 10))])
    bench.report(data="other")
    assert bench.submitted.ready(3)[1].records == ()
    bench.report((0, 10), data="other", records=[Record("a", "1", (0, 10))])
    bench.report(epoch=4)
    assert bench.submitted.ready(3)[1].records == ()


async def test_stale_records_are_removed_unless_their_bytes_have_come_again() -> None:
    bench = Bench()
    bench.add(0, 10)
    bench.report((0, 10), records=[Record("a", None, (0, 10), stale=True), Record("b", None, (0, 20), stale=True)])
    selection, stored = bench.submitted.ready(3)
    after = with_extents((0, 10))
    assert stored.records_of(after) == {"b": None}
    bench.submitted.settle(selection, stored, after)
    assert bench.submitted.ready(3)[1].records == ()
