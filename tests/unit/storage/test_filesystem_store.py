"""The promises of `ByteStore`, kept by files: real ones, with real locks, on a disk that fails when told to."""

import asyncio
import errno
import fcntl
import os
import random
import stat
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import (
    AlreadyComplete,
    FileTooLarge,
    ServerShutdown,
    StorageFailed,
    StorageFull,
    TakenOver,
    TooBusy,
    UnknownTicket,
)
from incoming.core.extents import Extents
from incoming.core.location import FILE, Location
from incoming.storage.byte_store import (
    BoundedStore,
    BufferingStore,
    ByteStore,
    FencingStore,
    PartsStore,
    ReadableStore,
    RoutingStore,
    SyncingStore,
    Written,
    has_ability,
)
from incoming.storage.filesystem import partial_files
from incoming.storage.filesystem.disk import PosixDisk
from incoming.storage.filesystem.store import FileStore, SharedFileStore
from incoming.storage.named_stores import NamedStores
from tests.support.stores import until
from tests.unit.storage.conftest import ANOTHER, ID, OTHER, UPLOAD, OpenFiles, open_descriptors
from tests.unit.storage.faulty_disk import Died, FaultyDisk, io_error
from tests.unit.storage.tickets import new

Plant = Callable[[Path, Path], None]


def partial(root: Path, ticket_id: str = ID) -> Path:
    return root / ticket_id[:2] / f"{ticket_id}.part"


def final(root: Path, ticket_id: str = ID) -> Path:
    return root / ticket_id[:2] / ticket_id


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- writing ----------------------------------------------------------------------------------------------------------


async def test_keeps_the_protocol(files: FileStore) -> None:
    store: ByteStore = files
    assert isinstance(store, FencingStore)
    assert isinstance(store, SyncingStore)
    assert isinstance(store, BoundedStore)
    assert not isinstance(store, BufferingStore)


@pytest.mark.parametrize(
    "ability", [FencingStore, SyncingStore, BoundedStore, BufferingStore, RoutingStore, PartsStore, ReadableStore]
)
async def test_abilities_are_those_of_the_class(files: FileStore, root: Path, ability: Any) -> None:
    several = NamedStores(files, {})
    shared = SharedFileStore(root)
    for _ in range(2):
        for store in (files, several, shared):
            assert has_ability(store, ability) == isinstance(store, ability)
    await shared.close()


async def test_pieces_in_any_order_make_the_file(files: FileStore, root: Path) -> None:
    assert (await files.write(UPLOAD, [(6, b"gh"), (8, memoryview(b"xij")[1:]), (0, b"abc")])).durable == [
        (6, 10),
        (0, 3),
    ]
    assert (await files.write(UPLOAD, [(3, b"def")])).durable == [(3, 6)]
    assert partial(root).read_bytes() == b"abcdefghij"


async def test_an_empty_write_changes_nothing(files: FileStore) -> None:
    assert (await files.write(UPLOAD, [])).durable == []
    assert (await files.write(UPLOAD, [(5, b"")])).durable == []
    assert await files.stored(UPLOAD) == Extents()


async def test_short_writes_are_continued(files: FileStore, disk: FaultyDisk, root: Path) -> None:
    disk.most = 3
    assert (await files.write(UPLOAD, [(0, b"abcd"), (4, b"e"), (5, b"fghijk"), (20, b"xyz1")])).durable == [
        (0, 11),
        (20, 24),
    ]
    assert partial(root).read_bytes() == b"abcdefghijk" + bytes(9) + b"xyz1"
    assert disk.calls.count("write") > 4


async def test_a_write_that_stores_nothing_ends(files: FileStore, disk: FaultyDisk) -> None:
    disk.most = 0
    with pytest.raises(StorageFailed):
        await files.write(UPLOAD, [(0, b"abc")])


async def test_more_pieces_than_one_system_call_takes(files: FileStore, root: Path) -> None:
    pieces = [(offset, bytes([offset % 251])) for offset in range(3000)]
    assert (await files.write(UPLOAD, pieces)).durable == [(0, 3000)]
    assert partial(root).read_bytes() == b"".join(data for _, data in pieces)


@pytest.mark.skipif(not hasattr(os, "SEEK_DATA"), reason="this system does not find holes")
async def test_far_offsets_make_sparse_files(files: FileStore) -> None:
    offset = 5 * 2**30
    assert (await files.write(UPLOAD, [(offset, b"x")])).durable == [(offset, offset + 1)]
    claimed = new(ID, extents=Extents([(0, 5), (offset, offset + 1)]))
    assert await files.stored(claimed) == Extents([(offset, offset + 1)]), "holes are no bytes"


async def test_uploads_are_apart(files: FileStore, root: Path) -> None:
    await asyncio.gather(files.write(UPLOAD, [(0, b"one")]), files.write(ANOTHER, [(0, b"other")]))
    assert (partial(root).read_bytes(), partial(root, OTHER).read_bytes()) == (b"one", b"other")


