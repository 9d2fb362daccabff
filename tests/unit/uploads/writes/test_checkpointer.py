"""When the file is synced, and that nothing unsynced is believed after a sync has failed."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import ServerShutdown, StorageFailed, StorageFull, TakenOver, TooBusy, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import State, Ticket
from incoming.storage.filesystem.store import FileStore
from incoming.storage.ticket_store import Change
from incoming.uploads.active_upload import ActiveUpload
from tests.support.stores import until
from tests.support.upload_service_bench import Bench, outcome, start_write
from tests.unit.storage.faulty_disk import FaultyDisk

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[MakeBench]:
    """Makes workers on one directory, which checkpoint only when told unless the test says otherwise."""
    made: list[Bench] = []

    def make(**settings: object) -> Bench:
        made.append(Bench(tmp_path / "storage", **{"checkpoint_seconds": 3600.0, **settings}))
        return made[-1]

    yield make
    for bench in made:
        io_loop.run_sync(bench.idle)
    for bench in made:
        io_loop.run_sync(bench.close)


# --- when -------------------------------------------------------------------------------------------------------------


async def test_checkpoint_after_so_many_bytes(make_bench: MakeBench) -> None:
    bench = make_bench(checkpoint_bytes=1000)
    upload = await bench.open(await bench.new(), size=10_000)
    await upload.write(0, bytes(999))
    assert bench.files.faults.calls["sync"] == 0
    await upload.write(999, bytes(1))
    await until(lambda: upload.ticket.synced == Extents([(0, 1000)]), "the checkpoint")
    assert bench.files.faults.calls["sync"] == 1
    bench.upload_service.leave(upload)


async def test_the_record_of_a_checkpoint_survives_a_power_cut(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is synced and not recorded so would be sent again."""
    bench = make_bench()
    upload = await bench.open(await bench.new(), size=10_000)
    await upload.write(0, bytes(1000))
    real = bench.tickets.inner.update
    durable: list[object] = []

    async def update(ticket_id: str, change: Change, **how: Any) -> Ticket:
        durable.append(how.get("durable", True))
        return await real(ticket_id, change, **how)

    monkeypatch.setattr(bench.tickets.inner, "update", update)
    await upload.checkpoints.take()
    assert upload.ticket.synced.size == 1000
    assert durable == [True]
    bench.upload_service.leave(upload)


async def test_a_record_that_fails_is_made_by_the_next_checkpoint(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new(), size=10_000)
    await upload.write(0, bytes(1000))
    bench.tickets.faults.fail("update", StorageFailed("the database is away"))
    assert isinstance(await outcome(upload.checkpoints.take()), StorageFailed)
    await upload.checkpoints.take()
    assert upload.ticket.synced.size == 1000
    bench.upload_service.leave(upload)


async def test_checkpoint_while_the_disk_is_never_idle(make_bench: MakeBench) -> None:
    bench = make_bench(checkpoint_bytes=1000)
    upload = await bench.open(await bench.new(), size=10_000_000)
    position = 0

    async def send() -> None:
        nonlocal position
        while not upload.ticket.synced:
            position += 100
            await upload.write(position - 100, bytes(100))

    async with asyncio.timeout(20):
        await asyncio.gather(*(send() for _ in range(8)))
    bench.upload_service.leave(upload)


async def test_checkpoint_after_so_much_time(make_bench: MakeBench) -> None:
    bench = make_bench(checkpoint_seconds=0.1)
    upload = await bench.open(await bench.new())
    await upload.write(0, bytes(10))
    await until(lambda: upload.ticket.synced == Extents([(0, 10)]), "the checkpoint")
    bench.upload_service.leave(upload)


