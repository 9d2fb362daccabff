"""Where an upload's bytes wait, and what that says of the limit of its rate."""

from dataclasses import replace

import pytest

from incoming.monitoring.connections import RATE_WINDOW, REPORT_SECONDS, ClientActivity, Connections
from incoming.monitoring.metrics import WorkerCounters
from incoming.monitoring.path_figures import (
    BUSY_SHARE,
    DELAY,
    HELD_SHARE,
    LATE_SHARE,
    STORING_SHARE,
    PathFigures,
    PathTotals,
    Stopwatch,
    StorageTime,
    figures_between,
)
from tests.support.stores import Clock

QUIET = figures_between(PathTotals(0.0), PathTotals(5.0, received=5_000_000, delay=100_000.0), 1)


class Scene:
    """A client of an upload, with clocks of its own."""

    def __init__(self) -> None:
        self.clock = Clock(100.0)
        self.cpu = Clock(3.0)
        self.counters = WorkerCounters()
        self.storage_time = StorageTime(Stopwatch(self.clock), Stopwatch(self.clock))
        self.connections = Connections(self.counters, self.clock, self.cpu)
        self.sender = self.enter()

    def enter(self) -> ClientActivity:
        return self.connections.enter("ticket", "websocket", "::1", self.storage_time)

    def receive(self, seconds: int, length: int = 1000) -> None:
        """Let bytes come that are committed a tenth of a second later."""
        for _ in range(seconds * 2):
            settle = self.sender.received(length)
            self.clock.advance(0.1)
            settle(True)
            self.clock.advance(0.4)
            self.figures()

    def figures(self) -> PathFigures:
        return self.sender.figures(self.clock())

    @property
    def limit(self) -> str:
        return self.sender.activity(self.clock()).limit


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_a_stopwatch_counts_who_is_inside_twice_if_there_are_two() -> None:
    clock = Clock(10.0)
    watch = Stopwatch(clock)
    with watch:
        clock.advance(1)
        with watch:
            clock.advance(2)
            assert watch.total == 5, "an unfinished stay counts"
        clock.advance(3)
    clock.advance(4)
    assert watch.total == 8


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({}, ""),
        ({"held": HELD_SHARE}, "server"),
        ({"late": LATE_SHARE}, "server"),
        ({"busy": BUSY_SHARE}, "server"),
        ({"blocked": HELD_SHARE}, "disk"),
        ({"writing": STORING_SHARE}, "disk"),
        ({"committing": STORING_SHARE, "delay": DELAY}, "disk"),
        ({"committing": STORING_SHARE, "oldest": DELAY}, "disk"),
        ({"committing": 1.0}, ""),  # the database is never idle, but the acks come soon
        ({"delay": 60.0}, ""),  # a store that waits for whole parts
        (
            {"late": LATE_SHARE, "writing": 1.0, "blocked": 1.0},
            "server",
        ),  # a late event loop takes the end of a write for late
    ],
)
def test_the_limit_is_where_the_time_goes(changes: dict[str, float], limit: str) -> None:
    assert replace(QUIET, **changes).limit == limit  # type: ignore[arg-type]


def test_the_figures_are_those_of_the_last_seconds(scene: Scene) -> None:
    scene.receive(60, length=100)
    scene.receive(int(RATE_WINDOW))
    scene.sender.received(500)
    scene.clock.advance(0.5)
    figures = scene.figures()
    assert figures.rate == pytest.approx(2000, rel=0.2)
    assert figures.delay == pytest.approx(0.1)
    assert (figures.pending, figures.oldest) == (500, 0.5)
    assert figures.limit == ""


def test_what_is_refused_is_not_counted_as_received(scene: Scene) -> None:
    settle = scene.sender.received(500)
    scene.clock.advance(1)
    settle(False)
    assert (scene.figures().pending, scene.figures().rate, scene.counters.received) == (0, 0, 0)


def test_a_disk_that_hangs_is_the_limit_before_its_first_write_has_ended(scene: Scene) -> None:
    scene.receive(5)
    with scene.storage_time.writing:
        for _ in range(10):
            scene.clock.advance(0.5)
            limit = scene.limit
    assert limit == "disk"


def test_connections_that_are_not_read_count_by_their_number(scene: Scene) -> None:
    scene.enter()
    with scene.sender.blocked:
        scene.clock.advance(RATE_WINDOW)
    assert scene.figures().blocked == pytest.approx(0.5)


def test_a_loop_without_time_is_the_limit(scene: Scene) -> None:
    scene.receive(5)
    scene.cpu.advance(5)
    scene.receive(5)
    assert scene.limit == "server"
    scene.receive(5)
    assert scene.limit == "line"
    scene.counters.loop_lag.observe(4.0)
    scene.receive(5)
    assert scene.limit == "server"


def test_the_client_says_whether_line_or_browser_is_the_limit(scene: Scene) -> None:
    assert scene.limit == ""
    scene.receive(2)
    assert scene.limit == "line"
    scene.sender.reports("browser")
    assert scene.limit == "browser"
    with scene.sender.held:
        scene.clock.advance(RATE_WINDOW)
        assert scene.limit == "server", "what is seen here counts more"
    scene.sender.reports("the moon")
    scene.receive(5)
    assert scene.limit == "line"
    scene.sender.reports("browser")
    scene.receive(int(REPORT_SECONDS) + 1)
    assert scene.limit == "line", "an old report is not believed"


def test_the_kernels_counts_add_up(scene: Scene) -> None:
    scene.sender.measured(0.2, 3, 4)
    scene.clock.advance(1)
    scene.sender.measured(0.3, 1, 0)
    figures = scene.figures()
    assert (figures.rtt, figures.retransmits, figures.out_of_order) == (0.3, 4, 4)
    assert figures.to_json()["rtt"] == 0.3
    scene.clock.advance(RATE_WINDOW)
    scene.figures()
    scene.clock.advance(RATE_WINDOW)
    assert scene.figures().retransmits == 0


def test_of_two_clients_the_quicker_one_decides(scene: Scene) -> None:
    other = scene.connections.enter("ticket", "http", "::2")
    other.reports("browser")
    scene.receive(2)
    *_, uploads = scene.connections.uploads()
    assert uploads["ticket"].limit == "line"
    other.received(1)(True)
    other.received(1_000_000)(True)
    *_, uploads = scene.connections.uploads()
    assert uploads["ticket"].limit == "browser"
