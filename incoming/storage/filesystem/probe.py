"""Whether a directory can keep uploads: the calls that every upload will make, made once before anybody is served.

Decides which calls a file system must have and what the operator is told to do about one that fails. It repairs
nothing. Every function blocks.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from incoming.storage.filesystem.disk import Disk, PosixDisk

log = logging.getLogger(__name__)

CURES = {
    "create": "let the server's user write to it, and see that the disk is not full",
    "chmod": "mount it so that new files get no wider mode (fmask, dmask, umask), or widen file_mode and dir_mode",
    "flock": "use a file system with file locks; NFS needs its lock service, some FUSE ones an option",
    "fsync": "use a file system that can sync files",
    "fsync of the directory": "use a file system that can sync directories: without it a power cut loses names",
    "rename": "use a file system that can rename files",
}


class UnusableDirectory(Exception):
    """A call that uploads need fails. The message names directory, call, reason and cure."""


def probe(directory: str, file_mode: int, disk: Disk | None = None) -> None:
    """Raise UnusableDirectory if uploads cannot be kept there. A mode that is narrower than wanted is a warning."""
    disk = disk or PosixDisk()
    path = f"{directory}/.incoming-probe-{os.getpid()}-{os.urandom(4).hex()}"
    with _step(directory, "create"):
        fd = _create(disk, directory, path, file_mode)
    try:
        with _step(directory, "flock"):
            if disk.lock(fd, exclusive=True):
                disk.unlock(fd)
        with _step(directory, "fsync"):
            disk.write(fd, [b"probe"], 0)
            disk.fdatasync(fd)
            disk.fsync(fd)
        with _step(directory, "rename"):
            disk.rename(path, path + "-2")
            path += "-2"
        with _step(directory, "fsync of the directory"):
            disk.sync_directory(directory)
        mode = os.fstat(fd).st_mode & 0o777
        if mode != file_mode & 0o777:
            log.warning("storage directory %s: chmod is refused; files get mode %03o instead of %03o", directory, mode,
                        file_mode & 0o777)  # fmt: skip
    finally:
        _quietly(lambda: disk.close(fd))
        _quietly(lambda: disk.unlink(path))


def _create(disk: Disk, directory: str, path: str, mode: int) -> int:
    try:
        return disk.create(path, mode)
    except PermissionError:
        if disk.look(path) is None:
            raise
        # The file was made, so it is the mode that was refused.
        _quietly(lambda: disk.unlink(path))
        with _step(directory, "chmod"):
            raise


@contextmanager
def _step(directory: str, call: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnusableDirectory(f"storage_dir {directory!r}: {call} fails ({reason}); {CURES[call]}") from error


def _quietly(call: Callable[[], object]) -> None:
    try:
        call()
    except OSError as error:
        log.debug("probe of the storage directory: %s", error)