async def test_writes_of_one_upload_at_once(files: FileStore, root: Path) -> None:
    content = random.Random(1).randbytes(200_000)
    await asyncio.gather(*(files.write(UPLOAD, [(at, content[at : at + 1000])]) for at in range(0, len(content), 1000)))
    assert partial(root).read_bytes() == content


async def test_modes_are_as_configured_whatever_the_umask(open_files: OpenFiles, root: Path) -> None:
    old = os.umask(0o077)
    try:
        files = open_files(dir_mode=0o755, file_mode=0o664)
        await files.write(UPLOAD, [(0, b"x")])
        path = (await files.complete(UPLOAD, 1)).address
    finally:
        os.umask(old)
    assert (mode(root), mode(root / ID[:2]), mode(Path(path))) == (0o755, 0o755, 0o664)


async def test_modes_are_private_by_default(files: FileStore, root: Path) -> None:
    await files.write(UPLOAD, [(0, b"x")])
    assert (mode(root), mode(root / ID[:2]), mode(partial(root))) == (0o750, 0o750, 0o640)


@pytest.mark.parametrize(
    "ticket_id",
    ["", ".", "..", "../x", "/etc/passwd", "a/b", "abc", ID.upper(), ID + "\n", ID + "/..", "0" * 31, "0" * 33,
     "\u0660" * 32, "0a3b5c7d-1111-4222-8333-44445555666\x00"],
)  # fmt: skip
async def test_an_invalid_id_never_becomes_a_file_name(files: FileStore, disk: FaultyDisk, ticket_id: str) -> None:
    before = len(disk.calls)
    stranger = replace(UPLOAD, id=ticket_id)
    for attempt in (
        files.write(stranger, [(0, b"x")]),
        files.sync(stranger),
        files.stored(stranger),
        files.complete(stranger, 0),
        files.remove(stranger),
        files.release(stranger),
    ):
        with pytest.raises(UnknownTicket):
            await attempt
    assert len(disk.calls) == before


async def test_ids_may_come_without_dashes(files: FileStore, root: Path) -> None:
    ticket_id = "0123456789abcdef" * 2
    await files.write(new(ticket_id), [(0, b"x")])
    assert await files.complete(new(ticket_id), 1) == Location(FILE, str(final(root, ticket_id)))


# --- what is there ----------------------------------------------------------------------------------------------------


async def test_what_is_stored_is_what_was_claimed_and_is_there(files: FileStore) -> None:
    claimed = new(ID, extents=Extents([(2, 4), (5, 9)]))
    assert await files.stored(claimed) is None
    await files.write(UPLOAD, [(0, b"abcdef")])
    assert await files.stored(claimed) == Extents([(2, 4), (5, 6)])
    await files.complete(UPLOAD, 6)
    assert await files.stored(claimed) is None


async def test_kept(files: FileStore, root: Path) -> None:
    await files.write(UPLOAD, [(0, b"x")])
    assert not await files.kept(UPLOAD)
    await files.complete(UPLOAD, 1)
    assert await files.kept(UPLOAD)
    final(root).rename(root / "moved by the app")
    assert not await files.kept(UPLOAD)


async def test_free_bytes(files: FileStore, root: Path) -> None:
    free = os.statvfs(root)
    assert abs(await files.free_bytes() - free.f_bavail * free.f_frsize) < 2**30


# --- syncing ----------------------------------------------------------------------------------------------------------


async def test_the_first_sync_makes_the_names_durable_too(files: FileStore, disk: FaultyDisk) -> None:
    await files.write(UPLOAD, [(0, b"x")])
    disk.calls.clear()
    await files.sync(UPLOAD)
    names = ["sync_directory", "look", "sync_directory"]
    assert disk.calls == ["open", "lock_syncs", "fdatasync", *names, "close", "look"]
    disk.calls.clear()
    await files.sync(UPLOAD)
    assert disk.calls == ["open", "lock_syncs", "fdatasync", "close", "look"]


@pytest.mark.parametrize("call", ["fdatasync", "sync_directory"])
async def test_after_a_failed_sync_its_descriptor_is_not_believed(
    files: FileStore, disk: FaultyDisk, call: str, root: Path
) -> None:
    await files.write(UPLOAD, [(0, b"abc")])
    disk.fail(call)
    with pytest.raises(StorageFailed):
        await files.sync(UPLOAD)
    assert disk.hits == 1
    await files.loss_recorded(UPLOAD)
    assert disk.open_descriptors == set()
    await files.write(UPLOAD, [(0, b"abc")])
    await files.sync(UPLOAD)
    await files.complete(UPLOAD, 3)
    assert final(root).read_bytes() == b"abc"


async def test_syncing_a_missing_file_is_an_error(files: FileStore) -> None:
    with pytest.raises(StorageFailed, match="no longer"):
        await files.sync(UPLOAD)


