"""Taking a file: a name exists only when all of its file is on disk, whatever happens meanwhile."""

import errno
import fcntl
import itertools
import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from incoming.client.errors import TargetExists
from incoming.client.take_file import remove_partial_copies, take_file

CONTENT = random.Random(300).randbytes(300_000)


class Killed(BaseException):
    """The process ends here: nothing of it runs any more, so nothing is cleaned up by it."""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "storage" / "ticket"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    path = tmp_path / "uploads" / "name.txt"
    path.parent.mkdir()
    return path


@pytest.fixture
def other_file_system(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    """To rename the source fails, as it does between file systems."""
    rename = Path.rename

    def rename_within_the_folder(original: Path, target: Path) -> Path:
        if original == source:
            raise OSError(errno.EXDEV, "another file system")
        return rename(original, target)

    monkeypatch.setattr(Path, "rename", rename_within_the_folder)


def fail_once(code: int, original: Callable[..., object]) -> Callable[..., object]:
    """In place of a function: the first call fails, the others do what they always did."""
    calls = itertools.count()

    def fail_first(*arguments: object, **named: object) -> object:
        if next(calls) == 0:
            raise OSError(code, os.strerror(code))
        return original(*arguments, **named)

    return fail_first


def files(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def assert_taken(source: Path, target: Path) -> None:
    """It is there once, whole, and nothing else is."""
    assert files(target.parent) == {target.name: CONTENT}
    assert not source.exists()


def test_a_file_is_moved(source: Path, target: Path) -> None:
    inode = source.stat().st_ino
    take_file(source, target)
    assert_taken(source, target)
    assert target.stat().st_ino == inode, "a rename, which takes no time"


@pytest.mark.usefixtures("other_file_system")
def test_a_file_is_copied_from_another_file_system(source: Path, target: Path) -> None:
    take_file(source, target)
    assert_taken(source, target)


def test_a_second_call_finds_the_file_where_the_first_has_put_it(source: Path, target: Path) -> None:
    for _ in range(3):
        take_file(source, target)
        assert_taken(source, target)


@pytest.mark.usefixtures("other_file_system")
def test_a_full_disk_leaves_no_copy_and_the_original(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "copyfileobj", fail_once(errno.ENOSPC, shutil.copyfileobj))
    with pytest.raises(OSError, match="No space left"):
        take_file(source, target)
    assert set(files(target.parent)) == {".name.txt.lock"}
    assert source.read_bytes() == CONTENT
    take_file(source, target)
    assert_taken(source, target)


@pytest.mark.usefixtures("other_file_system")
def test_a_copy_that_cannot_be_synced_gets_no_name(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.fsync", fail_once(errno.EIO, os.fsync))
    with pytest.raises(OSError, match="Input/output"):
        take_file(source, target)
    assert set(files(target.parent)) == {".name.txt.lock"}
    take_file(source, target)
    assert_taken(source, target)


@pytest.mark.usefixtures("other_file_system")
def test_a_copy_that_is_shorter_than_its_original_gets_no_name(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "copyfileobj", lambda original, copy, length: copy.write(original.read(1000)))
    with pytest.raises(OSError, match="has changed while it was copied"):
        take_file(source, target)
    assert set(files(target.parent)) == {".name.txt.lock"}


def kill_before(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the process end just before it does `step`."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    owner: object = {"fsync": os, "copyfileobj": shutil}.get(step, Path)
    monkeypatch.setattr(owner, step, die)


@pytest.mark.usefixtures("other_file_system")
@pytest.mark.parametrize("step", ["rename", "copyfileobj", "fsync", "unlink"])
def test_after_a_kill_the_next_call_takes_the_file_once(
    source: Path, target: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as killing:
        kill_before(step, killing)
        with pytest.raises(Killed):
            take_file(source, target)
    assert files(target.parent).get("name.txt", CONTENT) == CONTENT, "half a file has no name"
    take_file(source, target)
    assert_taken(source, target)


@pytest.mark.usefixtures("other_file_system")
def test_a_call_during_the_copy_of_another_one_is_told_to_come_again(source: Path, target: Path) -> None:
    with target.with_name(".name.txt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(BlockingIOError):
            take_file(source, target)
    take_file(source, target)
    assert_taken(source, target)


def test_a_lock_whose_file_was_removed_before_it_was_got_is_none(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another call may have opened the new file of the same name, and would copy beside this one."""
    flock = fcntl.flock

    def after_another(file: object, operation: int) -> None:
        target.with_name(".name.txt.lock").unlink()
        flock(file, operation)  # type: ignore[arg-type]

    with monkeypatch.context() as slow:
        slow.setattr(fcntl, "flock", after_another)
        with pytest.raises(BlockingIOError):
            take_file(source, target)
    assert files(target.parent) == {}


def test_another_file_of_that_name_is_neither_overwritten_nor_taken_for_this_one(source: Path, target: Path) -> None:
    target.write_bytes(CONTENT[:-1] + bytes([CONTENT[-1] ^ 1]))
    with pytest.raises(TargetExists, match=r"name\.txt"):
        take_file(source, target)
    assert target.read_bytes() != CONTENT
    assert source.read_bytes() == CONTENT


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_a_file_that_may_only_be_read_is_copied_and_left_to_the_server(
    source: Path, target: Path, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Path, "rename", fail_once(code, Path.rename))
    unlink = Path.unlink

    def only_ours(path: Path, missing_ok: bool = False) -> None:
        if path == source:
            raise OSError(code, os.strerror(code))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", only_ours)
    with caplog.at_level(logging.WARNING):
        take_file(source, target)
        take_file(source, target)
    assert files(target.parent) == {"name.txt": CONTENT}
    assert "cannot be removed" in caplog.text


def test_what_is_not_there_is_not_taken(source: Path, target: Path) -> None:
    source.unlink()
    with pytest.raises(FileNotFoundError):
        take_file(source, target)
    assert set(files(target.parent)) == {".name.txt.lock"}


def test_rests_of_killed_copies_are_removed_and_copies_under_way_are_not(tmp_path: Path) -> None:
    for name in (".rest.part", ".growing.part", ".growing.lock", "part", "rest.part"):
        (tmp_path / name).write_text("content")
    with (tmp_path / ".growing.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_partial_copies(tmp_path)
    assert set(files(tmp_path)) == {".growing.part", ".growing.lock", "part", "rest.part"}
