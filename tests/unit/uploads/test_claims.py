"""A claim makes a client without a session the rightful sender at once, and ends all senders before."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import FileChanged, TakenOver, UnknownTicket
from incoming.core.ticket import Identity, State
from incoming.uploads import claims
from tests.support.upload_service_bench import Bench


@pytest.fixture
def bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[Bench]:
    """A worker. At the end it must hold nothing."""

    async def make() -> Bench:
        return Bench(tmp_path / "storage", lambda: 1000.0, checkpoint_seconds=3600.0)

    bench = io_loop.run_sync(make)
    yield bench
    io_loop.run_sync(bench.idle)
    io_loop.run_sync(bench.close)


class SlowAppend:
    """Has bytes that are not committed before `go_on`."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def step_aside(self) -> None:
        self.asked.set()
        await self.go_on.wait()


async def test_a_claim_takes_an_upload_from_every_session(bench: Bench) -> None:
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    old = upload.ticket.epoch
    await upload.write(0, bytes(10), old)
    heard = bench.hear(ticket_id)
    claimed = await bench.upload_service.claim(ticket_id)
    assert (claimed.ticket.epoch, claimed.ticket.extents.prefix) == (old + 1, 10)
    assert [news.epoch for news in heard.news] == [old + 1]  # type: ignore[union-attr]
    with pytest.raises(TakenOver):
        await upload.write(10, bytes(10), old)
    with pytest.raises(TakenOver):
        await bench.open(ticket_id, epoch=old)
    heard.stop()
    for _ in range(2):
        bench.upload_service.leave(upload)


async def test_each_claim_is_of_another_session(bench: Bench) -> None:
    ticket_id = await bench.new()
    claimed = [await bench.upload_service.claim(ticket_id) for _ in range(3)]
    assert [each.ticket.epoch for each in claimed] == [1, 2, 3]
    assert len({each.ticket.session for each in claimed}) == 3
    for each in claimed:
        bench.upload_service.leave(each.upload)


async def test_a_request_for_the_offset_changes_neither_state_nor_pause(bench: Bench) -> None:
    ticket_id = await bench.new()
    asked = await bench.upload_service.claim(ticket_id)
    assert asked.ticket.state == State.NEW
    upload = await bench.open(ticket_id)
    paused = await bench.upload_service.pause(ticket_id, None)
    again = await bench.upload_service.claim(ticket_id)
    assert (again.ticket.paused, again.ticket.active_at, again.ticket.state) == (True, paused.active_at, paused.state)
    sending = await bench.upload_service.claim(ticket_id, Identity(size=100))
    assert (sending.ticket.paused, sending.ticket.state) == (False, State.UPLOADING)
    for _ in range(4):
        bench.upload_service.leave(upload)


async def test_an_ended_upload_cannot_be_claimed(bench: Bench) -> None:
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    await upload.write(0, bytes(10), upload.ticket.epoch)
    arrived = await bench.upload_service.finalise(ticket_id)
    for identity in (None, Identity(size=10)):
        claimed = await bench.upload_service.claim(ticket_id, identity)
        assert (claimed.ticket.epoch, claimed.ticket.state) == (arrived.epoch, State.ARRIVED)
        bench.upload_service.leave(claimed.upload)
    with pytest.raises(FileChanged):
        await bench.upload_service.claim(ticket_id, Identity(size=11))
    bench.upload_service.leave(upload)


async def test_a_refused_claim_changes_nothing(bench: Bench) -> None:
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    with pytest.raises(FileChanged):
        await bench.upload_service.claim(ticket_id, Identity(size=99))
    await upload.write(0, bytes(10), upload.ticket.epoch)
    bench.upload_service.leave(upload)
    with pytest.raises(UnknownTicket):
        await bench.upload_service.claim("unknown")


async def test_what_an_append_brings_while_it_steps_aside_is_in_the_prefix(bench: Bench) -> None:
    ticket_id = await bench.new()
    first = await bench.upload_service.claim(ticket_id, Identity(size=100))
    append = SlowAppend()
    leave = bench.upload_service.appends.enter(ticket_id, append)
    claiming = asyncio.create_task(bench.upload_service.claim(ticket_id))
    await append.asked.wait()
    await first.upload.write(0, bytes(20), first.ticket.epoch)
    assert not claiming.done()
    append.go_on.set()
    second = await claiming
    assert second.ticket.extents.prefix == 20
    leave()
    for claimed in (first, second):
        bench.upload_service.leave(claimed.upload)


async def test_an_append_that_does_not_end_delays_a_claim_only_for_so_long(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(claims, "STEP_ASIDE_TIMEOUT", 0.01)
    ticket_id = await bench.new()
    first = await bench.upload_service.claim(ticket_id, Identity(size=100))
    leave = bench.upload_service.appends.enter(ticket_id, SlowAppend())
    second = await bench.upload_service.claim(ticket_id)
    assert "it is ended by its epoch" in caplog.text
    with pytest.raises(TakenOver):
        await first.upload.write(0, bytes(20), first.ticket.epoch)
    leave()
    for claimed in (first, second):
        bench.upload_service.leave(claimed.upload)


async def test_the_size_comes_from_the_newest_claim_only(bench: Bench) -> None:
    ticket_id = await bench.new()
    first = await bench.upload_service.claim(ticket_id, Identity())
    second = await bench.upload_service.claim(ticket_id, Identity())
    with pytest.raises(TakenOver):
        await bench.upload_service.set_size(first, 10)
    await bench.upload_service.set_size(second, 20)
    assert second.upload.ticket.size == 20
    with pytest.raises(FileChanged):
        await bench.upload_service.set_size(second, 21)
    for claimed in (first, second):
        bench.upload_service.leave(claimed.upload)
