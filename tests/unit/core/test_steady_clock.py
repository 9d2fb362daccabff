"""The clock that nobody can hurry by setting it forward."""

from incoming.core.steady_clock import ABSORBED, SteadyClock, StoreClock
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


def test_passes_with_time() -> None:
    clocks = Clocks()
    assert clocks.steady() == 1_800_000_000.0
    assert clocks.pass_time(90) == 1_800_000_090.0


def test_a_jump_of_an_hour_forward_is_ignored() -> None:
    clocks = Clocks()
    clocks.wall.advance(HOUR)
    assert clocks.steady() == 1_800_000_000.0
    assert clocks.pass_time(10) == 1_800_000_010.0


def test_when_the_clock_is_put_right_again_all_is_as_before() -> None:
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


def test_jump_by_jump_it_lags_no_more_than_it_may() -> None:
    clocks = Clocks()
    for _ in range(10):
        clocks.wall.advance(HOUR)
        assert clocks.wall.now - ABSORBED <= clocks.steady() <= clocks.wall.now
    assert clocks.steady() == clocks.wall.now - ABSORBED


def test_a_machine_that_learns_the_date_believes_it() -> None:
    wall, ticks = Clock(0.0), Clock(5.0)
    clock = SteadyClock(wall, ticks)
    wall.now = 1_800_000_000.0
    assert clock() == 1_800_000_000.0 - ABSORBED


def test_a_store_has_all_three_of_one_machine() -> None:
    clocks = Clocks()
    clock = StoreClock(clocks.wall, clocks.ticks)
    clocks.wall.advance(HOUR)
    clocks.ticks.advance(1)
    assert clock.now() == clocks.wall.now
    assert clock.steady() == 1_800_000_001.0
    assert clock.monotonic() == clocks.ticks.now
