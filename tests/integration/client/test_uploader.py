"""The Uploader within a program: several connections, what can be seen meanwhile, and lines that swallow everything."""

import asyncio
import hashlib
import io
from pathlib import Path

import pytest

from incoming.client import BadAddress, Uploader
from incoming.client.upload import connection_sender, piped, uploader
from incoming.client.upload.concurrency import Concurrency
from incoming.client.upload.connection import ConnectionLost
from incoming.client.upload.connection_sender import ConnectionSender, SharedWork
from incoming.client.upload.pacing import RateLimit
from incoming.client.upload.progress import Progress
from incoming.client.upload.schedule import Schedule
from incoming.client.upload.source_file import SourceFile
from incoming.wire.client_messages import Acknowledged, StateNews, Welcome
from tests.support.known_files import KnownFile, make_file, sha256_of
from tests.support.one_worker import OneWorker, one_worker


async def until_arrived(worker: OneWorker, ticket: str, file: KnownFile, transport: str, rate: int) -> list[Progress]:
    """Send a file until the server has every byte; nobody takes it from there."""
    seen: list[Progress] = []
    arrived = asyncio.Event()

    def watch(progress: Progress) -> None:
        seen.append(progress)
        if progress.state == "arrived":
            arrived.set()

    url = f"http://127.0.0.1:{worker.port}/incoming/0.1/frontend/upload/{ticket}"
    sending = asyncio.create_task(
        Uploader(url, file.path, on_progress=watch, transport=transport, connections=3, rate=rate).send()
    )
    waiting = asyncio.create_task(arrived.wait())
    await asyncio.wait({sending, waiting}, return_when=asyncio.FIRST_COMPLETED, timeout=60)
    assert not sending.done(), sending.exception()
    assert waiting.done()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    return seen


@pytest.mark.parametrize("transport", ["websocket", "http"])
async def test_several_connections_carry_one_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: str
) -> None:
    monkeypatch.setattr(uploader, "MEASURE_INTERVAL", 0.02)
    monkeypatch.setattr(Concurrency, "measure", lambda self, _: setattr(self, "wanted", self.most))
    file = make_file(tmp_path / "file", 3_000_000)
    async with one_worker(tmp_path / "storage") as worker:
        ticket = await worker.ticket()
        seen = await until_arrived(worker, ticket, file, transport, rate=6_000_000)
        assert max(progress.connections for progress in seen) == 3
        [stored] = (tmp_path / "storage").glob(f"??/{ticket}")
        assert sha256_of(stored) == file.sha256
    progress = [moment.arrived for moment in seen]
    assert progress == sorted(progress)


async def test_bytes_of_another_client_are_not_sent_again(tmp_path: Path) -> None:
    file = make_file(tmp_path / "file", 1_000_000)
    async with one_worker(tmp_path / "storage") as worker:
        ticket = await worker.ticket()
        path = f"/incoming/frontend/upload/{ticket}"
        await worker.fetch("PUT", path, file.read(0, 600_000), {"Content-Range": "bytes 0-599999/1000000"})
        seen = await until_arrived(worker, ticket, file, "websocket", rate=0)
        assert next(moment.arrived for moment in seen if moment.state == "uploading") == 600_000
        [stored] = (tmp_path / "storage").glob(f"??/{ticket}")
        assert sha256_of(stored) == file.sha256


@pytest.mark.parametrize("size", [0, 1, 65536])
async def test_small_and_empty_files_arrive(tmp_path: Path, size: int) -> None:
    file = make_file(tmp_path / "file", size)
    async with one_worker(tmp_path / "storage") as worker:
        ticket = await worker.ticket()
        await until_arrived(worker, ticket, file, "websocket", rate=0)
        [stored] = (tmp_path / "storage").glob(f"??/{ticket}")
        assert sha256_of(stored) == file.sha256


@pytest.mark.parametrize("size", [0, 1, 1000, 1001, 5000])
async def test_a_stream_is_sent_in_pieces_and_remembered_before_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(piped, "PIECE_SIZE", 1000)
    content = make_file(tmp_path / "file", size).path.read_bytes()
    marks: list[piped.Mark] = []
    async with one_worker(tmp_path / "storage") as worker:
        ticket = await worker.ticket()
        url = f"http://127.0.0.1:{worker.port}/incoming/0.1/frontend/upload/{ticket}"
        arrived = asyncio.Event()
        uploader = piped.PipedUploader(
            url,
            io.BytesIO(content),
            name="dump",
            remember=marks.append,
            on_progress=lambda progress: arrived.set() if progress.state == "arrived" else None,
        )
        sending = asyncio.create_task(uploader.send())
        async with asyncio.timeout(60):
            await arrived.wait()
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        [stored] = (tmp_path / "storage").glob(f"??/{ticket}")
        assert stored.read_bytes() == content
    assert [mark.length for mark in marks] == [*range(1000, size, 1000), size]
    assert [mark.digest for mark in marks] == [hashlib.sha256(content[: mark.length]).hexdigest() for mark in marks]


class Swallower:
    """A connection that takes chunks and delivers nothing."""

    kind = "websocket"
    ahead = 2
    welcome = Welcome(1, "uploading", 100, (), 10, 100, 1000, 1, 20.0)

    def __init__(self) -> None:
        self.swallowed: list[int] = []

    async def send(self, offset: int, data: bytes) -> None:
        self.swallowed.append(offset)

    async def receive(self) -> Acknowledged | StateNews:
        await asyncio.Event().wait()
        raise AssertionError("nobody wakes it")

    async def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("arrives", [False, True])
async def test_a_connection_that_swallows_chunks_is_left_unless_they_arrive_slowly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arrives: bool
) -> None:
    monkeypatch.setattr(connection_sender, "ACK_TIMEOUT", 0.01)
    source = SourceFile(make_file(tmp_path / "file", 100).path)
    asked: list[int] = []
    often = asyncio.Event()

    async def count_arrived() -> int:
        asked.append(len(asked) if arrives else 0)
        if len(asked) == 5:
            often.set()
        return asked[-1]

    def ignore(news: StateNews) -> None:
        """Nothing comes."""

    schedule, connection = Schedule(100), Swallower()
    work = SharedWork(source, schedule, RateLimit(), count_arrived, ignore, lambda: None)
    running = asyncio.create_task(ConnectionSender(work, connection).run())
    if arrives:
        await often.wait()
        assert not running.done()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    else:
        with pytest.raises(ConnectionLost, match="nothing arrives over it"):
            await running
    assert connection.swallowed == [0]
    assert schedule.in_flight == 0, "what was on its way is to be sent again"
    source.close()


def test_the_url_of_a_server_is_refused_as_an_upload(tmp_path: Path) -> None:
    with pytest.raises(BadAddress, match="is the URL of a server"):
        Uploader("http://localhost:4000", tmp_path / "file")