async def test_a_complete_file_can_be_synced(files: FileStore) -> None:
    await files.write(UPLOAD, [(0, b"x")])
    await files.complete(UPLOAD, 1)
    await files.sync(UPLOAD)


async def test_sync_covers_what_another_worker_wrote(open_files: OpenFiles, disk: FaultyDisk) -> None:
    one, two = open_files(), open_files()
    await one.write(UPLOAD, [(0, b"x")])
    disk.calls.clear()
    await two.sync(UPLOAD)
    assert "fdatasync" in disk.calls


async def test_writes_continue_during_a_sync(files: FileStore, disk: FaultyDisk) -> None:
    await files.write(UPLOAD, [(0, b"x")])
    syncing, go_on = threading.Event(), threading.Event()

    def stall(name: str) -> None:
        if name == "fdatasync":
            syncing.set()
            assert go_on.wait(20)

    disk.before = stall
    sync = asyncio.ensure_future(files.sync(UPLOAD))
    await asyncio.wait_for(files.write(UPLOAD, [(1, b"y")]), 20)
    assert not sync.done()
    go_on.set()
    await sync
    assert syncing.is_set()


# --- completing -------------------------------------------------------------------------------------------------------


async def test_completion_syncs_before_it_renames(files: FileStore, disk: FaultyDisk, root: Path) -> None:
    await files.write(UPLOAD, [(0, b"abc")])
    disk.calls.clear()
    assert await files.complete(UPLOAD, 3) == Location(FILE, str(final(root)))
    durable = [name for name in disk.calls if name in ("fsync", "rename", "sync_directory")]
    assert durable == ["fsync", "rename", "sync_directory", "sync_directory"]
    assert final(root).read_bytes() == b"abc"
    assert not partial(root).exists()


async def test_the_name_of_a_directory_is_synced_once_unless_it_failed(
    files: FileStore, disk: FaultyDisk, root: Path
) -> None:
    first, second, third = (replace(UPLOAD, id=f"{UPLOAD.id[:-1]}{digit}") for digit in "abc")
    synced: list[bool] = []

    def rule(name: str, number: int) -> BaseException | None:
        if name != "sync_directory":
            return None
        synced.append(True)
        return io_error() if len(synced) == 2 else None

    for upload in (first, second, third):
        await files.write(upload, [(0, b"abc")])
    disk.rule = rule
    with pytest.raises(StorageFailed):
        await files.complete(first, 3)
    assert (disk.hits, len(synced)) == (1, 2), "the storage directory's own sync failed"
    await files.complete(second, 3)
    assert len(synced) == 4
    await files.complete(third, 3)
    assert len(synced) == 5
    (root / UPLOAD.id[:2]).rename(root / "moved")
    (root / UPLOAD.id[:2]).mkdir()
    fresh = replace(UPLOAD, id=f"{UPLOAD.id[:-1]}d")
    await files.write(fresh, [(0, b"abc")])
    await files.complete(fresh, 3)
    assert len(synced) == 7, "a new directory has a new name"


async def test_completing_twice_is_completing_once(open_files: OpenFiles, root: Path) -> None:
    one, two = open_files(), open_files()
    await one.write(UPLOAD, [(0, b"abc")])
    paths = await asyncio.gather(one.complete(UPLOAD, 3), two.complete(UPLOAD, 3), one.complete(UPLOAD, 3))
    assert set(paths) == {Location(FILE, str(final(root)))} == {await two.complete(UPLOAD, 3)}


async def test_an_empty_file_is_completed(files: FileStore) -> None:
    path = (await files.complete(UPLOAD, 0)).address
    assert Path(path).read_bytes() == b""
    assert (await files.complete(UPLOAD, 0)).address == path


async def test_a_file_is_never_made_longer(files: FileStore, root: Path) -> None:
    await files.write(UPLOAD, [(0, b"abc")])
    with pytest.raises(StorageFailed, match="has only 3 of 4 bytes"):
        await files.complete(UPLOAD, 4)
    assert partial(root).read_bytes() == b"abc"
    with pytest.raises(StorageFailed, match="no longer"):
        await files.complete(ANOTHER, 4)


async def test_bytes_beyond_the_end_are_cut_off(files: FileStore) -> None:
    await files.write(UPLOAD, [(0, b"abcdef")])
    assert Path((await files.complete(UPLOAD, 4)).address).read_bytes() == b"abcd"


async def test_a_complete_file_is_never_changed(open_files: OpenFiles, root: Path) -> None:
    one, two, newcomer = open_files(), open_files(), open_files()
    await one.write(UPLOAD, [(0, b"abc")])
    await two.write(UPLOAD, [(3, b"def")])
    await one.complete(UPLOAD, 6)
    for store in (one, two, newcomer):
        with pytest.raises(AlreadyComplete):
            await store.write(UPLOAD, [(0, b"XXXXXXXX")])
    assert final(root).read_bytes() == b"abcdef"
    assert not partial(root).exists()


