"""The first attempt of a callback, which is recorded with the arrival of its file and made by the same worker.

Real stores with faults on order, real apps; several workers on one directory share them.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.callbacks.delivery import LEASE_MARGIN
from incoming.callbacks.dispatcher import BEGUN_FOR, CallbackDispatcher
from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket
from incoming.monitoring.metrics import WorkerCounters
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.upload_service import UploadService
from tests.support.app_stub import AppStub
from tests.support.app_stub import Callback as Call
from tests.support.stores import Clock, until
from tests.support.upload_service_bench import Bench

CONTENT = b"0123456789"


class Worker(Bench):
    """A worker whose uploads record arrivals through its dispatcher."""

    def __init__(self, directory: Path, clock: Clock | None = None, part_size: int = 0, **settings: object) -> None:
        super().__init__(directory, clock, part_size=part_size, **{"handover_max_backoff": 0.05, **settings})
        self.counters = WorkerCounters()
        self.callbacks = CallbackDispatcher(self.tickets, self.files, self.settings, self.counters)
        self.upload_service = UploadService(self.tickets, self.files, self.settings, self.callbacks.record_arrival)
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Make callbacks from now on; returns when the outbox was looked into."""
        self._running = asyncio.get_running_loop().create_task(self.callbacks.run())
        await until(lambda: self.tickets.faults.calls["next_due"], "the dispatcher")

    async def send(self, app: AppStub, **options: object) -> ActiveUpload:
        """Send a whole file; nobody waits for its completion."""
        ticket_id = await self.new(app.url, **options)
        upload = await self.upload_service.open_plain(ticket_id, Identity("a.bin", len(CONTENT)))
        await upload.write(0, CONTENT)
        return upload

    async def send_and_leave(self, app: AppStub, **options: object) -> str:
        upload = await self.send(app, **options)
        self.upload_service.leave(upload)
        return upload.ticket.id

    async def send_until_held(self, app: AppStub, call: str, **options: object) -> str:
        """Send a file whose bytes are committed; hold this call when its arrival is recorded."""
        self.files.faults.hold("complete")
        ticket_id = await self.send_and_leave(app, **options)
        await self.files.faults.until_held("complete")
        self.tickets.faults.hold(call)
        self.files.faults.release("complete")
        await self.tickets.faults.until_held(call)
        return ticket_id

    async def reaches(self, ticket_id: str, *states: State) -> Ticket:
        async def there() -> bool:
            return (await self.ticket(ticket_id)).state in states

        await until(there, f"{ticket_id} in {states}")
        return await self.ticket(ticket_id)

    def places(self) -> int:
        """How many calls are under way, wait for their turn or are being recorded."""
        queues = self.callbacks._queues.values()
        return sum(queue.active + queue.arriving + len(queue.waiting) for queue in queues)

    async def die(self) -> None:
        """Do nothing more, from where it is held on."""
        tasks = [*self.upload_service._finalising.values(), self._running]
        for task in tasks:
            if task is not None:
                task.cancel()
        await until(lambda: all(task is None or task.done() for task in tasks), "the end of all work")
        self._running = None

    async def close(self) -> None:
        await self.callbacks.stop(0)
        if self._running is not None:
            await self._running
        await super().close()


MakeWorker = Callable[..., Worker]


@pytest.fixture
def make_worker(tmp_path: Path, io_loop: IOLoop) -> Iterator[MakeWorker]:
    made: list[Worker] = []

    def make(clock: Clock | None = None, **settings: object) -> Worker:
        made.append(Worker(tmp_path / "storage", clock, **settings))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for worker in made:
        io_loop.run_sync(worker.idle)
    for worker in made:
        io_loop.run_sync(worker.close)
        assert worker.places() == 0


async def claimable(worker: Worker) -> list[Ticket]:
    """What any worker would get now."""
    return await worker.tickets.inner.claim(60.0, 10, 3600.0)


# --- recorded with the arrival ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("part_size", [0, 4])
async def test_arrival_and_first_attempt_are_one_change(
    make_worker: MakeWorker, app_stub: AppStub, part_size: int
) -> None:
    worker = make_worker(part_size=part_size)
    await worker.start()
    claims = worker.tickets.faults.calls["claim"]
    worker.files.faults.hold("complete")
    upload = await worker.send(app_stub)
    await worker.files.faults.until_held("complete")
    whole = await worker.ticket(upload.ticket.id)
    worker.files.faults.release("complete")
    done = await worker.reaches(whole.id, State.FINISHED)
    assert done.version == whole.version + 2  # arrived and called, answered
    assert worker.tickets.faults.calls["claim"] == claims
    assert [entry.event for entry in done.timeline] == ["uploading", "arrived", "handing_over", "answer", "finished"]
    [call] = app_stub.callbacks
    assert call.headers["incoming-attempt"] == "1"
    worker.upload_service.leave(upload)


