"""The `ByteStore` on a POSIX file system, as the event loop sees it.

Decides on which threads the file tree works, which error a failing disk becomes and what the operator reads of it. It
does not know how the files lie and what keeps them safe; that is file_tree.py.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import resource
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import ParamSpec, TypeVar

from incoming.core.errors import (
    FileTooLarge,
    ServerShutdown,
    StorageFailed,
    StorageFull,
    TooBusy,
    UnknownTicket,
    UploadError,
)
from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, Written
from incoming.storage.call_batcher import CallBatcher
from incoming.storage.fault_log import RateLimitedLog
from incoming.storage.filesystem.disk import Disk, PosixDisk
from incoming.storage.filesystem.file_tree import EpochsOf, FileTree, Write

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 8
"""Disk operations under way at once, and as many small writes besides. More do not make a disk faster; fewer let one
slow fsync hold up everybody.
"""

SMALL = 1024 * 1024
"""Bytes up to which a write takes less time than it takes to have a thread of its own do it."""

ALIGNMENT = 1024 * 1024
"""Bytes; a multiple of what file systems cache and of what NFS and CephFS write at once."""

MAX_OPEN_FILES = 8192
"""Files held open at most: many slow uploads that write in turn must not open their files anew each time."""

_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)


class FileStore:
    """Files below `root`. New ones get `dir_mode` and `file_mode`, whatever the umask is."""

    def __init__(
        self,
        root: str | Path,
        *,
        dir_mode: int = 0o750,
        file_mode: int = 0o640,
        open_files: int | None = None,
        disk: Disk | None = None,
        epochs_of: EpochsOf | None = None,
    ) -> None:
        """Make the directory if it is missing; raise OSError if it cannot be used. `open_files` is the number of files
        held open at most: by default a quarter of the process's limit, for connections need descriptors, too.

        `epochs_of` returns which epochs of tickets are current; it is called on threads, under the files' locks.
        """
        if open_files is None:
            allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
            open_files = MAX_OPEN_FILES if allowed == resource.RLIM_INFINITY else min(MAX_OPEN_FILES, allowed // 4)
        self._tree = FileTree(os.path.abspath(root), dir_mode, file_mode, open_files, disk or PosixDisk(), epochs_of)  # noqa: PTH100
        self._threads = ThreadPoolExecutor(THREADS, "incoming-files")
        self._writes: CallBatcher[Write, Written] = CallBatcher(THREADS, "incoming-writes", self._tree.prepare_writes)
        self._faults = RateLimitedLog()

    async def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        if sum(len(data) for _, data in pieces) > SMALL:
            return await self._run(ticket.id, self._tree.write, _valid(ticket), pieces)
        _valid(ticket)
        try:
            return await self._writes.run((ticket, pieces))
        except OSError as error:
            raise self._blame(ticket.id, error) from error

    async def sync(self, ticket: Ticket) -> None:
        await self._run(ticket.id, self._tree.sync, _valid(ticket))

    async def loss_recorded(self, ticket: Ticket) -> None:
        await self._run(ticket.id, self._tree.loss_recorded, _valid(ticket))

    async def stored(self, ticket: Ticket) -> Extents | None:
        return await self._run(ticket.id, self._tree.stored, _valid(ticket))

    async def complete(self, ticket: Ticket, size: int) -> Location:
        return await self._run(ticket.id, self._tree.complete, _valid(ticket), size)

    async def join(self, ticket: Ticket, size: int) -> Location:
        return await self._run(ticket.id, self._tree.join, _valid(ticket))

    async def completed(self, ticket: Ticket, size: int) -> Location | None:
        return await self._run(ticket.id, self._tree.completed, _valid(ticket), size)

    async def kept(self, ticket: Ticket) -> bool:
        return await self._run(ticket.id, self._tree.kept, _valid(ticket))

    async def remove_partial(self, ticket: Ticket) -> None:
        await self._run(ticket.id, self._tree.remove_partial, _valid(ticket))

    async def remove(self, ticket: Ticket) -> None:
        await self._run(ticket.id, self._tree.remove, _valid(ticket))

    async def release(self, ticket: Ticket) -> None:
        await self._run(ticket.id, self._tree.release, _valid(ticket))

    @asynccontextmanager
    async def fence(self, ticket: Ticket) -> AsyncIterator[None]:
        taking = asyncio.ensure_future(self._run(ticket.id, self._tree.fence, _valid(ticket)))
        try:
            fd = await asyncio.shield(taking)
        except asyncio.CancelledError:
            taking.add_done_callback(self._unwanted)
            raise
        try:
            yield
        finally:
            self._unfence(fd)

    def _unwanted(self, taking: asyncio.Future[int | None]) -> None:
        if not taking.cancelled() and taking.exception() is None:
            self._unfence(taking.result())

    def _unfence(self, fd: int | None) -> None:
        try:
            self._threads.submit(self._tree.unfence, fd)
        except RuntimeError:
            self._tree.unfence(fd)  # closed meanwhile

    async def read(self, ticket: Ticket, start: int, end: int, consume: Callable[[memoryview], None]) -> int:
        return await self._run(ticket.id, self._tree.read, _valid(ticket), start, end, consume)

    async def free_bytes(self) -> int:
        return await self._run("", self._tree.free_bytes)

    async def close(self) -> None:
        self._writes.close()
        closer = ThreadPoolExecutor(1, "incoming-files-close")
        await asyncio.get_running_loop().run_in_executor(closer, self._close)
        closer.shutdown()

    def _close(self) -> None:
        self._writes.join()
        self._threads.shutdown()
        self._tree.close()

    async def _run(self, ticket_id: str, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            call = self._threads.submit(work, *args, **kwargs)
        except RuntimeError as error:
            raise ServerShutdown("the server is stopping") from error
        try:
            return await asyncio.wrap_future(call)
        except OSError as error:
            raise self._blame(ticket_id, error) from error

    def _blame(self, ticket_id: str, error: OSError) -> UploadError:
        """Log the fault for the operator; return the error for the client, which contains no path."""
        # The whole id is the permission to upload; eight digits find the file.
        what = f"upload {ticket_id[:8]}...: {error.strerror or error}"
        self._faults.report(error.errno, "storage directory %s, %s", self._tree.root, what)
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return StorageFull("no space is left in the storage of the server")
        if error.errno in (errno.EMFILE, errno.ENFILE):
            # A file was not opened, so nothing was done to it: no byte is in doubt, as it is after a failed sync.
            return TooBusy("the server has no file descriptor left for its storage")
        if error.errno == errno.EFBIG:
            return FileTooLarge("the file is larger than a file can be in the storage of the server")
        return StorageFailed(f"the storage of the server reported an error ({error.strerror or 'unknown'})")


class SharedFileStore(FileStore):
    """The same for a directory that several machines write to.

    Chunks of different connections, which may be of different machines, lie in different parts of ALIGNMENT bytes: no
    page and no object of the file system behind is written by two machines at once.
    """

    def part_size(self, size: int) -> int:
        """Return the part size of a file of `size` bytes; see `PartsStore`."""
        return ALIGNMENT


def _valid(ticket: Ticket) -> Ticket:
    if not _ID.fullmatch(ticket.id):
        raise UnknownTicket("not the id of a ticket")
    return ticket