async def test_completion_waits_for_a_write_elsewhere(open_files: OpenFiles, disk: FaultyDisk, root: Path) -> None:
    """A worker between its look at the name and its write must not hit the file after the rename."""
    slow = FaultyDisk()
    one, two = open_files(), open_files(disk=slow)
    await one.write(UPLOAD, [(0, b"abc")])
    writing, go_on = threading.Event(), threading.Event()

    def stall(name: str) -> None:
        if name == "write":
            writing.set()
            assert go_on.wait(20)

    slow.before = stall
    write = asyncio.ensure_future(two.write(UPLOAD, [(1, b"B")]))
    await asyncio.get_running_loop().run_in_executor(None, writing.wait, 20)
    complete = asyncio.ensure_future(one.complete(UPLOAD, 3))
    assert not (await asyncio.wait([complete], timeout=0.2))[0]
    assert partial(root).exists()
    go_on.set()
    await asyncio.gather(write, complete)
    assert final(root).read_bytes() == b"aBc"


async def test_a_file_of_another_size_is_not_confirmed(files: FileStore) -> None:
    await files.write(UPLOAD, [(0, b"abc")])
    await files.complete(UPLOAD, 3)
    with pytest.raises(StorageFailed, match="not a file of 4 bytes"):
        await files.complete(UPLOAD, 4)


async def test_a_file_completed_by_another_worker_is_not_created_again(
    open_files: OpenFiles, disk: FaultyDisk, root: Path
) -> None:
    """The newcomer finds neither name just before the rename and creates the partial file just after it."""
    late = FaultyDisk()
    one, two = open_files(), open_files(disk=late)
    await one.write(UPLOAD, [(0, b"abc")])
    partial(root).rename(root / "aside")

    def complete_now(name: str) -> None:
        if name == "create":
            (root / "aside").rename(final(root))

    late.before = complete_now
    with pytest.raises(AlreadyComplete):
        await two.write(UPLOAD, [(0, b"XXX")])
    assert final(root).read_bytes() == b"abc"
    assert not partial(root).exists()
    assert late.open_descriptors == set()


async def test_two_workers_create_a_file_once(open_files: OpenFiles, root: Path) -> None:
    late = FaultyDisk()
    one, two = open_files(), open_files(disk=late)
    loop = asyncio.get_running_loop()

    def create_first(name: str) -> None:
        if name == "create":
            asyncio.run_coroutine_threadsafe(one.write(UPLOAD, [(0, b"abc")]), loop).result(20)

    late.before = create_first
    await two.write(UPLOAD, [(3, b"def")])
    assert partial(root).read_bytes() == b"abcdef"


# --- removing, releasing, closing -------------------------------------------------------------------------------------


async def test_removing_leaves_no_file(open_files: OpenFiles, disk: FaultyDisk, root: Path) -> None:
    files = open_files()
    await files.remove(UPLOAD)
    await files.write(UPLOAD, [(0, b"abc")])
    await files.write(ANOTHER, [(0, b"abc")])
    await files.complete(ANOTHER, 3)
    await files.remove_partial(UPLOAD)
    await files.remove_partial(ANOTHER)
    assert disk.open_descriptors == set()
    assert [path.name for path in root.rglob("*") if path.is_file()] == [OTHER]
    await files.remove(ANOTHER)
    assert [path for path in root.rglob("*") if path.is_file()] == []


async def test_a_file_removed_elsewhere_is_not_created_again(open_files: OpenFiles, disk: FaultyDisk) -> None:
    one, two = open_files(), open_files()
    await one.write(UPLOAD, [(0, b"abc")])
    await two.remove(UPLOAD)
    begun = new(ID, extents=Extents([(0, 3)]))
    for attempt in (
        one.write(begun, [(3, b"d")]),
        one.write(begun, [(3, b"d")]),
        one.sync(begun),
        one.complete(begun, 4),
    ):
        with pytest.raises(StorageFailed, match="no longer"):
            await attempt
    assert disk.open_descriptors == set()  # a removed file takes room as long as somebody holds it open
    await one.release(UPLOAD)
    assert (await one.write(UPLOAD, [(0, b"abc")])).durable == [(0, 3)]


async def test_a_replaced_file_is_not_taken_for_the_old_one(open_files: OpenFiles, root: Path) -> None:
    files = open_files(open_files=1)
    await files.write(UPLOAD, [(0, b"abc")])
    await files.write(ANOTHER, [(0, b"x")])  # ID is closed
    keep = partial(root).open("rb")  # or the new file might get the same inode number
    partial(root).unlink()
    partial(root).write_bytes(b"xyz")
    with pytest.raises(StorageFailed):
        await files.write(UPLOAD, [(3, b"d")])
    assert partial(root).read_bytes() == b"xyz"
    keep.close()


