"""How slow a sender may be, measured over a while; and what the kernel tells of a connection."""

import socket

import pytest

from incoming.handlers.upload.minimum_rate import MinimumRate
from incoming.platform.sockets import figures_of, received_by, silent_for
from tests.support.waiting import wait_until


@pytest.mark.parametrize(
    ("heard", "slow"),
    [
        ([(0, 0), (30, 15_000), (60, 30_000)], False),
        ([(0, 0), (30, 15_000), (60, 29_999)], True),
        ([(0, 0), (60, 1)], True),
        ([(0, 0), (60, 0)], False),  # nothing at all is not slow but silent
        ([(0, 0), (59, 1)], False),
        ([(0, 900), (60, 900 + 30_000), (120, 900 + 59_999)], True),
        ([(0, 0), (50, 0), (61, 40_000)], False),  # a line that was away for a while
        ([(0, 0), (60, None), (61, 1)], False),
    ],
)
def test_the_minimum_is_an_average(heard: list[tuple[float, int | None]], slow: bool) -> None:
    pace = MinimumRate(500, 60)
    assert [pace.too_slow(now, received, excused=False) for now, received in heard][-1] is slow


def test_what_the_server_itself_held_up_is_excused() -> None:
    pace = MinimumRate(500, 60)
    assert not pace.too_slow(0, 0, excused=False)
    assert not pace.too_slow(100, 1, excused=True)
    assert not pace.too_slow(159, 2, excused=False)
    assert pace.too_slow(160, 2, excused=False)


def test_without_a_minimum_no_client_is_too_slow() -> None:
    pace = MinimumRate(0, 60)
    assert not any(pace.too_slow(now, now // 1000 + 1, excused=False) for now in range(0, 10_000, 60))


def test_the_kernels_figures_are_read() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
        with client, server:
            client.sendall(bytes(1234))
            wait_until(lambda: received_by(server) == 1234, "all bytes being counted, read or not")
            assert silent_for(server, 5.0) < 5.0
            assert received_by(client) == 0
            figures = figures_of(server)
            assert figures is not None
            assert 0 < figures.rtt < 5, "seconds"
            assert (figures.retransmits, figures.out_of_order) == (0, 0)


def test_missing_figures_of_the_kernel_are_tolerated() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert received_by(one) is None
        assert silent_for(one, 5.0) == 5.0
