"""The outbox at work: real stores, real applications, several workers."""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.callbacks.client import CallbackClient
from incoming.callbacks.delivery import LEASE_MARGIN, Delivery
from incoming.callbacks.dispatcher import CallbackDispatcher
from incoming.core.errors import StorageFailed, UnknownTicket, WrongState
from incoming.core.ticket import State, Ticket
from incoming.settings.settings import Settings
from tests.support.app_stub import DROP, AppStub
from tests.support.app_stub import Callback as Call
from tests.support.stores import Clock, Stores, until

HOUR = 3600.0


class Workers:
    """Workers that share a storage directory, each with its own stores."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.stores: list[Stores] = []
        self.running: list[tuple[CallbackDispatcher, asyncio.Task[None]]] = []

    def open(self, clock: Clock | None = None) -> Stores:
        self.stores.append(Stores(self.directory, clock))
        return self.stores[-1]

    def start(self, stores: Stores, **settings: object) -> CallbackDispatcher:
        wanted = {"handover_max_backoff": 0.05, **settings}
        handover = CallbackDispatcher(stores.tickets, stores.files, Settings(**wanted))  # type: ignore[arg-type]
        self.running.append((handover, asyncio.get_running_loop().create_task(handover.run())))
        return handover

    async def close(self) -> None:
        for handover, task in self.running:
            await handover.stop(0)
            await task
        for stores in self.stores:
            await stores.close()


@pytest.fixture
def workers(tmp_path: Path, io_loop: IOLoop) -> Iterator[Workers]:
    workers = Workers(tmp_path / "storage")
    yield workers
    io_loop.run_sync(workers.close)


@pytest.fixture
def stores(workers: Workers) -> Stores:
    return workers.open()


async def reaches(stores: Stores, ticket: Ticket, *states: State) -> Ticket:
    """The ticket as soon as it is in one of these states."""

    async def there() -> bool:
        return await stores.state(ticket) in states

    await until(there, f"{ticket.id} in {states}")
    return await stores.get(ticket)


# --- when -------------------------------------------------------------------------------------------------------------


@pytest.mark.promise(2, 45, 56)
async def test_file_that_arrives_is_handed_over_at_once(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    workers.start(stores)
    ticket = await stores.arrived(app_stub.url)
    await reaches(stores, ticket, State.FINISHED)
    [call] = app_stub.callbacks
    assert (call.params["id"], call.params["filename"]) == (ticket.id, ticket.location.address)
    await until(lambda: not stores.files_of(ticket), "the file being removed")


@pytest.mark.promise(46)
async def test_a_cancellation_is_delivered_at_once(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    workers.start(stores)
    await stores.cancelled(app_stub.url, "enough")
    [call] = await until(lambda: app_stub.callbacks, "the notice")
    assert (call.params["cancelled"], call.params["cancelReason"]) == ("yes", "enough")


async def test_callbacks_of_another_worker_are_noticed(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    workers.start(stores)
    other = workers.open()
    ticket = await other.arrived(app_stub.url)
    await reaches(other, ticket, State.FINISHED)


async def test_what_an_earlier_process_owed_is_handed_over(workers: Workers, app_stub: AppStub) -> None:
    earlier = Stores(workers.directory)
    tickets = [await earlier.arrived(app_stub.url), await earlier.cancelled(app_stub.url)]
    await earlier.close()
    stores = workers.open()
    workers.start(stores)
    await until(lambda: len(app_stub.callbacks) == 2, "both callbacks")
    assert {call.params["id"] for call in app_stub.callbacks} == {ticket.id for ticket in tickets}


async def test_every_callback_is_made_by_one_of_several_workers(workers: Workers, app_stub: AppStub) -> None:
    offices = [workers.open() for _ in range(3)]
    for office in offices:
        workers.start(office)
    tickets = [await offices[number % 3].arrived(app_stub.url) for number in range(60)]
    for ticket in tickets:
        await reaches(offices[0], ticket, State.FINISHED)
    assert Counter(call.params["id"] for call in app_stub.callbacks) == Counter(ticket.id for ticket in tickets)


# --- apps in trouble --------------------------------------------------------------------------------------------------


async def test_an_app_that_is_down_is_retried_until_it_is_up(
    workers: Workers, stores: Stores, app_stub: AppStub
) -> None:
    app_stub.stop()
    workers.start(stores)
    ticket = await stores.arrived(app_stub.url)

    async def tried() -> bool:
        callback = (await stores.get(ticket)).callback
        return callback is not None and callback.attempts >= 3

    await until(tried, "three attempts")
    app_stub.start()
    await reaches(stores, ticket, State.FINISHED)
    assert len(app_stub.callbacks) == 1


async def test_every_kind_of_failure_is_followed_by_a_handover(
    workers: Workers, stores: Stores, app_stub: AppStub
) -> None:
    app_stub.answer_next(DROP, (500, ""), (503, "busy"), (429, ""), "done")
    workers.start(stores)
    ticket = await stores.arrived(app_stub.url)
    await reaches(stores, ticket, State.FINISHED)
    assert [call.headers["incoming-attempt"] for call in app_stub.callbacks] == ["1", "2", "3", "4", "5"]
    assert len({call.headers["incoming-delivery"] for call in app_stub.callbacks}) == 1


async def test_an_app_that_hangs_is_called_again(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    app_stub.hold()
    workers.start(stores, handover_timeout=0.2)
    ticket = await stores.arrived(app_stub.url)
    await until(lambda: len(app_stub.callbacks) >= 2, "a second attempt")
    app_stub.release()
    await reaches(stores, ticket, State.FINISHED)


@pytest.mark.promise(64)
async def test_refusal_is_final(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    app_stub.default = (418, "wrong secret")
    workers.start(stores)
    ticket = await reaches(stores, await stores.arrived(app_stub.url), State.FAILED)
    assert ticket.reason == "the application did not take the file: it answered 418 I'm a Teapot: wrong secret"
    assert len(app_stub.callbacks) == 1


# --- many apps --------------------------------------------------------------------------------------------------------


async def test_one_slow_app_delays_no_other(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    with AppStub() as slow:
        slow.hold()
        waiting = [await stores.arrived(slow.url) for _ in range(150)]
        workers.start(stores)
        await until(lambda: len(slow.callbacks) >= 8, "the slow app to be busy")
        others = [await stores.arrived(app_stub.url) for _ in range(30)]
        for ticket in others:
            await reaches(stores, ticket, State.FINISHED)
        assert len(slow.callbacks) == 8  # so many at once, handover_connections, and not one more meanwhile
        slow.release()
        for ticket in waiting:
            await reaches(stores, ticket, State.FINISHED)
        assert len(slow.callbacks) == 150


async def test_an_app_gets_so_many_callbacks_at_once_and_no_more(workers: Workers, stores: Stores) -> None:
    lock = threading.Lock()
    now = most = 0
    full = threading.Event()

    def count(call: Call) -> str:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
            if now == 3:
                full.set()
        full.wait(10)
        with lock:
            now -= 1
        return "done"

    with AppStub(default="done", script=[count] * 20) as app:
        tickets = [await stores.arrived(app.url) for _ in range(20)]
        workers.start(stores, handover_connections=3)
        for ticket in tickets:
            await reaches(stores, ticket, State.FINISHED)
    assert most == 3


async def test_deliveries_that_outlived_their_lease_are_claimed_again(
    workers: Workers, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.callbacks.dispatcher.LONGEST_SLEEP", 0.05)
    clock = Clock()
    stores = workers.open(clock)
    app_stub.hold()
    tickets = [await stores.arrived(app_stub.url) for _ in range(3)]
    workers.start(stores, handover_connections=1, handover_timeout=20.0)
    await until(lambda: app_stub.callbacks, "the first callback")
    clock.advance(20.0 + LEASE_MARGIN + 1)
    app_stub.release()
    for ticket in tickets:
        await reaches(stores, ticket, State.FINISHED)
    assert Counter(call.params["id"] for call in app_stub.callbacks) == Counter(ticket.id for ticket in tickets)


# --- workers that end -------------------------------------------------------------------------------------------------


async def test_another_worker_continues_when_one_dies_in_a_delivery(
    workers: Workers, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.callbacks.dispatcher.LONGEST_SLEEP", 0.05)
    clock = Clock()
    stores = workers.open(clock)
    ticket = await stores.arrived(app_stub.url)
    app_stub.hold()
    dying = asyncio.get_running_loop().create_task(attempt(stores))
    await until(lambda: app_stub.callbacks, "the callback")
    dying.cancel()
    app_stub.release()
    assert await stores.state(ticket) == State.HANDING_OVER
    workers.start(stores)
    # That worker has looked into the outbox when it has made a callback that came later.
    await reaches(stores, await stores.arrived(app_stub.url), State.FINISHED)
    assert len(app_stub.callbacks) == 2
    clock.advance(Settings().handover_timeout + LEASE_MARGIN)
    await reaches(stores, ticket, State.FINISHED)
    first, second = (call.headers["incoming-delivery"] for call in app_stub.of(ticket.id))
    assert first == second


async def attempt(stores: Stores) -> None:
    settings = Settings()
    delivery = Delivery(stores.tickets, stores.files, settings, CallbackClient(settings))
    [ticket] = await stores.tickets.claim(delivery.lease, 1, HOUR)
    assert ticket.callback is not None
    await delivery.attempt(ticket.id, ticket.callback)


async def test_stop_waits_for_apps_that_answer_and_gives_back_the_rest(workers: Workers, app_stub: AppStub) -> None:
    stores = workers.open()
    app_stub.hold()
    tickets = [await stores.arrived(app_stub.url) for _ in range(3)]
    handover = workers.start(stores, handover_connections=1)
    await until(lambda: app_stub.callbacks, "the first callback")
    stopping = asyncio.get_running_loop().create_task(handover.stop(20))

    async def given_back() -> bool:
        now = time.time()
        owed = [(await stores.get(ticket)).callback for ticket in tickets]
        return sum(callback is not None and callback.due_at <= now for callback in owed) == 2

    await until(given_back, "two callbacks being due again")
    assert not stopping.done()
    app_stub.release()
    await stopping
    states = Counter([await stores.state(ticket) for ticket in tickets])
    assert states == {State.FINISHED: 1, State.ARRIVED: 2}
    workers.start(workers.open())
    for ticket in tickets:
        await reaches(stores, ticket, State.FINISHED)
    assert len(app_stub.callbacks) == 3


async def test_the_wait_of_stop_is_bounded(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    app_stub.hold()
    ticket = await stores.arrived(app_stub.url)
    handover = workers.start(stores)
    await until(lambda: app_stub.callbacks, "the callback")
    await handover.stop(0)
    app_stub.release()
    assert await stores.state(ticket) == State.HANDING_OVER


async def test_stopped_handover_starts_nothing(workers: Workers, stores: Stores, app_stub: AppStub) -> None:
    handover = workers.start(stores)
    await handover.stop(1)
    ticket = await stores.arrived(app_stub.url)
    await workers.running[0][1]
    assert await stores.state(ticket) == State.ARRIVED


async def test_what_is_claimed_in_the_moment_of_stopping_is_given_back(
    workers: Workers, stores: Stores, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = stores.tickets.claim
    stopping: list[asyncio.Task[None]] = []

    async def claim(lease: float, limit: int, horizon: float) -> list[Ticket]:
        found = await real(lease, limit, horizon)
        stopping.append(asyncio.get_running_loop().create_task(handover.stop(5)))
        await asyncio.sleep(0)
        return found

    monkeypatch.setattr(stores.tickets, "claim", claim)
    ticket = await stores.arrived(app_stub.url)
    handover = workers.start(stores)
    await workers.running[0][1]
    await asyncio.gather(*stopping)
    callback = (await stores.get(ticket)).callback
    assert callback is not None
    assert (callback.attempts, callback.due_at <= time.time()) == (0, True)
    assert app_stub.callbacks == []


async def test_a_database_in_trouble_is_only_a_delay(
    workers: Workers,
    stores: Stores,
    app_stub: AppStub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = stores.tickets.claim
    failures = 1

    async def claim(lease: float, limit: int, horizon: float) -> list[Ticket]:
        nonlocal failures
        if failures:
            failures -= 1
            raise StorageFailed("the disk is on strike")
        return await real(lease, limit, horizon)

    monkeypatch.setattr(stores.tickets, "claim", claim)
    workers.start(stores)
    await reaches(stores, await stores.arrived(app_stub.url), State.FINISHED)
    assert "cannot read the outbox: the disk is on strike; retrying in 1 s" in caplog.text


async def test_a_defect_in_one_delivery_stops_no_other(
    workers: Workers,
    stores: Stores,
    app_stub: AppStub,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    cursed = await stores.arrived(app_stub.url)
    real = Delivery.attempt

    async def attempt(self: Delivery, ticket_id: str, *claimed: Any) -> None:
        if ticket_id == cursed.id:
            raise RuntimeError("a defect")
        await real(self, ticket_id, *claimed)

    monkeypatch.setattr(Delivery, "attempt", attempt)
    workers.start(stores, handover_connections=1)
    await reaches(stores, await stores.arrived(app_stub.url), State.FINISHED)
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_clock_that_jumps_by_an_hour_delays_no_callback(
    workers: Workers, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr("incoming.callbacks.dispatcher.LONGEST_SLEEP", 0.05)
    clock = Clock()
    stores = workers.open(clock)
    app_stub.answer_next((500, ""))
    ticket = await stores.arrived(app_stub.url)
    workers.start(stores, handover_max_backoff=60.0)

    async def put_off() -> bool:
        callback = (await stores.get(ticket)).callback
        return callback is not None and bool(callback.last_error)

    await until(put_off, "the first attempt")
    clock.advance(jump)
    await reaches(stores, ticket, State.FINISHED)


# --- finish_upload ----------------------------------------------------------------------------------------------------


@pytest.mark.promise(39, 57, 60, 63)
@pytest.mark.parametrize("kept", [True, False])
async def test_an_app_answers_wait_and_finishes_hours_later(workers: Workers, app_stub: AppStub, kept: bool) -> None:
    clock = Clock()
    stores = workers.open(clock)
    app_stub.default = "wait"
    workers.start(stores)
    ticket = await stores.arrived(app_stub.url, remove_file_when_finished=not kept)
    await reaches(stores, ticket, State.WAITING)
    clock.advance(23 * HOUR)
    assert (await stores.finish(ticket.id)).state == State.FINISHED
    assert stores.files_of(ticket) == ([ticket.id] if kept else [])
    assert len(app_stub.callbacks) == 1


@pytest.mark.promise(39, 57)
async def test_an_app_may_finish_before_its_wait_is_recorded(workers: Workers, stores: Stores) -> None:
    handover = workers.start(stores)
    loop = asyncio.get_running_loop()
    told: list[State] = []

    def finish_at_once(call: Call) -> str:
        finished = asyncio.run_coroutine_threadsafe(stores.finish(call.params["id"]), loop).result(10)
        told.append(finished.state)
        return "wait"

    with AppStub([finish_at_once]) as app:
        ticket = await stores.arrived(app.url)
        await until(lambda: told, "the early finish_upload")
        await handover.stop(20)
    assert told == [State.FINISHED]
    assert await stores.state(ticket) == State.FINISHED
    assert stores.files_of(ticket) == []


async def test_finishing_twice_is_answered_as_the_first_time(stores: Stores) -> None:
    ticket = await stores.waiting()
    first = await stores.finish(ticket.id)
    assert await stores.finish(ticket.id) == first


async def test_finishing_works_after_a_restart(workers: Workers) -> None:
    earlier = Stores(workers.directory)
    ticket = await earlier.waiting()
    await earlier.close()
    stores = workers.open()
    assert (await stores.finish(ticket.id)).state == State.FINISHED
    assert (await stores.finish(ticket.id)).state == State.FINISHED
    assert stores.files_of(ticket) == []


async def test_finishing_before_any_callback_is_refused(stores: Stores) -> None:
    for ticket in (await stores.new(), await stores.uploading(), await stores.arrived(""), await stores.cancelled("")):
        with pytest.raises(WrongState, match=f"'{ticket.state}'"):
            await stores.finish(ticket.id)
    failed = await stores.failed()
    with pytest.raises(WrongState):
        await stores.finish(failed.id)
    with pytest.raises(UnknownTicket):
        await stores.finish("00000000-0000-0000-0000-000000000000")


async def test_finish_of_a_file_that_cannot_be_removed_counts(stores: Stores, caplog: pytest.LogCaptureFixture) -> None:
    ticket = await stores.waiting()
    stores.obstruct(ticket)
    assert (await stores.finish(ticket.id)).state == State.FINISHED
    assert "its file could not be removed now" in caplog.text


# --- retry -------------------------------------------------------------------------------------------------------


async def test_a_failed_handover_can_be_retried_as_a_new_delivery(
    workers: Workers, stores: Stores, app_stub: AppStub
) -> None:
    app_stub.answer_next((403, "not yet"))
    workers.start(stores)
    ticket = await stores.arrived(app_stub.url)
    await reaches(stores, ticket, State.FAILED)
    after = await stores.retry(ticket.id)
    assert (after.state, after.reason, after.error_code) == (State.ARRIVED, "", 0)
    await reaches(stores, ticket, State.FINISHED)
    first, second = (call.headers for call in app_stub.callbacks)
    assert first["incoming-delivery"] != second["incoming-delivery"]
    assert second["incoming-attempt"] == "1"


async def test_a_delayed_callback_can_be_made_at_once(workers: Workers, app_stub: AppStub) -> None:
    clock = Clock()
    stores = workers.open(clock)
    app_stub.answer_next((503, ""))
    workers.start(stores)
    ticket = await stores.arrived(app_stub.url)

    async def put_off() -> bool:
        callback = (await stores.get(ticket)).callback
        return callback is not None and bool(callback.last_error)

    await until(put_off, "the first attempt")
    await stores.retry(ticket.id)
    await reaches(stores, ticket, State.FINISHED)


async def test_nothing_can_be_retried_where_nothing_is_owed(stores: Stores) -> None:
    for ticket in (await stores.new(), await stores.uploading(), await stores.waiting(), await stores.finished()):
        with pytest.raises(WrongState, match="owes the app no callback"):
            await stores.retry(ticket.id)