async def test_few_descriptors_for_many_uploads(open_files: OpenFiles, disk: FaultyDisk, root: Path) -> None:
    files = open_files(open_files=3)
    ids = [f"{i:032x}" for i in range(20)]
    for start in range(0, 50, 10):
        await asyncio.gather(*(files.write(new(i), [(start, i.encode()[-10:])]) for i in ids))
        assert len(disk.open_descriptors) == 3
    await files.write(new(ids[0]), [(50, b".")])
    assert len(disk.open_descriptors) == 3
    assert all(partial(root, i).read_bytes()[:50] == i.encode()[-10:] * 5 for i in ids)


async def test_least_recently_used_is_closed_first(open_files: OpenFiles, disk: FaultyDisk) -> None:
    files = open_files(open_files=2)
    ids = [f"{i:032x}" for i in range(3)]
    for i in (ids[0], ids[1], ids[0], ids[2]):
        await files.write(new(i), [(0, b"x")])
    disk.calls.clear()
    await files.write(new(ids[0]), [(1, b"y")])
    assert "open" not in disk.calls
    await files.write(new(ids[1]), [(1, b"y")])
    assert "open" in disk.calls


async def test_a_failed_close_spoils_the_next_sync(open_files: OpenFiles, disk: FaultyDisk) -> None:
    """Network file systems write at close; what they report then, no later sync does."""
    files = open_files(open_files=1)
    await files.write(UPLOAD, [(0, b"abc")])
    disk.fail("close")
    await files.write(ANOTHER, [(0, b"x")])
    assert disk.hits == 1
    with pytest.raises(StorageFailed):
        await files.sync(UPLOAD)
    await files.write(UPLOAD, [(0, b"abc")])
    await files.sync(UPLOAD)


async def test_releasing_closes_the_descriptor(files: FileStore, disk: FaultyDisk) -> None:
    await files.release(UPLOAD)
    await files.write(UPLOAD, [(0, b"abc")])
    await files.release(UPLOAD)
    assert disk.open_descriptors == set()
    assert (await files.write(UPLOAD, [(3, b"d")])).durable == [(3, 4)]


async def test_released_while_it_is_written(files: FileStore, disk: FaultyDisk, root: Path) -> None:
    writing, go_on = threading.Event(), threading.Event()

    def stall(name: str) -> None:
        if name == "write":
            writing.set()
            assert go_on.wait(20)

    disk.before = stall
    write = asyncio.ensure_future(files.write(UPLOAD, [(0, b"abc")]))
    await asyncio.get_running_loop().run_in_executor(None, writing.wait, 20)
    await files.release(UPLOAD)
    assert len(disk.open_descriptors) == 1
    go_on.set()
    await write
    assert disk.open_descriptors == set()
    assert partial(root).read_bytes() == b"abc"


async def test_released_while_it_is_opened(files: FileStore, disk: FaultyDisk, root: Path) -> None:
    loop = asyncio.get_running_loop()

    def release(name: str) -> None:
        if name == "facts":
            asyncio.run_coroutine_threadsafe(files.release(UPLOAD), loop).result(20)

    disk.before = release
    await files.write(UPLOAD, [(0, b"abc")])
    assert disk.open_descriptors == set()
    assert partial(root).read_bytes() == b"abc"


async def test_close_awaits_what_is_under_way(open_files: OpenFiles, disk: FaultyDisk, root: Path) -> None:
    files = open_files()
    write = asyncio.ensure_future(files.write(UPLOAD, [(0, b"abc" * 1_000_000)]))
    await asyncio.sleep(0)
    await files.close()
    await write
    assert partial(root).stat().st_size == 3_000_000
    assert disk.open_descriptors == set()
    with pytest.raises(ServerShutdown):
        await files.write(UPLOAD, [(0, b"x")])


def test_many_uploads_leave_nothing_open(io_loop: IOLoop, root: Path) -> None:
    async def uploads() -> None:
        store = FileStore(root)
        for number in range(300):
            ticket_id = f"{number:032x}"
            await store.write(new(ticket_id), [(0, b"abc")])
            await (store.remove(new(ticket_id)) if number % 2 else store.complete(new(ticket_id), 3))
        await store.close()

    async def nothing() -> None:
        await FileStore(root).close()

    io_loop.run_sync(nothing)
    before = open_descriptors(), threading.active_count()
    io_loop.run_sync(uploads)
    assert (open_descriptors(), threading.active_count()) == before


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "error"),
    [(errno.ENOSPC, StorageFull), (errno.EDQUOT, StorageFull), (errno.EIO, StorageFailed), (errno.EROFS, StorageFailed),
     (errno.EFBIG, FileTooLarge), (errno.ESTALE, StorageFailed), (errno.EMFILE, TooBusy), (errno.ENFILE, TooBusy)],
)  # fmt: skip
async def test_a_failed_write_names_the_kind_but_no_path(
    files: FileStore,
    disk: FaultyDisk,
    root: Path,
    number: int,
    error: type[Exception],
    caplog: pytest.LogCaptureFixture,
) -> None:
    await files.write(ANOTHER, [(0, b"fine")])
    disk.fail("write", times=50, error=number)
    for _ in range(50):
        with pytest.raises(error) as caught:
            await files.write(UPLOAD, [(0, b"abc")])
        assert "path" not in str(caught.value)
        assert str(root) not in str(caught.value)
    assert disk.hits == 50
    assert len(caplog.records) == 1
    assert ID[:8] in caplog.text
    assert ID not in caplog.text
    assert (await files.write(UPLOAD, [(0, b"abc")])).durable == [(0, 3)]
    assert (await files.write(ANOTHER, [(4, b"too")])).durable == [(4, 7)]


