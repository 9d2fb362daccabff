"""A directory that cannot keep uploads is refused at the start, in one line that says what to do."""

import errno
import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from incoming.storage.filesystem.disk import PosixDisk
from incoming.storage.filesystem.probe import UnusableDirectory, probe
from tests.unit.storage.faulty_disk import FaultyDisk


def test_a_good_directory_is_left_as_it_was(tmp_path: Path, disk: FaultyDisk) -> None:
    probe(str(tmp_path), 0o640, disk)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("call", "number", "said"),
    [
        ("create", errno.ENOSPC, "create fails"),
        ("lock", errno.ENOSYS, "flock fails"),
        ("lock", errno.ENOLCK, "flock fails"),
        ("fdatasync", errno.EINVAL, "fsync fails"),
        ("fsync", errno.EIO, "fsync fails"),
        ("rename", errno.EPERM, "rename fails"),
        ("sync_directory", errno.EINVAL, "fsync of the directory fails"),
    ],
)
def test_a_call_that_fails_is_named(tmp_path: Path, disk: FaultyDisk, call: str, number: int, said: str) -> None:
    disk.fail(call, error=number)
    with pytest.raises(UnusableDirectory) as refused:
        probe(str(tmp_path), 0o640, disk)  # type: ignore[arg-type]
    assert disk.hits == 1
    message = str(refused.value)
    assert str(tmp_path) in message
    assert said in message
    assert os.strerror(number) in message
    assert "; " in message, "what to do"
    assert list(tmp_path.iterdir()) == []


def refuse(*args: object, **kwargs: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


@pytest.fixture
def no_chmod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "chmod", refuse)


def with_umask(mask: int, work: Callable[[], None]) -> None:
    old = os.umask(mask)
    try:
        work()
    finally:
        os.umask(old)


def test_a_narrower_mode_than_wanted_is_a_warning(
    tmp_path: Path, no_chmod: None, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        with_umask(0o077, lambda: probe(str(tmp_path), 0o640))
    assert [record.getMessage() for record in caplog.records] == [
        f"storage directory {tmp_path}: chmod is refused; files get mode 600 instead of 640"
    ]
    PosixDisk().make_directory(str(tmp_path / "shard"), 0o777)
    assert (tmp_path / "shard").is_dir()


def test_a_wider_mode_than_wanted_is_refused(tmp_path: Path, no_chmod: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a file system does that gives every file the same mode."""
    real = os.open
    monkeypatch.setattr(os, "open", lambda path, flags, mode=0o777: real(path, flags, 0o666))
    with pytest.raises(UnusableDirectory, match="chmod fails"):
        with_umask(0, lambda: probe(str(tmp_path), 0o640))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("files", "left", "room"), [(1000, 0, False), (1000, 5, True), (0, 0, True)])
def test_without_inodes_there_is_no_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: int, left: int, room: bool
) -> None:
    """Some file systems, such as btrfs, tell of no inodes at all."""
    facts = list(os.statvfs(tmp_path))
    facts[5], facts[6], facts[7] = files, left, left
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(facts))
    assert (PosixDisk().free(str(tmp_path)) > 0) is room
