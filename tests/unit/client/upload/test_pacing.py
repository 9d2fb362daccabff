"""The rate that was set is kept, chunks suit the line, and connections are as many as bring something."""

import pytest

from incoming.client.upload.concurrency import MEASURE_SECONDS, PROBE_INTERVAL, Concurrency
from incoming.client.upload.pacing import FIRST_CHUNK, LARGEST_CHUNK, SMALLEST_CHUNK, ChunkSize, RateLimit
from incoming.client.upload.transport_choice import TransportChoice

KB = 1024


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_rate_is_kept_over_all_connections(clock: Clock) -> None:
    limit = RateLimit(1000, clock)
    waits = [limit.reserve(500) for _ in range(4)]
    assert waits == [0.0, 0.5, 1.0, 1.5]
    clock.now += 60
    assert [limit.reserve(500), limit.reserve(500)] == [0.0, 0.5], "a pause saves nothing up"


def test_no_rate_is_no_wait(clock: Clock) -> None:
    limit = RateLimit(0, clock)
    assert [limit.reserve(10**9) for _ in range(3)] == [0.0] * 3


def test_chunks_grow_on_a_quick_line_and_shrink_on_a_slow_one() -> None:
    chunk = ChunkSize(64 * KB, 8 * KB * KB)
    assert chunk.value == FIRST_CHUNK
    for _ in range(10):
        chunk.took(chunk.value, 0.1)
    assert chunk.value == LARGEST_CHUNK
    chunk.took(10, 0.0)
    for _ in range(10):
        chunk.took(chunk.value, 5.0)
    assert chunk.value == SMALLEST_CHUNK


def test_chunks_keep_to_the_servers_limits_and_to_the_rate() -> None:
    assert ChunkSize(8 * KB, 50 * KB).value == 50 * KB
    assert ChunkSize(64 * KB, 8 * KB * KB, rate=100_000).value == 25_000
    assert ChunkSize(64 * KB, 8 * KB * KB, rate=10).value == 4096


def run(wanted: Concurrency, clock: Clock, speed: dict[int, float], periods: int) -> list[int]:
    """Let time pass on a line with a speed for each number of connections."""
    seen, arrived = [], 0.0
    for _ in range(periods):
        arrived += speed[wanted.wanted] * MEASURE_SECONDS
        clock.now += MEASURE_SECONDS
        wanted.measure(int(arrived))
        seen.append(wanted.wanted)
    return seen


def test_connections_are_added_while_they_bring_more(clock: Clock) -> None:
    wanted = Concurrency(8, clock)
    assert run(wanted, clock, {1: 1e6, 2: 2e6, 4: 3.9e6, 8: 4e6}, 6) == [2, 4, 8, 4, 4, 4]


def test_where_one_connection_fills_the_line_it_stays_one(clock: Clock) -> None:
    wanted = Concurrency(8, clock)
    assert run(wanted, clock, {1: 1e6, 2: 1e6}, 5) == [2, 1, 1, 1, 1]
    again = run(wanted, clock, {1: 1e6, 2: 2e6, 4: 2e6}, int(PROBE_INTERVAL / MEASURE_SECONDS) + 3)
    assert max(again) == 4, "after a while it is tried again"


def test_a_refused_connection_ends_the_growth_for_now(clock: Clock) -> None:
    wanted = Concurrency(8, clock)
    run(wanted, clock, {1: 1e6, 2: 2e6, 4: 4e6}, 2)
    assert wanted.wanted == 4
    wanted.connection_failed()
    assert run(wanted, clock, {2: 2e6}, 3) == [2, 2, 2]


def test_there_is_always_one_and_never_more_than_allowed(clock: Clock) -> None:
    wanted = Concurrency(0, clock)
    assert run(wanted, clock, {1: 1e6}, 5) == [1] * 5
    wanted.connection_failed()
    assert wanted.wanted == 1


def test_a_standstill_adds_no_connections(clock: Clock) -> None:
    assert run(Concurrency(8, clock), clock, {1: 0.0}, 3) == [1, 1, 1]


def test_a_websocket_that_brings_nothing_gives_way_to_http() -> None:
    choice = TransportChoice()
    kinds = [choice.kind]
    for _ in range(2):
        choice.websocket_failed(is_unusable=False)
        kinds.append(choice.kind)
    assert kinds == ["websocket", "websocket", "http"]
    choice.http_reached_nobody()
    assert choice.kind == "websocket"
    choice.websocket_failed(is_unusable=True)
    assert choice.kind == "http"


def test_one_that_has_worked_is_missed_twice_before_that() -> None:
    choice = TransportChoice()
    choice.websocket_failed(is_unusable=False)
    choice.websocket_worked()
    choice.websocket_failed(is_unusable=False)
    assert choice.kind == "websocket"


def test_what_was_asked_for_is_never_left() -> None:
    choice = TransportChoice("websocket")
    choice.websocket_failed(is_unusable=True)
    assert choice.kind == "websocket"
    assert TransportChoice("http").kind == "http"
    with pytest.raises(ValueError, match="auto, websocket, http"):
        TransportChoice("carrier pigeon")
