"""An upload's timeline says what operators want to know, and stays short."""

from incoming.core.ticket import Callback, Event, Location, State, Ticket, TicketOptions
from incoming.core.timeline import KEPT_FIRST, KEPT_LAST, LONGEST_DETAIL, OMITTED, Entry, Timeline, extended


def new() -> Ticket:
    return Ticket("id", TicketOptions("http://app/"), created_at=0, active_at=0, state_since=0)


def test_states_pauses_and_sessions_are_noted() -> None:
    ticket = new().open("s", None, 1)
    ticket = ticket.pause(ticket.epoch, 2).pause(ticket.epoch, 3).open("s", None, 4).open("s", ticket.epoch, 5)
    ticket = ticket.open("other", None, 6).store([(0, 5)], None, 7)
    ticket = ticket.arrive(Location("file", "/x"), Callback("c", cancelled=False, since=8, due_at=8), 8)
    ticket = ticket.move(Event.CALL, 9).move(Event.CALL, 10).refuse("no", 11)
    seen = [(entry.at, entry.event) for entry in ticket.timeline]
    assert seen == [
        *((1, "uploading"), (2, "paused"), (4, "resumed"), (6, "session"), (8, "arrived")),
        *((9, "handing_over"), (11, "failed")),
    ]
    assert ticket.timeline[-1].detail == "no"
    assert ticket.state == State.FAILED


def test_stored_bytes_leave_the_timeline_as_it_is() -> None:
    ticket = new().open("s", None, 1)
    assert ticket.store([(0, 1)], None, 2).timeline is ticket.timeline


def test_a_long_timeline_keeps_its_ends_and_counts_the_rest() -> None:
    timeline: Timeline = ()
    for number in range(100):
        timeline = extended(timeline, number, "answer", str(number))
    assert len(timeline) == KEPT_FIRST + 1 + KEPT_LAST
    assert [entry.at for entry in timeline[:KEPT_FIRST]] == list(range(KEPT_FIRST))
    assert [entry.at for entry in timeline[-KEPT_LAST:]] == list(range(100 - KEPT_LAST, 100))
    assert timeline[KEPT_FIRST] == Entry(100 - KEPT_LAST - 1, OMITTED, str(100 - KEPT_FIRST - KEPT_LAST))


def test_a_long_detail_is_truncated() -> None:
    [entry] = extended((), 1, "answer", "x" * 1000)
    assert entry.detail == "x" * LONGEST_DETAIL + "…"
