"""Bytes that vanish from the storage during an upload cost a message and are sent again; the file has never a hole."""

import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket
from incoming.uploads.active_upload import ActiveUpload
from tests.support.stores import until
from tests.support.upload_service_bench import Bench, outcome

MakeBench = Callable[[], Bench]
HALF = 2000
CONTENT = bytes(range(1, 251)) * 16


@pytest.fixture
def make_bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[MakeBench]:
    """Makes workers on one directory, which checkpoint only when told."""
    made: list[Bench] = []

    def make() -> Bench:
        made.append(Bench(tmp_path / "storage", checkpoint_seconds=3600.0))
        return made[-1]

    yield make
    for bench in made:
        io_loop.run_sync(bench.idle)
    for bench in made:
        io_loop.run_sync(bench.close)


def remove(path: Path) -> None:
    path.unlink()


def replace_by_empty(path: Path) -> None:
    path.rename(path.with_name("kept"))
    path.write_bytes(bytes(HALF))


def cut_off(path: Path) -> None:
    os.truncate(path, 500)


def link(path: Path) -> None:
    os.link(path, path.with_name("second name"))


DAMAGES = {remove: 0, replace_by_empty: 0, cut_off: 500, link: 0}
WARNING = "of 2000 bytes must be sent again"


async def begin(bench: Bench, *, checkpoint: bool) -> ActiveUpload:
    """An upload of which half has arrived and perhaps is synced."""
    upload = await bench.open(await bench.new(), size=len(CONTENT))
    await upload.write(0, CONTENT[:HALF], upload.ticket.epoch)
    if checkpoint:
        await upload.checkpoints.take()
        assert upload.ticket.synced.size == HALF
    return upload


async def send_again(bench: Bench, ticket_id: str, session: str) -> None:
    """What a client does that was told of an error: asks what is there, and sends the rest."""
    errors: list[UploadError] = []
    while not await attempt(bench, ticket_id, session, errors):
        assert len(errors) < 3, errors
    assert bench.content(ticket_id) == CONTENT


async def attempt(bench: Bench, ticket_id: str, session: str, errors: list[UploadError]) -> bool:
    upload = await bench.open(ticket_id, size=len(CONTENT), session=session)
    try:
        for start, end in upload.ticket.extents.missing(0, len(CONTENT)):
            await upload.write(start, CONTENT[start:end], upload.ticket.epoch)
        await until(lambda: upload.ticket.state == State.ARRIVED, "the file to arrive")
    except UploadError as error:
        errors.append(error)
    finally:
        bench.upload_service.leave(upload)
    return upload.ticket.state == State.ARRIVED


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("checkpoint", [False, True], ids=["unsynced", "synced"])
async def test_bytes_lost_during_an_upload_are_requested_again(
    make_bench: MakeBench,
    caplog: pytest.LogCaptureFixture,
    damage: Callable[[Path], None],
    checkpoint: bool,
) -> None:
    bench = make_bench()
    upload = await begin(bench, checkpoint=checkpoint)
    heard = bench.hear(upload.ticket.id)
    epoch = upload.ticket.epoch
    damage(bench.files.part(upload.ticket.id))
    error = await outcome(upload.write(HALF, CONTENT[HALF:], epoch))
    assert isinstance(error, StorageFailed)
    assert error.retry
    await heard.until(lambda news: isinstance(news, StorageFailed))
    ticket = await bench.ticket(upload.ticket.id)
    assert ticket.extents == Extents([(0, DAMAGES[damage])])
    assert ticket.extents & ticket.synced == ticket.synced
    assert (ticket.epoch, ticket.state, ticket.session) == (epoch + 1, State.UPLOADING, "")
    assert caplog.text.count(WARNING) == 1
    assert len(caplog.records) == 1
    heard.stop()
    bench.upload_service.leave(upload)
    await send_again(bench, ticket.id, "session-2")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_bytes_lost_between_two_sessions_are_requested_again(
    make_bench: MakeBench, damage: Callable[[Path], None]
) -> None:
    """Nobody is connected, nothing is held open; another worker gets the rest."""
    one, two = make_bench(), make_bench()
    upload = await begin(one, checkpoint=True)
    ticket_id = upload.ticket.id
    one.upload_service.leave(upload)
    await one.idle()
    damage(one.files.part(ticket_id))
    again = await two.open(ticket_id, size=len(CONTENT), session="session-2")
    error = await outcome(again.write(HALF, CONTENT[HALF:], again.ticket.epoch))
    assert isinstance(error, StorageFailed)
    two.upload_service.leave(again)
    await send_again(two, ticket_id, "session-3")