async def upload(files: FileStore) -> Location:
    """A scripted upload as the upload_service makes it. It sends again what a failure has made doubtful."""
    await files.write(UPLOAD, [(0, b"abc"), (6, b"g")])
    await files.sync(UPLOAD)
    await files.write(UPLOAD, [(3, b"def")])
    await files.sync(UPLOAD)
    return await files.complete(UPLOAD, 7)


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
async def test_any_failing_call_loses_nothing_acknowledged(root: Path, number: int, persistent: bool) -> None:
    """At the n-th call, n = 1, 2, 3 ... until none is hit: an error of the tree, and then all is well again."""
    point = 0
    while True:
        point += 1
        place = root / str(point)
        disk = FaultyDisk()
        files = FileStore(place, disk=disk)
        first = len(disk.calls)

        def rule(name: str, call: int, doomed: int = first + point) -> BaseException | None:
            if call == doomed or (persistent and call > doomed):
                return OSError(number, "injected")
            return None

        disk.rule = rule
        try:
            path = await upload(files)
        except (StorageFailed, StorageFull):
            assert disk.hits
            disk.rule = lambda name, call: None
            path = await upload_again(files)
        assert Path(path.address).read_bytes() == b"abcdefg"
        hit = disk.hits > 0
        disk.rule = lambda name, call: None
        await files.close()
        assert disk.open_descriptors == set()
        if not hit:
            break
    assert point > 20


async def upload_again(files: FileStore) -> Location:
    try:
        return await upload(files)
    except AlreadyComplete:
        return await files.complete(UPLOAD, 7)


async def test_death_at_any_call_loses_nothing_acknowledged(root: Path) -> None:
    """Another worker goes on after this one died at its n-th call; what was written is still there."""
    point = 0
    died = True
    while died:
        point += 1
        place = root / str(point)
        disk = FaultyDisk()
        files = FileStore(place, disk=disk)
        doomed = len(disk.calls) + point

        def rule(name: str, call: int, doomed: int = doomed) -> BaseException | None:
            return Died() if call >= doomed else None

        disk.rule = rule
        written: list[tuple[int, bytes]] = []
        try:
            for offset, data in ((0, b"abc"), (3, b"def")):
                await files.write(UPLOAD, [(offset, data)])
                written.append((offset, data))
            await files.sync(UPLOAD)
            await files.complete(UPLOAD, 6)
            died = False
        except Died:
            disk.bury()
        disk.rule = lambda name, call: None
        await files.close()
        survivor = FileStore(place)
        there = partial(place) if partial(place).exists() else final(place)
        for offset, data in written:
            assert there.read_bytes()[offset : offset + len(data)] == data
        if await survivor.stored(UPLOAD) is not None or not final(place).exists():
            await survivor.write(UPLOAD, [(0, b"abc"), (3, b"def")])
        assert Path((await survivor.complete(UPLOAD, 6)).address).read_bytes() == b"abcdef"
        assert [path.name for path in place.rglob("*") if path.is_file()] == [ID]
        await survivor.close()
    assert point > 20


# --- what others planted ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plant", [os.symlink, os.link])
async def test_a_planted_link_is_not_followed(files: FileStore, root: Path, tmp_path: Path, plant: Plant) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (root / ID[:2]).mkdir()
    plant(victim, partial(root))
    assert not await files.stored(new(ID, extents=Extents([(0, 8)])))
    with pytest.raises(StorageFailed):
        await files.complete(UPLOAD, 8)
    assert (await files.write(UPLOAD, [(0, b"XXX")])).durable == [(0, 3)]
    assert partial(root).read_bytes() == b"XXX"
    assert victim.read_bytes() == b"precious"


async def test_a_dangling_link_makes_no_file_elsewhere(files: FileStore, root: Path, tmp_path: Path) -> None:
    (root / ID[:2]).mkdir()
    partial(root).symlink_to(tmp_path / "made")
    await files.write(UPLOAD, [(0, b"XXX")])
    assert not (tmp_path / "made").exists()
    assert partial(root).read_bytes() == b"XXX"


