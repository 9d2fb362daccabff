"""The state table of an upload: the listed events, and no others."""

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import (
    TABLE,
    AlreadyComplete,
    DigestMismatch,
    FileChanged,
    FileTooLarge,
    FileTypeRefused,
    HandoverFailed,
    TakenOver,
    UploadCancelled,
    UploadError,
    WrongState,
)
from incoming.core.extents import Extents
from incoming.core.location import FILE, Location
from incoming.core.ticket import FINAL, RECEIVING, TRANSITIONS, Callback, Event, Identity, State, Ticket, TicketOptions

NOW = 1000.0
NOTICE = Callback("delivery", cancelled=False, since=NOW, due_at=NOW)


def ticket(state: State = State.UPLOADING, **known: object) -> Ticket:
    return Ticket(
        **{  # type: ignore[arg-type]
            "id": "t",
            "options": TicketOptions("http://app/finished"),
            "created_at": 1.0,
            "active_at": 2.0,
            "state_since": 3.0,
            "state": state,
            **known,
        }
    )


# Every event by the method that makes it happen. EXPIRE and CANCEL have theirs, and so on: none is left out.
METHODS: dict[Event, Callable[[Ticket], Ticket]] = {
    Event.OPEN: lambda t: t.open("session1", None, NOW),
    Event.STORE: lambda t: t.store([(0, 5)], None, NOW),
    Event.PAUSE: lambda t: t.pause(None, NOW),
    Event.COMPLETE: lambda t: t.arrive(Location(FILE, "/path"), NOTICE, NOW),
    Event.CALL: lambda t: t.move(Event.CALL, NOW),
    Event.ANSWER_DONE: lambda t: t.answered("done", NOW),
    Event.ANSWER_WAIT: lambda t: t.answered("wait", NOW),
    Event.REFUSE: lambda t: t.refuse("no", NOW),
    Event.FINISH: lambda t: t.finish(NOW),
    Event.CANCEL: lambda t: t.cancel("why", None, NOW),
    Event.EXPIRE: lambda t: t.expire("late", None, NOW),
    Event.RETRY: lambda t: t.retry(NOTICE, NOW),
    Event.SPOIL: lambda t: t.spoil("0" * 64, NOTICE, NOW),
}


def test_every_event_has_its_method() -> None:
    assert set(METHODS) == set(Event)


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=lambda value: value.value)
def test_an_event_is_in_the_table_or_a_documented_error(state: State, event: Event) -> None:
    before = ticket(state, reason="because")
    after = TRANSITIONS.get((state, event))
    if after is None:
        with pytest.raises(UploadError) as refusal:
            METHODS[event](before)
        assert refusal.value.code in TABLE
        assert refusal.value.message
    else:
        moved = METHODS[event](before)
        assert moved.state == after
        assert moved.state_since == (NOW if after != state else 3.0)


def test_an_arrival_with_its_first_attempt_is_two_events_in_one() -> None:
    begun = replace(NOTICE, attempts=1, due_at=NOW + 60, unanswered=True)
    called = ticket().arrive(Location(FILE, "/path"), begun, NOW)
    assert (called.state, called.state_since, called.callback) == (State.HANDING_OVER, NOW, begun)
    step_by_step = ticket().arrive(Location(FILE, "/path"), NOTICE, NOW).move(Event.CALL, NOW, callback=begun)
    assert called == step_by_step


@pytest.mark.parametrize(
    ("state", "event", "error"),
    [
        (State.NEW, Event.STORE, WrongState),
        (State.NEW, Event.PAUSE, WrongState),
        (State.ARRIVED, Event.OPEN, AlreadyComplete),
        (State.FINISHED, Event.STORE, AlreadyComplete),
        (State.WAITING, Event.PAUSE, AlreadyComplete),
        (State.CANCELLED, Event.OPEN, UploadCancelled),
        (State.CANCELLED, Event.STORE, UploadCancelled),
        (State.FAILED, Event.OPEN, HandoverFailed),
        (State.ARRIVED, Event.CANCEL, WrongState),
        (State.FINISHED, Event.CANCEL, WrongState),
        (State.FAILED, Event.CANCEL, WrongState),
        (State.UPLOADING, Event.FINISH, WrongState),
        (State.CANCELLED, Event.FINISH, WrongState),
        (State.FINISHED, Event.CALL, WrongState),
    ],
)
def test_the_error_of_an_ended_upload_has_its_outcome(state: State, event: Event, error: type[UploadError]) -> None:
    with pytest.raises(error):
        METHODS[event](ticket(state, reason="because"))


