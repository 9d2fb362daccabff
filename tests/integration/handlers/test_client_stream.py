"""A client that reads no answer is disconnected; one that reads slowly is not."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

from incoming.handlers import client_stream
from incoming.handlers.client_stream import ClientStream
from incoming.platform.sockets import acknowledged_by
from tests.integration.handlers.conftest import StartWorker
from tests.support.put_requests import path
from tests.support.raw_http import RawConnection, request
from tests.support.stores import until

MORE_THAN_KERNELS_HOLD = bytes(32 << 20)
SHORT = 0.05
FOREVER = 3600.0


@asynccontextmanager
async def connected(write_timeout: float) -> AsyncIterator[tuple[ClientStream, socket.socket]]:
    """The server's and the client's end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
    accepted.setblocking(False)
    client.setblocking(False)
    stream = ClientStream(accepted, write_timeout=write_timeout)
    yield stream, client
    stream.close()
    client.close()


async def test_a_client_that_reads_nothing_is_disconnected() -> None:
    async with connected(SHORT) as (stream, _):
        stream.write(MORE_THAN_KERNELS_HOLD)
        await until(stream.closed, "the connection being closed")


async def test_a_client_that_reads_slowly_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each check comes when the test wants it: between two of them the client has read something, if late."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    checks: list[Callable[[], object]] = []

    def later(delay: float, callback: Callable[..., object], *args: object, **how: Any) -> asyncio.TimerHandle:
        if delay == FOREVER:
            checks.append(partial(callback, *args))
        return call_later(delay, callback, *args, **how)

    monkeypatch.setattr(loop, "call_later", later)
    async with connected(FOREVER) as (stream, client):
        written = stream.write(MORE_THAN_KERNELS_HOLD)
        for count in range(1, 5):
            before = acknowledged_by(stream.socket)
            while acknowledged_by(stream.socket) == before:
                # More than a window, so that the kernel tells the server of it.
                await loop.sock_recv(client, 4 << 20)
                await asyncio.sleep(0.001)
            checks[-1]()
            assert not stream.closed()
            assert len(checks) == count + 1, "it is not watched any more"
        checks[-1]()
        assert stream.closed(), "nothing was read since the last check"
        with pytest.raises(StreamClosedError):
            await written


async def test_a_client_that_has_read_everything_is_not_watched() -> None:
    async with connected(SHORT) as (stream, client):
        written = stream.write(MORE_THAN_KERNELS_HOLD)
        while not written.done():
            await asyncio.get_running_loop().sock_recv(client, 1 << 20)
        await until(lambda: stream._write_watchdog is None, "nobody watching")
        assert not stream.closed()


async def test_without_the_kernels_counter_no_client_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = 0

    def unknown(connection: socket.socket) -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(client_stream, "acknowledged_by", unknown)
    async with connected(0.001) as (stream, _):
        stream.write(MORE_THAN_KERNELS_HOLD)
        await until(lambda: asked > 5, "it having been looked at")
        assert not stream.closed()


async def test_answers_are_watched_for_dead_after(start_worker: StartWorker) -> None:
    worker = await start_worker("--dead-after", "0.3", "--ping-interval", "0.1")
    ticket_id = await worker.ticket()
    connection = await RawConnection.open(worker.port, receive_buffer=4096)
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
    connection.writer.write(request("GET", path(ticket_id)) * 100_000)
    await until(connection.writer.transport.is_closing, "the connection being reset")
    connection.close()
