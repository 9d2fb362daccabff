"""One sync of a partial file at a time, over all processes, and none after a failed one until its loss is recorded.

The kernel reports a write-back error once to each descriptor that is open then. A process that opens the file later,
and syncs before the loss is recorded, would get no error and trust all bytes. Decides how long this lock is held. Does
not know what a sync is, nor who records its failure.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock

from incoming.storage.filesystem.directory import StorageDirectory
from incoming.storage.filesystem.disk import Disk
from incoming.storage.filesystem.partial_files import wait_for_lock

ONE_KIND_OF_LOCK = frozenset({"nfs", "nfs4", "cifs", "smb3"})
"""File systems on which this lock would be in the way of that for writes: there it is not taken."""


class SyncLocks:
    """Sync locks of one process. Every method blocks."""

    def __init__(self, directory: StorageDirectory, disk: Disk) -> None:
        self._directory = directory
        self._disk = disk
        self._lock = Lock()
        self._unrecorded: dict[str, list[int]] = {}
        """The descriptors that hold the lock after a failed sync."""

    @contextmanager
    def held(self, ticket_id: str) -> Iterator[None]:
        """Hold the lock of this upload; after an OSError until `recorded`. Raises TooBusy."""
        fd = self._take(ticket_id)
        try:
            yield
        except OSError:
            if fd is not None:
                with self._lock:
                    self._unrecorded.setdefault(ticket_id, []).append(fd)
            raise
        except BaseException:
            self._end(fd)
            raise
        self._end(fd)

    def _take(self, ticket_id: str) -> int | None:
        """Return a descriptor that holds the lock, used for nothing else.

        None if this process holds it already, or if there is no file, which the sync will find out.
        """
        with self._lock:
            is_ours = ticket_id in self._unrecorded
        if is_ours or self._directory.kind in ONE_KIND_OF_LOCK:
            return None
        try:
            fd = self._disk.open(self._directory.partial(ticket_id))
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.EISDIR):
                return None
            raise
        try:
            wait_for_lock(lambda: self._disk.lock_syncs(fd))
        except BaseException:
            self._disk.close(fd)
            raise
        return fd

    def recorded(self, ticket_id: str) -> None:
        """Release the locks of this upload: what failed syncs have lost is recorded."""
        with self._lock:
            held = self._unrecorded.pop(ticket_id, [])
        for fd in held:
            self._end(fd)

    def close(self) -> None:
        for ticket_id in list(self._unrecorded):
            self.recorded(ticket_id)

    def _end(self, fd: int | None) -> None:
        if fd is not None:
            self._disk.close(fd)