@pytest.mark.parametrize("damage", DAMAGES)
async def test_bytes_lost_before_the_final_name_are_requested_again(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    bench = make_bench()
    upload = await begin(bench, checkpoint=False)
    heard = bench.hear(upload.ticket.id)
    bench.files.faults.hold("complete")
    await upload.write(HALF, CONTENT[HALF:], upload.ticket.epoch)
    await bench.files.faults.until_held("complete")
    damage(bench.files.part(upload.ticket.id))
    bench.files.faults.release("complete")
    await heard.until(lambda news: isinstance(news, StorageFailed))
    ticket = await bench.ticket(upload.ticket.id)
    assert (ticket.state, ticket.callback) == (State.UPLOADING, None)
    assert caplog.text.count("bytes must be sent again") == len(caplog.records) == 1
    heard.stop()
    bench.upload_service.leave(upload)
    await send_again(bench, ticket.id, "session-2")


async def test_bytes_lost_at_a_checkpoint_are_requested_again(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await begin(bench, checkpoint=False)
    cut_off(bench.files.part(upload.ticket.id))
    assert isinstance(await outcome(upload.checkpoints.take()), StorageFailed)
    assert upload.ticket.extents == Extents([(0, 500)])
    assert upload.ticket.synced == Extents()
    bench.upload_service.leave(upload)


async def test_a_checkpoint_that_was_under_way_brings_nothing_back(make_bench: MakeBench) -> None:
    """Its record comes when the bytes are gone, and others have come in their place that nobody has synced."""
    one, two = make_bench(), make_bench()
    upload = await begin(one, checkpoint=False)
    ticket_id = upload.ticket.id
    one.files.faults.hold("sync")
    taking = one.upload_service._spawn(upload.checkpoints.take())  # type: ignore[func-returns-value]
    assert taking is None
    await one.files.faults.until_held("sync")
    one.tickets.faults.hold("update")
    one.files.faults.release("sync")
    await one.tickets.faults.until_held("update")
    await two.tickets.update(ticket_id, lambda known: known.distrust())
    again = await two.open(ticket_id, size=len(CONTENT), session="session-2")
    await again.write(0, CONTENT[:HALF], again.ticket.epoch)
    one.tickets.faults.release("update")
    await until(lambda: one.upload_service._tasks == set(), "the checkpoint")
    ticket = await two.ticket(ticket_id)
    assert (ticket.extents.size, ticket.synced.size) == (HALF, 0)
    one.upload_service.leave(upload)
    two.upload_service.leave(again)


async def test_bytes_written_to_a_file_that_is_no_more_are_not_acked(make_bench: MakeBench) -> None:
    """Two workers write; the file vanishes; each has written to another one before any of it was committed."""
    one, two = make_bench(), make_bench()
    ticket_id = await one.new()
    opened = [await bench.open(ticket_id, size=len(CONTENT)) for bench in (one, two)]
    one.tickets.faults.hold("update")
    first = opened[0].write(0, CONTENT[:HALF], 1)
    await one.tickets.faults.until_held("update")
    one.files.part(ticket_id).rename(one.files.root / "aside")
    await opened[1].write(HALF, CONTENT[HALF : HALF + 100], 1)
    one.tickets.faults.release("update")
    assert isinstance(await outcome(first), StorageFailed)
    assert (await one.ticket(ticket_id)).extents == Extents([(HALF, HALF + 100)])
    for bench, upload in zip((one, two), opened, strict=True):
        bench.upload_service.leave(upload)
    await one.idle()
    await two.idle()
    await send_again(two, ticket_id, "session-2")


async def test_nothing_is_written_before_a_loss_is_recorded(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await begin(bench, checkpoint=True)
    epoch = upload.ticket.epoch
    remove(bench.files.part(upload.ticket.id))
    bench.tickets.faults.fail_always("update", StorageFailed("the database is away"))
    for _ in range(2):
        assert isinstance(await outcome(upload.write(HALF, CONTENT[HALF:], epoch)), StorageFailed)
    assert bench.files.faults.calls["write"] == 2, "the half, and the one that found it gone"
    assert not bench.files.part(upload.ticket.id).exists()
    bench.tickets.faults.clear()
    bench.upload_service.leave(upload)
    await send_again(bench, upload.ticket.id, "session-2")


async def test_a_foreign_final_file_is_removed(make_bench: MakeBench) -> None:
    """Replaced after it got its name, before that was recorded."""
    bench = make_bench()
    upload = await begin(bench, checkpoint=False)
    bench.files.faults.fail("completed", StorageFailed("the worker was interrupted here"))
    await upload.write(HALF, CONTENT[HALF:], upload.ticket.epoch)
    final = bench.files.final(upload.ticket.id)
    await until(lambda: bench.files.faults.hit["completed"], "the file to have its name")
    final.rename(final.with_name("taken"))
    final.write_bytes(bytes(len(CONTENT)))
    bench.upload_service.leave(upload)
    await bench.idle()
    assert isinstance(await outcome(bench.upload_service.finalise(upload.ticket.id)), StorageFailed)
    assert not final.exists()
    await bench.idle()
    await send_again(bench, upload.ticket.id, "session-2")


async def test_a_cancelled_upload_has_lost_nothing(make_bench: MakeBench, caplog: pytest.LogCaptureFixture) -> None:
    one, two = make_bench(), make_bench()
    upload = await begin(one, checkpoint=False)
    await two.upload_service.cancel(upload.ticket.id, "enough", notify_app=False)
    with caplog.at_level(logging.WARNING):
        error = await outcome(upload.write(HALF, CONTENT[HALF:], upload.ticket.epoch))
    assert error is not None
    assert (await one.ticket(upload.ticket.id)).state == State.CANCELLED
    assert caplog.records == []
    one.upload_service.leave(upload)


def test_a_ticket_that_has_lost_all_starts_with_a_new_file() -> None:
    ticket = Ticket("id", None, 0, 0, 0, identity=Identity(size=9), store_data="5:7")  # type: ignore[arg-type]
    held = ticket.open("s", None, 0).store([(0, 9)], None, 0).checkpoint(Extents([(0, 5)]))
    part = held.lose(Extents([(0, 7), (8, 100)]))
    assert (part.extents, part.synced, part.store_data) == (Extents([(0, 7), (8, 9)]), Extents([(0, 5)]), "5:7")
    nothing = held.lose(Extents())
    assert (nothing.extents, nothing.synced, nothing.store_data) == (Extents(), Extents(), "")
    assert (nothing.epoch, nothing.session) == (held.epoch + 1, "")
