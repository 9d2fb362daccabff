"""The files themselves: `<root>/<first two of id>/<id>.part`, renamed to `<id>` when complete.

Decides in which order data, names and locks must reach the disk for the promises of `ByteStore` to hold: a complete
file is never touched again by any process, and nothing counts as synced that a failed sync may have lost. It does not
know which bytes of a file are valid, which is the ticket's knowledge. Every method blocks, raises OSError besides the
documented errors, and may be called by several threads at once.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from incoming.core.errors import AlreadyComplete, StorageFailed
from incoming.core.extents import Range
from incoming.storage.byte_store import Buffer
from incoming.storage.filesystem.descriptor_cache import DescriptorCache, Handle, PartialFile
from incoming.storage.filesystem.disk import Disk, Facts


class FileTree:
    """All files of one storage directory. Ids were checked by the caller: they become names as they are."""

    def __init__(self, root: str, dir_mode: int, file_mode: int, open_files: int, disk: Disk) -> None:
        """Makes the directory if it is missing."""
        self.root = root
        self._dir_mode = dir_mode
        self._file_mode = file_mode
        self._disk = disk
        self._descriptors = DescriptorCache(disk, open_files)
        self._make_root()
        self._root_inode = self._root_facts().inode

    def close(self) -> None:
        self._descriptors.release_all()

    def free_bytes(self) -> int:
        return self._disk.free(self.root)

    def release(self, ticket_id: str) -> None:
        self._descriptors.release(ticket_id)

    # --- names --------------------------------------------------------------------------------------------------------

    def _shard(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}"

    def _final(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}/{ticket_id}"

    def _partial(self, ticket_id: str) -> str:
        return f"{self.root}/{ticket_id[:2]}/{ticket_id}.part"

    def _make_root(self) -> None:
        missing = []
        path = self.root
        while self._disk.look(path) is None:
            missing.append(path)
            path = os.path.dirname(path)  # noqa: PTH120
        for directory in reversed(missing):
            self._disk.make_directory(directory, self._dir_mode)

    def _root_facts(self) -> Facts:
        facts = self._disk.look(os.path.realpath(self.root))
        if facts is None:
            raise FileNotFoundError(errno.ENOENT, "the storage directory is gone", self.root)
        return facts

    # --- the partial file, opened and locked --------------------------------------------------------------------------

    @contextmanager
    def _opened(self, part: PartialFile, *, create: bool = False) -> Iterator[Handle]:
        """The descriptor of the partial file; the caller holds `part.order` up to here."""
        handle = self._descriptors.pin(part, lambda: self._open(part, create=create))
        with self._descriptors.pinned(handle):
            yield handle

    @contextmanager
    def _locked(self, part: PartialFile, handle: Handle, *, exclusive: bool) -> Iterator[None]:
        """Holds the lock that keeps completion and writes apart, across processes; the file is still partial."""
        self._disk.lock(handle.fd, exclusive=exclusive)
        try:
            facts = self._disk.look(self._partial(part.id))
            if facts is None or facts.inode != handle.inode:
                self._descriptors.drop(part)
                raise self._gone(part)
            yield
        finally:
            try:
                self._disk.unlock(handle.fd)
            except OSError:
                self._descriptors.drop(part)  # closing it ends the lock, for which others wait
                raise

    def _gone(self, part: PartialFile) -> AlreadyComplete | StorageFailed:
        if self._disk.look(self._final(part.id)) is not None:
            return AlreadyComplete("the file is complete; nothing more can be sent or changed")
        return StorageFailed("the partial file of this upload is no longer in the storage of the server")

    def _open(self, part: PartialFile, *, create: bool) -> Handle:
        try:
            fd = self._disk.open(self._partial(part.id))
        except FileNotFoundError:
            # Bytes written through this process before would be missing in a new file.
            if not create or part.inode is not None or self._disk.look(self._final(part.id)) is not None:
                raise self._gone(part) from None
            fd = self._create(part)
        try:
            facts = self._disk.facts(fd)
            if not facts.regular or facts.links > 1:
                raise StorageFailed("the partial file of this upload is not a file of its own")
            if part.inode not in (None, facts.inode):
                raise self._gone(part)
        except BaseException:
            self._disk.close(fd)
            raise
        part.inode = facts.inode
        return Handle(fd, facts.inode)

    def _create(self, part: PartialFile) -> int:
        path = self._partial(part.id)
        # An unmounted disk leaves an empty directory behind, which must not be filled instead.
        if self._root_facts().inode != self._root_inode:
            raise StorageFailed("the storage directory is not the one that the server was started with")
        self._disk.make_directory(self._shard(part.id), self._dir_mode)
        try:
            fd = self._disk.create(path, self._file_mode)
        except FileExistsError:
            return self._disk.open(path)  # another worker was faster
        try:
            if self._disk.look(self._final(part.id)) is not None:
                # Completed between the two looks: the name was free because the rename had happened.
                self._disk.unlink(path)
                raise self._gone(part)
        except BaseException:
            self._disk.close(fd)
            raise
        return fd

    # --- what the threads do ------------------------------------------------------------------------------------------

    def write(self, ticket_id: str, pieces: Sequence[tuple[int, Buffer]]) -> list[Range]:
        part = self._descriptors.part(ticket_id)
        with part.order, self._opened(part, create=True) as handle, self._locked(part, handle, exclusive=False):
            return [self._write_run(handle.fd, offset, buffers) for offset, buffers in _runs(pieces)]

    def _write_run(self, fd: int, start: int, buffers: list[Buffer]) -> Range:
        offset = start
        while buffers:
            written = self._disk.write(fd, buffers, offset)
            if written <= 0:
                raise OSError(errno.EIO, "write stored nothing")
            offset += written
            buffers = _after(buffers, written)
        return start, offset

    def sync(self, ticket_id: str) -> None:
        part = self._descriptors.part(ticket_id)
        with part.order:
            try:
                handle = self._descriptors.pin(part, lambda: self._open(part, create=False))
            except AlreadyComplete:
                return  # completing has synced it
        # Not under part.order: writes may go on while the disk is busy with what came before.
        with self._descriptors.pinned(handle):
            self._make_durable(part, handle, self._disk.fdatasync)

    def _make_durable(self, part: PartialFile, handle: Handle, sync: Callable[[int], None]) -> None:
        """Data and name. After a failure the descriptor is dropped: a second sync would succeed and prove nothing."""
        try:
            if part.suspect:
                part.suspect = False
                raise OSError(errno.EIO, "an earlier close failed")
            sync(handle.fd)
            if not part.named:
                self._sync_names(part.id)
                part.named = True
        except OSError:
            self._descriptors.drop(part)
            raise

    def _sync_names(self, ticket_id: str) -> None:
        self._disk.sync_directory(self._shard(ticket_id))
        # The shard's own name may be as new as the file, made by whichever worker.
        self._disk.sync_directory(self.root)

    def present(self, ticket_id: str) -> int | None:
        facts = self._disk.look(self._partial(ticket_id))
        if facts is None:
            return None
        if not facts.regular:
            raise StorageFailed("the partial file of this upload is not a file of its own")
        return facts.length

    def complete(self, ticket_id: str, size: int) -> str:
        part = self._descriptors.part(ticket_id)
        with part.order:
            try:
                with self._opened(part, create=size == 0) as handle, self._locked(part, handle, exclusive=True):
                    self._make_final(part, handle, size)
            except AlreadyComplete:
                self._confirm_final(ticket_id, size)
        self._descriptors.release(ticket_id)
        return self._final(ticket_id)

    def _make_final(self, part: PartialFile, handle: Handle, size: int) -> None:
        length = self._disk.facts(handle.fd).length
        if length < size:
            raise StorageFailed(f"the partial file has {length} bytes, the whole one {size}")
        if length > size:
            # Bytes of a chunk that was written but refused afterwards, so never acked.
            self._disk.truncate(handle.fd, size)
        self._make_durable(part, handle, self._disk.fsync)
        self._disk.rename(self._partial(part.id), self._final(part.id))
        self._sync_names(part.id)

    def _confirm_final(self, ticket_id: str, size: int) -> None:
        """The file has its final name already; whoever gave it may have died before the name was safe."""
        facts = self._disk.look(self._final(ticket_id))
        if facts is None or not facts.regular or facts.length != size:
            raise StorageFailed(f"the complete file is not a file of {size} bytes")
        self._sync_names(ticket_id)

    def kept(self, ticket_id: str) -> bool:
        return self._disk.look(self._final(ticket_id)) is not None

    def remove(self, ticket_id: str, finished: bool) -> None:
        part = self._descriptors.part(ticket_id)
        with part.order:
            self._descriptors.release(ticket_id)
            paths = [self._partial(ticket_id), self._final(ticket_id)]
            for path in paths if finished else paths[:1]:
                try:
                    self._disk.unlink(path)
                except FileNotFoundError:
                    continue


def _runs(pieces: Sequence[tuple[int, Buffer]]) -> Iterator[tuple[int, list[Buffer]]]:
    """Pieces that follow each other without a gap, joined so that one system call writes them."""
    start, end, run = 0, 0, list[Buffer]()
    for offset, data in pieces:
        if run and offset != end:
            yield start, run
            run = []
        if not run:
            start = end = offset
        if len(data):
            run.append(data)
            end += len(data)
    if run:
        yield start, run


def _after(buffers: list[Buffer], written: int) -> list[Buffer]:
    """What is left to write of `buffers` after so many bytes."""
    for index, data in enumerate(buffers):
        if written < len(data):
            return [memoryview(data)[written:], *buffers[index + 1 :]]
        written -= len(data)
    return []