def test_a_final_state_is_left_only_by_the_operator() -> None:
    ways_out = {(state, event) for (state, event), after in TRANSITIONS.items() if state in FINAL and after != state}
    assert ways_out == {(State.FAILED, Event.RETRY)}


@given(st.lists(st.sampled_from(list(Event)), max_size=30))
def test_no_sequence_of_events_hands_over_twice_or_receives_after_completion(events: list[Event]) -> None:
    now = ticket(State.NEW)
    seen = [now.state]
    for event in events:
        try:
            now = METHODS[event](now)
        except UploadError:
            continue
        seen.append(now.state)
        owes = now.state in (State.ARRIVED, State.HANDING_OVER) or now.error_code == DigestMismatch.code
        assert (now.callback is not None) == owes
    assert seen.count(State.FINISHED) == 0 or seen.index(State.FINISHED) >= seen.index(State.HANDING_OVER)
    if State.ARRIVED in seen:
        assert not RECEIVING & set(seen[seen.index(State.ARRIVED) :])


# --- sessions and epochs ----------------------------------------------------------------------------------------------


def test_a_new_session_takes_over_and_fences_the_old_one() -> None:
    first = ticket(State.NEW).open("session1", None, NOW)
    again = first.open("session1", first.epoch, NOW)
    second = again.open("session2", None, NOW)
    assert (first.epoch, again.epoch, second.epoch) == (1, 1, 2)
    for late in (
        lambda: second.store([(0, 1)], first.epoch, NOW),
        lambda: second.pause(first.epoch, NOW),
        lambda: second.open("session1", first.epoch, NOW),
    ):
        with pytest.raises(TakenOver):
            late()
    assert second.open("session1", None, NOW).epoch == 3  # the user has started it here again, on purpose


def test_a_client_without_session_is_accepted_at_any_epoch() -> None:
    held = ticket(State.NEW).open("session1", None, NOW)
    plain = held.open("", None, NOW).store([(0, 3)], None, NOW)
    assert (plain.epoch, plain.session, plain.extents) == (1, "session1", Extents([(0, 3)]))


def test_an_uploader_can_reconnect_after_a_power_cut() -> None:
    held = ticket(State.NEW).open("session1", None, NOW).store([(0, 9)], 1, NOW).checkpoint(Extents([(0, 4)]))
    after = held.distrust()
    assert after.extents == after.synced == Extents([(0, 4)])
    with pytest.raises(TakenOver):
        after.store([(9, 12)], 1, NOW)
    assert after.open("session1", 1, NOW).epoch > after.epoch


# --- which file -------------------------------------------------------------------------------------------------------

KNOWN = Identity("a.bin", 100, 1234, "digest")


def test_the_first_identity_stays_and_missing_parts_are_added() -> None:
    assert ticket().identify(KNOWN).identity == KNOWN
    assert ticket(identity=KNOWN).identify(Identity()).identity == KNOWN
    assert ticket(identity=KNOWN).identify(replace(KNOWN, name="b.bin")).identity == KNOWN
    partly = ticket(identity=Identity(size=100)).identify(Identity("a.bin", None, 1234, None))
    assert partly.identity == Identity("a.bin", 100, 1234, None)


@pytest.mark.parametrize("other", [{"size": 99}, {"last_modified": 1235}, {"fingerprint": "x"}])
def test_another_file_is_refused(other: dict[str, object]) -> None:
    with pytest.raises(FileChanged, match="not the file"):
        ticket(identity=KNOWN).identify(replace(KNOWN, **other))  # type: ignore[arg-type]


def test_a_size_below_what_has_arrived_is_refused() -> None:
    with pytest.raises(FileChanged, match="more than that"):
        ticket(extents=Extents([(0, 5), (10, 20)])).identify(Identity(size=19))
    assert ticket(extents=Extents([(0, 20)])).identify(Identity(size=20)).complete


@pytest.mark.parametrize(("server", "app", "limit"), [(0, 50, 50), (50, 0, 50), (50, 80, 50), (80, 50, 50)])
def test_a_file_above_a_limit_is_refused(server: int, app: int, limit: int) -> None:
    limited = ticket(options=TicketOptions("http://app/finished", max_size=app))
    with pytest.raises(FileTooLarge, match=f"51 bytes, the limit is {limit}"):
        limited.identify(Identity(size=51), server)
    assert limited.identify(Identity(size=50), server).size == 50
    assert ticket().identify(Identity(size=2**53 - 1)).size == 2**53 - 1


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ([".pdf"], Identity("Letter.PDF", 5)),
        ([".tar.gz"], Identity("a.tar.gz", 5)),
        (["image/*"], Identity("a", 5, media_type="image/png")),
        (["image/png"], Identity("a", 5, media_type="Image/PNG; x=y")),
        (["image/*", ".pdf"], Identity("a.pdf", 5, media_type="text/plain")),
    ],
)
def test_an_allowed_type_is_accepted(wanted: list[str], told: Identity) -> None:
    assert ticket(options=TicketOptions("http://app/", allowed_types=tuple(wanted))).identify(told).identity == told


