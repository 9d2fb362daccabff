"""Bytes of incomplete parts, in one file without a name per process: it ends with the process, and is no one else's.

Decides where in the file a part lies, and when its bytes have no room. Blocks of regions that were given back are
punched out of the file, so that it takes no more of the disk than it holds.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from incoming.core.errors import ServerShutdown, StorageFailed, StorageFull
from incoming.core.extents import Extents
from incoming.platform.files import punch_hole, read, unnamed
from incoming.storage.byte_store import Buffer
from incoming.storage.s3.requests.file_sender import FileRange

THREADS = 4
_BLOCK = 4096
_DIGESTED = 256 * 1024
"""Bytes that are read and digested at a time: they stay in the processor's cache in between."""


class Region:
    """Room for one part. `extents` are its bytes, from 0 on."""

    def __init__(self, spool: Spool, start: int, length: int) -> None:
        self.extents = Extents()
        self._spool = spool
        self._start = start
        self._length = length

    async def write(self, *pieces: tuple[int, Buffer]) -> None:
        """Keep bytes, each piece with its offset. Raises StorageFull or StorageFailed of the disk."""
        await self._spool.call(_write_pieces, self._start, pieces)
        before = self.extents.size
        for offset, data in pieces:
            self.extents = self.extents.add(offset, offset + len(data))
        self._spool.used += self.extents.size - before

    async def read(self, offset: int, length: int) -> bytes:
        """Return bytes that were written."""
        data: bytes = await self._spool.call(_read_all, self._start + offset, length)
        return data

    def file_range(self, offset: int, length: int) -> FileRange:
        """Return where bytes are that were written."""
        return FileRange(self._spool.file, self._start + offset, length)

    async def digest(self, offset: int, length: int, algorithm: str) -> bytes:
        """Return the digest of bytes that were written, by a name of hashlib's."""
        digest: bytes = await self._spool.call(_digest, self._start + offset, length, algorithm)
        return digest

    async def close(self) -> None:
        """Forget the bytes."""
        size, self.extents = self.extents.size, Extents()
        if size:
            try:
                await self._spool.call(_punch, self._start, self._length)
            finally:
                self._spool.give_back(size)


class Spool:
    """The file of one process. `used` counts bytes that are kept, at most about `limit`."""

    def __init__(self, directory: Path, limit: int) -> None:
        self.used = 0
        self.limit = limit
        self.held = 0
        """Writers that wait for room."""
        self._next = 0
        self._room = asyncio.Event()
        self._room.set()
        self._executor = ThreadPoolExecutor(THREADS, thread_name_prefix="spool")
        self._users = 0
        self.file = unnamed(directory)
        try:
            _write_all(self.file, 0, bytes(_BLOCK))
            _punch(self.file, 0, _BLOCK)
        except OSError:
            os.close(self.file)
            raise

    def region(self, length: int) -> Region:
        """Return room for a part of `length` bytes. It takes no space before something is written."""
        start = self._next
        self._next += -(-length // _BLOCK) * _BLOCK
        return Region(self, start, length)

    @property
    def is_full(self) -> bool:
        """Whether no more is to be written."""
        return self.used >= self.limit

    async def wait_for_room(self) -> None:
        """Return when more may be written."""
        self.held += 1
        try:
            while self.is_full:
                self._room.clear()
                await self._room.wait()
        finally:
            self.held -= 1

    def give_back(self, size: int) -> None:
        """Count `size` bytes less."""
        self.used -= size
        self._room.set()

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with the file on a thread. Raises StorageFull, StorageFailed, ServerShutdown."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._executor, function, self.file, *arguments)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise (StorageFull if full else StorageFailed)(f"the spool in storage_dir: {error.strerror}") from error
        except RuntimeError as error:
            raise ServerShutdown("the server is stopping") from error

    def __enter__(self) -> None:
        """Count a store that uses it."""
        self._users += 1

    def __exit__(self, *_: object) -> None:
        """When the last one has left, forget everything."""
        self._users -= 1
        if not self._users:
            self._executor.shutdown(wait=True)
            os.close(self.file)


def _write_pieces(file: int, start: int, pieces: Sequence[tuple[int, Buffer]]) -> None:
    for offset, data in pieces:
        _write_all(file, start + offset, data)


def _write_all(file: int, offset: int, data: Buffer) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written


def _read_all(file: int, offset: int, length: int) -> bytes:
    pieces: list[bytes] = []
    while length:
        piece = os.pread(file, length, offset)
        if not piece:
            raise OSError(errno.EIO, "the file is shorter than what was written")
        pieces.append(piece)
        offset, length = offset + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _digest(file: int, offset: int, length: int, algorithm: str) -> bytes:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    buffer = memoryview(bytearray(min(length, _DIGESTED)))
    end = offset + length
    while offset < end:
        count = read(file, buffer[: end - offset], offset)
        if not count:
            raise OSError(errno.EIO, "the file is shorter than what was written")
        digest.update(buffer[:count])
        offset += count
    return digest.digest()


def _punch(file: int, offset: int, length: int) -> None:
    punch_hole(file, offset, -(-length // _BLOCK) * _BLOCK)
