"""Admission by free space: how much room there must be, and that asking often costs little."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed, StorageFull
from incoming.maintenance.free_space import CACHE_SECONDS, FreeSpace
from incoming.storage.byte_store import ByteStore
from tests.support.stores import Clock, Stores


@pytest.fixture
def stores(tmp_path: Path, io_loop: IOLoop) -> Iterator[Stores]:
    stores = Stores(tmp_path / "storage")
    yield stores
    io_loop.run_sync(stores.close)


class Room:
    """Lets the store have as much room as `free` says; counts how often it is asked."""

    def __init__(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = 10**12
        self.error: Exception | None = None
        self.asked = 0
        monkeypatch.setattr(stores.files, "free_bytes", self._free_bytes)

    async def _free_bytes(self) -> int:
        self.asked += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        return self.free


@pytest.fixture
def room(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> Room:
    return Room(stores, monkeypatch)


def watch(store: ByteStore, limit: int) -> tuple[FreeSpace, Clock]:
    clock = Clock(0.0)
    return FreeSpace(store, limit, clock), clock


async def test_new_uploads_are_refused_when_no_file_can_be_made(stores: Stores, room: Room) -> None:
    """Without a watermark as well."""
    room.free = 0
    free_space, _ = watch(stores.files, 0)
    with pytest.raises(StorageFull, match="inodes"):
        await free_space.require()


async def test_new_uploads_are_refused_below_the_watermark(stores: Stores, room: Room) -> None:
    free_space, clock = watch(stores.files, 256 * 1024**2)
    room.free = 256 * 1024**2
    await free_space.require()
    room.free -= 1
    clock.advance(CACHE_SECONDS + 0.1)
    with pytest.raises(StorageFull) as refused:
        await free_space.require()
    assert refused.value.message == (
        "no space for new uploads: 268435455 bytes are free, the limit is 268435456 (256MiB)"
    )
    room.free = 10**12
    clock.advance(CACHE_SECONDS + 0.1)
    await free_space.require()


async def test_a_thousand_new_uploads_cost_one_measurement(stores: Stores, room: Room) -> None:
    free_space, clock = watch(stores.files, 1)
    await asyncio.gather(*(free_space.require() for _ in range(1000)))
    assert room.asked == 1
    clock.advance(CACHE_SECONDS + 0.1)
    await free_space.require()
    assert room.asked == 2


async def test_a_failed_measurement_is_not_remembered(stores: Stores, room: Room) -> None:
    free_space, _ = watch(stores.files, 1)
    room.error = StorageFailed("the disk does not answer")
    with pytest.raises(StorageFailed):
        await free_space.require()
    room.error = None
    await free_space.require()
    assert room.asked == 2


async def test_the_room_of_a_real_directory_is_measured(stores: Stores) -> None:
    await watch(stores.files, 1)[0].require()
    with pytest.raises(StorageFull):
        await watch(stores.files, 2**60)[0].require()
