"""Ranges of files over sockets: whole, to slow receivers, and none of them once the transfer was cancelled."""

import asyncio
import errno
import gc
import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from incoming.storage.s3.requests import file_sender as module
from incoming.storage.s3.requests.file_sender import FileRange, FileSender
from incoming.storage.s3.requests.http_sender import Body, HttpSender, Unreachable

CONTENT = random.Random(5).randbytes(3_000_000)
START, LENGTH = 1000, 2_900_001
WANTED = CONTENT[START : START + LENGTH]


@pytest.fixture
def content(tmp_path: Path) -> Iterator[FileRange]:
    (tmp_path / "file").write_bytes(CONTENT)
    file = os.open(tmp_path / "file", os.O_RDONLY)
    yield FileRange(file, START, LENGTH)
    os.close(file)


@pytest.fixture
def sender() -> Iterator[FileSender]:
    sender = FileSender(2)
    yield sender
    sender.close()


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of a connection whose buffers hold little."""
    near, far = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
    for end in (near, far):
        end.setblocking(False)
    with near, far:
        yield near, far


async def received(far: socket.socket, most: int) -> bytes:
    """Return what comes until `most` bytes or the end."""
    found = bytearray()
    with suppress(ConnectionResetError):
        while len(found) < most and (data := await asyncio.get_running_loop().sock_recv(far, 65536)):
            found += data
    return bytes(found)


async def test_a_range_arrives_whole_at_a_slow_receiver(
    sender: FileSender, content: FileRange, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REPORT_INTERVAL", 0.0)
    reports: list[int] = []
    sending = asyncio.ensure_future(sender.send(ends[0], content, lambda: reports.append(1)))
    assert await received(ends[1], LENGTH) == WANTED
    await sending
    assert len(reports) > 1


async def test_a_file_that_sendfile_cannot_read_is_copied(
    sender: FileSender, content: FileRange, ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def unsupported(*_: object) -> int:
        asked.append(1)
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", unsupported)
    sending = asyncio.ensure_future(sender.send(ends[0], content, lambda: None))
    assert await received(ends[1], LENGTH) == WANTED
    await sending
    assert asked


async def test_nothing_is_sent_after_a_transfer_was_cancelled(
    sender: FileSender, content: FileRange, ends: tuple[socket.socket, socket.socket]
) -> None:
    sending = asyncio.ensure_future(sender.send(ends[0], content, lambda: None))
    first = await received(ends[1], 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    come = first + await received(ends[1], LENGTH)
    assert len(come) < LENGTH
    assert WANTED.startswith(come)


async def test_what_a_cancelled_transfer_raises_is_no_noise(
    sender: FileSender, content: FileRange, ends: tuple[socket.socket, socket.socket]
) -> None:
    noise: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))
    sending = asyncio.ensure_future(sender.send(ends[0], content, lambda: None))
    await received(ends[1], 1)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    del sending
    gc.collect()  # an error that nobody has asked for is reported now
    await asyncio.sleep(0)
    assert noise == []


async def test_closing_ends_transfers_and_refuses_more(
    content: FileRange, ends: tuple[socket.socket, socket.socket]
) -> None:
    sender = FileSender(2)
    sending = asyncio.ensure_future(sender.send(ends[0], content, lambda: None))
    await received(ends[1], 1)
    sender.close()
    with pytest.raises(OSError, match="Broken pipe"):
        await sending
    with pytest.raises(ConnectionAbortedError):
        await sender.send(ends[0], content, lambda: None)


async def test_a_file_that_is_too_short_is_noticed(
    sender: FileSender, content: FileRange, ends: tuple[socket.socket, socket.socket]
) -> None:
    beyond = FileRange(content.file, len(CONTENT) - 10, 11)
    with pytest.raises(OSError, match="shorter"):
        await sender.send(ends[0], beyond, lambda: None)


@pytest.mark.parametrize("closes", [True, False])
async def test_an_answer_that_comes_before_the_end_of_the_body_ends_the_request(
    content: FileRange, closes: bool
) -> None:
    """A store that is busy does not read what it refuses."""
    connections: list[asyncio.StreamWriter] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")
        connections.append(writer)
        if closes:
            await writer.drain()
            writer.write_eof()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        requests = HttpSender(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        answer = await requests.request("PUT", "/part", {}, Body(LENGTH, Body.of(WANTED).read, content))
        assert (answer.status, answer.body) == (503, b"busy")
        requests.close()
        for writer in connections:
            writer.close()


async def test_a_store_that_closes_in_the_middle_of_a_body_is_unreachable(content: FileRange) -> None:
    async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10_000)
        writer.transport.abort()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        requests = HttpSender(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        with pytest.raises(Unreachable):
            await requests.request("PUT", "/part", {}, Body(LENGTH, Body.of(WANTED).read, content))
        requests.close()
