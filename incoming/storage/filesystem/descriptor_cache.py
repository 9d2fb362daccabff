"""The open partial files of this process: a limited number; the least recently used one is closed first.

Decides when a descriptor is closed: never under somebody who uses it, at once when it is no longer trusted. It knows
neither what is written nor where the files lie; the caller that pins it passes how the file is opened.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock

from incoming.storage.filesystem.disk import Disk

Inode = tuple[int, int]


class Handle:
    """One open descriptor. `users` counts the calls that use it; a `doomed` one is closed by the last of them."""

    __slots__ = ("doomed", "fd", "inode", "users")

    def __init__(self, fd: int, inode: Inode) -> None:
        self.fd = fd
        self.inode = inode
        self.users = 0
        self.doomed = False


class PartialFile:
    """What this process knows of one upload's partial file until it is released, whether or not it is open."""

    __slots__ = ("end", "handle", "id", "named", "note", "order", "released", "suspect")

    def __init__(self, ticket_id: str) -> None:
        self.id = ticket_id
        self.order = Lock()
        """Held while the file is opened, written, completed or removed: those happen one after the other."""
        self.handle: Handle | None = None
        self.note = ""
        """What is noted of the file with its ticket, set at the first opening; a file that is another one later holds
        none of the bytes written before.
        """
        self.end = 0
        """Where the last byte ends that this process has written. The file never gets shorter."""
        self.named = False
        """Whether its directory entry is known to survive a power cut."""
        self.suspect = False
        """Whether a close has reported an error: bytes written before may be lost, and no later sync will say so."""
        self.released = False


class DescriptorCache:
    """The partial files of this process, and the descriptors of the most recently used ones."""

    def __init__(self, disk: Disk, limit: int) -> None:
        self._disk = disk
        self._limit = limit
        self._lock = Lock()
        self._parts: dict[str, PartialFile] = {}
        self._open: OrderedDict[str, PartialFile] = OrderedDict()

    def part(self, ticket_id: str) -> PartialFile:
        """Return the record of this upload; make it if there is none."""
        with self._lock:
            return self._parts.setdefault(ticket_id, PartialFile(ticket_id))

    @contextmanager
    def pinned(self, handle: Handle) -> Iterator[Handle]:
        """Release what `pin` returned at the end of the block."""
        try:
            yield handle
        finally:
            with self._lock:
                handle.users -= 1
                close = handle.doomed and not handle.users
                surplus = self._surplus()
            if close:
                self._close(handle)
            self._close_surplus(surplus)

    def pin(self, part: PartialFile, opened: Callable[[], Handle]) -> Handle:
        """Return the descriptor, opened if need be, which stays open until it is released. Requires `part.order`."""
        with self._lock:
            handle = part.handle
            if handle is not None:
                handle.users += 1
                self._open.move_to_end(part.id)
                return handle
        handle = opened()
        handle.users = 1
        with self._lock:
            if part.released:
                handle.doomed = True
            else:
                part.handle = handle
                self._open[part.id] = part
            surplus = self._surplus()
        self._close_surplus(surplus)
        return handle

    def drop(self, part: PartialFile) -> None:
        """Close the descriptor, now or when its last user releases it; the next `pin` opens a new one."""
        with self._lock:
            idle = self._detach(part)
        if idle is not None:
            self._close(idle)

    def release(self, ticket_id: str) -> None:
        """Forget this upload, and close its descriptor."""
        with self._lock:
            part = self._parts.pop(ticket_id, None)
            if part is None:
                return
            part.released = True
            idle = self._detach(part)
        if idle is not None:
            self._close(idle)

    def release_all(self) -> None:
        for ticket_id in list(self._parts):
            self.release(ticket_id)

    def _detach(self, part: PartialFile) -> Handle | None:
        """Detach the descriptor; return it if nobody uses it, to be closed without holding the lock."""
        handle, part.handle = part.handle, None
        if handle is None:
            return None
        del self._open[part.id]
        handle.doomed = True
        return None if handle.users else handle

    def _surplus(self) -> list[tuple[PartialFile, Handle]]:
        """Detach descriptors in excess of the limit that nobody uses; return them, to be closed without the lock."""
        surplus: list[tuple[PartialFile, Handle]] = []
        for part in list(self._open.values()) if len(self._open) > self._limit else ():
            if len(self._open) <= self._limit:
                break
            if part.handle is not None and not part.handle.users:
                handle = self._detach(part)
                if handle is not None:
                    surplus.append((part, handle))
        return surplus

    def _close_surplus(self, surplus: list[tuple[PartialFile, Handle]]) -> None:
        for part, handle in surplus:
            # What was written stays safe: Linux reports a write-back error that nobody has seen yet to the next process
            # that opens the file and syncs. Only an error of the closing itself would go unnoticed.
            part.suspect |= not self._close(handle)

    def _close(self, handle: Handle) -> bool:
        """Close it; return False on an error, which network file systems report when they write at last."""
        try:
            self._disk.close(handle.fd)
        except OSError:
            return False
        return True
