"""Parts are put into their order in a file of its own; a process that dies in between loses nothing."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from incoming.core.errors import StorageFailed, TakenOver
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket, TicketOptions
from incoming.storage.byte_store import BytesLost, JoiningStore
from incoming.storage.filesystem.disk import PosixDisk
from incoming.storage.filesystem.store import FileStore
from tests.unit.storage.faulty_disk import Died, FaultyDisk

ID = "0" * 32
PARTS = ((0, 3), (3, 7), (7, 9))
ORDER = ((7, 9), (0, 3))
STORED, JOINED = b"abcdefgXY", b"XYabc"


def ticket(store_data: str = "", extents: Extents | None = None) -> Ticket:
    options = TicketOptions(signal_finish_url="http://127.0.0.1:9/")
    known = Ticket(ID, options, created_at=0.0, active_at=0.0, state_since=0.0, state=State.UPLOADING)
    size = sum(end - start for start, end in ORDER)
    parts = {"parts": PARTS, "order": ORDER, "identity": Identity(size=size)}
    return replace(known, extents=extents or Extents(), store_data=store_data, **parts)  # type: ignore[arg-type]


async def begun(files: FileStore) -> Ticket:
    """All parts have arrived."""
    written = await files.write(ticket(), [(0, STORED)])
    return ticket(written.data, Extents(PARTS))


def names(root: Path) -> set[str]:
    return {path.name for path in root.rglob("*") if path.is_file()}


async def test_parts_are_joined_and_stay_until_they_are_removed(tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    assert isinstance(files, JoiningStore)
    known = await begun(files)
    for _ in range(2):
        path = Path((await files.join(known, 5)).address)
        assert path.read_bytes() == JOINED
        assert names(tmp_path) == {ID, f"{ID}.part"}
    await files.remove_partial(known)
    assert names(tmp_path) == {ID}
    await files.close()


async def test_death_at_any_call_loses_nothing(tmp_path: Path) -> None:
    point, died = 0, True
    while died:
        point += 1
        root, disk = tmp_path / str(point), FaultyDisk()
        files = FileStore(root, disk=disk)
        known = await begun(files)
        doomed = len(disk.calls) + point
        disk.rule = lambda name, call, doomed=doomed: Died() if call >= doomed else None  # type: ignore[misc]
        try:
            await files.join(known, 5)
            died = False
        except Died:
            disk.bury()
        disk.rule = lambda name, call: None
        await files.close()
        survivor = FileStore(root)
        assert await survivor.stored(known) == Extents(PARTS)
        assert Path((await survivor.join(known, 5)).address).read_bytes() == JOINED
        await survivor.remove(known)
        assert names(root) == set()
        await survivor.close()
    assert point > 10


@pytest.mark.parametrize("call", ["copy", "create", "fsync", "rename"])
async def test_a_failing_disk_leaves_the_parts_and_nothing_else(tmp_path: Path, call: str) -> None:
    disk = FaultyDisk()
    files = FileStore(tmp_path, disk=disk)
    known = await begun(files)
    disk.fail(call)
    with pytest.raises(StorageFailed):
        await files.join(known, 5)
    assert disk.hits == 1
    assert f"{ID}.part" in names(tmp_path)
    assert ID not in names(tmp_path)
    assert Path((await files.join(known, 5)).address).read_bytes() == JOINED
    await files.close()


async def test_missing_parts_are_reported(tmp_path: Path) -> None:
    files = FileStore(tmp_path)
    known = await begun(files)
    os.truncate(tmp_path / ID[:2] / f"{ID}.part", 8)
    with pytest.raises(BytesLost):
        await files.join(known, 5)
    assert ID not in names(tmp_path)
    await files.close()


async def test_another_epoch_joins_nothing(tmp_path: Path) -> None:
    epochs = [0]
    files = FileStore(tmp_path, epochs_of=lambda ids: dict.fromkeys(ids, epochs[0]))
    known = await begun(files)
    epochs[0] = 1
    with pytest.raises(TakenOver):
        await files.join(known, 5)
    await files.close()


def test_a_file_system_that_cannot_copy_is_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*given: object) -> int:
        raise OSError(18, os.strerror(18))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    disk, paths = PosixDisk(), [str(tmp_path / name) for name in "ab"]
    source, target = (disk.create(path, 0o600) for path in paths)
    disk.write(source, [STORED], 0)
    assert disk.copy(source, target, 7, 2, 1) == 2
    assert Path(paths[1]).read_bytes() == b"\0XY"
    disk.close(source)
    disk.close(target)
