"""Descriptors where the limit is none, and signals where waiting for one has no end."""

import resource
import signal
from collections.abc import Iterator

import pytest

from incoming.platform import processes
from incoming.platform.processes import MAX_DESCRIPTORS, raise_descriptor_limit, wait_for_signal

AWAITED = {signal.SIGUSR1, signal.SIGUSR2}


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The limits of a Mac's shell: 256 of any number, of which no process gets more than OPEN_MAX."""
    current = [(256, resource.RLIM_INFINITY)]

    def limit(which: int, wanted: tuple[int, int]) -> None:
        if wanted[0] == resource.RLIM_INFINITY or wanted[0] > MAX_DESCRIPTORS:
            raise ValueError("current limit exceeds maximum limit")
        current.append(wanted)

    monkeypatch.setattr(resource, "getrlimit", lambda which: current[-1])
    monkeypatch.setattr(resource, "setrlimit", limit)
    return current


def test_where_no_limit_is_refused_descriptors_are_as_many_as_allowed(limits: list[tuple[int, int]]) -> None:
    raise_descriptor_limit()
    assert limits[-1] == (MAX_DESCRIPTORS, resource.RLIM_INFINITY)


def test_a_hard_limit_that_can_be_had_is_taken(limits: list[tuple[int, int]]) -> None:
    limits.append((256, 4096))
    raise_descriptor_limit()
    assert limits[-1] == (4096, 4096)


def test_more_than_is_offered_is_never_given_up(limits: list[tuple[int, int]]) -> None:
    limits.append((20_000, resource.RLIM_INFINITY))
    raise_descriptor_limit()
    assert limits[-1] == (20_000, resource.RLIM_INFINITY)


@pytest.fixture
def blocked() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, AWAITED)
    yield
    while pending := signal.sigpending() & AWAITED:
        signal.sigwait(pending)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def test_without_a_wait_that_ends_signals_are_looked_for(blocked: None, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.delattr(signal, "sigtimedwait")
    assert wait_for_signal(AWAITED, 3600, slept.append) is None
    assert slept == [processes.SIGNAL_POLL_INTERVAL], "callers look after their children then"
    signal.raise_signal(signal.SIGUSR2)
    assert wait_for_signal(AWAITED, 3600, slept.append) == signal.SIGUSR2
    assert wait_for_signal(AWAITED, 0.01, lambda seconds: signal.raise_signal(signal.SIGUSR1)) == signal.SIGUSR1
    assert wait_for_signal(AWAITED, 0.01, slept.append) is None
    assert slept == [processes.SIGNAL_POLL_INTERVAL, 0.01]


def test_the_systems_own_wait_is_used_where_it_exists(blocked: None) -> None:
    signal.raise_signal(signal.SIGUSR1)
    assert wait_for_signal(AWAITED, 0) == signal.SIGUSR1
    assert wait_for_signal(AWAITED, 0) is None
