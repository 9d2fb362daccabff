"""Which mounts instances can share: what /proc/self/mountinfo says of NFS, CephFS and local disks."""

from pathlib import Path

import pytest

from incoming.platform.mounts import Mount, mount_of, read_mounts
from incoming.settings.settings import Settings
from incoming.storage import open as opening
from incoming.storage.filesystem.mounts import why_not_shared
from incoming.storage.open import UnusableStorage, prepare

ROOT = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro"
DIRECTORY = "/srv/incoming"


def nfs(options: str, kind: str = "nfs4", point: str = DIRECTORY) -> list[str]:
    return [ROOT, f"90 22 0:45 / {point} rw,noatime shared:50 - {kind} nas:/export rw,{options},addr=10.0.0.1"]


CEPH = [ROOT, f"91 22 0:46 / {DIRECTORY} rw,relatime - ceph 10.0.0.1:6789:/uploads rw,name=incoming,acl"]


def test_the_longest_mount_point_counts_and_of_one_name_the_last() -> None:
    lines = [*nfs("vers=4.2,hard"), f"92 90 8:2 / {DIRECTORY}/deep rw - xfs /dev/sdb rw"]
    assert mount_of("/srv", lines) == Mount("ext4", frozenset({"rw", "relatime", "errors=remount-ro"}))
    assert mount_of(f"{DIRECTORY}/x", lines) == Mount(
        "nfs4", frozenset({"rw", "noatime", "vers=4.2", "hard", "addr=10.0.0.1"})
    )
    assert mount_of(f"{DIRECTORY}-2", lines) == mount_of("/", lines)
    assert mount_of(f"{DIRECTORY}/deep/x", lines) == Mount("xfs", frozenset({"rw"}))
    over = f"93 90 0:50 / {DIRECTORY} rw - tmpfs none rw"
    assert mount_of(DIRECTORY, [*lines, over]) == Mount("tmpfs", frozenset({"rw"}))


def test_spaces_in_a_mount_point_are_decoded() -> None:
    lines = nfs("soft", point="/srv/my\\040files")
    assert mount_of("/srv/my files/x", lines) is not None
    assert "'soft'" in (why_not_shared("/srv/my files", lines) or "")


@pytest.mark.parametrize("lines", [[], ["damaged"], ["1 2 3 - "]])
def test_what_does_not_tell_refuses_nothing(lines: list[str]) -> None:
    assert mount_of(DIRECTORY, lines) is None
    assert why_not_shared(DIRECTORY, lines) is None


@pytest.mark.parametrize(
    "option", ["nolock", "soft", "softerr", "local_lock=all", "local_lock=flock", "vers=3", "vers=4.0", "nfsvers=4"]
)
def test_options_that_break_a_promise_are_refused_in_one_line(option: str) -> None:
    reason = why_not_shared(DIRECTORY, nfs(option)) or ""
    assert reason.startswith(f"storage_dir '{DIRECTORY}' is mounted with '{option}'")
    assert "\n" not in reason


@pytest.mark.parametrize("options", ["vers=4.1,hard,local_lock=none", "vers=4.2,hard,proto=tcp,timeo=600"])
def test_nfs_with_locks_is_accepted(options: str) -> None:
    assert why_not_shared(DIRECTORY, nfs(options)) is None


def test_ceph_and_local_disks_are_accepted() -> None:
    assert why_not_shared(DIRECTORY, CEPH) is None
    assert why_not_shared(DIRECTORY, [ROOT]) is None


def test_options_of_another_mount_do_not_matter() -> None:
    assert why_not_shared(DIRECTORY, nfs("soft,nolock", point="/home")) is None


@pytest.mark.parametrize("database", ["postgresql://db/uploads", ""])
def test_the_start_is_refused_for_several_instances_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    """Locks of one machine are enough for one instance."""
    monkeypatch.setattr(opening, "read_mounts", lambda: nfs("nolock,hard", point=str(tmp_path)))
    settings = Settings(storage_dir=tmp_path / "storage", durability="power", database=database)
    if not database:
        prepare(settings)
        return
    with pytest.raises(UnusableStorage, match="'nolock': locks hold on one machine only"):
        prepare(settings)


@pytest.mark.skipif(not read_mounts(), reason="this system does not tell its mounts")
def test_this_machine_tells_its_mounts() -> None:
    assert mount_of("/", read_mounts()) is not None
    assert read_mounts(Path("/nonexistent")) == []
