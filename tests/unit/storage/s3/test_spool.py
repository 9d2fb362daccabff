"""The spool: what is written is there, rooms are counted, and blocks go back to the disk."""

import asyncio
import os
from pathlib import Path

import pytest

from incoming.core.errors import StorageFull
from incoming.storage.s3.bucket import spool as module
from incoming.storage.s3.bucket.spool import Spool

BLOCK = 4096


def first_data(spool: Spool) -> int:
    """Return where the first block is that the file has on the disk."""
    return os.lseek(spool.file, 0, getattr(os, "SEEK_DATA", 3))


async def test_regions_are_apart_and_their_blocks_go_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10**6)
    with spool:
        one, two = spool.region(3 * BLOCK + 1), spool.region(BLOCK)
        await one.write((2 * BLOCK, b"b" * 5000))
        await one.write((0, memoryview(b"a" * BLOCK)))
        await two.write((0, b"c" * BLOCK))
        await one.write((0, b"a" * 10))  # the same again counts once
        assert spool.used == 5000 + 2 * BLOCK
        assert await one.read(BLOCK - 1, 1) + await one.read(2 * BLOCK, 3) + await two.read(0, 2) == b"abbbcc"
        assert first_data(spool) == 0
        await one.close()
        assert (spool.used, first_data(spool)) == (BLOCK, 4 * BLOCK)
        assert await two.read(0, BLOCK) == b"c" * BLOCK
    assert list(tmp_path.iterdir()) == []


async def test_a_full_spool_makes_writers_wait(tmp_path: Path) -> None:
    spool = Spool(tmp_path, BLOCK)
    with spool:
        region = spool.region(BLOCK)
        await region.write((0, bytes(BLOCK)))
        assert spool.is_full
        waiting = asyncio.ensure_future(spool.wait_for_room())
        done, _ = await asyncio.wait([waiting], timeout=0)
        assert not done
        assert (spool.used, spool.limit, spool.held) == (BLOCK, BLOCK, 1)
        await region.close()
        await waiting
        assert (spool.used, spool.held) == (0, 0)


async def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, BLOCK)
    with spool:

        def full(*_: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(module, "_write_all", full)
        with pytest.raises(StorageFull, match="the spool in storage_dir: No space left on device"):
            await spool.region(BLOCK).write((0, b"x"))
        assert spool.used == 0
