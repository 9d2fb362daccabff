"""Partial files, opened, locked and checked: is it the one that was begun, and has it all that it had?

Decides when a file may be made, and what counts as lost: a file that is gone, is another one, is shorter than it was or
has a second name. It does not know what is written, when it is synced or who asks again.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from incoming.core.errors import AlreadyComplete, StorageFailed, TooBusy
from incoming.core.extents import Extents
from incoming.core.ticket import Ticket
from incoming.storage.byte_store import BytesLost
from incoming.storage.filesystem.descriptor_cache import DescriptorCache, Handle, PartialFile
from incoming.storage.filesystem.directory import StorageDirectory
from incoming.storage.filesystem.disk import Disk, Facts
from incoming.storage.filesystem.identity import ZEROS_ARE_KEPT, identity, is_same, surely_there

LOCK_TIMEOUT = 5.0
"""Seconds to wait for another process's lock on a file: it holds it for a write, or while it completes the file."""


class WouldWait(Exception):
    """Somebody else holds a lock of the file."""


class PartialFiles:
    """All partial files of one storage directory, as this process sees them. Every method blocks."""

    def __init__(self, directory: StorageDirectory, descriptors: DescriptorCache, disk: Disk) -> None:
        self._directory = directory
        self._descriptors = descriptors
        self._disk = disk

    @contextmanager
    def opened(self, part: PartialFile, ticket: Ticket, *, create: bool = False) -> Iterator[Handle]:
        """Yield the descriptor of the partial file. Requires `part.order` when it is entered."""
        with self._descriptors.pinned(self.pin(part, ticket, create=create)) as handle:
            yield handle

    def pin(self, part: PartialFile, ticket: Ticket, *, create: bool = False) -> Handle:
        """Return the descriptor, to be released by `DescriptorCache.pinned`."""
        return self._descriptors.pin(part, lambda: self._open(part, ticket, create=create))

    @contextmanager
    def locked(
        self, part: PartialFile, ticket: Ticket, handle: Handle, *, exclusive: bool, wait: bool = True
    ) -> Iterator[None]:
        """Hold the lock that keeps completion and writes apart, in all processes. The file is still partial.

        Raise WouldWait when another process has it and `wait` is False.
        """
        if wait:
            self.take_lock(handle.fd, exclusive=exclusive)
        elif not self._disk.lock(handle.fd, exclusive=exclusive):
            raise WouldWait
        try:
            self.check(part, ticket, handle)
            yield
        finally:
            try:
                self._disk.unlock(handle.fd)
            except OSError:
                self._descriptors.drop(part)  # closing it ends the lock, for which others wait
                raise

    def take_lock(self, fd: int, *, exclusive: bool) -> None:
        wait_for_lock(lambda: self._disk.lock(fd, exclusive=exclusive))

    def check(self, part: PartialFile, ticket: Ticket, handle: Handle) -> None:
        """Raise what is wrong with the partial file. Costs one lstat."""
        needed = _needed(part, ticket)  # first: the file may grow meanwhile
        facts = self._disk.look(self._directory.partial(part.id))
        if facts is None or facts.inode != handle.inode:
            raise self.gone(part)
        if ticket.store_data not in ("", part.note) and not is_same(ticket.store_data, part.note):
            raise self.lost(part, "the partial file of this upload was replaced")
        self._check_facts(part, ticket, handle.fd, facts, needed)

    def _check_facts(self, part: PartialFile, ticket: Ticket, fd: int, facts: Facts, needed: int) -> None:
        if facts.links > 1:
            raise self.lost(part, "the partial file of this upload has got a second name")
        if facts.length < needed:
            facts = self.reopened(part, facts)
        if facts.length < needed:
            what = f"the partial file of this upload has {facts.length} bytes, it had at least {needed}"
            raise self.lost(part, what, self.surely_there(ticket.extents, fd, facts.length))

    def reopened(self, part: PartialFile, facts: Facts) -> Facts:
        """Return the facts of the file, opened anew.

        What another machine has written counts when a file is opened, not before: a network file system may go by what
        it knew then (close-to-open consistency, RFC 8881 section 10.3.1).
        """
        try:
            fd = self._disk.open(self._directory.partial(part.id), write=False)
        except FileNotFoundError:
            return facts
        try:
            fresh = self._disk.facts(fd)
        finally:
            self._disk.close(fd)
        return fresh if fresh.inode == facts.inode else facts

    def surely_there(self, claimed: Extents, fd: int, length: int) -> Extents:
        return surely_there(self._disk, fd, length, claimed, holes_prove=self._directory.kind in ZEROS_ARE_KEPT)

    def gone(self, part: PartialFile) -> AlreadyComplete | StorageFailed:
        if self._disk.look(self._directory.final(part.id)) is not None:
            self._descriptors.drop(part)
            return AlreadyComplete("the file is complete; nothing more can be sent or changed")
        try:
            self._directory.check()
        except StorageFailed as error:
            self._descriptors.drop(part)
            return error
        return self.lost(part, "the partial file of this upload is no longer in the storage of the server")

    def lost(self, part: PartialFile, what: str, kept: Extents | None = None) -> BytesLost:
        """Return the error for a file that lacks what it had, and forget the file."""
        self._descriptors.release(part.id)
        return BytesLost(what, kept)

    def _open(self, part: PartialFile, ticket: Ticket, *, create: bool) -> Handle:
        """Open the file. Make one only for a ticket without bytes: earlier ones would be missing in it."""
        may_create = create and not (ticket.extents or ticket.store_data or part.note)
        fd = self._open_existing(part, may_create=may_create)
        if fd is None:
            fd = self._create(part)
        try:
            facts = self._disk.facts(fd)
            if not facts.regular:
                raise StorageFailed("the partial file of this upload is not a file of its own")
            found = identity(self._disk, fd, facts)
            known = ticket.store_data or part.note
            if known and not is_same(known, found):
                raise self.gone(part)
            self._check_facts(part, ticket, fd, facts, _needed(part, ticket))
        except BaseException:
            self._disk.close(fd)
            raise
        part.note = known or found
        return Handle(fd, facts.inode)

    def open_or_create(self, ticket: Ticket) -> int | None:
        """Return a further descriptor of the file, made if the ticket has no bytes; None if there can be none."""
        try:
            return self._disk.open(self._directory.partial(ticket.id))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP, errno.EISDIR):
                raise
            is_begun = bool(ticket.extents or ticket.store_data)
            if error.errno != errno.ENOENT or is_begun or self._disk.look(self._directory.final(ticket.id)) is not None:
                return None
        try:
            return self._directory.create_partial(ticket.id)
        except FileExistsError:
            return self.open_or_create(ticket)

    def _open_existing(self, part: PartialFile, *, may_create: bool) -> int | None:
        """Return the descriptor; None when the file is to be made. Then unlink what others have planted."""
        path = self._directory.partial(part.id)
        try:
            fd = self._disk.open(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ELOOP):
                raise
            if not may_create or self._disk.look(self._directory.final(part.id)) is not None:
                raise self.gone(part) from None
            if error.errno == errno.ELOOP:
                self._disk.unlink(path)
            return None
        try:
            facts = self._disk.facts(fd)
            if not (may_create and facts.regular and facts.links > 1):
                return fd
            self._disk.unlink(path)
        except BaseException:
            self._disk.close(fd)
            raise
        self._disk.close(fd)
        return None

    def _create(self, part: PartialFile) -> int:
        path = self._directory.partial(part.id)
        try:
            fd = self._directory.create_partial(part.id)
        except FileExistsError:
            return self._disk.open(path)  # another worker was faster
        try:
            if self._disk.look(self._directory.final(part.id)) is not None:
                # Completed between the two looks: the name was free because the rename had happened.
                self._disk.unlink(path)
                raise self.gone(part)
        except BaseException:
            self._disk.close(fd)
            raise
        return fd


def wait_for_lock(attempt: Callable[[], bool]) -> None:
    """Return when the attempt has succeeded. Raise TooBusy after LOCK_TIMEOUT."""
    deadline, pause = time.monotonic() + LOCK_TIMEOUT, 0.001
    while not attempt():
        if time.monotonic() > deadline:
            raise TooBusy("another process of the server holds the file of this upload and does not go on")
        time.sleep(pause)
        pause = min(2 * pause, 0.05)


def _needed(part: PartialFile, ticket: Ticket) -> int:
    """Return how long the partial file must be, in bytes."""
    return max(part.end, ticket.extents.end)
