"""Taking a file over from a server's storage directory into an application's own.

Decides that a name exists only when all of its file is on disk, whatever happens in between: a full disk, a kill, the
same call twice or at the same time. Refuses to know how the name was chosen, and never overwrites another file.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import filecmp
import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from incoming.client.errors import TargetExists
from incoming.platform.files import sync, sync_directory

log = logging.getLogger(__name__)

COPY_SIZE = 1024 * 1024
"""Bytes."""

_NOT_TO_BE_MOVED = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)
"""On another file system, or a file that may be read and not moved. Any other error a copy would meet again."""


def take_file(source: Path, target: Path) -> None:
    """Move a file, also to another file system. `target` appears by a rename: if it exists, it is whole.

    Raises TargetExists when another file has that name, BlockingIOError when another call is copying, and OSError.
    """
    with _locked(target.with_name(f".{target.name}.lock")):
        if not target.exists():
            _move(source, target)
        elif source.exists() and not _is_same(source, target):
            raise TargetExists(errno.EEXIST, "another file has this name", str(target))
        sync_directory(target.parent)
    _remove_original(source)


def remove_partial_copies(directory: Path) -> None:
    """Remove what killed copies have left, but for those that another process is making."""
    for part in directory.glob(".*.part"):
        with contextlib.suppress(BlockingIOError), _locked(part.with_suffix(".lock")):
            part.unlink(missing_ok=True)


def _move(source: Path, target: Path) -> None:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_MOVED:
            raise
        part = target.with_name(f".{target.name}.part")
        _copy(source, part)
        part.rename(target)


def _copy(source: Path, copy: Path) -> None:
    """Copy a file to disk. If it fails, for want of room for example, nothing is left of the copy."""
    try:
        with source.open("rb") as original, copy.open("wb") as file:
            shutil.copyfileobj(original, file, COPY_SIZE)
            file.flush()
            if file.tell() != os.fstat(original.fileno()).st_size:
                raise OSError(errno.EIO, "the file has changed while it was copied", str(source))
            sync(file.fileno())
    except OSError:
        copy.unlink(missing_ok=True)
        raise


def _is_same(source: Path, target: Path) -> bool:
    """Return whether an earlier call has copied `source`. Reading both is rarely needed: only after a kill between the
    copy and the end, or where the server removes the file.
    """
    return source.samefile(target) or filecmp.cmp(source, target, shallow=False)


def _remove_original(source: Path) -> None:
    """Remove what was copied and not moved. Where the application may not, that is the server's business."""
    try:
        source.unlink(missing_ok=True)
    except OSError as error:
        if error.errno not in _NOT_TO_BE_MOVED:
            raise
        log.warning("%s was copied and cannot be removed (%s); see removeFileWhenFinished", source, error.strerror)


@contextlib.contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Hold a lock, which ends with the process, however that ends. Raises BlockingIOError."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not (lock.exists() and os.path.samestat(os.fstat(file.fileno()), lock.stat())):
            raise BlockingIOError(errno.EAGAIN, "another call has just released it", str(lock))
        yield
        lock.unlink(missing_ok=True)
