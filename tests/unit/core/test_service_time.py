"""Service time: what counts as an outage, and how far back a limit reaches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core import service_time
from incoming.core.service_time import MAX_OUTAGES, MIN_OUTAGE, RECONNECT_GRACE, ServiceTime

DAY = 86400.0
NIGHT = ServiceTime(50_000.0, ((1_000.0, 40_000.0),))


def test_without_an_outage_a_limit_reaches_back_by_its_length() -> None:
    assert ServiceTime(1000.0).before(1010.0, 300.0) == 710.0


def test_a_gap_between_two_time_stamps_is_an_outage() -> None:
    assert ServiceTime(1000.0).noted(1000.0 + MIN_OUTAGE) == ServiceTime(1000.0 + MIN_OUTAGE)
    longer = 1000.0 + MIN_OUTAGE + 1
    assert ServiceTime(1000.0).noted(longer) == ServiceTime(longer, ((1000.0, longer),))


def test_an_outage_does_not_count_nor_do_some_minutes_after_it() -> None:
    assert NIGHT.before(50_000.0, 100.0) == 49_900.0
    assert NIGHT.before(50_000.0, 50_000.0 - 40_000.0 - RECONNECT_GRACE + 300.0) == 700.0
    assert NIGHT.before(40_000.0 + RECONNECT_GRACE, 0.5) == 999.5
    assert NIGHT.before(40_100.0, 0.5) == 999.5
    assert NIGHT.before(40_100.0, 0.0) == 40_100.0


def test_an_unrecorded_outage_does_not_count() -> None:
    assert ServiceTime(1000.0).before(90_000.0, 300.0) == 700.0


def test_the_grace_is_no_longer_than_the_outage() -> None:
    short = ServiceTime(2000.0, ((1000.0, 1100.0),))
    assert short.before(1300.0, 100.0) == 1200.0
    assert short.before(1300.0, 101.0) == 999.0


def test_overlapping_grace_times_count_once() -> None:
    several = ServiceTime(9000.0, ((1000.0, 5000.0), (5100.0, 6000.0)))
    assert several.before(7000.0, 400.0) == 6600.0
    assert several.before(7000.0, 401.0) == 999.0


def test_a_clock_that_was_set_back_leaves_no_outage_in_the_future() -> None:
    year = ServiceTime(1000.0).noted(1000.0 + 365 * DAY)
    back = year.noted(2000.0)
    assert back == ServiceTime(2000.0, ((1000.0, 2000.0),))
    assert back.noted(500.0) == ServiceTime(500.0)
    assert back.noted(2060.0).before(20_000.0, 100.0) < 2060.0


def test_the_number_of_outages_is_bounded_and_limits_end_late_not_early() -> None:
    known = ServiceTime(0.0)
    for number in range(1, 3 * MAX_OUTAGES):
        known = known.noted(number * 1000.0 - 500.0 + (100.0 if number == 7 else 0.0)).noted(number * 1000.0)
    assert len(known.outages) == MAX_OUTAGES
    assert list(known.outages) == sorted(known.outages)
    assert known.outages[0][0] == 0.0


@pytest.mark.parametrize("known", [ServiceTime(1.5), NIGHT])
def test_the_text_round_trips(known: ServiceTime) -> None:
    assert ServiceTime.from_text(known.to_text()) == known


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '["x"]', "[1, 2]", "[1, [2]]", "1"])
def test_a_damaged_text_is_refused(text: str) -> None:
    with pytest.raises((ValueError, TypeError)):
        ServiceTime.from_text(text)


@given(
    st.lists(st.floats(0.0, 1e6), min_size=1, max_size=12), st.floats(0.0, 1e6), st.floats(0.0, 1e6), st.floats(0, 1e5)
)
def test_a_limit_never_ends_early_and_a_longer_one_not_before(
    notes: list[float], later: float, limit: float, more: float
) -> None:
    known = ServiceTime(min(notes))
    for note in sorted(notes):
        known = known.noted(note)
    now = max(notes) + later
    assert known.before(now, limit) <= now - limit + 1e-6
    assert known.before(now, limit + more) <= known.before(now, limit)
    # What is between the two times and no outage is the limit, less what the graces take.
    lost = sum(end - start for start, end in known.noted(now).outages)
    assert known.before(now, limit) >= now - limit - 2 * lost - service_time.RECONNECT_GRACE * 12 - 1e-6
