"""A session that takes an upload over is not harmed by what a stopped worker still writes for the one before."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import TakenOver, TooBusy
from incoming.core.ticket import Ticket
from incoming.storage.filesystem import partial_files
from incoming.storage.filesystem.store import FileStore
from incoming.storage.ticket_store import Change
from tests.support.stores import until
from tests.support.upload_service_bench import Bench, outcome
from tests.unit.storage.faulty_disk import FaultyDisk

OLD, NEW = b"o" * 100, b"n" * 100


class StoppedDisk(FaultyDisk):
    """Stands still in the next call of a name, as a process does that is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped, self.go_on = threading.Event(), threading.Event()

    def stop_in(self, call: str) -> None:
        def stall(name: str) -> None:
            if name == call and not self.stopped.is_set():
                self.stopped.set()
                assert self.go_on.wait(60)

        self.before = stall

    async def until_stopped(self) -> None:
        await until(self.stopped.is_set, "the worker to stand still")


class Workers:
    """Two workers; the first one's disk can be stopped."""

    def __init__(self, directory: Path) -> None:
        self.two = Bench(directory)
        self.disk = StoppedDisk()
        epochs_of = self.two.tickets.inner.epochs_of
        self.one = Bench(directory, files=FileStore(directory, disk=self.disk, epochs_of=epochs_of))


@pytest.fixture
def workers(tmp_path: Path, io_loop: IOLoop) -> Iterator[Workers]:
    made: list[Workers] = []

    async def make() -> None:
        made.append(Workers(tmp_path / "storage"))

    io_loop.run_sync(make)
    [workers] = made
    yield workers
    for bench in (workers.one, workers.two):
        io_loop.run_sync(bench.idle)
    for bench in (workers.one, workers.two):
        io_loop.run_sync(bench.close)


async def begun(workers: Workers) -> "tuple[str, asyncio.Future[None], Callable[[], None]]":
    """An upload whose first session has 100 bytes acked and 100 more on the way through a stopped worker."""
    ticket_id = await workers.one.new()
    upload = await workers.one.open(ticket_id, size=300)
    await upload.write(0, OLD, upload.ticket.epoch)
    workers.disk.stop_in("write")
    late = upload.write(100, OLD, upload.ticket.epoch)
    return ticket_id, late, lambda: workers.one.upload_service.leave(upload)


async def test_a_late_write_ends_before_the_next_session_begins(workers: Workers) -> None:
    """Stopped with the lock, the epoch already looked at: who takes over waits."""
    ticket_id, late, leave = await begun(workers)
    await workers.disk.until_stopped()
    opening = asyncio.ensure_future(workers.two.open(ticket_id, size=300, session="session-2"))
    assert not (await asyncio.wait([opening], timeout=0.2))[0]
    assert (await workers.two.ticket(ticket_id)).epoch == 1, "not before it is safe"
    workers.disk.go_on.set()
    again = await opening
    await again.write(100, NEW, again.ticket.epoch)
    acked = await outcome(late) is None
    part = workers.two.files.part(ticket_id)
    assert part.read_bytes() == OLD + (OLD if acked else NEW), "what was acked first stays, whoever sent it"
    await again.write(200, NEW, again.ticket.epoch)
    await until(workers.two.files.final(ticket_id).exists, "the file")
    leave()
    workers.two.upload_service.leave(again)


async def test_a_write_that_was_stopped_before_it_began_is_refused(workers: Workers) -> None:
    """Bytes that the next session was told are safe are not overwritten."""
    ticket_id = await workers.one.new()
    upload = await workers.one.open(ticket_id, size=300)
    await upload.write(0, OLD, upload.ticket.epoch)
    workers.disk.stop_in("lock")
    late = upload.write(100, OLD, upload.ticket.epoch)
    await workers.disk.until_stopped()
    again = await workers.two.open(ticket_id, size=300, session="session-2")
    await again.write(100, NEW, again.ticket.epoch)
    workers.disk.go_on.set()
    assert isinstance(await outcome(late), TakenOver)
    assert workers.two.files.part(ticket_id).read_bytes() == OLD + NEW
    await again.write(200, NEW, again.ticket.epoch)
    await until(workers.two.files.final(ticket_id).exists, "the file")
    assert workers.two.content(ticket_id) == OLD + NEW + NEW
    workers.one.upload_service.leave(upload)
    workers.two.upload_service.leave(again)