@pytest.mark.parametrize("plant", [lambda path: path.mkdir(), os.mkfifo], ids=["directory", "fifo"])
async def test_a_path_that_is_no_file_is_an_error(files: FileStore, root: Path, plant: object) -> None:
    (root / ID[:2]).mkdir()
    plant(partial(root))  # type: ignore[operator]
    assert await files.stored(UPLOAD) == Extents()
    for attempt in (files.write(UPLOAD, [(0, b"x")]), files.complete(UPLOAD, 0)):
        with pytest.raises(StorageFailed):
            await attempt


async def test_a_planted_final_file_is_not_confirmed(files: FileStore, root: Path, tmp_path: Path) -> None:
    (root / ID[:2]).mkdir()
    final(root).symlink_to(tmp_path)
    with pytest.raises(StorageFailed):
        await files.complete(UPLOAD, 5)


# --- the directory ----------------------------------------------------------------------------------------------------


async def test_the_directory_is_made_with_its_parents(tmp_path: Path) -> None:
    files = FileStore(tmp_path / "a" / "b" / "c")
    await files.write(UPLOAD, [(0, b"x")])
    await files.close()
    assert mode(tmp_path / "a" / "b") == 0o750


async def test_what_is_in_the_directory_stays(tmp_path: Path) -> None:
    (tmp_path / "ours.txt").write_text("keep")
    (tmp_path / "0a").mkdir(mode=0o700)
    files = FileStore(tmp_path)
    await files.write(UPLOAD, [(0, b"x")])
    await files.remove(UPLOAD)
    await files.close()
    assert (tmp_path / "ours.txt").read_text() == "keep"
    assert mode(tmp_path / "0a") == 0o700


async def test_returned_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    files = FileStore("data")
    assert (await files.complete(UPLOAD, 0)).address == str(tmp_path / "data" / ID[:2] / ID)
    await files.close()


