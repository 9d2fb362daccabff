"""A partial file that others remove, replace, cut off or link: what is gone is never taken for stored."""

import errno
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from incoming.core.errors import AlreadyComplete, StorageFailed, TooBusy
from incoming.core.extents import Extents
from incoming.core.location import FILE, Location
from incoming.core.ticket import Ticket
from incoming.platform.mounts import read_mounts
from incoming.storage.byte_store import BytesLost
from incoming.storage.filesystem import identity, partial_files
from incoming.storage.filesystem.disk import PosixDisk
from incoming.storage.filesystem.identity import MARGIN, is_same
from incoming.storage.filesystem.store import FileStore
from tests.unit.storage.conftest import ANOTHER, ID, UPLOAD, OpenFiles
from tests.unit.storage.faulty_disk import FaultyDisk

Damage = Callable[[Path], None]
CONTENT = b"0123456789" * 100
KIB = 1024


def remove(path: Path) -> None:
    path.unlink()


def replace_by_copy(path: Path) -> None:
    """What a restored backup does: the same name, length and bytes, another file."""
    content = path.read_bytes()
    path.rename(path.with_name("kept"))  # or the copy might get the same inode number
    path.write_bytes(content)


def replace_by_link(path: Path) -> None:
    path.rename(path.with_name("moved"))
    path.symlink_to("moved")


def cut_off(path: Path) -> None:
    os.truncate(path, 700)


def link(path: Path) -> None:
    os.link(path, path.with_name("second name"))


DAMAGES = {remove: 0, replace_by_copy: 0, replace_by_link: 0, cut_off: 700, link: 0}
"""Each with the number of bytes that are surely there afterwards."""


def partial(root: Path) -> Path:
    return root / ID[:2] / f"{ID}.part"


def final(root: Path) -> Path:
    return root / ID[:2] / ID


async def begun(files: FileStore, content: bytes = CONTENT) -> Ticket:
    """A ticket of which `content` has arrived."""
    written = await files.write(UPLOAD, [(0, content)])
    return replace(UPLOAD, extents=Extents([(0, len(content))]), store_data=written.data)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("open_still", [True, False], ids=["while open", "while closed"])
@pytest.mark.parametrize("call", ["write", "sync", "complete"])
async def test_a_missing_file_is_noticed_by_every_call(
    files: FileStore, disk: FaultyDisk, root: Path, damage: Damage, open_still: bool, call: str
) -> None:
    ticket = await begun(files)
    if not open_still:
        await files.release(ticket)
    damage(partial(root))
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "write": lambda: files.write(ticket, [(len(CONTENT), b"more")]),
        "sync": lambda: files.sync(ticket),
        "complete": lambda: files.complete(ticket, len(CONTENT)),
    }
    with pytest.raises(BytesLost) as lost:
        await calls[call]()
    assert lost.value.kept == Extents([(0, DAMAGES[damage])])
    assert (lost.value.code, lost.value.name) == (StorageFailed.code, "storage_failed")
    assert disk.open_descriptors == set()
    assert not final(root).exists()


@pytest.mark.parametrize("damage", DAMAGES)
async def test_stored_ranges_are_measured_after_a_restart(
    files: FileStore, open_files: OpenFiles, root: Path, damage: Damage
) -> None:
    ticket = await begun(files)
    damage(partial(root))
    stored = await open_files().stored(ticket)
    assert (stored or Extents()) == Extents([(0, DAMAGES[damage])])


@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_restarted_upload_has_a_file_of_its_own(files: FileStore, root: Path, damage: Damage) -> None:
    ticket = await begun(files)
    damage(partial(root))
    with pytest.raises(BytesLost) as lost:
        await files.write(ticket, [(0, b"x")])
    left = ticket.lose(lost.value.kept)
    written = await files.write(left, [(left.extents.end, CONTENT[left.extents.end :])])
    again = replace(left, extents=Extents([(0, len(CONTENT))]), store_data=written.data)
    path = Path((await files.complete(again, len(CONTENT))).address)
    assert path.read_bytes() == CONTENT
    assert path.stat().st_nlink == 1
    assert not path.is_symlink()


async def test_a_file_is_made_only_for_a_ticket_without_bytes(files: FileStore, root: Path) -> None:
    """Whichever process comes, and with an old ticket that has nothing noted as well."""
    for ticket in (replace(UPLOAD, extents=Extents([(0, 5)])), replace(UPLOAD, store_data="17:4")):
        with pytest.raises(BytesLost, match="no longer"):
            await files.write(ticket, [(5, b"more")])
        with pytest.raises(BytesLost):
            await files.complete(ticket, 5)
    assert list(root.glob("*/*")) == []


