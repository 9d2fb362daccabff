"""What takes the place of calls that a system lacks, each taken away in turn; and what macOS is asked for."""

import errno
import fcntl
import os
import time
from pathlib import Path

import pytest

from incoming.platform import files
from tests.unit.storage.conftest import open_descriptors

BLOCK = 4096


@pytest.fixture
def fd(tmp_path: Path) -> int:
    return os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was synced, and how: F_FULLFSYNC is there as on macOS, its number a stand-in."""
    calls: list[object] = []
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, command: calls.append(command))
    monkeypatch.setattr(os, "fsync", lambda fd: calls.append("fsync"))
    monkeypatch.setattr(os, "fdatasync", lambda fd: calls.append("fdatasync"))
    return calls


def test_macos_syncs_to_the_medium_and_not_to_the_cache_of_the_drive(
    fd: int, tmp_path: Path, asked: list[object]
) -> None:
    files.sync(fd)
    files.sync_data(fd)
    files.sync_directory(tmp_path)
    assert asked == [51, 51, 51]


def test_a_file_system_without_that_sync_gets_the_usual_one(
    fd: int, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, command: int) -> None:
        raise OSError(errno.ENOTSUP, "Operation not supported")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    files.sync(fd)
    assert asked == ["fsync"]


def test_a_sync_that_fails_is_not_replaced_by_another(
    fd: int, asked: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, command: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(fcntl, "fcntl", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.sync(fd)
    assert asked == [], "a second sync would succeed and prove nothing"


def test_without_fdatasync_all_of_the_file_is_synced(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    monkeypatch.delattr(os, "fdatasync")
    files.sync_data(fd)
    assert synced == [fd]


@pytest.fixture
def no_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "pwritev")
    monkeypatch.delattr(os, "preadv")


def test_without_vectors_pieces_are_written_one_by_one(fd: int, no_vectors: None) -> None:
    assert files.write(fd, [b"abc", memoryview(b"def")], 2) == 6
    assert files.write(fd, [], 0) == 0
    room = bytearray(10)
    assert files.read(fd, memoryview(room), 1) == 7
    assert room[:7] == b"\0abcdef"


def test_without_vectors_a_full_disk_is_met_after_what_had_room(
    fd: int, no_vectors: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 4

    def pwrite(fd: int, data: bytes, offset: int) -> int:
        if offset >= room:
            raise OSError(errno.ENOSPC, "No space left on device")
        return min(len(data), room - offset)

    monkeypatch.setattr(os, "pwrite", pwrite)
    assert files.write(fd, [b"abc", b"def", b"ghi"], 0) == 4, "a short write ends it"
    assert files.write(fd, [b"abcd", b"efg"], 0) == 4, "and so does an error after some bytes"
    with pytest.raises(OSError, match="No space"):
        files.write(fd, [b"efg"], 4)


@pytest.mark.parametrize("number", [None, errno.EXDEV, errno.ENOSYS, errno.EINVAL])
def test_without_a_copy_in_the_kernel_bytes_are_read_and_written(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    def refuse(*_: object) -> int:
        assert number is not None
        raise OSError(number, os.strerror(number))

    if number is None:
        monkeypatch.delattr(os, "copy_file_range")
    else:
        monkeypatch.setattr(os, "copy_file_range", refuse)
    os.pwrite(fd, b"0123456789", 0)
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    assert files.copy(fd, target, 7, 2, 1) == 2
    assert os.pread(target, 10, 0) == b"\x0078"


def test_a_copy_that_fails_is_not_tried_otherwise(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "copy_file_range", fail)
    with pytest.raises(OSError, match="Input/output"):
        files.copy(fd, fd, 0, 1, 5)


def test_without_a_search_for_holes_all_of_the_file_is_data(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    os.pwrite(fd, b"x", 10 * BLOCK)
    assert files.data(fd, 0, 20 * BLOCK) in [(10 * BLOCK, 10 * BLOCK + 1), (0, 10 * BLOCK + 1)]
    monkeypatch.delattr(os, "SEEK_DATA")
    assert files.data(fd, BLOCK, 20 * BLOCK) == (BLOCK, 10 * BLOCK + 1)
    assert files.data(fd, BLOCK, 2 * BLOCK) == (BLOCK, 2 * BLOCK)
    assert files.data(fd, 11 * BLOCK, 20 * BLOCK) is None


def test_without_locks_of_open_files_everybody_gets_one(
    fd: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = os.open(tmp_path / "file", os.O_RDWR)
    assert (files.lock_open_file(fd, 1 << 62), files.lock_open_file(other, 1 << 62)) == (True, False)
    monkeypatch.delattr(fcntl, "F_OFD_SETLK")
    assert files.lock_open_file(other, 1 << 62)


@pytest.mark.parametrize("number", [None, errno.EOPNOTSUPP, errno.EISDIR])
def test_without_files_that_have_no_name_one_loses_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int | None
) -> None:
    real = os.open

    def refuse(path: Path, flags: int, mode: int = 0o777) -> int:
        if number is not None and path == tmp_path:
            raise OSError(number, os.strerror(number))
        return real(path, flags, mode)

    if number is None:
        monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(os, "open", refuse)
    made = files.unnamed(tmp_path)
    os.pwrite(made, b"bytes", 0)
    assert (os.pread(made, 9, 0), os.fstat(made).st_nlink, list(tmp_path.iterdir())) == (b"bytes", 0, [])
    os.close(made)


def test_a_file_that_keeps_its_name_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Path) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.delattr(os, "O_TMPFILE")
    monkeypatch.setattr(Path, "unlink", fail)
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output"):
        files.unnamed(tmp_path)
    assert open_descriptors() == before


class CLibrary:
    """One without the calls of Linux."""


def test_macos_frees_blocks_by_a_call_of_its_own(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, bytes]] = []
    monkeypatch.setattr(files, "_LIBC", CLibrary())
    monkeypatch.setattr(fcntl, "F_PUNCHHOLE", 99, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, command, argument: calls.append((command, argument)))
    files.punch_hole(fd, BLOCK, 2 * BLOCK)
    [(command, argument)] = calls
    assert command == 99
    assert argument == bytes(8) + BLOCK.to_bytes(8, "little") + (2 * BLOCK).to_bytes(8, "little")


def test_where_blocks_cannot_be_freed_that_is_an_error(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_LIBC", CLibrary())
    with pytest.raises(OSError, match="blocks of a file cannot be freed"):
        files.punch_hole(fd, 0, BLOCK)


def test_freed_blocks_read_as_zeros(fd: int) -> None:
    os.pwrite(fd, b"x" * 3 * BLOCK, 0)
    files.punch_hole(fd, BLOCK, BLOCK)
    assert os.pread(fd, 3 * BLOCK, 0) == b"x" * BLOCK + bytes(BLOCK) + b"x" * BLOCK


def test_the_moment_of_birth_is_known_or_said_to_be_unknown(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert files.born(fd) == 0 or abs(files.born(fd) - time.time_ns()) < 60 * 10**9
    monkeypatch.setattr(files, "_LIBC", CLibrary())
    assert files.born(fd) == 0

    class Status:
        st_birthtime = 1234.5

    with monkeypatch.context() as patch:
        patch.setattr(os, "fstat", lambda fd: Status())
        assert files.born(fd) == 1_234_500_000_000
