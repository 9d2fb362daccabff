"""Accepting connections: what a failure costs, and when it is tried again. The event loop and the socket are fakes."""

import errno
import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from incoming.server.descriptors import DescriptorBudget
from incoming.server.listener import ACCEPT_BATCH, ACCEPT_RETRY_DELAY, ACCEPT_SHARE, SHARE_DELAY, Listener
from incoming.server.occasional_log import OccasionalLog


class FakeSocket:
    """Gives what stands in `waiting`: errors are raised; when there is nothing left, accepting would block."""

    def __init__(self, *waiting: object) -> None:
        self.waiting = list(waiting)
        self.accepts = 0
        self.closed = False

    def accept(self) -> tuple[Any, Any]:
        self.accepts += 1
        if not self.waiting:
            raise BlockingIOError
        first = self.waiting.pop(0)
        if isinstance(first, int):
            raise OSError(first, os.strerror(first))
        return first, ("192.0.2.1", 1)

    def close(self) -> None:
        self.closed = True


class FakeLoop:
    """Knows one reader and one timer."""

    def __init__(self) -> None:
        self.reader: Callable[[], None] | None = None
        self.timer: tuple[float, Callable[[], None]] | None = None

    def add_reader(self, _: object, callback: Callable[[], None]) -> None:
        self.reader = callback

    def remove_reader(self, _: object) -> None:
        assert self.reader is not None
        self.reader = None

    def call_later(self, delay: float, callback: Callable[[], None]) -> Any:
        self.timer = (delay, callback)
        loop = self

        class Handle:
            def cancel(self) -> None:
                loop.timer = None

        return Handle()

    def turn(self) -> None:
        if self.reader is not None:
            self.reader()

    def wait(self) -> None:
        assert self.timer is not None
        (_, callback), self.timer = self.timer, None
        callback()


def listen(listening: FakeSocket, taken: list[object], *, is_shared: bool = False) -> tuple[Listener, FakeLoop]:
    loop = FakeLoop()
    listener = Listener(
        listening,  # type: ignore[arg-type]
        lambda connection, _: taken.append(connection),
        loop,  # type: ignore[arg-type]
        is_shared=is_shared,
    )
    return listener, loop


def test_all_waiting_connections_are_accepted_in_one_turn() -> None:
    taken: list[object] = []
    _, loop = listen(FakeSocket("a", "b", "c"), taken)
    loop.turn()
    assert taken == ["a", "b", "c"]


def test_one_turn_is_bounded() -> None:
    for waiting in ("x", errno.ECONNABORTED):
        listening = FakeSocket(*[waiting] * (2 * ACCEPT_BATCH))
        _, loop = listen(listening, [])
        loop.turn()
        assert listening.accepts == ACCEPT_BATCH


@pytest.mark.parametrize("late", [0, 1, 2])
def test_two_workers_share_the_connections_that_wait_also_when_one_wakes_up_later(late: int) -> None:
    listening = FakeSocket(*(f"c{number}" for number in range(64)))
    taken: tuple[list[object], list[object]] = ([], [])
    loops = [listen(listening, own, is_shared=True)[1] for own in taken]
    for breath in range(64):
        for number, loop in enumerate(loops):
            if number == 1 and breath < late:
                continue
            for _ in range(3):  # turns of the event loop within one moment
                loop.turn()
            if loop.timer is not None:
                assert loop.timer[0] == SHARE_DELAY
                loop.wait()
    assert sorted(map(str, (*taken[0], *taken[1]))) == sorted(f"c{number}" for number in range(64)), "each once"
    assert max(len(own) for own in taken) <= 40


def test_a_worker_that_shares_the_socket_accepts_a_few_and_then_all_that_nobody_else_has_taken() -> None:
    listening, taken = FakeSocket(*["early"] * (3 * ACCEPT_SHARE)), list[object]()
    listener, loop = listen(listening, taken, is_shared=True)
    for number in range(1, 4):
        loop.turn()
        assert len(taken) == number * ACCEPT_SHARE
        assert loop.reader is None
        loop.wait()
    loop.turn()
    assert loop.reader is not None, "nothing waits: the next connection is accepted at once"
    listening.waiting += ["late"] * ACCEPT_SHARE
    loop.turn()
    listener.stop()
    assert (loop.timer, loop.reader, listening.closed) == (None, None, True)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EBADF])
def test_without_descriptors_accepting_pauses(number: int, caplog: pytest.LogCaptureFixture) -> None:
    listening, taken = FakeSocket(*[number] * 5, "at last"), []
    _, loop = listen(listening, taken)
    for tries in range(1, 6):
        for _ in range(100):
            loop.turn()
        assert listening.accepts == tries, "the socket is watched during the pause"
        assert loop.timer is not None
        assert loop.timer[0] == ACCEPT_RETRY_DELAY
        loop.wait()
    loop.turn()
    assert taken == ["at last"]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.getMessage() == f"cannot accept connections: {os.strerror(number)}; trying again every 1 s"


@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EHOSTUNREACH])
def test_a_connection_that_failed_by_itself_holds_up_no_other(number: int) -> None:
    taken: list[object] = []
    _, loop = listen(FakeSocket("a", number, number, "b"), taken)
    loop.turn()
    assert taken == ["a", "b"]
    assert loop.timer is None


def test_stopping_ends_a_pause() -> None:
    listening = FakeSocket(errno.EMFILE, "late")
    listener, loop = listen(listening, [])
    loop.turn()
    listener.stop()
    listener.stop()
    assert (loop.timer, loop.reader, listening.closed) == (None, None, True)


def test_a_connection_may_stop_its_listener() -> None:
    listening, taken, loop = FakeSocket("a", "b"), [], FakeLoop()

    def stop(connection: object, _: object) -> None:
        taken.append(connection)
        listener.stop()

    listener = Listener(listening, stop, loop)  # type: ignore[arg-type]
    loop.turn()
    assert taken == ["a"]


def test_a_connection_that_cannot_be_served_ends_alone(caplog: pytest.LogCaptureFixture) -> None:
    closed: list[str] = []

    class Connection:
        def close(self) -> None:
            closed.append("closed")

    def fail(connection: object, _: object) -> None:
        if connection != "b":
            raise ValueError("no such socket option")
        closed.append("served")

    loop = FakeLoop()
    Listener(FakeSocket(Connection(), "b"), fail, loop)  # type: ignore[arg-type]
    loop.turn()
    assert closed == ["closed", "served"]
    assert "a new connection could not be served" in caplog.text


def test_an_event_is_logged_at_once_and_then_seldom_with_its_number() -> None:
    now = 50.0
    often = OccasionalLog(60.0, lambda: now)
    assert [often.due() for _ in range(5)] == [1, 0, 0, 0, 0]
    now += 59
    assert often.due() == 0
    now += 1
    assert [often.due(), often.due()] == [6, 0]


@pytest.mark.parametrize("limit", [64, 128, 256, 512, 1024, 4096, 20_000, 65_536, 2**31, -1])
def test_every_limit_leaves_descriptors_for_clients_and_for_the_server(limit: int) -> None:
    budget = DescriptorBudget.of(limit, 8192)
    most = limit if limit > 0 else 2**31
    assert most // 2 <= budget.clients < most
    assert budget.refused + budget.essential < most - budget.clients
    if most >= 512:
        assert most - budget.clients >= min(8192, most // 4) + 64 + budget.refused + budget.essential