@pytest.mark.parametrize(
    "told",
    [
        Identity(),
        Identity(size=5),
        Identity("a", 5),
        Identity("pdf", 5),
        Identity("a.pdf.exe", 5, media_type="application/x-msdownload"),
        Identity("a.exe", 5, media_type=".pdf"),
        Identity("image/png", 5, media_type="image"),
        Identity("a", 5, media_type="imagex/png"),
        Identity("a", 5, media_type="image/pngx"),
    ],
)
def test_any_other_type_is_refused(told: Identity) -> None:
    with pytest.raises(FileTypeRefused, match=r"\.pdf, image/png"):
        ticket(options=TicketOptions("http://app/", allowed_types=(".pdf", "image/png"))).identify(told)


def test_the_type_is_judged_by_the_first_name() -> None:
    begun = ticket(identity=Identity("a.pdf", 5), options=TicketOptions("http://app/", allowed_types=(".pdf",)))
    assert begun.identify(Identity("b.exe", 5)).identity.name == "a.pdf"


def test_complete_only_when_the_length_is_known_and_reached() -> None:
    assert not ticket(extents=Extents([(0, 5)])).complete
    assert not ticket(extents=Extents([(0, 2), (3, 5)]), identity=Identity(size=5)).complete
    assert ticket(extents=Extents([(0, 5)]), identity=Identity(size=5)).complete
    assert ticket(identity=Identity(size=0)).complete


# --- single changes ---------------------------------------------------------------------------------------------------


def test_stored_bytes_count_as_activity() -> None:
    stored = ticket(extents=Extents([(0, 5)])).store([(8, 9), (5, 6)], None, NOW)
    assert (stored.extents, stored.active_at) == (Extents([(0, 6), (8, 9)]), NOW)


def test_a_pause_ends_with_a_session_or_a_cancellation() -> None:
    paused = ticket().pause(None, NOW)
    assert (paused.state, paused.paused) == (State.UPLOADING, True)
    assert not paused.open("session1", None, NOW).paused
    assert not paused.cancel("why", None, NOW).paused


def test_a_connection_opened_before_a_pause_does_not_end_it() -> None:
    opened = ticket(state=State.NEW).open("session1", None, NOW)
    paused = opened.pause(opened.epoch, NOW)
    assert paused.open("session1", opened.epoch, NOW).paused
    for session, epoch in (("session1", None), ("session2", None), ("", None)):
        assert not paused.open(session, epoch, NOW).paused


def test_only_arrived_extents_can_be_synced() -> None:
    noted = ticket(extents=Extents([(0, 5)]), synced=Extents([(0, 2)])).checkpoint(Extents([(1, 9)]))
    assert noted.synced == Extents([(0, 5)])


def test_a_cancelled_upload_has_no_extents() -> None:
    begun = ticket(identity=KNOWN, extents=Extents([(0, 5)]), synced=Extents([(0, 2)]))
    for gone in (begun.cancel("why", None, NOW), begun.expire("idle", None, NOW)):
        assert (gone.extents, gone.synced, gone.size) == (Extents(), Extents(), 100)


def test_cancelling_twice_has_the_same_answer() -> None:
    cancelled = ticket().cancel("why", NOTICE, NOW)
    assert (cancelled.reason, cancelled.callback) == ("why", NOTICE)
    assert cancelled.cancel("other", None, NOW + 1) is cancelled


def test_expiry_notifies_the_app_unless_the_app_was_late() -> None:
    idle = ticket().expire("idle", NOTICE, NOW)
    assert (idle.state, idle.callback, idle.error_code) == (State.CANCELLED, NOTICE, 0)
    waited = ticket(State.WAITING).expire("too long", NOTICE, NOW)
    assert (waited.state, waited.callback, waited.error_code) == (State.FAILED, None, HandoverFailed.code)


def test_a_failed_handover_can_be_restarted() -> None:
    failed = ticket(State.HANDING_OVER, callback=NOTICE).refuse("404", NOW)
    assert (failed.state, failed.reason, failed.error_code) == (State.FAILED, "404", HandoverFailed.code)
    again = failed.retry(NOTICE, NOW)
    assert (again.state, again.reason, again.error_code, again.callback) == (State.ARRIVED, "", 0, NOTICE)
