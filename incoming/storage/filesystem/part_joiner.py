"""Puts the parts of a file into their order: copied into a second file, which gets the final name when it is safe.

Decides that the partial file stays until somebody removes it: a process that dies in between leaves nothing that cannot
be done again. It does not know which order is the right one. Every method blocks and raises OSError.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from contextlib import suppress

from incoming.core.extents import Extents, Range
from incoming.core.ticket import Ticket
from incoming.storage.filesystem.descriptor_cache import DescriptorCache
from incoming.storage.filesystem.directory import StorageDirectory
from incoming.storage.filesystem.disk import Disk
from incoming.storage.filesystem.partial_files import PartialFiles

COPY_SIZE = 64 * 1024 * 1024
"""Bytes that one system call copies at most."""


class PartJoiner:
    """Of one storage directory."""

    def __init__(
        self, directory: StorageDirectory, descriptors: DescriptorCache, partials: PartialFiles, disk: Disk
    ) -> None:
        self._directory = directory
        self._descriptors = descriptors
        self._partials = partials
        self._disk = disk

    def join(self, ticket: Ticket, check_epoch: Callable[[Ticket], None]) -> str:
        """Return the path of the whole file. Raises BytesLost when a byte of a part is missing."""
        part = self._descriptors.part(ticket.id)
        with (
            part.order,
            self._partials.opened(part, ticket) as handle,
            self._partials.locked(part, ticket, handle, exclusive=True),
        ):
            check_epoch(ticket)
            wanted, length = Extents(ticket.order), self._disk.facts(handle.fd).length
            there = self._partials.surely_there(wanted, handle.fd, length)
            if there != wanted:
                what = f"the partial file of this upload has only {there.size} of {wanted.size} bytes of its parts"
                raise self._partials.lost(part, what, there)
            self._copy(ticket, handle.fd)
            self._disk.rename(self._directory.joined(ticket.id), self._directory.final(ticket.id))
            self._directory.sync_names(ticket.id)
        return self._directory.final(ticket.id)

    def _copy(self, ticket: Ticket, source: int) -> None:
        target = self._directory.create_joined(ticket.id)
        try:
            offset = 0
            for part in ticket.order:
                offset = self._copy_range(source, target, part, offset)
            self._disk.fsync(target)
        except BaseException:
            with suppress(OSError):
                self._disk.unlink(self._directory.joined(ticket.id))
            raise
        finally:
            self._disk.close(target)

    def _copy_range(self, source: int, target: int, part: Range, offset: int) -> int:
        """Return where the next part goes."""
        start, end = part
        while start < end:
            copied = self._disk.copy(source, target, start, min(end - start, COPY_SIZE), offset)
            if copied <= 0:
                raise OSError(errno.EIO, "copying stored nothing")
            start, offset = start + copied, offset + copied
        return offset
