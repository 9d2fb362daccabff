"""The files themselves: written, synced, completed and removed.

Decides in which order data, names and locks must reach the disk for the promises of `ByteStore` to hold: a complete
file is never touched again by any process, and nothing counts as synced that a failed sync may have lost. It does not
know which bytes of a file are valid, which is the ticket's knowledge. Every method blocks, raises OSError besides the
documented errors, and may be called by several threads at once.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial

from incoming.core.errors import AlreadyComplete, TakenOver, TooBusy, UploadError, copied
from incoming.core.extents import Extents, Range
from incoming.core.location import FILE, Location
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import Buffer, BytesLost, Written
from incoming.storage.filesystem.descriptor_cache import DescriptorCache, Handle, PartialFile
from incoming.storage.filesystem.directory import StorageDirectory
from incoming.storage.filesystem.disk import Disk, Facts
from incoming.storage.filesystem.identity import identity, is_same
from incoming.storage.filesystem.part_joiner import PartJoiner
from incoming.storage.filesystem.partial_files import PartialFiles, WouldWait
from incoming.storage.filesystem.sync_locks import SyncLocks

READ = 1024 * 1024
"""Bytes that are read at a time."""

Write = tuple[Ticket, Sequence[tuple[int, Buffer]]]
"""A ticket and the pieces of its file, each with its offset."""

EpochsOf = Callable[[Sequence[str]], Mapping[str, int]]
"""Return the committed epochs of these tickets; what there is no ticket of is missing."""


class _LockedWrite:
    """A write whose file is locked, with what keeps it from being made."""

    def __init__(self, ticket: Ticket) -> None:
        self.ticket = ticket
        self.locks = ExitStack()
        self.error: Exception | None = None

    def run(self, write: Callable[[], Written]) -> Written:
        with self.locks:
            if self.error is not None:
                raise self.error
            return write()


class FileTree:
    """All files of one storage directory."""

    def __init__(
        self, root: str, dir_mode: int, file_mode: int, open_files: int, disk: Disk, epochs_of: EpochsOf | None = None
    ) -> None:
        """Make the directory if it is missing."""
        self.root = root
        self._epochs_of = epochs_of
        self._disk = disk
        self._directory = StorageDirectory(root, dir_mode, file_mode, disk)
        self._descriptors = DescriptorCache(disk, open_files)
        self._partials = PartialFiles(self._directory, self._descriptors, disk)
        self._syncs = SyncLocks(self._directory, disk)
        self._joiner = PartJoiner(self._directory, self._descriptors, self._partials, disk)

    def close(self) -> None:
        self._descriptors.release_all()
        self._syncs.close()

    def free_bytes(self) -> int:
        return self._disk.free(self.root)

    def release(self, ticket: Ticket) -> None:
        self._descriptors.release(ticket.id)
        self._syncs.recorded(ticket.id)

    def write(self, ticket: Ticket, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        with self._held(ticket) as (part, handle):
            self._check_epoch(ticket)
            return self._write_pieces(part, handle, pieces)

    def prepare_writes(self, writes: Sequence[Write]) -> list[Callable[[], Written]]:
        """Lock the files of all these writes, and ask for their epochs at once, which may take a round trip.

        Return for each a call that writes like `write`, and unlocks the file: every one must be made. A file whose lock
        another one holds is not waited for while others are locked; its call does all that itself.
        """
        calls: list[Callable[[], Written]] = []
        locked: list[_LockedWrite] = []
        for ticket, pieces in writes:
            try:
                write = _LockedWrite(ticket)
                part, handle = write.locks.enter_context(self._held(ticket, wait=False))
            except WouldWait:
                calls.append(partial(self.write, ticket, pieces))
            except Exception as error:
                calls.append(partial(_fail, error))
            else:
                locked.append(write)
                calls.append(partial(write.run, partial(self._write_pieces, part, handle, pieces)))
        self._check_epochs(locked)
        return calls

    def _check_epochs(self, locked: Sequence[_LockedWrite]) -> None:
        if self._epochs_of is None or not locked:
            return
        try:
            epochs = self._epochs_of([write.ticket.id for write in locked])
        except Exception as error:
            for write in locked:
                write.error = copied(error)
            return
        for write in locked:
            if epochs.get(write.ticket.id) != write.ticket.epoch:
                write.error = TakenOver()

    @contextmanager
    def _held(self, ticket: Ticket, *, wait: bool = True) -> Iterator[tuple[PartialFile, Handle]]:
        """Hold the partial file for a write, made if there is none. Raise WouldWait if another one holds it and `wait`
        is False.
        """
        part = self._descriptors.part(ticket.id)
        if not part.order.acquire(blocking=wait):
            raise WouldWait
        try:
            with (
                self._partials.opened(part, ticket, create=True) as handle,
                self._partials.locked(part, ticket, handle, exclusive=False, wait=wait),
            ):
                yield part, handle
        finally:
            part.order.release()

    def _write_pieces(self, part: PartialFile, handle: Handle, pieces: Sequence[tuple[int, Buffer]]) -> Written:
        ranges = [self._write_run(handle.fd, offset, buffers) for offset, buffers in _runs(pieces)]
        part.end = max(part.end, max((end for _, end in ranges), default=0))
        return Written(ranges, part.note)

    def _check_epoch(self, ticket: Ticket) -> None:
        """Under the file's lock: who raises the epoch takes that lock first, so the answer holds until it ends."""
        if self._epochs_of is not None and self._epochs_of([ticket.id]).get(ticket.id) != ticket.epoch:
            raise TakenOver

    def fence(self, ticket: Ticket) -> int | None:
        """Wait until nobody writes to the partial file; return what `unfence` takes to let them go on.

        One is made if nothing has come yet: a first write may be about to.
        """
        while True:
            fd = self._partials.open_or_create(ticket)
            if fd is None:
                return None
            try:
                self._partials.take_lock(fd, exclusive=True)
                named = self._disk.look(self._directory.partial(ticket.id))
                if named is not None and named.inode == self._disk.facts(fd).inode:
                    return fd
            except BaseException:
                self._disk.close(fd)
                raise
            self._disk.close(fd)

    def unfence(self, fd: int | None) -> None:
        if fd is not None:
            self._disk.close(fd)

    def _write_run(self, fd: int, start: int, buffers: list[Buffer]) -> Range:
        offset = start
        while buffers:
            written = self._disk.write(fd, buffers, offset)
            if written <= 0:
                raise OSError(errno.EIO, "write stored nothing")
            offset += written
            buffers = _after(buffers, written)
        return start, offset

    def sync(self, ticket: Ticket) -> None:
        part = self._descriptors.part(ticket.id)
        try:
            with part.order:
                handle = self._partials.pin(part, ticket)
            # Not under part.order: writes may go on while the disk is busy with what came before.
            with self._descriptors.pinned(handle):
                with self._syncs.held(ticket.id):
                    self._make_durable(part, handle, self._disk.fdatasync)
                self._partials.check(part, ticket, handle)
        except AlreadyComplete:
            return  # completing has synced it

    def loss_recorded(self, ticket: Ticket) -> None:
        self._syncs.recorded(ticket.id)

    def _make_durable(
        self, part: PartialFile, handle: Handle, sync: Callable[[int], None], *, named: bool = True
    ) -> None:
        """Sync data and, unless not `named`, the name. Drop the descriptor on failure: a second sync would succeed and
        prove nothing.
        """
        try:
            if part.suspect:
                part.suspect = False
                raise OSError(errno.EIO, "an earlier close failed")
            sync(handle.fd)
            if named and not part.named:
                self._directory.sync_names(part.id)
                part.named = True
        except OSError:
            self._descriptors.drop(part)
            raise

    def stored(self, ticket: Ticket) -> Extents | None:
        if self._disk.look(self._directory.partial(ticket.id)) is None:
            return None
        try:
            fd = self._disk.open(self._directory.partial(ticket.id), write=False)
        except OSError as error:
            if error.errno == errno.ENOENT:
                return None
            if error.errno in (errno.ELOOP, errno.EISDIR):
                return Extents()
            raise
        try:
            facts = self._disk.facts(fd)
            if not self._is_own(ticket, fd, facts):
                return Extents()
            return self._partials.surely_there(ticket.extents, fd, facts.length)
        finally:
            self._disk.close(fd)

    def _is_own(self, ticket: Ticket, fd: int, facts: Facts) -> bool:
        """Return whether it is the file that was begun, and no other name leads to it."""
        known = ticket.store_data
        return facts.regular and facts.links == 1 and (not known or is_same(known, identity(self._disk, fd, facts)))

    def read(self, ticket: Ticket, start: int, end: int, consume: Callable[[memoryview], None]) -> int:
        paths = [self._directory.partial(ticket.id), self._directory.final(ticket.id)]
        for path in paths[1:] if ticket.is_rearranged else paths:
            try:
                fd = self._disk.open(path, write=False)
            except FileNotFoundError:
                continue
            try:
                if not ticket.is_rearranged and not self._is_own(ticket, fd, self._disk.facts(fd)):
                    return 0
                return self._read_all(fd, start, end, consume)
            finally:
                self._disk.close(fd)
        return 0

    def _read_all(self, fd: int, start: int, end: int, consume: Callable[[memoryview], None]) -> int:
        position = start
        room = memoryview(bytearray(min(READ, end - start)))
        while position < end and (count := self._disk.read(fd, room[: end - position], position)):
            consume(room[:count])
            position += count
        return position - start

    def complete(self, ticket: Ticket, size: int) -> Location:
        part = self._descriptors.part(ticket.id)
        with part.order:
            try:
                with (
                    self._partials.opened(part, ticket, create=size == 0) as handle,
                    self._partials.locked(part, ticket, handle, exclusive=True),
                ):
                    self._check_epoch(ticket)
                    self._make_final(part, ticket, handle, size)
            except AlreadyComplete:
                if self.completed(ticket, size) is None:
                    raise self._taken_back(part) from None
        self._descriptors.release(ticket.id)
        return Location(FILE, self._directory.final(ticket.id))

    def join(self, ticket: Ticket) -> Location:
        return Location(FILE, self._joiner.join(ticket, self._check_epoch))

    def _taken_back(self, part: PartialFile) -> UploadError:
        error = self._partials.gone(part)
        if isinstance(error, AlreadyComplete):
            return TooBusy("another process of the server is completing the file of this upload")
        return error

    def _make_final(self, part: PartialFile, ticket: Ticket, handle: Handle, size: int) -> None:
        length = self._disk.facts(handle.fd).length
        if length > size:
            # Bytes of a chunk that was written but refused afterwards, so never acked.
            self._disk.truncate(handle.fd, size)
            part.end = min(part.end, size)
        with self._syncs.held(ticket.id):
            self._check_epoch(ticket)  # if another process's sync has failed, it is recorded by now
            # Its name is about to be another one, which is synced below.
            self._make_durable(part, handle, self._disk.fsync, named=False)
        self._partials.check(part, ticket, handle)
        self._check_whole(part, ticket, handle, size)
        self._disk.rename(self._directory.partial(part.id), self._directory.final(part.id))
        try:
            self._directory.sync_names(part.id)
            facts = self._disk.look(self._directory.final(part.id))
            if facts is None or (facts.inode, facts.length, facts.links) != (handle.inode, size, 1):
                raise self._partials.lost(part, "the file of this upload was replaced while it was completed")
        except (OSError, BytesLost):
            # A second sync of the directory would prove nothing: the next try gives the name anew. Nobody has relied
            # on it yet, for that takes the lock that is held here.
            with suppress(OSError):
                self._disk.rename(self._directory.final(part.id), self._directory.partial(part.id))
            raise

    def _check_whole(self, part: PartialFile, ticket: Ticket, handle: Handle, size: int) -> None:
        """Raise BytesLost if there is a hole: bytes that were never written, or were cut off."""
        whole = Extents([(0, size)])
        facts = self._disk.facts(handle.fd)
        length = facts.length if facts.length >= size else self._partials.reopened(part, facts).length
        there = self._partials.surely_there(whole, handle.fd, length)
        if there != whole:
            what = f"the partial file of this upload has only {there.size} of {size} bytes"
            raise self._partials.lost(part, what, there & ticket.extents)

    def completed(self, ticket: Ticket, size: int) -> Location | None:
        path = self._directory.final(ticket.id)
        try:
            fd = self._disk.open(path, write=False)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR):
                raise BytesLost(f"the complete file is not a file of {size} bytes", discard=True) from error
            raise
        try:
            # Whoever gave it this name may still take it back, and may have died before the name was safe.
            self._partials.take_lock(fd, exclusive=False)
            facts, named = self._disk.facts(fd), self._disk.look(path)
            if named is None or named.inode != facts.inode:
                return None
            if not self._is_own(ticket, fd, facts) or facts.length != size:
                raise BytesLost(f"the complete file is not a file of {size} bytes", discard=True)
            self._directory.sync_names(ticket.id)
            return Location(FILE, path)
        finally:
            self._disk.close(fd)

    def kept(self, ticket: Ticket) -> bool:
        return self._disk.look(self._directory.final(ticket.id)) is not None

    def remove_partial(self, ticket: Ticket) -> None:
        self._remove(ticket, self._directory.partial(ticket.id), self._directory.joined(ticket.id))

    def remove(self, ticket: Ticket) -> None:
        unfinished = self._directory.partial(ticket.id), self._directory.joined(ticket.id)
        self._remove(ticket, *unfinished, self._directory.final(ticket.id))

    def _remove(self, ticket: Ticket, *paths: str) -> None:
        part = self._descriptors.part(ticket.id)
        with part.order:
            self._descriptors.release(ticket.id)
            for path in paths:
                try:
                    self._disk.unlink(path)
                except FileNotFoundError:
                    continue


def _runs(pieces: Sequence[tuple[int, Buffer]]) -> Iterator[tuple[int, list[Buffer]]]:
    """Join pieces that follow each other without a gap, so that one system call writes them."""
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
    """Return what is left to write of `buffers` after `written` bytes."""
    for index, data in enumerate(buffers):
        if written < len(data):
            return [memoryview(data)[written:], *buffers[index + 1 :]]
        written -= len(data)
    return []


def _fail(error: Exception) -> Written:
    raise error