async def test_checkpoint_when_the_last_connection_has_gone(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    await upload.write(0, bytes(10))
    bench.upload_service.leave(upload)
    await bench.idle()
    assert (await bench.ticket(upload.ticket.id)).synced == Extents([(0, 10)])


async def test_only_what_was_written_before_the_sync_counts_as_synced(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    await upload.write(0, bytes(10))
    bench.files.faults.hold("sync")
    checkpoint = asyncio.create_task(upload.checkpoints.take())
    await bench.files.faults.until_held("sync")
    await upload.write(10, bytes(10))
    bench.files.faults.release("sync")
    await checkpoint
    assert (await bench.ticket(upload.ticket.id)).synced == Extents([(0, 10)])
    await upload.checkpoints.take()
    assert (await bench.ticket(upload.ticket.id)).synced == Extents([(0, 20)])
    bench.upload_service.leave(upload)


async def test_two_checkpoints_at_once_are_one(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    await upload.write(0, bytes(10))
    await asyncio.gather(upload.checkpoints.take(), upload.checkpoints.take())
    assert bench.files.faults.calls["sync"] == 1
    assert not upload.busy
    bench.upload_service.leave(upload)


# --- a power cut ------------------------------------------------------------------------------------------------------


async def test_durability_power_syncs_before_each_ack(make_bench: MakeBench) -> None:
    bench = make_bench(durability="power")
    upload = await bench.open(await bench.new())
    bench.files.faults.hold("sync")
    chunk = start_write(upload, 0, bytes(10))
    await bench.files.faults.until_held("sync")
    assert (await bench.ticket(upload.ticket.id)).extents == Extents()
    assert not chunk.done()
    bench.files.faults.release("sync")
    await chunk
    assert (await bench.ticket(upload.ticket.id)).synced == Extents([(0, 10)])
    bench.upload_service.leave(upload)


@pytest.mark.parametrize(("durability", "survives"), [("power", [(0, 20)]), ("process", [(0, 10)])])
async def test_a_power_cut_keeps_what_the_durability_promises(
    make_bench: MakeBench, durability: str, survives: list[tuple[int, int]]
) -> None:
    bench = make_bench(durability=durability)
    upload = await bench.open(await bench.new())
    await bench.tickets.distrust_after_boot("before")
    await upload.write(0, bytes(10))
    await upload.checkpoints.take()
    await upload.write(10, bytes(10))
    ticket_id = upload.ticket.id
    await bench.tickets.distrust_after_boot("after")
    assert (await bench.ticket(ticket_id)).extents == Extents(survives)
    bench.upload_service.leave(upload)


# --- a sync that fails ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StorageFailed("EIO"), StorageFull("ENOSPC at write-back")])
async def test_unsynced_bytes_do_not_count_after_a_failed_sync(make_bench: MakeBench, error: UploadError) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    epoch = upload.ticket.epoch
    heard = bench.hear(upload.ticket.id)
    await upload.write(0, b"a" * 10, epoch)
    await upload.checkpoints.take()
    await upload.write(10, b"b" * 10, epoch)
    bench.files.lose_unsynced(upload.ticket.id, error)
    with pytest.raises(type(error)):
        await upload.checkpoints.take()
    assert bench.files.faults.hit["lost"] == 1
    ticket = await bench.ticket(upload.ticket.id)
    assert ticket.extents == Extents([(0, 10)])
    assert ticket.epoch > epoch
    await heard.until(lambda news: isinstance(news, type(error)), "the connections being told")
    with pytest.raises(TakenOver):
        await upload.write(20, b"late", epoch)
    await resend(bench, upload.ticket.id, b"b" * 90, 10)
    assert bench.content(upload.ticket.id) == b"a" * 10 + b"b" * 90
    heard.stop()
    bench.upload_service.leave(upload)


async def test_a_sync_that_could_not_be_tried_puts_nothing_in_doubt(make_bench: MakeBench) -> None:
    """No descriptor is left to open the file: that says nothing of what was written."""
    bench = make_bench()
    upload = await bench.open(await bench.new())
    epoch = upload.ticket.epoch
    await upload.write(0, b"a" * 10, epoch)
    bench.files.faults.fail("sync", TooBusy("EMFILE"))
    with pytest.raises(TooBusy):
        await upload.checkpoints.take()
    assert bench.files.faults.hit["sync"] == 1
    ticket = await bench.ticket(upload.ticket.id)
    assert (ticket.epoch, ticket.extents, ticket.synced) == (epoch, Extents([(0, 10)]), Extents())
    await upload.checkpoints.take()
    assert (await bench.ticket(upload.ticket.id)).synced == Extents([(0, 10)])
    bench.upload_service.leave(upload)


async def resend(bench: Bench, ticket_id: str, content: bytes, start: int) -> None:
    """What the client does next: says hello and sends; if that is the rest, the file arrives."""
    size = (await bench.ticket(ticket_id)).size
    upload = await bench.open(ticket_id, size)
    await upload.write(start, content, upload.ticket.epoch)
    if start + len(content) == size:
        await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    bench.upload_service.leave(upload)


@pytest.mark.parametrize("with_session", [True, False])
@pytest.mark.parametrize("recorded", [True, False])
async def test_bytes_written_during_a_failed_sync_do_not_count(
    make_bench: MakeBench, recorded: bool, with_session: bool
) -> None:
    """The disk takes a write when the loss is recorded already, or not yet. A client with a session is fenced off, one
    without is told of a fault, or its bytes are written once more.
    """
    bench = make_bench()
    upload = await bench.open(await bench.new())
    epoch = upload.ticket.epoch if with_session else None
    await upload.write(0, b"a" * 10, epoch)
    bench.files.faults.hold("write")
    first = start_write(upload, 10, b"b" * 10, epoch)
    await bench.files.faults.until_held("write")
    second = start_write(upload, 20, b"c" * 10, epoch)
    bench.files.lose_unsynced(upload.ticket.id)
    bench.tickets.faults.hold("update")
    checkpoint = asyncio.create_task(upload.checkpoints.take())
    await bench.tickets.faults.until_held("update")
    assert bench.files.faults.hit["lost"] == 1
    if recorded:
        bench.tickets.faults.release("update")
        assert isinstance(await outcome(checkpoint), StorageFailed)
        bench.files.faults.release("write")
    else:
        bench.files.faults.release("write")
        await until(lambda: not upload._queue, "the second's turn")
        bench.tickets.faults.release("update")
        assert isinstance(await outcome(checkpoint), StorageFailed)
    results = [await outcome(first), await outcome(second)]
    if recorded and not with_session:
        assert results == [None, None]
        assert upload.ticket.extents == Extents([(10, 30)])
        assert bench.files.part(upload.ticket.id).read_bytes()[10:30] == b"b" * 10 + b"c" * 10
    else:
        assert isinstance(results[0], TakenOver if with_session else StorageFailed)
        assert isinstance(results[1], TakenOver if recorded and with_session else StorageFailed)
        assert upload.ticket.extents == Extents()
    await send_all_again(bench, upload)


@pytest.mark.parametrize("with_session", [True, False])
async def test_bytes_committed_during_a_failed_sync_do_not_count(make_bench: MakeBench, with_session: bool) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    epoch = upload.ticket.epoch if with_session else None
    await upload.write(0, b"a" * 10, epoch)
    bench.tickets.faults.hold("update")
    first = start_write(upload, 10, b"b" * 10, epoch)
    await bench.tickets.faults.until_held("update")
    second = start_write(upload, 20, b"c" * 10, epoch)
    await until(lambda: bench.files.part(upload.ticket.id).stat().st_size == 30, "the second being written")
    bench.files.lose_unsynced(upload.ticket.id)
    checkpoint = asyncio.create_task(upload.checkpoints.take())
    await until(lambda: bench.files.faults.hit["lost"], "the failed sync")
    bench.tickets.faults.release("update")
    assert isinstance(await outcome(checkpoint), StorageFailed)
    await outcome(first)
    assert isinstance(await outcome(second), TakenOver if with_session else StorageFailed)
    assert upload.ticket.extents == Extents()
    await send_all_again(bench, upload)


@pytest.mark.parametrize("whole", [False, True])
async def test_a_failed_sync_of_one_worker_holds_for_all_workers(tmp_path: Path, whole: bool) -> None:
    """The kernel tells of the loss once, and the other worker syncs before it is recorded: it must not succeed."""
    two, broken = Bench(tmp_path / "storage"), FaultyDisk()
    files = FileStore(tmp_path / "storage", disk=broken, epochs_of=two.tickets.inner.epochs_of)
    one = Bench(tmp_path / "storage", files=files)
    here = await one.open(await one.new(), size=20)
    there = await two.open(here.ticket.id, size=20, epoch=here.ticket.epoch)
    await here.write(0, b"a" * 10, here.ticket.epoch)
    broken.fail("fdatasync")
    one.tickets.faults.hold("update")
    failing = asyncio.create_task(here.checkpoints.take())
    await one.tickets.faults.until_held("update")
    assert broken.hits == 1
    await there.write(10, b"b" * (10 if whole else 5), there.ticket.epoch)
    other = asyncio.create_task(two.upload_service.finalise(there.ticket.id) if whole else there.checkpoints.take())
    done, _ = await asyncio.wait([other], timeout=0.1)
    assert not done
    one.tickets.faults.release("update")
    assert isinstance(await outcome(failing), StorageFailed)
    await other
    ticket = await one.ticket(here.ticket.id)
    assert (ticket.state, ticket.extents, ticket.synced) == (State.UPLOADING, Extents(), Extents())
    one.upload_service.leave(here)
    two.upload_service.leave(there)
    for bench in (one, two):
        await bench.idle()
    for bench in (one, two):
        await bench.close()
    assert broken.open_descriptors == set()


async def send_all_again(bench: Bench, upload: ActiveUpload) -> None:
    await resend(bench, upload.ticket.id, b"d" * 10, 0)
    await resend(bench, upload.ticket.id, b"b" * 10 + b"c" * 10 + b"d" * 70, 10)
    assert bench.content(upload.ticket.id) == b"d" * 10 + b"b" * 10 + b"c" * 10 + b"d" * 70
    bench.upload_service.leave(upload)


async def test_nothing_is_committed_until_the_loss_is_recorded(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    await upload.write(0, b"a" * 10)
    bench.files.lose_unsynced(upload.ticket.id)
    bench.tickets.faults.fail_always("update", StorageFailed("the database is on the same broken disk"))
    with pytest.raises(StorageFailed):
        await upload.checkpoints.take()
    assert upload.checkpoints.suspect
    assert isinstance(await outcome(start_write(upload, 10, b"b" * 10)), StorageFailed)
    bench.tickets.faults.fail_always("update", None)
    bench.upload_service.leave(upload)
    await bench.idle()
    assert (await bench.ticket(upload.ticket.id)).extents == Extents()
    assert bench.tickets.faults.hit["update"] >= 2


async def test_loss_that_another_worker_noticed_counts_here_as_well(make_bench: MakeBench) -> None:
    here, there = make_bench(), make_bench()
    upload = await here.open(await here.new())
    await upload.write(0, b"a" * 10)
    elsewhere = await there.upload_service.open_plain(upload.ticket.id, upload.ticket.identity)
    await elsewhere.write(10, b"b" * 10)
    there.files.lose_unsynced(upload.ticket.id)
    with pytest.raises(StorageFailed):
        await elsewhere.checkpoints.take()
    # As soon as this worker knows, it writes again what it had written before. Its own descriptor still has the error.
    upload.adopt(await here.ticket(upload.ticket.id))
    await upload.write(0, b"c" * 100)
    await until(lambda: here.files.faults.hit["lost"], "the kernel telling this worker, too")
    await until(lambda: not here.upload_service._finalising, "the attempt to complete it")
    await resend(here, upload.ticket.id, b"d" * 100, 0)
    assert here.content(upload.ticket.id) == b"d" * 100
    here.upload_service.leave(upload)
    there.upload_service.leave(elsewhere)


async def test_end_of_the_store_is_no_fault_of_the_disk(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    await upload.write(0, b"a" * 10)
    await bench.files.close()
    with pytest.raises(ServerShutdown):
        await upload.checkpoints.take()
    assert (await bench.ticket(upload.ticket.id)).extents == Extents([(0, 10)])
    await bench.upload_service.drain()
    bench.upload_service.leave(upload)


# --- completing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StorageFailed("EIO"), StorageFull("ENOSPC at write-back")])
async def test_a_file_that_cannot_be_synced_does_not_arrive(make_bench: MakeBench, error: UploadError) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new(), size=20)
    heard = bench.hear(upload.ticket.id)
    await upload.write(0, b"a" * 10)
    await upload.checkpoints.take()
    bench.files.lose_unsynced(upload.ticket.id, error)
    await upload.write(10, b"b" * 10)
    await heard.until(lambda news: isinstance(news, type(error)), "the connections being told")
    await until(lambda: upload.ticket.extents == Extents([(0, 10)]), "the loss being noted")
    assert upload.ticket.state == State.UPLOADING
    assert bench.files.faults.hit["lost"] == 1
    heard.stop()
    await resend(bench, upload.ticket.id, b"c" * 10, 10)
    assert bench.content(upload.ticket.id) == b"a" * 10 + b"c" * 10
    bench.upload_service.leave(upload)


async def test_a_checkpoint_does_not_take_the_error_away_from_the_completion(make_bench: MakeBench) -> None:
    """The kernel tells of a lost page once. Here the checkpoint hears of it, just before the file is completed."""
    bench = make_bench()
    upload = await bench.open(await bench.new(), size=20)
    await upload.write(0, b"a" * 10)
    bench.files.faults.hold("sync")
    checkpoint = asyncio.create_task(upload.checkpoints.take())
    await bench.files.faults.until_held("sync")
    bench.files.lose_unsynced(upload.ticket.id)
    await upload.write(10, b"b" * 10)
    bench.files.faults.release("sync")
    assert isinstance(await outcome(checkpoint), StorageFailed)
    await until(lambda: not bench.upload_service._finalising, "the attempt to complete it")
    ticket = await bench.ticket(upload.ticket.id)
    assert (ticket.state, ticket.extents) == (State.UPLOADING, Extents())
    assert not bench.files.final(upload.ticket.id).exists()
    await resend(bench, upload.ticket.id, b"c" * 20, 0)
    bench.upload_service.leave(upload)


async def test_loss_noticed_by_another_worker_while_the_file_is_being_completed(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new(), size=20)
    bench.files.faults.hold("completed")
    await upload.write(0, b"a" * 20)
    await bench.files.faults.until_held("completed")
    await bench.tickets.inner.update(upload.ticket.id, lambda known: known.distrust())
    bench.files.faults.release("completed")
    await until(lambda: not bench.upload_service._finalising, "the attempt to complete it")
    ticket = await bench.ticket(upload.ticket.id)
    assert (ticket.state, ticket.extents, ticket.synced) == (State.UPLOADING, Extents(), Extents())
    await until(lambda: not bench.files.final(upload.ticket.id).exists(), "the file being removed")
    await resend(bench, upload.ticket.id, b"c" * 20, 0)
    assert bench.content(upload.ticket.id) == b"c" * 20
    bench.upload_service.leave(upload)
