"""Messages about parts on one connection: each is answered in turn, and a connection that ended gets no secret."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from incoming.core.errors import BadRange, BadRequest, InternalError, TakenOver, TooBusy, UploadError
from incoming.core.extents import Range
from incoming.handlers.upload.websocket.direct_parts import MAX_QUEUED, DirectParts
from incoming.storage.byte_store import SIGNED_FOR
from incoming.uploads.active_upload import ActiveUpload
from incoming.wire.messages import Sent, Sign
from tests.support.stores import until
from tests.support.waiting import until_idle
from tests.unit.uploads.direct_store import PART, DirectWorker

Perform = Callable[[], Awaitable[None]]


class Bench:
    """One connection. `acked`, `messages` and `failed` are what it was sent, and what has ended it."""

    def __init__(self, worker: DirectWorker, upload: ActiveUpload) -> None:
        self.worker = worker
        self.upload = upload
        self.acked: list[Range] = []
        self.messages: list[dict[str, Any]] = []
        self.failed: list[UploadError] = []
        self.parts = DirectParts(worker.direct, upload, upload.ticket.epoch, self, self.failed.append)

    def ack(self, chunk: Range) -> None:
        self.acked.append(chunk)

    def send(self, message: str) -> None:
        self.messages.append(json.loads(message))

    async def take(self, *messages: Sign | Sent) -> None:
        for message in messages:
            self.parts.take(message)
        await until(lambda: not self.busy, "the answers")

    @property
    def busy(self) -> bool:
        return any(task is not asyncio.current_task() for task in asyncio.all_tasks() if "_Queue" in repr(task))

    @property
    def signed(self) -> list[int]:
        return [number for message in self.messages if message["type"] == "signed" for number, _ in message["urls"]]


async def bench(**options: object) -> Bench:
    worker = DirectWorker()
    return Bench(worker, await worker.begun(**options))


async def test_urls_are_sent_with_their_time() -> None:
    one = await bench()
    await one.take(Sign((1, 2)))
    assert one.messages == [
        {
            "type": "signed",
            "urls": [[1, "https://store/1?signature"], [2, "https://store/2?signature"]],
            "expires_in": SIGNED_FOR,
        }
    ]
    assert one.acked == []


async def test_parts_that_have_arrived_are_acknowledged_instead_of_signed() -> None:
    one = await bench()
    await one.take(Sign((1, 2)))
    one.worker.store.sent = {1: PART}
    await one.take(Sent((1,)))
    assert one.acked == [(0, PART)]
    await one.take(Sign((1, 3)))
    assert (one.signed, one.acked) == ([1, 2, 3], [(0, PART), (0, PART)])


async def test_only_what_the_store_has_is_acknowledged() -> None:
    """The client may claim what it wants."""
    one = await bench()
    await one.take(Sign((1, 2, 3)))
    one.worker.store.sent = {1: PART, 2: PART - 1}
    await one.take(Sent((1, 2, 3)))
    assert one.acked == [(0, PART)]
    assert one.messages[-1] == {"type": "unseen", "parts": [2, 3]}


async def test_reports_that_wait_are_looked_for_together() -> None:
    one = await bench()
    await one.take(Sign((1, 2, 3)))
    one.worker.store.sent = {1: PART, 2: PART, 3: PART}
    await one.take(Sent((1,)), Sent((2,)), Sent((3,)))
    assert sorted(one.acked) == [(0, 10), (10, 20), (20, 30)]
    assert one.worker.store.looks == 1


async def test_acknowledgements_do_not_wait_for_urls(monkeypatch: pytest.MonkeyPatch) -> None:
    """URLs wait for the rate of the upload, which may be minutes."""
    one = await bench(max_rate=PART)
    gate = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await gate.wait()
        one.worker.clock.advance(seconds)

    monkeypatch.setattr(one.worker.direct, "_sleep", sleep)
    one.upload.allowance.spend(6 * PART)
    one.parts.take(Sign((1, 2)))
    await until_idle()
    assert one.signed == [], "they wait"
    one.worker.store.sent = {}
    one.parts.take(Sent((1,)))
    await until(lambda: one.messages, "the answer")
    assert one.messages == [{"type": "unseen", "parts": [1]}]
    gate.set()
    await until(lambda: one.signed == [1, 2], "the URLs")


async def test_a_connection_that_ended_gets_no_urls() -> None:
    one = await bench()
    one.parts.take(Sign((1,)))
    one.parts.close()
    await until_idle()
    assert (one.messages, one.failed, one.worker.store.signed) == ([], [], [])


async def test_an_epoch_that_was_lost_ends_the_connection() -> None:
    one = await bench()
    await one.take(Sign((1,)))
    await one.worker.open("session-2")
    one.worker.store.sent = {1: PART}
    await one.take(Sent((1,)))
    assert [type(error) for error in one.failed] == [TakenOver]
    assert one.acked == []


async def test_a_part_that_the_file_has_not_is_an_error() -> None:
    one = await bench(size=PART)
    await one.take(Sign((2,)))
    assert [type(error) for error in one.failed] == [BadRange]


async def test_a_defect_ends_the_connection_and_is_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    one = await bench()

    async def broken(*given: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(one.worker.store, "sign_parts", broken)
    await one.take(Sign((1,)))
    assert [type(error) for error in one.failed] == [InternalError]
    assert "a defect" in caplog.text


async def test_too_many_messages_at_once_are_refused() -> None:
    one = await bench()
    for _ in range(MAX_QUEUED):
        one.parts.take(Sign((1,)))
    with pytest.raises(TooBusy):
        one.parts.take(Sent((1,)))
    one.parts.close()


async def test_an_upload_without_parts_of_its_own_takes_no_such_messages() -> None:
    one = await bench(direct=False)
    with pytest.raises(BadRequest):
        one.parts.take(Sign((1,)))