async def test_the_file_of_an_old_ticket_is_adopted_once(files: FileStore, open_files: OpenFiles, root: Path) -> None:
    """A database of an earlier release has nothing noted."""
    ticket = replace(await begun(files), store_data="")
    later = open_files()
    written = await later.write(ticket, [(len(CONTENT), b"more")])
    assert is_same(written.data, f"{partial(root).stat().st_ino}:0")
    noted = replace(ticket, store_data=written.data)
    replace_by_copy(partial(root))
    with pytest.raises(BytesLost):
        await open_files().write(noted, [(0, b"x")])


async def test_two_workers_note_the_same_file(open_files: OpenFiles) -> None:
    one, two = open_files(), open_files()
    written = [await store.write(UPLOAD, [(0, b"abc")]) for store in (one, two)]
    assert written[0].data == written[1].data != ""


async def test_bytes_written_here_and_not_yet_committed_count_as_well(files: FileStore, root: Path) -> None:
    await files.write(UPLOAD, [(0, CONTENT)])
    cut_off(partial(root))
    with pytest.raises(BytesLost, match="has 700 bytes, it had at least 1000"):
        await files.write(UPLOAD, [(len(CONTENT), b"more")])


async def test_a_worker_that_stored_elsewhere_is_noticed(open_files: OpenFiles, root: Path) -> None:
    """It has made a file of its own, for a ticket that it knows without bytes."""
    one, two = open_files(), open_files()
    ticket = await begun(one)
    partial(root).rename(root / "aside")
    await two.write(UPLOAD, [(0, b"abc")])
    with pytest.raises(BytesLost):
        await two.write(ticket, [(3, b"def")])


# --- cut off and grown again ------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="this system does not find holes")
async def test_a_hole_is_no_part_of_a_complete_file(files: FileStore, root: Path) -> None:
    """Cut off by another program, and made long again by a write that came at the same moment."""
    content = os.urandom(4 * MARGIN)
    ticket = await begun(files, content)
    os.truncate(partial(root), 2 * MARGIN + 100)
    os.truncate(partial(root), 4 * MARGIN)
    with pytest.raises(BytesLost) as lost:
        await files.complete(ticket, len(content))
    [(start, end)] = lost.value.kept
    assert start == 0
    assert MARGIN <= end <= 2 * MARGIN + 100, "the block that was cut has zeros that are no hole"
    assert not final(root).exists()
    left = ticket.lose(lost.value.kept)
    assert left.store_data == ticket.store_data
    await files.write(left, [(end, content[end:])])
    assert Path((await files.complete(ticket, len(content))).address).read_bytes() == content


async def test_zeros_that_were_sent_are_bytes(files: FileStore) -> None:
    ticket = await begun(files, bytes(3 * MARGIN))
    assert Path((await files.complete(ticket, 3 * MARGIN)).address).read_bytes() == bytes(3 * MARGIN)


async def test_where_zeros_become_holes_a_hole_proves_nothing(
    files: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_files, "ZEROS_ARE_KEPT", frozenset())
    ticket = await begun(files, bytes(MARGIN))
    os.truncate(partial(root), 0)
    os.truncate(partial(root), MARGIN)
    await files.complete(ticket, MARGIN)


@pytest.mark.skipif(not read_mounts(), reason="this system does not tell its mounts")
def test_the_file_systems_of_this_machine_have_names() -> None:
    assert PosixDisk().kind("/proc") == "proc"
    assert PosixDisk().kind("/proc/self/..") == "proc"
    assert PosixDisk().kind("/") != ""


# --- which file it is -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("noted", "found", "same"),
    [("5:77", "5:77", True), ("5:77", "6:77", False), ("5:77", "5:78", False), ("5:0", "5:78", True)],
)
def test_an_inode_number_that_is_given_again_is_another_file(noted: str, found: str, same: bool) -> None:
    assert is_same(noted, found) is same
    assert is_same(found, noted) is same


def test_a_file_has_a_moment_of_birth(tmp_path: Path) -> None:
    disk = PosixDisk()
    before = time.time_ns()
    fd = disk.create(str(tmp_path / "file"), 0o600)
    born = disk.born(fd)
    disk.close(fd)
    if born == 0:
        pytest.skip("this file system does not tell")
    assert abs(born - before) < 60 * 10**9


def test_what_is_noted_does_not_depend_on_the_mount(tmp_path: Path) -> None:
    disk = PosixDisk()
    fd = disk.create(str(tmp_path / "file"), 0o600)
    facts = disk.facts(fd)
    moved = facts._replace(inode=(facts.inode[0] + 1, facts.inode[1]))
    assert identity.identity(disk, fd, facts) == identity.identity(disk, fd, moved)
    disk.close(fd)


# --- between the last byte and the name -------------------------------------------------------------------------------