async def test_a_directory_behind_a_link_is_the_operators_wish(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    files = FileStore(tmp_path / "link")
    await files.write(UPLOAD, [(0, b"x")])
    await files.close()
    assert partial(tmp_path / "real").exists()


async def test_a_missing_directory_is_not_created_again(files: FileStore, root: Path) -> None:
    await files.write(UPLOAD, [(0, b"abc")])
    root.rename(root.with_name("elsewhere"))
    for attempt in (files.write(UPLOAD, [(3, b"d")]), files.write(ANOTHER, [(0, b"x")]), files.complete(UPLOAD, 3)):
        with pytest.raises(StorageFailed):
            await attempt
    root.mkdir()  # what an unmounted disk leaves
    with pytest.raises(StorageFailed, match="not the one"):
        await files.write(ANOTHER, [(0, b"x")])
    assert list(root.iterdir()) == []
    root.rmdir()
    root.with_name("elsewhere").rename(root)
    assert (await files.write(UPLOAD, [(3, b"d")])).durable == [(3, 4)]


def test_an_unusable_directory_is_an_error_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Not a directory"):
        FileStore(tmp_path / "file" / "storage")


# --- a sync that failed, and other processes --------------------------------------------------------------------------


NEEDS_LOCKS = pytest.mark.skipif(not hasattr(fcntl, "F_OFD_SETLK"), reason="this system has no locks of open files")


@NEEDS_LOCKS
@pytest.mark.parametrize("failing", ["fdatasync", "fsync", "sync_directory"])
@pytest.mark.parametrize("then", ["sync", "complete"])
async def test_after_a_failed_sync_others_sync_only_when_the_loss_is_recorded(
    open_files: OpenFiles, failing: str, then: str
) -> None:
    """The kernel tells of it once: who opens the file afterwards would sync with success."""
    broken = FaultyDisk()
    one, two = open_files(disk=broken), open_files()
    await one.write(UPLOAD, [(0, b"abc")])
    broken.fail(failing)
    with pytest.raises(StorageFailed):
        await (one.complete(UPLOAD, 3) if failing == "fsync" else one.sync(UPLOAD))
    assert broken.hits == 1
    second = asyncio.ensure_future(two.sync(UPLOAD) if then == "sync" else two.complete(UPLOAD, 3))
    done, _ = await asyncio.wait([second], timeout=0.1)
    assert not done
    await one.loss_recorded(UPLOAD)
    await second
    assert broken.hits == 1


@NEEDS_LOCKS
async def test_the_wait_of_a_second_sync_is_bounded(open_files: OpenFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(partial_files, "LOCK_TIMEOUT", 0.05)
    broken = FaultyDisk()
    one, two = open_files(disk=broken), open_files()
    await one.write(UPLOAD, [(0, b"abc")])
    broken.fail("fdatasync")
    with pytest.raises(StorageFailed):
        await one.sync(UPLOAD)
    for attempt in (two.sync(UPLOAD), two.complete(UPLOAD, 3)):
        with pytest.raises(TooBusy):
            await attempt
    await one.release(UPLOAD)
    await two.sync(UPLOAD)


async def test_a_worker_that_dies_after_a_failed_sync_blocks_no_other(open_files: OpenFiles) -> None:
    broken = FaultyDisk()
    one, two = open_files(disk=broken), open_files()
    await one.write(UPLOAD, [(0, b"abc")])
    broken.fail("fdatasync")
    with pytest.raises(StorageFailed):
        await one.sync(UPLOAD)
    await one.close()
    await two.sync(UPLOAD)
    assert broken.open_descriptors == set()


async def test_without_file_locks_syncs_do_not_wait(
    open_files: OpenFiles, disk: FaultyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PosixDisk, "kind", lambda self, path: "nfs4")
    files = open_files()
    await files.write(UPLOAD, [(0, b"abc")])
    await files.sync(UPLOAD)
    assert "lock_syncs" not in disk.calls


# --- epochs of several uploads at once --------------------------------------------------------------------------------


class Epochs:
    """Which epochs are current; the first question waits for `go_on`."""

    def __init__(self, root: Path) -> None:
        self.asked: list[list[str]] = []
        self.go_on = threading.Event()
        self.current: dict[str, int] = {}
        self.fails = False
        self._root = root

    def __call__(self, ids: Sequence[str]) -> dict[str, int]:
        self.asked.append(list(ids))
        assert self.go_on.wait(20)
        if self.fails:
            raise StorageFailed("the ticket database is away")
        for ticket_id in ids:
            with partial(self._root, ticket_id).open("rb") as file, pytest.raises(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return {ticket_id: self.current.get(ticket_id, 0) for ticket_id in ids}


async def together(files: FileStore, epochs: Epochs, ids: list[str]) -> list[object]:
    """Write to all of these while the question for the first one waits."""
    writes = [asyncio.ensure_future(files.write(new(ids[0]), [(0, b"x")]))]
    await until(lambda: epochs.asked == [ids[:1]], "the first question")
    writes += [asyncio.ensure_future(files.write(new(ticket_id), [(0, b"x")])) for ticket_id in ids[1:]]
    await asyncio.sleep(0)
    epochs.go_on.set()
    return await asyncio.gather(*writes, return_exceptions=True)


async def test_epochs_are_asked_for_together_under_the_locks(open_files: OpenFiles, root: Path) -> None:
    """Only the upload that was taken over is refused."""
    epochs = Epochs(root)
    files = open_files(epochs_of=epochs)
    ids = [f"{number:032x}" for number in range(10)]
    epochs.current[ids[4]] = 1
    results = await together(files, epochs, ids)
    assert [type(result) for result in results] == [TakenOver if number == 4 else Written for number in range(10)]
    assert len(epochs.asked) < 10
    assert sorted(ticket_id for asked in epochs.asked for ticket_id in asked) == ids
    assert [partial(root, ticket_id).read_bytes() for ticket_id in ids] == [
        b"" if number == 4 else b"x" for number in range(10)
    ]


async def test_without_an_answer_nothing_is_written_and_nothing_stays_locked(open_files: OpenFiles, root: Path) -> None:
    epochs = Epochs(root)
    epochs.fails = True
    files = open_files(epochs_of=epochs)
    ids = [f"{number:032x}" for number in range(10)]
    results = await together(files, epochs, ids)
    assert {str(result) for result in results} == {"the ticket database is away"}
    assert len(set(map(id, results))) == 10, "an error each"
    epochs.fails = False
    assert all([(await files.write(new(ticket_id), [(0, b"x")])).durable == [(0, 1)] for ticket_id in ids])


async def test_a_file_that_another_process_holds_delays_no_other(open_files: OpenFiles, root: Path) -> None:
    epochs = Epochs(root)
    epochs.go_on.set()
    files = open_files(epochs_of=epochs)
    for ticket in (UPLOAD, ANOTHER):
        await files.write(ticket, [(0, b"abc")])
    with partial(root).open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        held = asyncio.ensure_future(files.write(UPLOAD, [(3, b"d")]))
        assert (await files.write(ANOTHER, [(3, b"d")])).durable == [(3, 4)]
        assert not held.done()
    assert (await held).durable == [(3, 4)]


async def test_two_writes_of_one_upload_at_once_are_both_made(open_files: OpenFiles, root: Path) -> None:
    epochs = Epochs(root)
    files = open_files(epochs_of=epochs)
    writes = [asyncio.ensure_future(files.write(ANOTHER, [(0, b"x")]))]
    await until(lambda: bool(epochs.asked), "the first question")
    writes += [asyncio.ensure_future(files.write(UPLOAD, [(offset, b"y")])) for offset in range(3)]
    await asyncio.sleep(0)
    epochs.go_on.set()
    await asyncio.gather(*writes)
    assert partial(root).read_bytes() == b"yyy"
