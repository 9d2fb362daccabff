"""A slow disk or database holds up whoever needs it, and never the event loop, which turns during each of its calls."""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from incoming.storage.filesystem.disk import Facts, PosixDisk
from incoming.storage.filesystem.store import FileStore
from incoming.storage.sqlite import schema
from tests.support.faulty_stores import FaultyFiles
from tests.support.one_worker import one_worker
from tests.support.raw_http import RawConnection, request
from tests.support.raw_websocket import RawWebSocket, chunk
from tests.support.stores import until

SLOW = 0.3
"""Seconds that each call of the disk takes. A loop that is free turns dozens of times meanwhile, at the least once."""


class Watch:
    """Counts the turns of the event loop, and during which calls it did not turn or which were made on its thread."""

    def __init__(self) -> None:
        self.turns = 0
        self.calls: list[str] = []
        self.blocking: list[str] = []
        self._loop_thread = threading.get_ident()

    async def run(self) -> None:
        while True:
            self.turns += 1
            await asyncio.sleep(0.005)

    @contextmanager
    def call(self, name: str, seconds: float = 0.0) -> Iterator[None]:
        before = self.turns
        time.sleep(seconds)
        yield
        self.calls.append(name)
        if threading.get_ident() == self._loop_thread or (seconds and self.turns == before):
            self.blocking.append(name)


class SlowDisk(PosixDisk):
    """Every call that touches the medium takes its time."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def create(self, path: str, mode: int) -> int:
        with self._watch.call("create", SLOW):
            return super().create(path, mode)

    def open(self, path: str) -> int:
        with self._watch.call("open"):
            return super().open(path)

    def close(self, fd: int) -> None:
        with self._watch.call("close"):
            super().close(fd)

    def write(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
        with self._watch.call("write", SLOW):
            return super().write(fd, pieces, offset)

    def truncate(self, fd: int, length: int) -> None:
        with self._watch.call("truncate"):
            super().truncate(fd, length)

    def facts(self, fd: int) -> Facts:
        with self._watch.call("facts"):
            return super().facts(fd)

    def look(self, path: str) -> Facts | None:
        with self._watch.call("look"):
            return super().look(path)

    def lock(self, fd: int, *, exclusive: bool) -> bool:
        with self._watch.call("lock"):
            return super().lock(fd, exclusive=exclusive)

    def fdatasync(self, fd: int) -> None:
        with self._watch.call("fdatasync", SLOW):
            super().fdatasync(fd)

    def fsync(self, fd: int) -> None:
        with self._watch.call("fsync", SLOW):
            super().fsync(fd)

    def rename(self, source: str, target: str) -> None:
        with self._watch.call("rename", SLOW):
            super().rename(source, target)

    def unlink(self, path: str) -> None:
        with self._watch.call("unlink", SLOW):
            super().unlink(path)

    def sync_directory(self, path: str) -> None:
        with self._watch.call("sync_directory", SLOW):
            super().sync_directory(path)

    def make_directory(self, path: str, mode: int) -> None:
        with self._watch.call("make_directory", SLOW):
            super().make_directory(path, mode)

    def free(self, path: str) -> int:
        with self._watch.call("free", SLOW):
            return super().free(path)


def watch_database(watch: Watch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Statements are counted once the worker is open."""
    connect = sqlite3.connect

    class Watched(sqlite3.Connection):
        def execute(self, *given: Any) -> sqlite3.Cursor:
            with watch.call("execute"):
                return super().execute(*given)

    def connect_watched(*given: Any, **more: Any) -> sqlite3.Connection:
        return connect(*given, **{**more, "factory": Watched})

    monkeypatch.setattr(schema.sqlite3, "connect", connect_watched)


async def test_nothing_slow_is_done_on_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()

    def slow_files(root: Path, **others: Any) -> FaultyFiles:
        return FaultyFiles(root, FileStore(root, disk=SlowDisk(watch), **others))

    monkeypatch.setattr("incoming.storage.open.FileStore", slow_files)
    watch_database(watch, monkeypatch)
    turning = asyncio.create_task(watch.run())
    async with one_worker(tmp_path / "storage", "--checkpoint-bytes", "1MiB") as worker:
        watch.calls.clear()
        watch.blocking.clear()
        one, other, cancelled = [await worker.ticket() for _ in range(3)]
        content = bytes(range(256)) * 4 * 1024 * 4
        socket = await RawWebSocket.welcomed(worker.port, one, len(content))
        connection = await RawConnection.open(worker.port)
        await socket.send(*(chunk(start, content[start : start + 2**18]) for start in range(0, len(content), 2**18)))
        assert (await connection.ask(request("PUT", f"/incoming/frontend/upload/{other}", body=content))).status == 200
        assert (await socket.hear("state"))["state"] == "arrived"
        piece = request("PUT", f"/incoming/frontend/upload/{cancelled}", "Content-Range: bytes 0-9/20", body=bytes(10))
        assert (await connection.ask(piece)).status == 308
        assert (await worker.call("cancel_upload", id=cancelled))[0] == 200
        await worker.services.janitor.sweep()
        socket.close()
        connection.close()
        await until(lambda: not worker.services.upload_service._uploads, "all being let go of")
        calls = set(watch.calls)
    turning.cancel()
    needed = {"create", "write", "fdatasync", "fsync", "rename", "unlink", "sync_directory", "free", "close", "execute"}
    assert needed | {"facts", "look", "lock"} <= calls, "each has been seen"
    assert watch.blocking == []


async def test_a_call_on_the_event_loop_is_noticed() -> None:
    watch = Watch()
    turning = asyncio.create_task(watch.run())
    await asyncio.sleep(0)
    with watch.call("on the loop", 0.05):
        pass
    with watch.call("without a delay"):
        pass
    turning.cancel()
    assert watch.blocking == ["on the loop", "without a delay"]