async def test_during_the_call_the_attempt_is_recorded_and_leased(make_worker: MakeWorker, app_stub: AppStub) -> None:
    worker = make_worker()
    await worker.start()
    app_stub.hold()
    ticket_id = await worker.send_and_leave(app_stub)
    await until(lambda: app_stub.callbacks, "the call")
    ticket = await worker.ticket(ticket_id)
    assert (ticket.state, ticket.file_kept) == (State.HANDING_OVER, True)
    assert ticket.callback is not None
    assert (ticket.callback.attempts, ticket.callback.unanswered) == (1, True)
    assert ticket.callback.due_at > time.time() + worker.settings.handover_timeout
    assert await claimable(worker) == []
    app_stub.release()
    await worker.reaches(ticket_id, State.FINISHED)


async def test_a_file_that_is_called_about_at_once_counts_as_arrived(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    worker = make_worker()
    await worker.start()
    await worker.reaches(await worker.send_and_leave(app_stub), State.FINISHED)
    assert worker.counters.totals()["entered/arrived"] == 1
    entered = (await worker.tickets.inner.notes(60.0)).counted
    assert (entered["entered/handing_over"], entered.get("entered/arrived")) == (1, None)


async def test_an_attempt_that_fails_is_followed_by_others(make_worker: MakeWorker, app_stub: AppStub) -> None:
    app_stub.answer_next((500, "oops"), (503, ""))
    worker = make_worker()
    await worker.start()
    await worker.reaches(await worker.send_and_leave(app_stub), State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1", "2", "3"]
    assert len({call.headers["incoming-delivery"] for call in app_stub.callbacks}) == 1


async def test_finish_upload_may_come_before_the_answer(make_worker: MakeWorker, app_stub: AppStub) -> None:
    worker = make_worker()
    await worker.start()
    app_stub.hold()
    app_stub.default = (500, "finished already")
    ticket_id = await worker.send_and_leave(app_stub)
    await until(lambda: app_stub.callbacks, "the call")
    finished = await worker.upload_service.finish(ticket_id)
    app_stub.release()
    await until(lambda: worker.places() == 0, "the end of the call")
    assert finished.state == State.FINISHED
    assert await worker.ticket(ticket_id) == finished


# --- left to any worker -----------------------------------------------------------------------------------------------


async def test_a_worker_that_makes_no_callbacks_leaves_it_due(make_worker: MakeWorker, app_stub: AppStub) -> None:
    """Recovery completes files before callbacks are made, in a process of its own if there are several workers."""
    worker = make_worker()
    ticket = await worker.reaches(await worker.send_and_leave(app_stub), State.ARRIVED)
    assert ticket.callback is not None
    assert ticket.callback.attempts == 0
    assert [claimed.id for claimed in await claimable(worker)] == [ticket.id]
    assert worker.counters.totals().get("entered/arrived") is None


async def test_a_recorded_attempt_waits_for_its_turn(make_worker: MakeWorker, app_stub: AppStub) -> None:
    worker = make_worker(handover_connections=1)
    await worker.start()
    app_stub.hold()
    first = await worker.send_and_leave(app_stub)
    await until(lambda: app_stub.callbacks, "the first call")
    second = await worker.send_and_leave(app_stub)
    recorded = await worker.reaches(second, State.HANDING_OVER)
    assert recorded.callback is not None
    assert (recorded.callback.attempts, worker.places(), len(app_stub.callbacks)) == (1, 2, 1)
    app_stub.release()
    done = [await worker.reaches(ticket_id, State.FINISHED) for ticket_id in (first, second)]
    assert done[1].version - recorded.version == 2  # the two answers
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1", "1"]


async def test_an_attempt_that_waited_long_is_recorded_anew_before_it_is_made(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    clock, loop = Clock(), asyncio.get_running_loop()
    worker = make_worker(clock, handover_connections=1)
    during: list[Ticket] = []

    def look(call: Call) -> str:
        during.append(asyncio.run_coroutine_threadsafe(worker.ticket(second), loop).result(20))
        return "done"

    await worker.start()
    app_stub.hold()
    await worker.send_and_leave(app_stub)
    await until(lambda: app_stub.callbacks, "the first call")
    second = await worker.send_and_leave(app_stub)
    await worker.reaches(second, State.HANDING_OVER)
    clock.advance(BEGUN_FOR)
    app_stub.answer_next(look)
    app_stub.release()
    await worker.reaches(second, State.FINISHED)
    [ticket] = during
    assert ticket.callback is not None
    due_at = clock() + worker.settings.handover_timeout + LEASE_MARGIN
    assert (ticket.callback.attempts, ticket.callback.tried_for, ticket.callback.due_at) == (1, BEGUN_FOR, due_at)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1", "1"]


async def test_a_worker_that_stops_gives_back_attempts_that_wait(make_worker: MakeWorker, app_stub: AppStub) -> None:
    worker, other = make_worker(handover_connections=1), make_worker()
    await worker.start()
    app_stub.hold()
    first = await worker.send_and_leave(app_stub)
    await until(lambda: app_stub.callbacks, "the first call")
    second = await worker.send_and_leave(app_stub)
    await worker.reaches(second, State.HANDING_OVER)
    stopping = asyncio.get_running_loop().create_task(worker.callbacks.stop(20))
    await until(lambda: worker.callbacks._stopping, "the stop")
    await until(lambda: _due(other, second), "the callback being due")
    callback = (await other.ticket(second)).callback
    assert callback is not None
    assert (callback.attempts, callback.unanswered, stopping.done()) == (0, False, False)
    app_stub.release()
    await stopping
    assert (await worker.ticket(first)).state == State.FINISHED
    await other.start()
    await other.reaches(second, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1", "1"]


async def _due(worker: Worker, ticket_id: str) -> bool:
    callback = (await worker.ticket(ticket_id)).callback
    return callback is not None and callback.due_at <= time.time()


async def test_files_of_a_busy_app_are_left_to_any_worker(make_worker: MakeWorker, app_stub: AppStub) -> None:
    worker = make_worker(handover_connections=1)
    await worker.start()
    app_stub.hold()
    sent = [await worker.send_and_leave(app_stub)]
    await until(lambda: app_stub.callbacks, "the first call")
    sent += [await worker.send_and_leave(app_stub)]
    await worker.reaches(sent[1], State.HANDING_OVER)
    sent += [await worker.send_and_leave(app_stub)]
    ticket = await worker.reaches(sent[2], State.ARRIVED)
    assert ticket.callback is not None
    assert ticket.callback.attempts == 0
    app_stub.release()
    for ticket_id in sent:
        await worker.reaches(ticket_id, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1", "1", "1"]


async def test_a_file_with_another_digest_is_never_called_about_as_whole(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    worker = make_worker()
    await worker.start()
    ticket_id = await worker.send_and_leave(app_stub, digest="sha-256=" + "0" * 64)
    [call] = await until(lambda: app_stub.callbacks, "the notice")
    assert call.params["cancelled"] == "yes"
    assert (await worker.reaches(ticket_id, State.FAILED)).file_kept is False
    await until(lambda: worker.places() == 0, "the end of the call")


# --- faults -----------------------------------------------------------------------------------------------------------


async def test_a_commit_that_fails_gives_back_the_place_and_is_repeated(
    make_worker: MakeWorker, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.uploads.completion_retries.DELAYS", (0.01,))
    worker = make_worker(handover_connections=1)
    await worker.start()
    ticket_id = await worker.send_until_held(app_stub, "update")
    assert worker.places() == 1
    worker.tickets.faults.fail("update", StorageFailed("the database is away"))
    worker.tickets.faults.release("update")
    await until(lambda: worker.tickets.faults.hit["update"] == 2, "the fault")  # held, then failed
    await worker.reaches(ticket_id, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1"]


async def test_a_commit_whose_outcome_is_unknown_is_followed_by_a_call_after_the_lease(
    make_worker: MakeWorker, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.callbacks.dispatcher.LONGEST_SLEEP", 0.05)
    monkeypatch.setattr("incoming.uploads.completion_retries.DELAYS", (0.01,))
    clock = Clock()
    worker = make_worker(clock, handover_connections=1)
    await worker.start()
    ticket_id = await worker.send_until_held(app_stub, "updated")
    worker.tickets.faults.fail("updated", StorageFailed("the connection to the database broke"))
    worker.tickets.faults.release("updated")
    await until(lambda: worker.places() == 0, "the place")
    assert worker.tickets.faults.hit["updated"] == 2
    await worker.upload_service.wait_until_settled()
    assert app_stub.callbacks == []
    clock.advance(worker.settings.handover_timeout + LEASE_MARGIN)
    await worker.reaches(ticket_id, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["2"]


async def test_a_worker_that_dies_before_the_call_is_followed_by_another_one_after_the_lease(
    make_worker: MakeWorker, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("incoming.callbacks.dispatcher.LONGEST_SLEEP", 0.05)
    clock = Clock()
    dying, other = make_worker(clock), make_worker(clock)
    await dying.start()
    ticket_id = await dying.send_until_held(app_stub, "updated")
    await dying.die()
    assert dying.tickets.faults.hit["updated"] == 1
    await other.start()
    assert await claimable(other) == []
    ticket = await other.ticket(ticket_id)
    assert (ticket.state, ticket.callback and ticket.callback.attempts) == (State.HANDING_OVER, 1)
    clock.advance(other.settings.handover_timeout + LEASE_MARGIN)
    done = await other.reaches(ticket_id, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["2"]
    assert [entry.event for entry in done.timeline][-4:] == ["arrived", "handing_over", "answer", "finished"]
    assert done.timeline[-2].detail == "attempt 2: done"
    assert f"upload {ticket_id}: handed over in attempt 2, now finished" in caplog.text


async def test_an_attempt_that_was_not_made_takes_none_of_the_time_for_retries(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    clock = Clock()
    worker = make_worker(clock)
    await worker.start()
    ticket_id = await worker.send_until_held(app_stub, "updated")
    await worker.die()
    assert worker.tickets.faults.hit["updated"] == 1
    callback = (await worker.ticket(ticket_id)).callback
    assert callback is not None
    assert (callback.attempts, callback.tried_for, callback.unclear_for) == (1, 0.0, None)


async def test_a_worker_that_stops_meanwhile_gives_the_callback_back(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    stopping, other = make_worker(), make_worker()
    await stopping.start()
    ticket_id = await stopping.send_until_held(app_stub, "updated")
    stopped = asyncio.get_running_loop().create_task(stopping.callbacks.stop(5))
    await asyncio.sleep(0)
    stopping.tickets.faults.release("updated")
    await stopped
    await until(lambda: _due(other, ticket_id), "the callback being due")
    callback = (await other.ticket(ticket_id)).callback
    assert callback is not None
    assert (stopping.tickets.faults.hit["updated"], callback.attempts, callback.unanswered) == (1, 0, False)
    assert app_stub.callbacks == []
    await other.start()
    await other.reaches(ticket_id, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1"]


async def test_a_worker_that_stops_begins_no_attempt(make_worker: MakeWorker, app_stub: AppStub) -> None:
    worker = make_worker()
    await worker.start()
    await worker.callbacks.stop(1)
    ticket = await worker.reaches(await worker.send_and_leave(app_stub), State.ARRIVED)
    assert ticket.callback is not None
    assert ticket.callback.attempts == 0


async def test_a_place_is_given_back_when_another_worker_was_faster(make_worker: MakeWorker, app_stub: AppStub) -> None:
    slow, fast = make_worker(), make_worker()
    await slow.start()
    await fast.start()
    ticket_id = await slow.send_until_held(app_stub, "update")
    assert (await fast.upload_service.finalise(ticket_id)).state == State.HANDING_OVER
    slow.tickets.faults.release("update")
    await fast.reaches(ticket_id, State.FINISHED)
    await until(lambda: slow.places() == 0, "the place")
    assert slow.tickets.faults.hit["update"] == 1
    assert len(app_stub.callbacks) == 1


async def test_a_ticket_that_has_changed_meanwhile_is_called_about_once(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    """The store evaluates the change again, on the newest version."""
    worker, other = make_worker(), make_worker()
    await worker.start()
    ticket_id = await worker.send_until_held(app_stub, "update")
    await other.tickets.update(ticket_id, lambda known: known.pause(None, known.active_at + 1))
    worker.tickets.faults.release("update")
    done = await worker.reaches(ticket_id, State.FINISHED)
    assert (worker.tickets.faults.hit["update"], done.paused) == (1, True)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1"]


async def test_a_file_whose_bytes_were_lost_meanwhile_is_not_called_about(
    make_worker: MakeWorker, app_stub: AppStub
) -> None:
    worker, other = make_worker(), make_worker()
    await worker.start()
    ticket_id = await worker.send_until_held(app_stub, "update")
    await other.tickets.update(ticket_id, lambda known: known.lose(Extents()))
    worker.tickets.faults.release("update")
    await until(lambda: worker.places() == 0, "the place")
    assert worker.tickets.faults.hit["update"] == 1
    ticket = await worker.ticket(ticket_id)
    assert (ticket.state, ticket.callback) == (State.UPLOADING, None)
    assert app_stub.callbacks == []


async def test_an_operator_may_ask_for_the_call_before_it_is_made(make_worker: MakeWorker, app_stub: AppStub) -> None:
    """Then another worker makes it; the first one does not make it as well."""
    slow, other = make_worker(), make_worker()
    await slow.start()
    ticket_id = await slow.send_until_held(app_stub, "updated")
    await other.upload_service.retry_handover(ticket_id)
    await other.start()
    done = await other.reaches(ticket_id, State.FINISHED)
    slow.tickets.faults.release("updated")
    await until(lambda: slow.places() == 0, "the place")
    assert slow.tickets.faults.hit["updated"] == 1
    assert (await other.ticket(ticket_id)).version == done.version