@pytest.mark.parametrize("damage", [remove, replace_by_copy, cut_off, link])
@pytest.mark.parametrize("moment", ["fsync", "rename", "after"])
async def test_a_file_damaged_during_completion_is_refused(
    files: FileStore, disk: FaultyDisk, root: Path, damage: Damage, moment: str
) -> None:
    ticket = await begun(files)
    hit = []

    def strike(name: str) -> None:
        renamed = final(root).exists()
        due = name == "sync_directory" and renamed if moment == "after" else name == moment
        if due and not hit:
            hit.append(name)
            damage(final(root) if renamed else partial(root))

    disk.before = strike
    with pytest.raises(StorageFailed):
        await files.complete(ticket, len(CONTENT))
    assert hit
    assert not final(root).exists()
    disk.before = lambda name: None
    with pytest.raises(BytesLost):
        await files.complete(ticket, len(CONTENT))


async def test_after_a_failed_directory_sync_the_name_is_made_again(
    files: FileStore, disk: FaultyDisk, root: Path
) -> None:
    """A second sync of it would succeed and prove nothing."""
    ticket = await begun(files)
    await files.sync(ticket)
    disk.fail("sync_directory")
    with pytest.raises(StorageFailed):
        await files.complete(ticket, len(CONTENT))
    assert disk.hits == 1
    assert not final(root).exists()
    disk.calls.clear()
    assert Path((await files.complete(ticket, len(CONTENT))).address).read_bytes() == CONTENT
    assert disk.calls.index("rename") < disk.calls.index("sync_directory")


async def test_a_name_that_is_not_yet_safe_is_not_relied_on(
    open_files: OpenFiles, disk: FaultyDisk, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_files, "LOCK_TIMEOUT", 0.05)
    one, two = open_files(), open_files(disk=FaultyDisk())
    ticket = await begun(one)
    await one.sync(ticket)
    heard: list[object] = []

    def look_elsewhere(name: str) -> None:
        if name == "sync_directory" and not heard:
            try:
                heard.append(two._tree.completed(ticket, len(CONTENT)))
            except TooBusy as error:
                heard.append(error)

    disk.before = look_elsewhere
    await one.complete(ticket, len(CONTENT))
    assert isinstance(heard[0], TooBusy)
    disk.before = lambda name: None
    assert await two.completed(ticket, len(CONTENT)) == Location(FILE, str(final(root)))


async def test_a_final_name_of_another_file_is_not_confirmed(files: FileStore, root: Path) -> None:
    ticket = await begun(files)
    await files.complete(ticket, len(CONTENT))
    replace_by_copy(final(root))
    for attempt in (files.completed(ticket, len(CONTENT)), files.complete(ticket, len(CONTENT))):
        with pytest.raises(BytesLost) as lost:
            await attempt
        assert lost.value.discard
    with pytest.raises(AlreadyComplete):
        await files.write(UPLOAD, [(0, b"x")])


async def test_confirming_touches_no_partial_file(files: FileStore, disk: FaultyDisk, root: Path) -> None:
    ticket = await begun(files)
    disk.calls.clear()
    assert await files.completed(ticket, len(CONTENT)) is None
    assert set(disk.calls) == {"open"}
    assert partial(root).exists()


# --- who holds the file -----------------------------------------------------------------------------------------------


async def test_waiting_for_a_stopped_lock_holder_is_bounded(
    files: FileStore, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partial_files, "LOCK_TIMEOUT", 0.05)
    ticket = await begun(files)
    disk = PosixDisk()
    fd = disk.open(str(partial(root)))
    assert disk.lock(fd, exclusive=True)
    for attempt in (files.write(ticket, [(0, b"x")]), files.complete(ticket, len(CONTENT))):
        with pytest.raises(TooBusy, match="another process"):
            await attempt
    disk.close(fd)
    await files.complete(ticket, len(CONTENT))


async def test_an_unmounted_disk_loses_nothing(files: FileStore, root: Path) -> None:
    ticket = await begun(files)
    await files.release(ticket)
    root.rename(root.with_name("elsewhere"))
    root.mkdir()
    for attempt in (files.write(ticket, [(0, b"x")]), files.complete(ticket, len(CONTENT)), files.sync(ticket)):
        with pytest.raises(StorageFailed, match="not the one") as failed:
            await attempt
        assert not isinstance(failed.value, BytesLost)
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    await files.complete(ticket, len(CONTENT))


async def test_a_file_that_may_not_be_opened_is_not_lost(files: FileStore, disk: FaultyDisk) -> None:
    ticket = await begun(files)
    await files.release(ticket)
    disk.fail("open", error=errno.EACCES)
    with pytest.raises(StorageFailed) as failed:
        await files.write(ticket, [(0, b"x")])
    assert not isinstance(failed.value, BytesLost)
    await files.write(ANOTHER, [(0, b"x")])
