"""How the real disk makes its calls."""

import errno
import os
from pathlib import Path

import pytest

from incoming.storage.filesystem.disk import PosixDisk
from tests.unit.storage.conftest import open_descriptors

disk = PosixDisk()


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "file")


def test_a_file_is_created_written_and_read(path: str) -> None:
    fd = disk.create(path, 0o600)
    assert disk.write(fd, [b"abc", memoryview(b"def")], 2) == 6
    facts = disk.facts(fd)
    assert (facts.length, facts.regular, facts.links) == (8, True, 1)
    assert disk.look(path) == facts
    disk.truncate(fd, 4)
    disk.fdatasync(fd)
    disk.fsync(fd)
    disk.close(fd)
    fd = disk.open(path)
    assert disk.facts(fd).length == 4
    assert os.get_inheritable(fd) is False
    disk.close(fd)
    disk.rename(path, path + "2")
    assert disk.look(path) is None
    disk.unlink(path + "2")
    with pytest.raises(FileNotFoundError):
        disk.unlink(path + "2")


def test_only_what_is_new_is_created(path: str) -> None:
    Path(path).touch()
    with pytest.raises(FileExistsError):
        disk.create(path, 0o600)


def test_a_link_is_never_followed(path: str, tmp_path: Path) -> None:
    (tmp_path / "target").touch()
    Path(path).symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic links"):
        disk.open(path)
    with pytest.raises(FileExistsError):
        disk.create(path, 0o600)
    facts = disk.look(path)
    assert facts is not None
    assert not facts.regular


def test_names_of_one_file_share_the_inode(path: str) -> None:
    disk.close(disk.create(path, 0o600))
    os.link(path, path + "2")
    one, two = disk.look(path), disk.look(path + "2")
    assert one == two
    assert one is not None
    assert one.links == 2


def test_a_mode_that_cannot_be_set_leaves_nothing_open(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, mode: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fchmod", refuse)
    before = open_descriptors()
    with pytest.raises(OSError, match="Input/output"):
        disk.create(path, 0o600)
    assert open_descriptors() == before


def test_a_directory_where_systemd_forbids_the_bit_that_inherits_the_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chmod = os.chmod

    def restricted(path: str, mode: int) -> None:
        if mode & 0o6000:
            raise PermissionError
        chmod(path, mode)

    tmp_path.chmod(0o2755)
    monkeypatch.setattr(os, "chmod", restricted)
    disk.make_directory(str(tmp_path / "made"), 0o770)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o770


def test_directories_are_created_and_synced(tmp_path: Path) -> None:
    made = tmp_path / "made"
    disk.make_directory(str(made), 0o700)
    disk.make_directory(str(made), 0o777)
    assert made.stat().st_mode & 0o777 == 0o700
    disk.sync_directory(str(made))
    made.chmod(0o2755)
    disk.make_directory(str(made / "below"), 0o750)
    assert (made / "below").stat().st_mode & 0o7777 == 0o2750, "files below are to have the same group"
    with pytest.raises(FileNotFoundError):
        disk.make_directory(str(tmp_path / "gone" / "deep"), 0o700)
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        disk.sync_directory(str(tmp_path / "file"))


def test_locks_exclude_each_other(path: str) -> None:
    """Many may hold it shared; an exclusive one waits for all of them, also within one process."""
    fds = [disk.create(path, 0o600), disk.open(path), disk.open(path)]
    disk.lock(fds[0], exclusive=False)
    disk.lock(fds[1], exclusive=False)
    disk.unlock(fds[0])
    disk.unlock(fds[1])
    disk.lock(fds[2], exclusive=True)
    for fd in fds:
        disk.close(fd)
    fd = disk.open(path)
    disk.lock(fd, exclusive=True)  # closing has ended the other
    disk.close(fd)


def test_a_write_is_no_larger_than_is_cheap(path: str) -> None:
    """And says how much it took: nothing is left out or written twice, wherever it ends."""
    content = b"".join(bytes([number]) * size for number, size in enumerate((700_000, 600_000, 1, 3_000_000, 5)))
    fd = disk.create(path, 0o600)
    writes: list[int] = []
    while rest := content[sum(writes) :]:
        pieces = [rest[:700_000], memoryview(rest)[700_000:]] if len(rest) > 700_000 else [rest]
        writes.append(disk.write(fd, pieces, sum(writes)))
    disk.close(fd)
    assert Path(path).read_bytes() == content
    assert set(writes[:-1]) == {1 << 20}
