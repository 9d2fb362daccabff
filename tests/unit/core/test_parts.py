"""Parts of a file: where they lie, what can be said of them, and when they make the file."""

from dataclasses import replace

import pytest

from incoming.core import parts
from incoming.core.errors import (
    BadRequest,
    FileChanged,
    FileTooLarge,
    TakenOver,
    UnknownTicket,
    UploadError,
    WrongState,
)
from incoming.core.extents import Extents, Range
from incoming.core.location import Location
from incoming.core.ticket import Callback, Identity, State, Ticket, TicketOptions

NOTICE = Callback("notice", cancelled=False, since=0.0, due_at=0.0)


def new(**options: object) -> Ticket:
    wanted = TicketOptions(signal_finish_url="http://127.0.0.1:9/", **options)  # type: ignore[arg-type]
    return Ticket("ticket", wanted, created_at=0.0, active_at=0.0, state_since=0.0)


def with_parts(*lengths: int, ticket: Ticket | None = None) -> Ticket:
    ticket = ticket or new()
    for length in lengths:
        ticket = parts.with_part(ticket, length, "session", 0, 1.0)
    return ticket


def filled(ticket: Ticket) -> Ticket:
    return ticket.store(ticket.parts, ticket.epoch, 2.0)


def ordered(ticket: Ticket, *order: Range, size: int | None = None) -> Ticket:
    return parts.with_order(ticket, order, Identity("a.bin", size), 0, 3.0)


def test_parts_lie_behind_each_other() -> None:
    ticket = with_parts(10, 20, 5)
    assert ticket.parts == ((0, 10), (10, 30), (30, 35))
    assert (ticket.state, ticket.size, ticket.complete) == (State.UPLOADING, None, False)


def test_only_the_first_part_ends_other_senders() -> None:
    before = new().open("other", None, 0.0)
    ticket = with_parts(10, ticket=before)
    assert (ticket.epoch, ticket.session) == (before.epoch + 1, "session")
    assert with_parts(10, ticket=ticket).epoch == ticket.epoch


def test_an_upload_is_sent_in_parts_or_as_a_whole() -> None:
    begun = new().open("other", None, 0.0).store([(0, 5)], None, 0.0)
    with pytest.raises(BadRequest, match="begun as one file"):
        with_parts(10, ticket=begun)
    for step in (lambda t: t.open("other", None, 0.0), lambda t: t.claim("other")):
        with pytest.raises(BadRequest, match="in parts"):
            step(with_parts(10))


@pytest.mark.parametrize(
    ("ticket", "length", "error"),
    [
        (new(), 0, BadRequest),
        (with_parts(*[1] * parts.MAX_PARTS), 1, FileTooLarge),
        (with_parts(10, ticket=new(max_size=15)), 6, FileTooLarge),
        (replace(with_parts(10), identity=Identity(size=15)), 6, FileTooLarge),
        (ordered(filled(with_parts(10)), (0, 10)), 1, WrongState),
        (ordered(filled(with_parts(10)), (0, 10)).arrive(Location("file", "/path"), NOTICE, 4.0), 1, WrongState),
    ],
)
def test_no_part_is_added(ticket: Ticket, length: int, error: type[UploadError]) -> None:
    with pytest.raises(error):
        with_parts(length, ticket=ticket)


def test_a_file_is_complete_when_the_order_is_told_and_its_parts_are() -> None:
    ticket = filled(with_parts(10, 20))
    assert not ticket.complete
    in_order, other = ordered(ticket, (0, 10), (10, 30)), ordered(ticket, (10, 30), (0, 10))
    assert (in_order.size, in_order.complete, in_order.is_rearranged) == (30, True, False)
    assert (other.size, other.complete, other.is_rearranged) == (30, True, True)
    assert not replace(other, extents=Extents([(0, 29)])).complete
    arrived = other.arrive(Location("file", "/path"), NOTICE, 4.0)
    assert (arrived.extents, arrived.synced) == (Extents([(0, 30)]), Extents([(0, 30)]))


def test_parts_that_are_not_used_are_no_part_of_the_file() -> None:
    ticket = filled(with_parts(10, 20, 10))
    assert (ordered(ticket, (0, 10)).size, ordered(ticket, (0, 10)).is_rearranged) == (10, False)
    assert ordered(ticket, (10, 30)).is_rearranged
    assert ordered(ticket, (0, 10), (30, 40)).is_rearranged


def test_a_part_may_come_twice() -> None:
    twice = ordered(filled(with_parts(10)), (0, 10), (0, 10))
    assert (twice.size, twice.is_rearranged, twice.complete) == (20, True, True)


@pytest.mark.parametrize(
    ("order", "size", "error"),
    [
        ([(0, 11)], None, BadRequest),
        ([(10, 30)], None, BadRequest),
        ([(0, 10)], 30, FileChanged),
    ],
)
def test_an_order_that_is_refused(order: list[Range], size: int | None, error: type[UploadError]) -> None:
    ticket = with_parts(10, 20).store([(0, 10), (10, 29)], None, 2.0)
    if size is not None:
        ticket = replace(filled(ticket), identity=Identity(size=size))
    with pytest.raises(error):
        ordered(ticket, *order)


def test_an_order_can_be_told_again_and_not_changed() -> None:
    ticket = ordered(filled(with_parts(10, 20)), (0, 10))
    assert ordered(ticket, (0, 10)) is ticket
    arrived = ticket.arrive(Location("file", "/path"), NOTICE, 4.0)
    assert ordered(arrived, (0, 10)) is arrived
    for known in (ticket, arrived):
        with pytest.raises(WrongState):
            ordered(known, (10, 30))


def test_what_has_arrived_of_a_part() -> None:
    ticket = with_parts(10, 20).store([(0, 4), (10, 12), (20, 30)], None, 2.0)
    assert [parts.part_prefix(ticket, part) for part in ticket.parts] == [4, 2]
    done = ordered(filled(ticket), (10, 30)).arrive(Location("file", "/path"), NOTICE, 4.0)
    assert parts.part_prefix(done, (10, 30)) == 20


def test_a_part_that_is_given_up_leaves_its_place_empty() -> None:
    ticket = parts.without_part(filled(with_parts(10, 20)), (10, 30), 5.0)
    assert (ticket.extents, ticket.parts) == (Extents([(0, 10)]), ((0, 10), (30, 30)))
    assert with_parts(5, ticket=ticket).parts[-1] == (30, 35)
    for part in ((10, 30), (30, 30), (0, 5)):
        with pytest.raises(UnknownTicket):
            parts.check_part(ticket, part)
    with pytest.raises(WrongState):
        parts.without_part(ordered(filled(with_parts(10)), (0, 10)), (0, 10), 5.0)


def test_an_epoch_that_is_over_stores_nothing_in_a_part() -> None:
    ticket = with_parts(10)
    with pytest.raises(TakenOver):
        ticket.store([(0, 10)], ticket.epoch - 1, 2.0)
