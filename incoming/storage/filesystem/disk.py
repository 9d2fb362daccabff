"""The system calls that it takes to keep bytes in files, behind one small Protocol: tests can put a failing disk in.

Decides how each call is made (what is not followed, which mode a new file gets) and nothing about when. Every method
blocks and raises OSError; callers are on threads of their own.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from incoming.platform import files
from incoming.platform.mounts import kind_of


class Facts(NamedTuple):
    """What is known of a directory entry or an open file. Names of the same file, and no others, share the `inode`."""

    inode: tuple[int, int]
    length: int
    regular: bool
    links: int


class Disk(Protocol):
    """A file system. Written bytes survive the process at once and a power cut after `fdatasync`, names after
    `sync_directory`.
    """

    def create(self, path: str, mode: int) -> int:
        """Create an empty file and open it for reading and writing. Raises FileExistsError if the name is in use."""
        ...

    def open(self, path: str, *, write: bool = True) -> int:
        """Open an existing file for reading and, with `write`, writing. Does not follow a symbolic link."""
        ...

    def close(self, fd: int) -> None: ...

    def write(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
        """Write the pieces one after the other from `offset` on; return the number of bytes, perhaps not all."""
        ...

    def copy(self, source: int, target: int, start: int, length: int, offset: int) -> int:
        """Copy `length` bytes from `start` to `offset` of the target; return the number of bytes, perhaps fewer."""
        ...

    def read(self, fd: int, room: memoryview, offset: int) -> int:
        """Read into `room` from `offset` on; return the number of bytes, perhaps fewer than fit, 0 at the end."""
        ...

    def truncate(self, fd: int, length: int) -> None: ...

    def facts(self, fd: int) -> Facts: ...

    def look(self, path: str) -> Facts | None:
        """Return the facts of what is at `path`, without following a symbolic link; None if there is nothing."""
        ...

    def born(self, fd: int) -> int:
        """Return when the open file was created, in nanoseconds since the epoch; 0 if the system does not know."""
        ...

    def data(self, fd: int, start: int, length: int) -> tuple[int, int] | None:
        """Return the first range in [start, length) that is not a hole; None if only a hole follows."""
        ...

    def kind(self, path: str) -> str:
        """Return the type of the file system of `path`, as mount(8) names it; empty if the system does not know."""
        ...

    def lock(self, fd: int, *, exclusive: bool) -> bool:
        """Take an advisory lock on the open file; return False when it is held elsewhere.

        It ends with `unlock`, `close` or the process.
        """
        ...

    def unlock(self, fd: int) -> None: ...

    def lock_syncs(self, fd: int) -> bool:
        """Take the other advisory lock on the open file, until `close`; return False when it is held elsewhere.

        On a file system without such locks it always succeeds.
        """
        ...

    def fdatasync(self, fd: int) -> None: ...

    def fsync(self, fd: int) -> None: ...

    def rename(self, source: str, target: str) -> None: ...

    def unlink(self, path: str) -> None: ...

    def make_directory(self, path: str, mode: int) -> None:
        """Create one directory unless it exists."""
        ...

    def sync_directory(self, path: str) -> None: ...

    def free(self, path: str) -> int:
        """Return how many bytes an ordinary user can still write to the file system of `path`.

        That is 0 when no file can be created because all inodes are in use.
        """
        ...


class PosixDisk:
    """The real one. Paths are strings here: a pathlib object per chunk costs more than the system call."""

    # What POSIX guarantees for UIO_MAXIOV everywhere that matters; sysconf may answer -1 for "no limit".
    _MOST_PIECES = 1024

    # To write several MiB at once costs the kernel 1.1 CPU-seconds a GiB, one at a time 0.6 (Linux 6.18, ext4, a VM).
    # Nearly all of it is the copy into the page cache, whose folios grow with what is written at once.
    _MOST_BYTES = 1024 * 1024

    def create(self, path: str, mode: int) -> int:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
        try:
            # Whatever the umask is: the operator's setting is meant as it is written.
            _set_mode(lambda: os.fchmod(fd, mode), lambda: os.fstat(fd).st_mode, mode)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def open(self, path: str, *, write: bool = True) -> int:
        # Without O_NONBLOCK a FIFO planted under that name would hold this thread for ever.
        return os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)

    def close(self, fd: int) -> None:
        os.close(fd)

    def write(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
        together: list[bytes | memoryview] = []
        left = self._MOST_BYTES
        for piece in pieces[: self._MOST_PIECES]:
            together.append(piece if len(piece) <= left else memoryview(piece)[:left])
            left -= len(piece)
            if left <= 0:
                break
        return files.write(fd, together, offset)

    def copy(self, source: int, target: int, start: int, length: int, offset: int) -> int:
        return files.copy(source, target, start, length, offset)

    def read(self, fd: int, room: memoryview, offset: int) -> int:
        return files.read(fd, room, offset)

    def truncate(self, fd: int, length: int) -> None:
        os.ftruncate(fd, length)

    def facts(self, fd: int) -> Facts:
        return _facts(os.fstat(fd))

    def look(self, path: str) -> Facts | None:
        try:
            return _facts(os.lstat(path))
        except FileNotFoundError:
            return None

    def born(self, fd: int) -> int:
        return files.born(fd)

    def data(self, fd: int, start: int, length: int) -> tuple[int, int] | None:
        return files.data(fd, start, length)

    def kind(self, path: str) -> str:
        return kind_of(path)

    def lock(self, fd: int, *, exclusive: bool) -> bool:
        try:
            fcntl.flock(fd, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)

    def lock_syncs(self, fd: int) -> bool:
        # A byte far behind the file's end; flock(2) knows nothing of it.
        return files.lock_open_file(fd, 1 << 62)

    def fdatasync(self, fd: int) -> None:
        files.sync_data(fd)

    def fsync(self, fd: int) -> None:
        files.sync(fd)

    def rename(self, source: str, target: str) -> None:
        os.rename(source, target)  # noqa: PTH104

    def unlink(self, path: str) -> None:
        os.unlink(path)  # noqa: PTH108

    def make_directory(self, path: str, mode: int) -> None:
        try:
            os.mkdir(path, mode)  # noqa: PTH102
        except FileExistsError:
            return
        # A directory made in one whose group is inherited (set-group-ID) inherits that, too. It has to stay so: without
        # it, files below would belong to this process's own group and not to the one that is to read them.
        inherited = os.stat(path).st_mode & stat.S_ISGID  # noqa: PTH116
        try:
            os.chmod(path, mode | inherited)  # noqa: PTH101
        except PermissionError:
            # RestrictSUIDSGID of systemd.exec(5) forbids to set that bit, even where it is set.
            _set_mode(lambda: os.chmod(path, mode), lambda: os.stat(path).st_mode, mode)  # noqa: PTH101, PTH116

    def sync_directory(self, path: str) -> None:
        files.sync_directory(path)

    def free(self, path: str) -> int:
        facts = os.statvfs(path)
        # File systems that make inodes as they need them, such as btrfs, tell of none at all.
        no_inodes = facts.f_files > 0 and facts.f_favail == 0
        return 0 if no_inodes else facts.f_bavail * facts.f_frsize


def _set_mode(change: Callable[[], None], current: Callable[[], int], mode: int) -> None:
    """Some file systems refuse to change a mode. That does no harm unless somebody may do more than was wanted."""
    try:
        change()
    except PermissionError:
        if stat.S_IMODE(current()) & ~mode & 0o777:
            raise


def _facts(status: os.stat_result) -> Facts:
    return Facts((status.st_dev, status.st_ino), status.st_size, stat.S_ISREG(status.st_mode), status.st_nlink)
