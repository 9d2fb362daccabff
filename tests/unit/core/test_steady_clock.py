"""The clock that a jump ahead does not advance."""

from incoming.core.steady_clock import MAX_IGNORED_JUMP, SteadyClock, StoreClock
from tests.support.stores import Clock

HOUR = 3600.0


class Clocks:
    """The time of day and the monotonic clock of one machine."""

    def __init__(self) -> None:
        self.wall = Clock(1_800_000_000.0)
        self.ticks = Clock(50.0)
        self.steady = SteadyClock(self.wall, self.ticks)

    def pass_time(self, seconds: float) -> float:
        self.wall.advance(seconds)
        self.ticks.advance(seconds)
        return self.steady()


def test_it_advances_with_the_monotonic_clock() -> None:
    clocks = Clocks()
    assert clocks.steady() == 1_800_000_000.0
    assert clocks.pass_time(90) == 1_800_000_090.0


def test_a_jump_of_an_hour_forward_is_ignored() -> None:
    clocks = Clocks()
    clocks.wall.advance(HOUR)
    assert clocks.steady() == 1_800_000_000.0
    assert clocks.pass_time(10) == 1_800_000_010.0


def test_a_corrected_jump_has_no_effect() -> None:
    clocks = Clocks()
    clocks.wall.advance(HOUR)
    clocks.pass_time(10)
    clocks.wall.advance(-HOUR)
    assert clocks.steady() == clocks.wall.now == 1_800_000_010.0


def test_an_hour_back_is_followed() -> None:
    clocks = Clocks()
    clocks.wall.advance(-HOUR)
    assert clocks.steady() == 1_800_000_000.0 - HOUR
    assert clocks.pass_time(10) == 1_800_000_010.0 - HOUR


def test_several_jumps_lag_at_most_the_limit() -> None:
    clocks = Clocks()
    for _ in range(10):
        clocks.wall.advance(HOUR)
        assert clocks.wall.now - MAX_IGNORED_JUMP <= clocks.steady() <= clocks.wall.now
    assert clocks.steady() == clocks.wall.now - MAX_IGNORED_JUMP


def test_a_jump_of_years_is_followed() -> None:
    wall, ticks = Clock(0.0), Clock(5.0)
    clock = SteadyClock(wall, ticks)
    wall.now = 1_800_000_000.0
    assert clock() == 1_800_000_000.0 - MAX_IGNORED_JUMP


def test_the_clocks_of_a_store_share_their_sources() -> None:
    clocks = Clocks()
    clock = StoreClock(clocks.wall, clocks.ticks)
    clocks.wall.advance(HOUR)
    clocks.ticks.advance(1)
    assert clock.now() == clocks.wall.now
    assert clock.steady() == 1_800_000_001.0
    assert clock.monotonic() == clocks.ticks.now
