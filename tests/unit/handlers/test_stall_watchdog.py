"""When a connection counts as stalled, by a clock of the test's own."""

import socket
from collections.abc import Iterator

import pytest

from incoming.handlers.upload.stall_watchdog import StallWatchdog
from incoming.settings.settings import Settings


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def watchdog(clock: Clock) -> StallWatchdog:
    return StallWatchdog(Settings(dead_after=60.0, minimum_rate=100), clock)


@pytest.fixture
def unix() -> Iterator[socket.socket]:
    """A connection of which the kernel does not tell when bytes came."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours


def said(watchdog: StallWatchdog, unix: socket.socket, received: int | None, **more: bool) -> str | None:
    error = watchdog.verdict(unix, received, busy=more.get("busy", False), excused=more.get("excused", False))
    return None if error is None else error.message


def test_a_silent_client_is_timed_out(watchdog: StallWatchdog, clock: Clock, unix: socket.socket) -> None:
    clock.now += 59.9
    assert said(watchdog, unix, 0) is None
    clock.now += 0.1
    assert said(watchdog, unix, 0) == "nothing came for 60 s"
    watchdog.input_received()
    assert (watchdog.last_input_at, watchdog.seconds_silent) == (clock.now, 0)
    assert said(watchdog, unix, 0) is None


def test_time_spent_waiting_for_the_server_does_not_count(
    watchdog: StallWatchdog, clock: Clock, unix: socket.socket
) -> None:
    for _ in range(10):
        clock.now += 60
        assert said(watchdog, unix, 1, busy=True) is None
    assert said(watchdog, unix, 1) is not None, "nor is it forgiven for good"


def test_a_slow_client_is_timed_out(watchdog: StallWatchdog, clock: Clock, unix: socket.socket) -> None:
    assert said(watchdog, unix, 0) is None
    for received in (1000, 5999):
        clock.now += 30
        watchdog.input_received()
        verdict = said(watchdog, unix, received)
    assert verdict == "less than 100 bytes a second came"


@pytest.mark.parametrize("excused", [True, False])
def test_a_fast_or_idle_client_is_not_timed_out(
    watchdog: StallWatchdog, clock: Clock, unix: socket.socket, excused: bool
) -> None:
    for number in range(10):
        clock.now += 30
        watchdog.input_received()
        assert said(watchdog, unix, number if excused else number * 3000, excused=excused) is None
