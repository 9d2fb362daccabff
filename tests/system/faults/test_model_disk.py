"""The model of the disk treats data as disks do, which the crash tests rely on."""

import random
from collections.abc import Callable

from tests.system.faults.model_disk import ModelDisk

ROOT = "/model/storage"
PATH = f"{ROOT}/ab/file"


def outcomes(disk: ModelDisk, look: Callable[[ModelDisk], object]) -> set[object]:
    return {look(disk.after_power_cut(random.Random(seed))) for seed in range(100)}


def content(disk: ModelDisk, path: str = PATH) -> bytes | None:
    if disk.look(path) is None:
        return None
    return disk._files[disk._existing(path)].content


def made(*, named: bool = True) -> tuple[ModelDisk, int]:
    disk = ModelDisk(ROOT)
    disk.make_directory(f"{ROOT}/ab", 0o750)
    fd = disk.create(PATH, 0o640)
    if named:
        disk.sync_directory(f"{ROOT}/ab")
        disk.sync_directory(ROOT)
    return disk, fd


def test_unsynced_writes_survive_vanish_or_become_garbage() -> None:
    disk, fd = made()
    disk.write(fd, [b"ab", b"cd"], 0)
    found = outcomes(disk, content)
    assert {b"abcd", b"", bytes(4)} < found
    assert len(found) > 4


def test_synced_writes_survive_a_power_cut() -> None:
    disk, fd = made()
    disk.write(fd, [b"abcd"], 0)
    disk.fdatasync(fd)
    assert outcomes(disk, content) == {b"abcd"}
    disk.write(fd, [b"ef"], 4)
    assert {found[:4] for found in outcomes(disk, content)} == {b"abcd"}  # type: ignore[index]


def test_a_synced_file_without_a_synced_name_may_vanish() -> None:
    disk, fd = made(named=False)
    disk.write(fd, [b"abcd"], 0)
    disk.fsync(fd)
    assert outcomes(disk, content) == {b"abcd", None}
    disk.sync_directory(f"{ROOT}/ab")
    assert outcomes(disk, content) == {b"abcd", None}, "the directory's own name is not on the platter"
    disk.sync_directory(ROOT)
    assert outcomes(disk, content) == {b"abcd"}


def test_a_rename_is_atomic_and_durable_after_the_directorys_sync() -> None:
    disk, _ = made()
    disk.rename(PATH, f"{PATH}.new")

    def which(found: ModelDisk) -> object:
        return found.look(PATH) is not None, found.look(f"{PATH}.new") is not None

    assert outcomes(disk, which) == {(True, False), (False, True)}
    disk.sync_directory(f"{ROOT}/ab")
    assert outcomes(disk, which) == {(False, True)}


def test_the_death_of_the_process_loses_nothing() -> None:
    disk, fd = made(named=False)
    disk.write(fd, [b"abcd"], 2)
    disk.truncate(fd, 5)
    assert content(disk) == b"\0\0abc"
