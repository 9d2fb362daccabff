"""The body of a request that has claimed its upload: stored from the offset on, ended at once by whatever is newer."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from incoming.core.errors import (
    BadRange,
    BadRequest,
    ServerShutdown,
    StorageFailed,
    TakenOver,
    UploadCancelled,
    UploadError,
)
from incoming.core.extents import Extents
from incoming.core.ticket import Identity
from incoming.handlers.upload.offset_protocols.append import Append
from incoming.handlers.upload.upload_connections import UploadConnectionLimiter
from incoming.monitoring.connections import Connections
from incoming.monitoring.metrics import WorkerCounters
from incoming.uploads.claims import ClaimedUpload
from incoming.uploads.writes.flow_control import MemoryBudget
from tests.support.stores import until
from tests.support.upload_service_bench import Bench


class Request:
    """A request that is answered with an error in the middle of its body."""

    client = "127.0.0.1"
    heard = 0.0

    def __init__(self, bench: Bench, claimed: ClaimedUpload, length: int | None, **more: Any) -> None:
        self.services: Any = SimpleNamespace(
            settings=bench.settings,
            upload_service=bench.upload_service,
            upload_connections=UploadConnectionLimiter(),
            connections=Connections(WorkerCounters()),
            memory_budget=MemoryBudget(10**9),
        )
        self.claimed = claimed
        self.errors: list[UploadError] = []
        self.left = False
        self.append: Append | None = None
        self.append = Append(self, claimed, claimed.ticket.extents.prefix, length, **more)
        if self.errors:
            self.release()

    def evict(self) -> None:
        raise AssertionError("there is room for one")

    def end_with(self, error: UploadError) -> None:
        self.errors.append(error)
        self.release()

    def release(self) -> None:
        if self.append is not None and not self.left:
            self.left = True
            self.append.release()
            self.services.upload_service.leave(self.claimed.upload)

    async def send(self, data: bytes) -> None:
        assert self.append is not None
        await self.append.take(data)

    async def finish(self, **more: Any) -> None:
        assert self.append is not None
        try:
            await self.append.finish(**more)
        finally:
            self.release()


async def begin(bench: Bench, ticket_id: str, length: int | None = 100, size: int | None = 100, **more: Any) -> Request:
    return Request(bench, await bench.upload_service.claim(ticket_id, Identity(size=size)), length, **more)


async def test_a_body_is_stored_and_its_committed_prefix_reported(bench: Bench) -> None:
    prefixes: list[int] = []
    request = await begin(bench, ticket_id := await bench.new(), 60, progressed=prefixes.append)
    for _ in range(3):
        await request.send(bytes(20))
    await request.finish()
    assert (await bench.ticket(ticket_id)).extents == Extents([(0, 60)])
    assert (prefixes[-1], sorted(set(prefixes)) == prefixes) == (60, True)


async def test_known_bytes_are_skipped(bench: Bench) -> None:
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    await upload.write(10, b"g" * 10)
    request = await begin(bench, ticket_id, 30)
    await request.send(b"x" * 30)
    await request.finish()
    assert bench.files.part(ticket_id).read_bytes() == b"x" * 10 + b"g" * 10 + b"x" * 10
    bench.upload_service.leave(upload)


async def test_what_is_beyond_the_file_is_refused_and_the_rest_kept(bench: Bench) -> None:
    request = await begin(bench, ticket_id := await bench.new(), None)
    await request.send(bytes(90))
    with pytest.raises(BadRange, match="end of the file at byte 100"):
        await request.send(bytes(11))
    request.release()
    await bench.idle()
    assert (await bench.ticket(ticket_id)).extents == Extents([(0, 100)])


async def test_a_newer_claim_finds_what_a_cut_body_has_brought(bench: Bench) -> None:
    """Its last bytes are still on their way to the disk when its client asks where to go on."""
    request = await begin(bench, ticket_id := await bench.new())
    bench.files.faults.hold("write")
    await request.send(bytes(40))
    request.release()
    claiming = asyncio.create_task(bench.upload_service.claim(ticket_id))
    await bench.files.faults.until_held("write")
    assert not claiming.done()
    bench.files.faults.release("write")
    claimed = await claiming
    assert claimed.ticket.extents.prefix == 40
    bench.upload_service.leave(claimed.upload)


async def test_a_newer_claim_ends_an_append_and_keeps_its_bytes(bench: Bench) -> None:
    request = await begin(bench, ticket_id := await bench.new())
    await request.send(bytes(40))
    claimed = await bench.upload_service.claim(ticket_id)
    assert [type(error) for error in request.errors] == [TakenOver]
    assert claimed.ticket.extents.prefix == 40
    bench.upload_service.leave(claimed.upload)


async def test_an_append_whose_body_is_there_is_not_ended_but_waited_for(bench: Bench) -> None:
    request = await begin(bench, ticket_id := await bench.new(), 40)
    bench.files.faults.hold("write")
    await request.send(bytes(40))
    finishing = asyncio.create_task(request.finish())
    await bench.files.faults.until_held("write")
    claiming = asyncio.create_task(bench.upload_service.claim(ticket_id))
    await asyncio.sleep(0)
    bench.files.faults.release("write")
    await finishing
    claimed = await claiming
    assert (request.errors, claimed.ticket.extents.prefix) == ([], 40)
    bench.upload_service.leave(claimed.upload)


async def test_a_claim_in_another_worker_ends_an_append_that_is_silent(bench: Bench, tmp_path: Path) -> None:
    request = await begin(bench, ticket_id := await bench.new())
    other = Bench(tmp_path / "storage", checkpoint_seconds=3600.0)
    claimed = await other.upload_service.claim(ticket_id)
    await until(lambda: request.errors, "the append being ended")
    assert isinstance(request.errors[0], TakenOver)
    other.upload_service.leave(claimed.upload)
    await other.idle()
    await other.close()


async def test_an_append_that_is_ended_has_the_reason(bench: Bench) -> None:
    cancelled = await begin(bench, ticket_id := await bench.new())
    await bench.upload_service.cancel(ticket_id, "no more", notify_app=False)
    assert isinstance(cancelled.errors[0], UploadCancelled)
    drained = await begin(bench, await bench.new())
    await bench.upload_service.drain()
    assert isinstance(drained.errors[0], ServerShutdown)


async def test_a_disk_that_loses_bytes_is_no_takeover(bench: Bench) -> None:
    request = await begin(bench, await bench.new())
    await request.send(bytes(40))
    bench.files.faults.fail("sync", StorageFailed("EIO"))
    await until(lambda: request.claimed.upload.ticket.extents, "the first bytes")
    with pytest.raises(StorageFailed):
        await request.claimed.upload.checkpoints.take()
    assert isinstance(request.errors[0], StorageFailed)


async def test_an_append_that_is_outdated_when_it_begins_ends_at_once(bench: Bench) -> None:
    ticket_id = await bench.new()
    first = await bench.upload_service.claim(ticket_id, Identity(size=100))
    second = await bench.upload_service.claim(ticket_id, Identity(size=100))
    request = Request(bench, first, 100)
    assert isinstance(request.errors[0], TakenOver)
    bench.upload_service.leave(second.upload)


def refuse() -> None:
    raise BadRequest("another checksum")


@pytest.mark.parametrize("fits", [True, False])
async def test_a_held_body_counts_if_its_check_passes(bench: Bench, fits: bool) -> None:
    request = await begin(bench, ticket_id := await bench.new(), 60, held=True)
    await request.send(bytes(60))
    if fits:
        await request.finish(check=lambda: None)
    else:
        with pytest.raises(BadRequest):
            await request.finish(check=refuse)
    assert (await bench.ticket(ticket_id)).extents.prefix == (60 if fits else 0)


async def test_a_held_body_that_is_cut_does_not_count(bench: Bench) -> None:
    request = await begin(bench, ticket_id := await bench.new(), 60, held=True)
    await request.send(bytes(50))
    request.release()
    claimed = await bench.upload_service.claim(ticket_id)
    assert bench.files.faults.calls["write"] == 1
    assert claimed.ticket.extents.prefix == 0
    bench.upload_service.leave(claimed.upload)
