"""The connections that are shown to operators, for how long, and their rates."""

import logging

import pytest

from incoming.monitoring.connections import (
    BATCH,
    NEW_CLIENT_AFTER,
    RATE_WINDOW,
    REQUEST_GAP,
    Connections,
    UploadActivity,
)
from incoming.monitoring.metrics import WorkerCounters
from tests.support.stores import Clock

TICKET = "a197b8f5-fb74-434f-9df0-9a4048b857a7"


class Scene:
    """Connections with a manual clock."""

    def __init__(self) -> None:
        self.clock = Clock(100.0)
        self.counters = WorkerCounters()
        self.connections = Connections(self.counters, self.clock)

    def facts(self, ticket: str = TICKET) -> UploadActivity | None:
        *_, uploads = self.connections.uploads()
        return uploads.get(ticket)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_connections_of_an_upload_are_combined(scene: Scene) -> None:
    scene.connections.enter(TICKET, "websocket", "10.0.0.1")
    scene.connections.enter(TICKET, "websocket", "10.0.0.1")
    scene.connections.enter(TICKET, "http", "::1")
    scene.connections.enter("other", "http", "::1")
    assert scene.facts() == UploadActivity(("10.0.0.1", "::1"), ("http", "websocket"), 3, 0.0)
    assert scene.connections.open() == {"websocket": 2, "http": 2}


def test_the_libraries_of_clients_are_listed_once_each(scene: Scene) -> None:
    for transport, library in (("websocket", "incoming.js/1.0.0"), ("http", "incoming.js/1.0.0"), ("http", "")):
        scene.connections.enter(TICKET, transport, "::1" if library else "::2").library = library
    facts = scene.facts()
    assert facts is not None
    assert facts.libraries == ("incoming.js/1.0.0",)
    assert (facts + UploadActivity(libraries=("app/2",))).libraries == ("app/2", "incoming.js/1.0.0")


def test_an_http_client_stays_listed_between_requests(scene: Scene) -> None:
    scene.connections.enter(TICKET, "http", "::1").leave()
    facts = scene.facts()
    assert facts is not None
    assert facts.connections == 0
    assert scene.connections.open() == {"http": 0}
    scene.clock.advance(REQUEST_GAP)
    assert scene.facts() is None


def test_many_clients_are_yielded_in_batches(scene: Scene) -> None:
    for number in range(3 * BATCH):
        scene.connections.enter(f"ticket {number}", "websocket", "::1")
    parts = [len(uploads) for uploads in scene.connections.uploads()]
    assert parts == [BATCH, 2 * BATCH, 3 * BATCH, 3 * BATCH]


def test_speed_is_that_of_the_last_seconds(scene: Scene) -> None:
    sender = scene.connections.enter(TICKET, "websocket", "::1")
    for _ in range(20):
        scene.clock.advance(1)
        sender.stored(1000, 0.01)
        facts = scene.facts()
        assert facts is not None
        assert facts.speed == pytest.approx(1000)
    for _ in range(int(RATE_WINDOW) + 1):
        scene.clock.advance(1)
        facts = scene.facts()
    assert facts is not None
    assert facts.speed == 0
    assert scene.counters.received == 20_000


def test_a_reconnection_is_logged_only_after_a_long_absence(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        scene.connections.enter(TICKET, "http", "::1").leave()
        scene.clock.advance(REQUEST_GAP + 1)
        scene.facts()
    [record] = caplog.records
    assert (vars(record)["client"], vars(record)["transport"]) == ("::1", "http")
    scene.clock.advance(NEW_CLIENT_AFTER)
    assert scene.facts() is None
    scene.connections.enter(TICKET, "http", "::1")
    assert len(caplog.records) == 2


def test_what_only_waits_is_measured_once(monkeypatch: pytest.MonkeyPatch, scene: Scene) -> None:
    """Thousands may wait for their apps, and operators' reports have all of them."""
    sender = scene.connections.enter(TICKET, "websocket", "::1")
    sender.received(1000)(True)
    for _ in range(3):
        scene.clock.advance(RATE_WINDOW)
        before = scene.facts()
    monkeypatch.setattr("incoming.monitoring.connections.figures_between", None)
    for _ in range(3):
        scene.clock.advance(RATE_WINDOW)
        assert scene.facts() == before
    scene.connections.enter(TICKET, "websocket", "::1")
    facts = scene.facts()
    assert facts is not None
    assert (facts.connections, facts.speed) == (2, 0.0)


def test_speed_after_a_pause_is_that_of_the_last_seconds(scene: Scene) -> None:
    sender = scene.connections.enter(TICKET, "websocket", "::1")
    for _ in range(100):
        scene.clock.advance(RATE_WINDOW)
        scene.facts()
    sender.received(1000)(True)
    scene.clock.advance(2)
    facts = scene.facts()
    assert facts is not None
    assert facts.speed == 500


def test_a_client_that_is_held_up_after_a_pause_is_not_taken_for_a_quiet_one(scene: Scene) -> None:
    sender = scene.connections.enter(TICKET, "websocket", "::1")
    scene.facts()
    with sender.held:
        scene.clock.advance(RATE_WINDOW)
        facts = scene.facts()
    assert facts is not None
    assert facts.limit == "server"
