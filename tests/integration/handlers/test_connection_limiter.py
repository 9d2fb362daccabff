"""Who may be connected at all: counted by client, strangers by age, and nobody is remembered for ever."""

import asyncio
import socket
from pathlib import Path

import pytest
from tornado.iostream import IOStream

from incoming.handlers import connection_limiter
from incoming.handlers.connection_limiter import Admission, ConnectionLimiter
from incoming.settings import value_types
from tests.support.one_worker import one_worker

EXEMPT = value_types.networks().parse("127.0.0.0/8,10.0.0.0/8,2001:db8:ffff::/48")


@pytest.fixture
def streams() -> list[IOStream]:
    return []


def connect(streams: list[IOStream]) -> IOStream:
    streams.append(IOStream(socket.socket()))
    return streams[-1]


@pytest.fixture(autouse=True)
def close_all(streams: list[IOStream]) -> object:
    yield
    for stream in streams:
        stream.close()


@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:db8:0:0:ffff:ffff:ffff:ffff"),
    ],
)
async def test_one_client_is_limited(streams: list[IOStream], address: str, same: str) -> None:
    at = ConnectionLimiter(per_client=2, strangers=100, exempt=EXEMPT)
    assert at.enter(connect(streams), address) is Admission.SERVED
    assert at.enter(connect(streams), same) is Admission.SERVED
    assert at.enter(connect(streams), address) is Admission.TOO_MANY
    assert at.enter(connect(streams), same) is Admission.TOO_MANY
    streams[0].close()
    assert at.enter(connect(streams), same) is Admission.SERVED


@pytest.mark.parametrize("other", ["192.0.2.2", "2001:db8:0:1::1"])
async def test_one_client_does_not_limit_another(streams: list[IOStream], other: str) -> None:
    at = ConnectionLimiter(per_client=1, strangers=100, exempt=EXEMPT)
    assert at.enter(connect(streams), "192.0.2.1") is Admission.SERVED
    assert at.enter(connect(streams), "2001:db8::1") is Admission.SERVED
    assert at.enter(connect(streams), other) is Admission.SERVED


@pytest.mark.parametrize("address", ["127.0.0.1", "::ffff:10.1.2.3", "2001:db8:ffff::7", ""])
async def test_exempt_networks_are_not_counted(streams: list[IOStream], address: str) -> None:
    at = ConnectionLimiter(per_client=1, strangers=1, exempt=EXEMPT)
    assert all(at.enter(connect(streams), address) is Admission.SERVED for _ in range(5))
    assert not any(stream.closed() for stream in streams)


async def test_beyond_max_strangers_the_oldest_is_closed(streams: list[IOStream]) -> None:
    at = ConnectionLimiter(per_client=100, strangers=3, exempt=())
    for number in range(5):
        assert at.enter(connect(streams), f"192.0.2.{number}") is Admission.SERVED
        if number == 0:
            at.mark_identified(streams[0])
    assert [stream.closed() for stream in streams] == [False, True, False, False, False]
    streams[3].close()  # by itself: room for one more without sending anybody away
    at.enter(connect(streams), "192.0.2.9")
    assert [stream.closed() for stream in streams] == [False, True, False, True, False, False]
    at.mark_identified(None)
    at.mark_identified(streams[1])


def limited(essential: int = 2) -> ConnectionLimiter:
    """One that has given out all its descriptors: every new connection has a reserved one."""
    at = ConnectionLimiter(per_client=100, strangers=100, exempt=EXEMPT)
    at.limit_descriptors(0, essential)
    return at


async def test_when_descriptors_are_short_an_unidentified_connection_makes_room(streams: list[IOStream]) -> None:
    at = ConnectionLimiter(per_client=100, strangers=100, exempt=EXEMPT)
    for number in range(3):
        assert at.enter(connect(streams), f"192.0.2.{number}") is Admission.SERVED
    at.mark_identified(streams[0])
    at.limit_descriptors(0, 0)
    assert at.enter(connect(streams), "192.0.2.7") is Admission.SERVED
    assert at.enter(connect(streams), "10.0.0.1") is Admission.SERVED
    assert [stream.closed() for stream in streams] == [False, True, True, False, False]
    streams[3].close()  # frees nothing more that could be given to somebody
    assert at.enter(connect(streams), "192.0.2.8") is Admission.NO_DESCRIPTOR
    assert not streams[0].closed()


async def test_descriptors_below_the_reserve_are_given_out(streams: list[IOStream]) -> None:
    at = limited()
    stream = connect(streams)
    at.limit_descriptors(stream.socket.fileno() + 1, 0)
    assert at.enter(stream, "192.0.2.1") is Admission.SERVED
    at = limited()
    at.limit_descriptors(stream.socket.fileno(), 0)
    assert at.enter(stream, "192.0.2.1") is Admission.NO_DESCRIPTOR


async def test_the_reserve_serves_a_few_essential_connections_of_exempt_networks(streams: list[IOStream]) -> None:
    at = limited(essential=2)
    assert at.enter(connect(streams), "192.0.2.1") is Admission.NO_DESCRIPTOR
    for _ in range(2):
        assert at.enter(connect(streams), "127.0.0.1") is Admission.ESSENTIAL
        at.asks(streams[-1])
    assert at.enter(connect(streams), "127.0.0.1") is Admission.NO_DESCRIPTOR
    assert [at.is_essential(stream) for stream in (*streams, None)] == [False, True, True, False, False]
    streams[1].close()
    assert at.enter(connect(streams), "127.0.0.1") is Admission.ESSENTIAL


async def test_of_the_essential_connections_one_that_sends_nothing_makes_room(streams: list[IOStream]) -> None:
    at = limited(essential=2)
    client, served = socket.socketpair()
    client.sendall(b"GET")
    streams.append(IOStream(served))
    assert at.enter(streams[0], "127.0.0.1") is Admission.ESSENTIAL
    assert [at.enter(connect(streams), "127.0.0.1") for _ in range(3)] == [Admission.ESSENTIAL] * 3
    assert [stream.closed() for stream in streams] == [False, True, True, False]
    at.asks(streams[-1])
    assert at.enter(connect(streams), "127.0.0.1") is Admission.NO_DESCRIPTOR
    client.close()


async def test_clients_that_are_gone_are_forgotten(streams: list[IOStream], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_limiter, "FEW_CLIENTS", 10)
    at = ConnectionLimiter(per_client=1, strangers=1000, exempt=())
    at.enter(connect(streams), "198.51.100.1")
    for number in range(250):
        at.enter(connect(streams), f"192.0.2.{number}")
        streams[-1].close()
    assert len(at._clients) <= 12
    assert at.enter(connect(streams), "198.51.100.1") is Admission.TOO_MANY


async def test_a_header_must_come_in_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.server.worker.KEEP_ALIVE", 0.5)
    async with one_worker(tmp_path / "storage") as worker:
        reader, writer = await asyncio.open_connection("127.0.0.1", worker.port)
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        ended = asyncio.ensure_future(reader.read())
        async with asyncio.timeout(20):
            while not ended.done():
                writer.write(b"x")
                await asyncio.sleep(0.05)
        writer.close()
        await asyncio.gather(ended, return_exceptions=True)
