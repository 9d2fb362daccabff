"""Files: what a sync, a copy, a hole and a file without a name take on this system.

Decides which call is made, never when. Every function blocks and raises OSError.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import secrets
import socket
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

_NOT_HERE = (errno.EINVAL, errno.ENOTTY, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
"""The answers of a kernel or a file system that does not have a call."""

MAX_BYTES = 1024 * 1024
"""What `copy` and `send` read at once where the kernel does not copy."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def sync(fd: int) -> None:
    """Put an open file on disk, so that it survives a power cut.

    fsync(2) of macOS leaves the bytes in the drive's cache; F_FULLFSYNC writes that, too. File systems that do not
    have it, such as those of a network, get fsync.
    """
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(fd, full)
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
        else:
            return
    os.fsync(fd)


def sync_data(fd: int) -> None:
    """Put the bytes of an open file on disk, and what it takes to read them; not its times."""
    fdatasync = getattr(os, "fdatasync", None)
    if fdatasync is None or hasattr(fcntl, "F_FULLFSYNC"):
        sync(fd)
    else:
        fdatasync(fd)


def sync_directory(path: str | Path) -> None:
    """Put the names in a directory on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sync(fd)
    finally:
        os.close(fd)


def write(fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
    """Write the pieces one after the other from `offset` on; return how many bytes, perhaps fewer than given."""
    pwritev = getattr(os, "pwritev", None)  # macOS 11
    if pwritev is not None:
        return int(pwritev(fd, pieces, offset))
    written = 0
    for piece in pieces:
        try:
            took = os.pwrite(fd, piece, offset + written)
        except OSError:
            if not written:
                raise
            break  # the caller meets it again with what is left
        written += took
        if took < len(piece):
            break
    return written


def read(fd: int, room: memoryview, offset: int) -> int:
    """Read into `room` from `offset` on; return how many bytes, perhaps fewer than it has, 0 at the end."""
    preadv = getattr(os, "preadv", None)  # macOS 11
    if preadv is None:
        data = os.pread(fd, len(room), offset)
        room[: len(data)] = data
        return len(data)
    return int(preadv(fd, [room], offset))


def copy(source: int, target: int, start: int, length: int, offset: int) -> int:
    """Copy `length` bytes from `start` on to `offset` of the target; return how many bytes, perhaps fewer."""
    copy_file_range = getattr(os, "copy_file_range", None)
    if copy_file_range is not None:
        try:
            return int(copy_file_range(source, target, length, start, offset))
        except OSError as error:
            if error.errno not in (errno.EXDEV, *_NOT_HERE):
                raise
    return os.pwrite(target, os.pread(source, min(length, MAX_BYTES), start), offset)


def send(connection: socket.socket, fd: int, start: int, length: int) -> int:
    """Send bytes of a file over a socket; return how many, perhaps fewer, 0 at the end of the file.

    sendfile(2) sends them from the page cache; where it cannot, they are read. Raises BlockingIOError while the socket
    takes nothing.
    """
    sendfile = getattr(os, "sendfile", None) if sys.platform.startswith("linux") else None
    if sendfile is not None:
        try:
            return int(sendfile(connection.fileno(), fd, start, length))
        except OSError as error:
            if error.errno not in _NOT_HERE:
                raise
    piece = os.pread(fd, min(length, MAX_BYTES), start)
    return connection.send(piece) if piece else 0


def data(fd: int, start: int, length: int) -> tuple[int, int] | None:
    """Return the first range at or after `start` and below `length` that is not a hole; None when only a hole follows.

    Where the system does not find holes all of the file is data, as POSIX allows.
    """
    if start >= length:
        return None
    seek_data, seek_hole = getattr(os, "SEEK_DATA", None), getattr(os, "SEEK_HOLE", None)
    if seek_data is None or seek_hole is None:
        end = min(length, os.fstat(fd).st_size)
        return (start, end) if start < end else None
    try:
        low = os.lseek(fd, start, seek_data)
        return (low, min(length, os.lseek(fd, low, seek_hole))) if low < length else None
    except OSError as error:
        if error.errno == errno.ENXIO:
            return None
        raise


def lock_open_file(fd: int, at: int) -> bool:
    """Lock the byte `at` for this open file description (fcntl(2)); return False when another one has it.

    The lock ends with the description. Systems and file systems without such locks give it to everybody.
    """
    set_lock = getattr(fcntl, "F_OFD_SETLK", None)
    if set_lock is None or not sys.platform.startswith("linux"):
        return True
    try:
        fcntl.fcntl(fd, set_lock, struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, at, 1, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        if error.errno not in (errno.ENOLCK, *_NOT_HERE):
            raise
    return True


def unnamed(directory: Path) -> int:
    """Return a new file in `directory`, open for reading and writing, that has no name and ends with its descriptor."""
    flag = getattr(os, "O_TMPFILE", None)
    if flag is not None:
        try:
            return os.open(directory, flag | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # A kernel or a file system without it takes the flags for those of a directory that is to be written.
            if error.errno not in (errno.EISDIR, errno.ENOENT, *_NOT_HERE) or not directory.is_dir():
                raise
    path = directory / f".incoming-unnamed-{os.getpid()}-{secrets.token_hex(4)}"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        path.unlink()
    except OSError:
        os.close(fd)
        raise
    return fd


_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h
_MAC_PUNCH_HOLE = struct.Struct("=IIqq")
"""struct fpunchhole of macOS (sys/fcntl.h): flags, a reserved word, offset and length."""


def punch_hole(fd: int, offset: int, length: int) -> None:
    """Free the blocks of a range, which reads as zeros afterwards. Both figures are multiples of the block's size."""
    fallocate = getattr(_LIBC, "fallocate", None)
    mac = getattr(fcntl, "F_PUNCHHOLE", 99 if sys.platform == "darwin" else None)
    if fallocate is not None:
        if fallocate(fd, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_int64(offset), ctypes.c_int64(length)):
            raise _unfreed(ctypes.get_errno())
    elif mac is not None:
        try:
            fcntl.fcntl(fd, mac, _MAC_PUNCH_HOLE.pack(0, 0, offset, length))
        except OSError as error:
            raise _unfreed(error.errno or errno.EIO) from error
    else:
        raise _unfreed(errno.ENOTSUP)


def _unfreed(number: int) -> OSError:
    return OSError(number, f"blocks of a file cannot be freed ({os.strerror(number)})")


_AT_EMPTY_PATH = 0x1000
_STATX_BTIME = 0x800
_BTIME_AT = 80
"""Where stx_btime begins in struct statx: seconds as 64 bits, nanoseconds as 32; stx_mask are its first 32 bits."""


def born(fd: int) -> int:
    """Return when the open file was made, in nanoseconds since the epoch; 0 where the system does not tell.

    macOS and the BSDs have it in fstat(2); Linux in statx(2), which Python's os module does not have before 3.15.
    """
    at = getattr(os.fstat(fd), "st_birthtime", None)
    if at is not None:
        return int(at * 1_000_000_000)
    statx = getattr(_LIBC, "statx", None)
    facts = ctypes.create_string_buffer(256)
    if statx is None or statx(fd, b"", _AT_EMPTY_PATH, _STATX_BTIME, facts):
        return 0
    if not int.from_bytes(facts.raw[:4], sys.byteorder) & _STATX_BTIME:
        return 0
    seconds = int.from_bytes(facts.raw[_BTIME_AT : _BTIME_AT + 8], sys.byteorder, signed=True)
    return seconds * 1_000_000_000 + int.from_bytes(facts.raw[_BTIME_AT + 8 : _BTIME_AT + 12], sys.byteorder)