async def test_a_first_write_that_was_stopped_is_waited_for_as_well(workers: Workers) -> None:
    """The file does not even exist when the upload is taken over."""
    ticket_id = await workers.one.new()
    upload = await workers.one.open(ticket_id, size=300)
    workers.disk.stop_in("create")
    late = upload.write(0, OLD, upload.ticket.epoch)
    await workers.disk.until_stopped()
    again = await workers.two.open(ticket_id, size=300, session="session-2")
    await again.write(0, NEW, again.ticket.epoch)
    workers.disk.go_on.set()
    assert isinstance(await outcome(late), TakenOver)
    assert workers.two.files.part(ticket_id).read_bytes() == NEW
    workers.one.upload_service.leave(upload)
    workers.two.upload_service.leave(again)


async def test_waiting_for_a_stopped_worker_is_bounded(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket_id, late, leave = await begun(workers)
    await workers.disk.until_stopped()
    monkeypatch.setattr(partial_files, "LOCK_TIMEOUT", 0.05)
    with pytest.raises(TooBusy):
        await workers.two.open(ticket_id, size=300, session="session-2")
    assert (await workers.two.ticket(ticket_id)).epoch == 1
    workers.disk.go_on.set()
    assert await outcome(late) is None
    again = await workers.two.open(ticket_id, size=300, session="session-2")
    assert (again.ticket.epoch, again.ticket.extents.size) == (2, 200)
    leave()
    workers.two.upload_service.leave(again)


async def test_a_client_without_sessions_continues_in_the_new_epoch(workers: Workers) -> None:
    ticket_id = await workers.one.new()
    upload = await workers.one.open(ticket_id, size=300)
    await upload.write(0, OLD, upload.ticket.epoch)
    workers.disk.stop_in("lock")
    late = upload.write(100, OLD, None)
    await workers.disk.until_stopped()
    again = await workers.two.open(ticket_id, size=300, session="session-2")
    workers.disk.go_on.set()
    assert await outcome(late) is None
    assert (await workers.two.ticket(ticket_id)).extents.size == 200
    workers.one.upload_service.leave(upload)
    workers.two.upload_service.leave(again)


async def test_an_epoch_is_never_given_twice(workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut must not take it back: another session would get the same number, and both would be taken."""
    ticket_id = await workers.two.new()
    real = workers.two.tickets.inner.update
    durable: dict[int, bool] = {}

    async def update(ticket_id: str, change: Change, **how: Any) -> Ticket:
        ticket = await real(ticket_id, change, **how)
        durable.setdefault(ticket.epoch, how.get("durable", True))
        return ticket

    monkeypatch.setattr(workers.two.tickets.inner, "update", update)
    for number in range(3):
        upload = await workers.two.open(ticket_id, size=300, session=f"session-{number}")
        await upload.write(100 * number, OLD[:50], upload.ticket.epoch)
        workers.two.upload_service.leave(upload)
    assert durable == {1: True, 2: True, 3: True}


async def test_bytes_that_a_store_buffers_are_refused_at_once_when_another_session_takes_over(tmp_path: Path) -> None:
    """The store is asked to flush only what is of the present epoch, so nothing else would give them an answer."""
    one, two = Bench(tmp_path, part_size=1000), Bench(tmp_path, part_size=1000)
    ticket_id = await one.new()
    upload = await one.open(ticket_id, 2000, "first")
    writing = upload.write(0, OLD, upload.ticket.epoch)
    await until(lambda: upload.received.size == len(OLD), "the bytes being buffered")
    taker = await two.open(ticket_id, 2000, "second")
    upload.adopt(taker.ticket)
    await until(writing.done, "an answer")
    assert isinstance(await outcome(writing), TakenOver)
    assert not upload.busy
    one.upload_service.leave(upload)
    two.upload_service.leave(taker)
    await one.close()
    await two.close()
