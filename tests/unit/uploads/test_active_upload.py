"""One upload's way through a worker: what is acked is there, what is not acked may come again, whatever fails."""

import asyncio
from pathlib import Path

import pytest

from incoming.core.errors import (
    AlreadyComplete,
    BadRange,
    FileTooLarge,
    StorageFailed,
    StorageFull,
    TakenOver,
    UploadCancelled,
    UploadError,
)
from incoming.core.extents import Extents
from incoming.core.ticket import State
from incoming.uploads import active_upload as upload_module
from incoming.uploads.writes import commit_schedule
from tests.support.stores import until
from tests.support.upload_service_bench import Bench, outcome, start_write


def data(start: int, end: int) -> bytes:
    """What the file has at [start, end)."""
    return bytes((offset * 7 + offset // 256) % 251 for offset in range(start, end))


# --- any order, any overlap -------------------------------------------------------------------------------------------


@pytest.mark.promise(1)
async def test_chunks_in_any_order_make_the_file(bench: Bench) -> None:
    upload = await bench.open(await bench.new(), size=100)
    await asyncio.gather(
        *(upload.write(start, data(start, start + 10)) for start in (50, 0, 90, 20, 10, 70, 30, 80, 40, 60))
    )
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    assert bench.content(upload.ticket.id) == data(0, 100)
    bench.upload_service.leave(upload)


async def test_acked_bytes_are_in_the_ticket_store(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    await upload.write(20, data(20, 40), upload.ticket.epoch)
    assert (await bench.ticket(upload.ticket.id)).extents == Extents([(20, 40)])
    assert bench.files.part(upload.ticket.id).read_bytes()[20:] == data(20, 40)
    bench.upload_service.leave(upload)


async def test_bytes_once_acked_are_never_overwritten(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    await upload.write(20, data(20, 40))
    await upload.write(10, b"x" * 40)
    assert bench.files.part(upload.ticket.id).read_bytes()[10:] == b"x" * 10 + data(20, 40) + b"x" * 10
    assert upload.ticket.extents == Extents([(10, 50)])
    bench.upload_service.leave(upload)


@pytest.mark.parametrize("stage", ["write", "update"])
async def test_the_first_of_two_concurrent_chunks_wins(bench: Bench, stage: str) -> None:
    upload = await bench.open(await bench.new())
    store = bench.files if stage == "write" else bench.tickets
    store.faults.hold(stage)
    first = start_write(upload, 10, data(10, 30))
    await store.faults.until_held(stage)
    second = start_write(upload, 20, b"x" * 20)
    third = start_write(upload, 0, b"y" * 50)
    store.faults.release(stage)
    await asyncio.gather(first, second, third)
    assert bench.files.part(upload.ticket.id).read_bytes() == b"y" * 10 + data(10, 30) + b"x" * 10 + b"y" * 10
    assert store.faults.hit[stage] == 1
    bench.upload_service.leave(upload)


async def test_stored_bytes_are_not_written_again(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    await upload.write(0, data(0, 50))
    before = bench.files.faults.calls["write"]
    await upload.write(10, data(10, 50))
    assert bench.files.faults.calls["write"] == before
    bench.upload_service.leave(upload)


async def test_chunks_that_wait_for_a_commit_are_committed_together(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    bench.tickets.faults.hold("update")
    chunks = [start_write(upload, 0, data(0, 5))]
    await bench.tickets.faults.until_held("update")
    chunks += [start_write(upload, start, data(start, start + 5)) for start in range(5, 95, 5)]
    await until(lambda: bench.files.part(upload.ticket.id).stat().st_size == 95, "the rest being written")
    bench.tickets.faults.release("update")
    commits = bench.tickets.faults.calls["update"]
    await asyncio.gather(*chunks)
    assert bench.tickets.faults.calls["update"] - commits <= 2
    bench.upload_service.leave(upload)


async def test_nothing_is_acked_before_its_commit(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    bench.tickets.faults.hold("update")
    chunk = start_write(upload, 0, data(0, 5))
    await bench.tickets.faults.until_held("update")
    assert not chunk.done()
    bench.tickets.faults.release("update")
    await chunk
    bench.upload_service.leave(upload)


# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("start", "length"), [(99, 2), (100, 1), (2**53, 1)])
async def test_a_chunk_outside_the_file_is_refused(bench: Bench, start: int, length: int) -> None:
    upload = await bench.open(await bench.new())
    with pytest.raises(BadRange, match="the file at 100"):
        await upload.write(start, bytes(length))
    assert not bench.files.part(upload.ticket.id).exists()
    bench.upload_service.leave(upload)


async def test_a_file_of_unknown_size_stays_within_the_limit(bench: Bench) -> None:
    upload = await bench.open(await bench.new(max_size=50), size=None)
    await upload.write(40, data(40, 50))
    with pytest.raises(FileTooLarge, match="the limit is 50"):
        await upload.write(45, data(45, 51))
    bench.upload_service.leave(upload)


async def test_an_upload_has_only_so_many_ranges(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload_module, "MAX_EXTENTS", 3)
    upload = await bench.open(await bench.new())
    for start in (0, 10, 20):
        await upload.write(start, b"x")
    with pytest.raises(BadRange, match="more than 3"):
        await upload.write(30, b"x")
    await upload.write(1, bytes(9))
    assert upload.ticket.extents == Extents([(0, 11), (20, 21)])
    bench.upload_service.leave(upload)


# --- nothing new ------------------------------------------------------------------------------------------------------


async def test_known_bytes_are_acked_without_a_commit(tmp_path: Path) -> None:
    """Only now and then, because who sends them is active."""
    now = 1000.0
    bench = Bench(tmp_path / "storage", lambda: now, checkpoint_seconds=3600.0)
    upload = await bench.open(await bench.new())
    await upload.write(20, data(20, 40))
    calls = bench.tickets.faults.calls
    before = calls["update"]
    for _ in range(100):
        await upload.write(25, b"x" * 10)
    assert calls["update"] == before
    now += upload_module.ACTIVE_SECONDS
    for _ in range(100):
        await upload.write(25, b"x" * 10)
    assert calls["update"] == before + 1
    assert (await bench.ticket(upload.ticket.id)).active_at == now
    assert bench.files.part(upload.ticket.id).read_bytes()[20:] == data(20, 40)
    bench.upload_service.leave(upload)
    await bench.idle()
    await bench.close()


@pytest.mark.parametrize("idle_timeout", [1.0, 8.0])
async def test_known_bytes_keep_an_upload_alive_whatever_its_limit(tmp_path: Path, idle_timeout: float) -> None:
    now = 1000.0
    bench = Bench(tmp_path / "storage", lambda: now, checkpoint_seconds=3600.0, idle_timeout=idle_timeout)
    upload = await bench.open(await bench.new())
    await upload.write(20, data(20, 40))
    for _ in range(20):
        now += idle_timeout / 8
        await upload.write(20, data(20, 40))
        assert now - (await bench.ticket(upload.ticket.id)).active_at <= idle_timeout / 4
    bench.upload_service.leave(upload)
    await bench.idle()
    await bench.close()


async def test_known_bytes_of_a_superseded_session_are_refused(bench: Bench) -> None:
    upload = await bench.open(await bench.new(), session="session-1")
    old = upload.ticket.epoch
    await upload.write(0, data(0, 10), old)
    bench.upload_service.leave(await bench.open(upload.ticket.id, session="session-2"))
    with pytest.raises(TakenOver):
        await upload.write(0, data(0, 10), old)
    bench.upload_service.leave(upload)


async def test_after_a_failed_sync_known_bytes_are_not_believed(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    await upload.write(0, data(0, 10))
    bench.files.faults.fail("sync", StorageFailed("it is broken"))
    bench.tickets.faults.hold("update")
    failing = asyncio.create_task(upload.checkpoints.take())
    await bench.tickets.faults.until_held("update")
    again = start_write(upload, 0, data(0, 10))
    bench.tickets.faults.release("update")
    with pytest.raises(StorageFailed):
        await failing
    assert isinstance(await outcome(again), StorageFailed)
    assert (await bench.ticket(upload.ticket.id)).extents == Extents()
    bench.upload_service.leave(upload)


async def test_an_upload_of_many_ranges_is_committed_less_often(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its senders wait for: each commit writes all ranges."""
    upload = await bench.open(await bench.new())
    await asyncio.gather(*(upload.write(start, b"x", within=0) for start in range(0, 60, 2)))
    monkeypatch.setattr(commit_schedule, "RANGE_SECONDS", 1000.0)
    before = bench.tickets.faults.calls["update"]
    writes = [upload.write(start, b"x", within=0) for start in range(1, 60, 2)]
    await until(lambda: bench.files.part(upload.ticket.id).read_bytes()[1:2] == b"x", "the next byte being written")
    assert not any(write.done() for write in writes)
    assert bench.tickets.faults.calls["update"] == before
    monkeypatch.setattr(commit_schedule, "RANGE_SECONDS", 0.0)
    upload._commits._sooner.set()
    await asyncio.gather(*writes)
    bench.upload_service.leave(upload)


# --- who may ----------------------------------------------------------------------------------------------------------


async def test_a_late_chunk_of_a_superseded_session_is_not_stored(bench: Bench) -> None:
    upload = await bench.open(await bench.new(), session="session-1")
    epoch = upload.ticket.epoch
    bench.upload_service.leave(await bench.open(upload.ticket.id, session="session-2"))
    with pytest.raises(TakenOver):
        await upload.write(0, data(0, 10), epoch)
    assert upload.ticket.extents == Extents()
    bench.upload_service.leave(upload)


@pytest.mark.parametrize("stage", ["write", "update"])
async def test_bytes_of_a_new_session_win_over_those_in_progress(bench: Bench, stage: str) -> None:
    upload = await bench.open(await bench.new(), session="session-1")
    old = upload.ticket.epoch
    store = bench.files if stage == "write" else bench.tickets
    store.faults.hold(stage)
    late = start_write(upload, 0, b"x" * 10, old)
    await store.faults.until_held(stage)
    queued = start_write(upload, 50, b"x" * 10, old)
    # The takeover goes past the gate, as another worker's would.
    ticket = await bench.tickets.inner.update(upload.ticket.id, lambda known: known.open("session-2", None, 1.0))
    upload.adopt(ticket)
    chunk = start_write(upload, 5, data(5, 20), ticket.epoch)
    store.faults.release(stage)
    assert isinstance(await outcome(late), TakenOver)
    assert isinstance(await outcome(queued), TakenOver)
    await chunk
    assert upload.ticket.extents == Extents([(5, 20)])
    assert bench.files.part(upload.ticket.id).read_bytes()[5:20] == data(5, 20)
    bench.upload_service.leave(upload)


async def test_a_client_without_a_session_is_taken_at_any_epoch(bench: Bench) -> None:
    """What was on its way when the epoch rose is written in the new one."""
    upload = await bench.open(await bench.new(), session="session-1")
    await upload.write(0, data(0, 10))
    bench.files.faults.hold("write")
    under_way = start_write(upload, 10, data(10, 20))
    await bench.files.faults.until_held("write")
    queued = start_write(upload, 20, data(20, 30))
    bench.upload_service.leave(await bench.open(upload.ticket.id, session="session-2"))
    bench.files.faults.release("write")
    await under_way
    await queued
    assert upload.ticket.extents == Extents([(0, 30)])
    assert bench.files.part(upload.ticket.id).read_bytes() == data(0, 30)
    bench.upload_service.leave(upload)


# --- too late ---------------------------------------------------------------------------------------------------------


async def test_a_chunk_that_comes_again_after_completion_is_acked_and_changes_nothing(bench: Bench) -> None:
    upload = await bench.open(await bench.new(), size=10)
    epoch = upload.ticket.epoch
    await upload.write(0, data(0, 10), epoch)
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    await upload.write(2, b"x" * 5, epoch)
    with pytest.raises(BadRange):
        await upload.write(2, b"x" * 9, epoch)
    assert bench.content(upload.ticket.id) == data(0, 10)
    bench.upload_service.leave(upload)


async def test_a_repeated_chunk_is_acked_after_completion_by_another_worker(tmp_path: Path, bench: Bench) -> None:
    upload = await bench.open(await bench.new(), size=10)
    await upload.write(0, data(0, 5))
    other = Bench(tmp_path / "storage")
    elsewhere = await other.upload_service.join(upload.ticket.id, upload.ticket.epoch)
    bench.files.faults.hold("write")
    late = start_write(upload, 5, b"x" * 5, upload.ticket.epoch)
    await bench.files.faults.until_held("write")
    await elsewhere.write(5, data(5, 10))
    await until(lambda: elsewhere.ticket.state == State.ARRIVED, "the file")
    bench.files.faults.release("write")
    await late
    assert bench.content(upload.ticket.id) == data(0, 10)
    other.upload_service.leave(elsewhere)
    await other.idle()
    await other.close()
    bench.upload_service.leave(upload)


async def test_a_repeated_chunk_is_acked_between_the_rename_and_its_commit(tmp_path: Path, bench: Bench) -> None:
    upload = await bench.open(await bench.new(), size=10)
    await upload.write(0, data(0, 5))
    other = Bench(tmp_path / "storage")
    other.files.faults.hold("completed")
    elsewhere = await other.upload_service.join(upload.ticket.id, upload.ticket.epoch)
    bench.files.faults.hold("write")
    late = start_write(upload, 5, b"x" * 5, upload.ticket.epoch)
    await bench.files.faults.until_held("write")
    await elsewhere.write(5, data(5, 10))
    await other.files.faults.until_held("completed")
    assert (await bench.ticket(upload.ticket.id)).state == State.UPLOADING
    bench.files.faults.release("write")
    await late
    other.files.faults.release("completed")
    await until(lambda: elsewhere.ticket.state == State.ARRIVED, "the file")
    assert bench.content(upload.ticket.id) == data(0, 10)
    other.upload_service.leave(elsewhere)
    await other.idle()
    await other.close()
    bench.upload_service.leave(upload)


@pytest.mark.parametrize("stage", ["write", "update"])
async def test_a_chunk_under_way_when_the_upload_is_cancelled_learns_of_that(bench: Bench, stage: str) -> None:
    upload = await bench.open(await bench.new())
    store = bench.files if stage == "write" else bench.tickets
    store.faults.hold(stage)
    chunk = start_write(upload, 0, data(0, 10), upload.ticket.epoch)
    await store.faults.until_held(stage)
    queued = start_write(upload, 10, data(10, 20), upload.ticket.epoch)
    await bench.tickets.inner.update(upload.ticket.id, lambda known: known.cancel("enough", None, 1.0))
    store.faults.release(stage)
    for task in (chunk, queued):
        error = await outcome(task)
        assert isinstance(error, UploadCancelled)
        assert "enough" in error.message
    bench.upload_service.leave(upload)


async def test_nothing_is_written_when_every_queued_chunk_is_refused(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    bench.files.faults.hold("write")
    chunk = start_write(upload, 0, data(0, 10), upload.ticket.epoch)
    await bench.files.faults.until_held("write")
    queued = start_write(upload, 10, data(10, 20), upload.ticket.epoch)
    upload.adopt(await bench.tickets.inner.update(upload.ticket.id, lambda known: known.cancel("enough", None, 1.0)))
    bench.files.faults.release("write")
    assert upload._write_task is not None
    await upload._write_task
    for task in (chunk, queued):
        assert isinstance(await outcome(task), UploadCancelled)
    bench.upload_service.leave(upload)


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StorageFull("full"), StorageFailed("broken")])
async def test_a_write_that_fails_is_not_acked_and_may_come_again(bench: Bench, error: UploadError) -> None:
    upload = await bench.open(await bench.new())
    await upload.write(0, data(0, 10))
    bench.files.faults.fail("write", error)
    assert type(await outcome(start_write(upload, 5, data(5, 20)))) is type(error)
    assert upload.ticket.extents == Extents([(0, 10)])
    assert bench.files.faults.hit["write"] == 1
    await upload.write(5, data(5, 20))
    assert upload.ticket.extents == Extents([(0, 20)])
    assert bench.files.part(upload.ticket.id).read_bytes() == data(0, 20)
    bench.upload_service.leave(upload)


async def test_a_full_disk_delays_no_other_upload(bench: Bench) -> None:
    full, other = [await bench.open(await bench.new()) for _ in range(2)]
    bench.files.faults.fail("write", StorageFull("full"))
    assert isinstance(await outcome(start_write(full, 0, data(0, 10))), StorageFull)
    await other.write(0, data(0, 10))
    assert other.ticket.extents == Extents([(0, 10)])
    for upload in (full, other):
        bench.upload_service.leave(upload)


@pytest.mark.parametrize("error", [StorageFull("full"), StorageFailed("broken")])
async def test_a_commit_that_fails_is_not_acked_and_may_come_again(bench: Bench, error: UploadError) -> None:
    upload = await bench.open(await bench.new())
    bench.tickets.faults.fail("update", error)
    assert type(await outcome(start_write(upload, 0, data(0, 20)))) is type(error)
    assert (await bench.ticket(upload.ticket.id)).extents == Extents()
    await upload.write(0, data(0, 20))
    assert upload.ticket.extents == Extents([(0, 20)])
    bench.upload_service.leave(upload)


async def test_what_is_being_written_when_a_commit_fails_stays_claimed(bench: Bench) -> None:
    """The failed commit must not make the pipeline forget the chunk behind it: a copy would overwrite it later."""
    upload = await bench.open(await bench.new())
    bench.tickets.faults.fail("update", StorageFailed("broken"))
    bench.tickets.faults.hold("update")
    failing = start_write(upload, 0, data(0, 10))
    await bench.tickets.faults.until_held("update")
    bench.files.faults.hold("write")
    behind = start_write(upload, 10, data(10, 20))
    await bench.files.faults.until_held("write")
    copy = start_write(upload, 10, b"x" * 10)
    bench.tickets.faults.release("update")
    assert isinstance(await outcome(failing), StorageFailed)
    bench.files.faults.release("write")
    await asyncio.gather(behind, copy)
    assert bench.files.part(upload.ticket.id).read_bytes()[10:] == data(10, 20)
    bench.upload_service.leave(upload)


async def test_what_is_being_committed_when_a_write_fails_stays_claimed(bench: Bench) -> None:
    upload = await bench.open(await bench.new())
    bench.tickets.faults.hold("update")
    first = start_write(upload, 0, data(0, 10))
    await bench.tickets.faults.until_held("update")
    bench.files.faults.fail("write", StorageFull("full"))
    assert isinstance(await outcome(start_write(upload, 10, data(10, 20))), StorageFull)
    copy = start_write(upload, 0, b"x" * 20)
    await until(lambda: bench.files.part(upload.ticket.id).stat().st_size == 20, "the copy being written")
    bench.tickets.faults.release("update")
    await asyncio.gather(first, copy)
    assert bench.files.part(upload.ticket.id).read_bytes() == data(0, 10) + b"x" * 10
    bench.upload_service.leave(upload)


@pytest.mark.parametrize("stage", ["write", "update"])
async def test_a_cancelled_write_fails_no_other(bench: Bench, stage: str) -> None:
    upload = await bench.open(await bench.new())
    store = bench.files if stage == "write" else bench.tickets
    store.faults.hold(stage)
    given_up = start_write(upload, 0, data(0, 10))
    await store.faults.until_held(stage)
    patient = start_write(upload, 10, data(10, 20))
    given_up.cancel()
    assert isinstance(await outcome(given_up), asyncio.CancelledError)
    store.faults.release(stage)
    await patient
    assert upload.ticket.extents == Extents([(0, 20)])
    bench.upload_service.leave(upload)


async def test_each_waiter_gets_its_own_error(bench: Bench) -> None:
    """A shared one would gather the traceback of everybody who raises it."""
    upload = await bench.open(await bench.new())
    bench.files.faults.hold("write")
    bench.files.faults.fail("write", StorageFull("full"))
    first = start_write(upload, 0, b"x")
    await bench.files.faults.until_held("write")
    bench.files.faults.release("write")
    await outcome(first)
    bench.files.faults.hold("write")
    bench.files.faults.fail("write", None, StorageFull("full"))
    blocker = start_write(upload, 0, b"x")
    await bench.files.faults.until_held("write")
    together = [start_write(upload, start, b"x") for start in (1, 2)]
    bench.files.faults.release("write")
    await blocker
    one, other = [await outcome(task) for task in together]
    assert isinstance(one, StorageFull)
    assert isinstance(other, StorageFull)
    assert one is not other
    bench.upload_service.leave(upload)


async def test_a_defect_is_an_error_for_the_client_and_not_a_hanging_chunk(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    upload = await bench.open(await bench.new())

    async def broken(*args: object) -> list[tuple[int, int]]:
        raise ZeroDivisionError

    with monkeypatch.context() as context:
        context.setattr(bench.files, "write", broken)
        assert isinstance(await outcome(start_write(upload, 0, b"x")), StorageFailed)
    assert "write failed" in caplog.text
    await upload.write(0, b"x")
    bench.upload_service.leave(upload)


async def test_outcome_of_a_complete_file_is_not_an_error_for_a_copy_only(bench: Bench) -> None:
    upload = await bench.open(await bench.new(), size=10)
    await upload.write(0, data(0, 10))
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    with pytest.raises(AlreadyComplete):
        await bench.upload_service.pause(upload.ticket.id, None)
    bench.upload_service.leave(upload)


async def test_what_a_replaced_session_sends_is_not_acked_because_the_new_one_has_sent_it(bench: Bench) -> None:
    """It may be other bytes. Neither while the file is incomplete nor when it has arrived."""
    upload = await bench.open(await bench.new(), size=10)
    replaced = upload.ticket.epoch
    await upload.write(0, data(0, 2), replaced)
    again = await bench.open(upload.ticket.id, size=10, session="session-2")
    await again.write(2, data(2, 4), again.ticket.epoch)
    assert isinstance(await outcome(start_write(upload, 2, b"xx", replaced)), TakenOver)
    await again.write(4, data(4, 10), again.ticket.epoch)
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    assert isinstance(await outcome(start_write(upload, 2, b"xx", replaced)), TakenOver)
    await again.write(2, data(2, 4), again.ticket.epoch)
    for one in (upload, again):
        bench.upload_service.leave(one)


async def test_another_file_of_the_upload_s_name_ends_no_upload(bench: Bench) -> None:
    """It is not the complete file, whatever its name says: the client waits until it is gone."""
    upload = await bench.open(await bench.new(), size=10)
    foreign = bench.files.part(upload.ticket.id).with_suffix("")
    foreign.parent.mkdir(exist_ok=True)
    foreign.write_bytes(bytes(10))
    assert isinstance(await outcome(start_write(upload, 0, data(0, 10))), StorageFailed)
    assert upload.ticket.state == State.UPLOADING
    foreign.unlink()
    await upload.write(0, data(0, 10))
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    assert foreign.read_bytes() == data(0, 10)
    bench.upload_service.leave(upload)
