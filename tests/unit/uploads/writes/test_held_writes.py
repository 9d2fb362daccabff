"""Held writes count all together or not at all, and stand in the way of nobody else's bytes."""

import asyncio

import pytest

from incoming.core.errors import StorageFailed, TakenOver
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State
from incoming.storage.byte_store import BytesLost
from incoming.uploads.claims import ClaimedUpload
from incoming.uploads.writes.held_writes import HeldWrites
from tests.support.stores import until
from tests.support.upload_service_bench import Bench


async def claim(bench: Bench, ticket_id: str) -> tuple[ClaimedUpload, HeldWrites]:
    claimed = await bench.upload_service.claim(ticket_id, Identity(size=100))
    return claimed, HeldWrites(claimed.upload, claimed.ticket.extents.prefix, claimed.ticket.epoch)


async def test_held_bytes_count_from_their_commit_on(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    for start in range(0, 60, 20):
        await held.write(start, bytes([start]) * 20, epoch)
    assert not (await bench.ticket(ticket_id)).extents
    assert bench.files.part(ticket_id).stat().st_size == 60
    await held.commit()
    assert (await bench.ticket(ticket_id)).extents == Extents([(0, 60)])
    await upload.write(60, bytes(40), epoch)
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    assert bench.content(ticket_id) == bytes([0]) * 20 + bytes([20]) * 20 + bytes([40]) * 20 + bytes(40)
    bench.upload_service.leave(upload)


async def test_held_bytes_that_are_not_committed_give_way_to_others(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    await held.write(0, b"x" * 50, epoch)
    await upload.write(0, b"g" * 100, epoch)
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    assert bench.content(ticket_id) == b"g" * 100
    bench.upload_service.leave(upload)


async def test_in_one_batch_held_bytes_do_not_stand_in_for_others(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    bench.files.faults.hold("write")
    first = upload.write(90, b"g" * 10, epoch)
    await bench.files.faults.until_held("write")
    writes = [held.write(0, b"x" * 50, epoch), upload.write(0, b"g" * 90, epoch), held.write(50, b"x" * 20, epoch)]
    bench.files.faults.release("write")
    await asyncio.gather(first, *writes)
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    assert bench.content(ticket_id) == b"g" * 100
    bench.upload_service.leave(upload)


async def test_bytes_once_acked_are_not_overwritten_by_held_ones(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    await upload.write(10, b"g" * 10, epoch)
    await held.write(0, b"x" * 30, epoch)
    assert bench.files.part(ticket_id).read_bytes() == b"x" * 10 + b"g" * 10 + b"x" * 10
    await held.commit()
    assert upload.ticket.extents == Extents([(0, 30)])
    bench.upload_service.leave(upload)


async def test_held_bytes_of_an_epoch_that_is_over_never_count(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    await held.write(0, bytes(50), claimed.ticket.epoch)
    newer = await bench.upload_service.claim(ticket_id)
    with pytest.raises(TakenOver):
        await held.commit()
    assert not (await bench.ticket(ticket_id)).extents
    for each in (claimed, newer):
        bench.upload_service.leave(each.upload)


@pytest.mark.promise(2)
async def test_held_bytes_that_a_failed_sync_may_have_lost_never_count(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    await held.write(0, bytes(50), epoch)
    bench.files.faults.fail("sync", StorageFailed("EIO"))
    with pytest.raises(StorageFailed):
        await upload.checkpoints.take()
    with pytest.raises(TakenOver):
        await held.commit()
    assert not (await bench.ticket(ticket_id)).extents
    bench.upload_service.leave(upload)


async def test_a_held_write_that_fails_fails_its_body(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    bench.files.faults.fail("write", BytesLost("gone"))
    with pytest.raises(StorageFailed):
        await held.write(0, bytes(50), epoch)
    assert not (await bench.ticket(ticket_id)).extents
    bench.upload_service.leave(upload)


async def test_committed_held_bytes_are_synced_by_the_next_checkpoint(bench: Bench) -> None:
    claimed, held = await claim(bench, ticket_id := await bench.new())
    upload, epoch = claimed.upload, claimed.ticket.epoch
    await held.write(0, bytes(50), epoch)
    await upload.checkpoints.take()
    await held.commit()
    await upload.checkpoints.take()
    assert (await bench.ticket(ticket_id)).synced == Extents([(0, 50)])
    bench.upload_service.leave(upload)
