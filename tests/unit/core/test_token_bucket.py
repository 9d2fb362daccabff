"""Holding an upload to its ticket's rate."""

import pytest

from incoming.core.token_bucket import BURST, MARGIN, TokenBucket


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_no_rate_is_no_limit(clock: Clock) -> None:
    bucket = TokenBucket(0, clock)
    bucket.spend(1 << 40)
    assert bucket.wait == 0


def test_a_burst_may_come_at_once_and_then_what_is_owed_is_waited_for(clock: Clock) -> None:
    bucket = TokenBucket(1000, clock)
    bucket.spend(int(1000 * MARGIN * BURST))
    assert bucket.wait == 0
    bucket.spend(2200)
    assert bucket.wait == pytest.approx(2.0)
    clock.now += 1.5
    assert bucket.wait == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.wait == pytest.approx(0)


def test_who_keeps_to_the_rate_never_waits(clock: Clock) -> None:
    bucket = TokenBucket(1000, clock)
    for _ in range(600):
        bucket.spend(1000)
        assert bucket.wait == 0
        clock.now += 1


def test_a_rest_earns_no_more_than_a_burst(clock: Clock) -> None:
    bucket = TokenBucket(1000, clock)
    clock.now += 3600
    bucket.spend(int(1000 * MARGIN * BURST) + 1100)
    assert bucket.wait == pytest.approx(1.0)
