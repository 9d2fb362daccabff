"""Limiting an upload to its ticket's rate."""

import pytest

from incoming.core.token_bucket import BURST, FEW_BUCKETS, MARGIN, RateLimiter, TokenBucket


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


def test_a_burst_is_free_and_then_the_debt_delays(clock: Clock) -> None:
    bucket = TokenBucket(1000, clock)
    bucket.spend(int(1000 * MARGIN * BURST))
    assert bucket.wait == 0
    bucket.spend(2200)
    assert bucket.wait == pytest.approx(2.0)
    clock.now += 1.5
    assert bucket.wait == pytest.approx(0.5)
    clock.now += 0.5
    assert bucket.wait == pytest.approx(0)


def test_a_sender_that_keeps_to_the_rate_never_waits(clock: Clock) -> None:
    bucket = TokenBucket(1000, clock)
    for _ in range(600):
        bucket.spend(1000)
        assert bucket.wait == 0
        clock.now += 1


def test_an_idle_time_refills_at_most_a_burst(clock: Clock) -> None:
    bucket = TokenBucket(1000, clock)
    clock.now += 3600
    bucket.spend(int(1000 * MARGIN * BURST) + 1100)
    assert bucket.wait == pytest.approx(1.0)


# --- many uploads -----------------------------------------------------------------------------------------------------


def test_a_debt_outlives_its_connection(clock: Clock) -> None:
    limiter = RateLimiter(clock)
    for _ in range(100):
        limiter.allowance("ticket", 1000).spend(1100)
    assert limiter.allowance("ticket", 1000).wait == pytest.approx(100 - BURST)
    assert limiter.allowance("another", 1000).wait == 0
    clock.now += 100 - BURST
    assert limiter.allowance("ticket", 1000).wait == pytest.approx(0)


def test_uploads_without_a_rate_have_no_bucket(clock: Clock) -> None:
    limiter = RateLimiter(clock)
    allowance = limiter.allowance("ticket", 0)
    allowance.spend(1 << 40)
    assert (allowance.wait, len(limiter)) == (0, 0)


def test_only_full_buckets_are_removed(clock: Clock) -> None:
    limiter = RateLimiter(clock)
    owing = limiter.allowance("owing", 1000)
    owing.spend(10**9)
    idle = limiter.allowance("idle", 1000)
    idle.spend(1)
    for number in range(20 * FEW_BUCKETS):
        limiter.allowance(str(number), 1000).spend(1)
        clock.now += 1
    assert len(limiter) <= FEW_BUCKETS
    assert limiter.bucket("idle") is None
    assert owing.wait > 800_000
    idle.spend(10**6)
    assert idle.wait > 0, "an upload whose bucket was given up has another one"
