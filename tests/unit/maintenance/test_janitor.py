"""Clearing up: what expires, what is removed, what is forgotten, and what is left alone. The clock stands still."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import StorageFailed, WrongState
from incoming.core.ticket import State, Ticket
from incoming.maintenance import janitor as module
from incoming.maintenance.janitor import Janitor
from incoming.settings.settings import Settings
from incoming.uploads.upload_service import UploadService
from tests.support.stores import Clock, Stores, until

HOUR = 3600.0
DAY = 24 * HOUR


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ticks(request: pytest.FixtureRequest, clock: Clock) -> Clock:
    """The monotonic clock: the same one, except in tests that let the time of day jump."""
    return Clock(100.0) if "jump" in request.fixturenames else clock


@pytest.fixture
def stores(tmp_path: Path, clock: Clock, ticks: Clock, io_loop: IOLoop) -> Iterator[Stores]:
    stores = Stores(tmp_path / "storage", clock, ticks)
    yield stores
    io_loop.run_sync(stores.close)


def employ(stores: Stores, **settings: object) -> Janitor:
    wanted = Settings(**settings)  # type: ignore[arg-type]
    upload_service = UploadService(stores.tickets, stores.files, wanted)
    return Janitor(stores.tickets, stores.files, upload_service, wanted)


# --- uploads that nobody goes on with ---------------------------------------------------------------------------------


@pytest.mark.promise(46, 53, 54, 65)
async def test_an_idle_upload_is_cancelled_and_the_app_gets_the_reason(stores: Stores, clock: Clock) -> None:
    ticket = await stores.uploading()
    clock.advance(12 * HOUR + 1)
    await employ(stores).sweep()
    after = await stores.get(ticket)
    assert (after.state, after.reason, after.state_since) == (State.CANCELLED, "upload timed out", clock())
    assert after.callback is not None
    assert (after.callback.cancelled, after.callback.since, after.callback.due_at) == (True, clock(), clock())
    assert stores.files_of(ticket) == []


async def test_an_unused_ticket_expires_as_well(stores: Stores, clock: Clock) -> None:
    ticket = await stores.new()
    clock.advance(12 * HOUR + 1)
    await employ(stores).sweep()
    assert await stores.state(ticket) == State.CANCELLED


async def test_an_upload_within_its_limit_is_kept(stores: Stores, clock: Clock) -> None:
    tickets = [await stores.uploading(), await stores.new()]
    clock.advance(12 * HOUR - 1)
    await employ(stores).sweep()
    assert [await stores.get(ticket) for ticket in tickets] == tickets


async def test_bytes_keep_an_upload_alive(stores: Stores, clock: Clock) -> None:
    ticket = await stores.uploading(b"x" * 10, size=100)
    clock.advance(11 * HOUR)
    await stores.tickets.update(ticket.id, lambda known: known.store([(10, 20)], None, clock()))
    clock.advance(11 * HOUR)
    await employ(stores).sweep()
    assert await stores.state(ticket) == State.UPLOADING


async def test_a_paused_upload_has_a_limit_of_its_own(stores: Stores, clock: Clock) -> None:
    ticket = await stores.uploading()
    await stores.tickets.update(ticket.id, lambda known: known.pause(None, clock()))
    janitor = employ(stores, idle_timeout=HOUR, paused_timeout=7 * DAY)
    clock.advance(7 * DAY - 1)
    await janitor.sweep()
    assert await stores.state(ticket) == State.UPLOADING
    clock.advance(2)
    await janitor.sweep()
    assert await stores.state(ticket) == State.CANCELLED


async def test_many_paused_uploads_hide_no_idle_one(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.maintenance.ticket_scan.BATCH", 3)
    for _ in range(10):
        ticket = await stores.uploading()
        await stores.tickets.update(ticket.id, lambda known: known.pause(None, clock()))
        clock.advance(1)
    idle = await stores.uploading()
    clock.advance(13 * HOUR)
    await employ(stores).sweep()
    assert await stores.state(idle) == State.CANCELLED
    assert (await stores.tickets.counts())[State.UPLOADING] == 10


async def test_an_upload_that_resumes_in_the_last_moment_is_kept(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await stores.uploading(b"x" * 10, size=100)
    clock.advance(13 * HOUR)
    real = stores.tickets.find

    async def find(states: Sequence[State] = (), **limits: float) -> list[Ticket]:
        found = await real(states, **limits)  # type: ignore[arg-type]
        if any(one.id == ticket.id for one in found):
            await stores.tickets.update(ticket.id, lambda known: known.store([(10, 20)], None, clock()))
        return found

    monkeypatch.setattr(stores.tickets, "find", find)
    await employ(stores).sweep()
    assert await stores.state(ticket) == State.UPLOADING
    assert stores.files_of(ticket) == [f"{ticket.id}.part"]


async def test_an_app_that_waits_too_long_loses_the_file(stores: Stores, clock: Clock) -> None:
    ticket = await stores.waiting()
    janitor = employ(stores, handover_wait_timeout=DAY, failed_grace=DAY)
    clock.advance(DAY - 1)
    await janitor.sweep()
    assert await stores.state(ticket) == State.WAITING
    clock.advance(2)
    await janitor.sweep()
    after = await stores.get(ticket)
    assert (after.state, after.error_code, after.callback) == (State.FAILED, 303, None)
    assert after.reason == "Timed out waiting for app backend to retrieve the file"
    assert stores.files_of(ticket) == [ticket.id]  # for the grace time


async def test_without_a_limit_a_waiting_app_keeps_its_file(stores: Stores, clock: Clock) -> None:
    ticket = await stores.waiting()
    clock.advance(3650 * DAY)
    await employ(stores, handover_wait_timeout=0.0).sweep()
    assert await stores.state(ticket) == State.WAITING


async def test_finish_upload_after_the_wait_timed_out_is_refused(stores: Stores, clock: Clock) -> None:
    ticket = await stores.waiting()
    clock.advance(2 * DAY)
    await employ(stores).sweep()
    with pytest.raises(WrongState):
        await stores.finish(ticket.id)


# --- workers that died ------------------------------------------------------------------------------------------------


async def test_a_whole_file_whose_worker_died_is_completed(stores: Stores, clock: Clock) -> None:
    ticket = await stores.uploading(b"whole", size=5)
    janitor = employ(stores)
    clock.advance(module.CLEANUP_DELAY - 1)
    await janitor.sweep()
    assert await stores.state(ticket) == State.UPLOADING  # that worker may still be at it
    clock.advance(2)
    await janitor.sweep()
    after = await stores.get(ticket)
    assert after.state == State.ARRIVED
    assert stores.content_of(after) == b"whole"


async def test_a_whole_file_does_not_expire(stores: Stores, clock: Clock) -> None:
    ticket = await stores.uploading(b"whole", size=5)
    clock.advance(13 * HOUR)
    await employ(stores).sweep()
    assert await stores.state(ticket) == State.ARRIVED


# --- files ------------------------------------------------------------------------------------------------------------


async def test_the_file_of_a_failed_handover_is_kept_for_the_grace_time(stores: Stores, clock: Clock) -> None:
    ticket = await stores.failed()
    janitor = employ(stores, failed_grace=DAY)
    clock.advance(DAY - 1)
    await janitor.sweep()
    assert stores.files_of(ticket) == [ticket.id]
    clock.advance(2)
    await janitor.sweep()
    assert stores.files_of(ticket) == []
    assert await stores.state(ticket) == State.FAILED


async def test_a_handover_cannot_be_retried_without_its_file(stores: Stores, clock: Clock) -> None:
    ticket = await stores.failed()
    clock.advance(2 * DAY)
    await employ(stores).sweep()
    with pytest.raises(WrongState, match="not kept any more"):
        await stores.retry(ticket.id)


async def test_a_file_whose_handover_is_retried_is_kept(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = await stores.failed()
    clock.advance(2 * DAY)
    real = stores.tickets.find

    async def find(states: Sequence[State] = (), **limits: float) -> list[Ticket]:
        found = await real(states, **limits)  # type: ignore[arg-type]
        if any(one.state == State.FAILED for one in found):
            await stores.retry(ticket.id)
        return found

    monkeypatch.setattr(stores.tickets, "find", find)
    await employ(stores).sweep()
    assert await stores.state(ticket) == State.ARRIVED
    assert stores.files_of(ticket) == [ticket.id]


@pytest.mark.promise(60)
async def test_a_finished_file_that_is_still_there_is_removed(stores: Stores, clock: Clock) -> None:
    """The worker died between the app's word and the removal."""
    ticket = await stores.finished()
    clock.advance(module.CLEANUP_DELAY + 1)
    await employ(stores).sweep()
    assert stores.files_of(ticket) == []


@pytest.mark.promise(60)
async def test_a_finished_file_that_the_app_keeps_is_never_touched(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.core.service_time.MIN_OUTAGE", 10 * DAY)
    ticket = await stores.finished(remove_file_when_finished=False)
    janitor = employ(stores)
    clock.advance(DAY)
    await janitor.sweep()
    assert stores.files_of(ticket) == [ticket.id]
    clock.advance(8 * DAY)
    await janitor.sweep()
    assert await stores.state(ticket) is None
    assert stores.content_of(ticket) == b"content"


async def test_a_late_write_leaves_no_part_of_a_cancelled_upload(stores: Stores, clock: Clock) -> None:
    ticket = await stores.cancelled("")
    await stores.files.write(ticket, [(0, b"late")])
    assert stores.files_of(ticket) == [f"{ticket.id}.part"]
    clock.advance(module.CLEANUP_DELAY + 1)
    await employ(stores).sweep()
    assert stores.files_of(ticket) == []


@pytest.mark.parametrize("state", [State.FINISHED, State.FAILED])
async def test_failed_removals_are_retried(
    stores: Stores, clock: Clock, state: State, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await (stores.finished() if state == State.FINISHED else stores.failed())
    clock.advance(1)
    other = await stores.finished()
    mend = stores.obstruct(ticket)
    janitor = employ(stores)
    clock.advance(2 * DAY)
    await janitor.sweep()
    assert stores.files_of(other) == []  # one stubborn file keeps no other
    assert stores.files_of(ticket) == [ticket.id]
    assert "its file could not be removed now" in caplog.text
    mend()
    await janitor.sweep()
    assert stores.files_of(ticket) == []


def watched_removals(stores: Stores, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the tickets whose files are removed from now on, whether there are any or not."""
    removals: list[str] = []

    def watched(real: Callable[[Ticket], Awaitable[None]]) -> Callable[[Ticket], Awaitable[None]]:
        async def remove(ticket: Ticket) -> None:
            removals.append(ticket.id)
            await real(ticket)

        return remove

    monkeypatch.setattr(stores.files, "remove", watched(stores.files.remove))
    monkeypatch.setattr(stores.files, "remove_partial", watched(stores.files.remove_partial))
    return removals


async def test_each_tombstone_is_checked_once(stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    removals = watched_removals(stores, monkeypatch)
    tickets = []
    for _ in range(5):
        tickets.append((await stores.finished()).id)
        clock.advance(1)
    janitor = employ(stores)
    clock.advance(HOUR)
    await janitor.sweep()
    assert removals == tickets
    await janitor.sweep()
    assert removals in (tickets, [*tickets, tickets[-1]])


async def test_a_restart_does_not_check_all_tombstones_again(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does another worker: one has looked at them, and noted it in the store."""
    for _ in range(5):
        last = (await stores.finished()).id
        clock.advance(1)
    clock.advance(HOUR)
    await employ(stores).sweep()
    removals = watched_removals(stores, monkeypatch)
    await employ(stores).sweep()
    assert removals in ([], [last])
    ended_since = (await stores.finished()).id
    clock.advance(HOUR)
    await employ(stores).sweep()
    assert removals[-1] == ended_since
    assert set(removals) <= {last, ended_since}


async def test_failed_removals_are_retried_after_a_restart(stores: Stores, clock: Clock) -> None:
    ticket = await stores.finished()
    mend = stores.obstruct(ticket)
    clock.advance(1)
    await stores.finished()
    clock.advance(HOUR)
    await employ(stores).sweep()
    mend()
    assert stores.files_of(ticket) == [ticket.id]
    await employ(stores).sweep()
    assert stores.files_of(ticket) == []


async def test_a_mark_from_the_future_is_not_believed(stores: Stores, clock: Clock) -> None:
    """The clock was wrong when it was made."""
    await stores.tickets.note_swept(State.FINISHED, clock() + 100 * HOUR)
    ticket = await stores.finished()
    clock.advance(HOUR)
    await employ(stores).sweep()
    assert stores.files_of(ticket) == []
    assert await stores.tickets.swept(State.FINISHED) == ticket.state_since


# --- tombstones -------------------------------------------------------------------------------------------------------


async def settled(stores: Stores, ticket: Ticket) -> Ticket:
    """The app knows of it."""
    return await stores.tickets.update(ticket.id, lambda known: replace(known, callback=None))


async def test_tombstones_are_forgotten_when_their_time_is_over(stores: Stores, clock: Clock) -> None:
    tombstones = [await stores.finished(), await stores.failed(), await settled(stores, await stores.cancelled(""))]
    alive = [await stores.uploading(), await stores.waiting(), await stores.arrived("")]
    janitor = employ(
        stores, tombstone_time=7 * DAY, idle_timeout=30 * DAY, paused_timeout=30 * DAY, handover_wait_timeout=0.0
    )
    clock.advance(7 * DAY - 1)
    await janitor.sweep()
    assert None not in [await stores.state(ticket) for ticket in tombstones]
    clock.advance(2)
    await janitor.sweep()
    assert [await stores.state(ticket) for ticket in tombstones] == [None] * 3
    assert None not in [await stores.state(ticket) for ticket in alive]
    assert [stores.files_of(ticket) for ticket in tombstones] == [[], [], []]


async def test_an_upload_is_kept_until_its_app_was_called(stores: Stores, clock: Clock) -> None:
    ticket = await stores.cancelled("")
    janitor = employ(stores)
    clock.advance(30 * DAY)
    await janitor.sweep()
    assert await stores.state(ticket) == State.CANCELLED
    await settled(stores, ticket)
    await janitor.sweep()
    assert await stores.state(ticket) is None


async def test_a_grace_time_longer_than_the_tombstone_keeps_both(stores: Stores, clock: Clock) -> None:
    ticket = await stores.failed()
    janitor = employ(stores, tombstone_time=HOUR, failed_grace=DAY)
    clock.advance(DAY - 1)
    await janitor.sweep()
    assert await stores.state(ticket) == State.FAILED
    assert stores.files_of(ticket) == [ticket.id]
    clock.advance(2)
    await janitor.sweep()
    assert await stores.state(ticket) is None
    assert stores.files_of(ticket) == []


async def test_a_ticket_is_not_forgotten_while_its_file_is_there(stores: Stores, clock: Clock) -> None:
    ticket = await stores.finished()
    mend = stores.obstruct(ticket)
    janitor = employ(stores)
    clock.advance(8 * DAY)
    await janitor.sweep()
    assert await stores.state(ticket) == State.FINISHED
    mend()
    await janitor.sweep()
    assert await stores.state(ticket) is None


async def test_many_tombstones_are_forgotten_batch_by_batch(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.maintenance.ticket_scan.BATCH", 4)
    owed = [await stores.cancelled("") for _ in range(6)]  # these cannot go, and must not stand in the way
    clock.advance(1)
    for number in range(10):
        await settled(stores, await stores.cancelled(""))
        clock.advance(number % 2)
    clock.advance(8 * DAY)
    await employ(stores).sweep()
    left = await stores.tickets.find([State.CANCELLED])
    assert {ticket.id for ticket in left} == {ticket.id for ticket in owed}


async def test_only_files_of_known_tickets_are_removed(stores: Stores, clock: Clock) -> None:
    await stores.finished()
    strangers = [
        stores.directory / "ab" / "ab000000-0000-4000-8000-000000000000.part",
        stores.directory / "ab" / "ab000000-0000-4000-8000-000000000000",
        stores.directory / "README",
    ]
    _write_all(strangers)
    clock.advance(30 * DAY)
    await employ(stores).sweep()
    assert [path.read_text() for path in strangers] == ["not an upload"] * 3


def _write_all(paths: list[Path]) -> None:
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.write_text("not an upload")


# --- several janitors, and trouble ------------------------------------------------------------------------------------


async def test_janitors_of_several_workers_do_no_harm_to_each_other(
    stores: Stores, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    idle = [await stores.uploading() for _ in range(10)]
    old = [await stores.finished() for _ in range(5)]
    whole = await stores.uploading(b"whole", size=5)
    clock.advance(8 * DAY)
    others = [Stores(stores.directory, clock) for _ in range(3)]
    await asyncio.gather(*(employ(worker).sweep() for worker in (stores, *others)))
    for other in others:
        await other.close()
    assert {await stores.state(ticket) for ticket in idle} == {State.CANCELLED}
    assert {await stores.state(ticket) for ticket in old} == {None}
    assert await stores.state(whole) == State.ARRIVED
    assert caplog.text.count("upload timed out") == len(idle)  # one record each, whoever it was
    assert [record.message for record in caplog.records if record.levelno > logging.INFO] == []


async def test_a_step_that_fails_stops_no_other(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    idle, old = await stores.uploading(), await stores.finished()
    clock.advance(8 * DAY)
    real = stores.tickets.find

    async def find(states: Sequence[State] = (), **limits: float) -> list[Ticket]:
        if State.UPLOADING in states and len(states) > 1:
            raise StorageFailed("the disk is on strike")
        if State.WAITING in states:
            raise RuntimeError("a defect")
        return await real(states, **limits)  # type: ignore[arg-type]

    monkeypatch.setattr(stores.tickets, "find", find)
    janitor = employ(stores)
    await janitor.sweep()
    assert await stores.state(old) is None
    assert "cleanup step failed, will retry: the disk is on strike" in caplog.text
    assert "cleanup step failed, will retry\n" in caplog.text
    monkeypatch.undo()
    await janitor.sweep()
    assert await stores.state(idle) == State.CANCELLED


async def test_the_janitor_runs_by_itself_and_more_often_with_short_limits(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SHORTEST_INTERVAL", 0.01)
    janitor = employ(stores, idle_timeout=0.05)
    running = asyncio.get_running_loop().create_task(janitor.run())
    for _ in range(2):
        ticket = await stores.uploading()
        clock.advance(1)

        async def gone(ticket: Ticket = ticket) -> bool:
            return await stores.state(ticket) == State.CANCELLED

        await until(gone, "the upload to expire")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()


class Duty:
    """Janitors of several workers with one database, whose rounds follow each other at once; `swept` has who swept."""

    def __init__(self, directory: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.swept: list[int] = []
        self.stores = [Stores(directory, clock) for _ in range(3)]
        self._monkeypatch = monkeypatch
        self.tasks = [self._run(number) for number in range(3)]

    def _run(self, number: int) -> "asyncio.Task[None]":
        janitor = employ(self.stores[number])

        async def sweep() -> None:
            self.swept.append(number)

        self._monkeypatch.setattr(janitor, "sweep", sweep)
        self._monkeypatch.setattr(janitor, "_interval", lambda: 0.01)
        return asyncio.get_running_loop().create_task(janitor.run())

    async def several_rounds(self) -> set[int]:
        """Who sweeps in the next rounds."""
        self.swept.clear()
        await until(lambda: len(self.swept) > 10, "several rounds")
        return set(self.swept)

    async def end(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for stores in self.stores:
            await stores.close()


@pytest.fixture
def duty(tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch, io_loop: IOLoop) -> Iterator[Duty]:
    async def begin() -> Duty:
        return Duty(tmp_path / "duty", clock, monkeypatch)

    duty = io_loop.run_sync(begin)
    yield duty
    io_loop.run_sync(duty.end)


async def test_one_janitor_of_several_is_on_duty(duty: Duty) -> None:
    first = await duty.several_rounds()
    assert len(first) == 1
    assert await duty.several_rounds() == first


async def test_another_janitor_takes_over_when_one_ends(duty: Duty) -> None:
    [first] = await duty.several_rounds()
    duty.tasks[first].cancel()
    await asyncio.gather(duty.tasks[first], return_exceptions=True)
    [second] = await duty.several_rounds()
    assert second != first


async def test_another_janitor_takes_over_from_one_that_was_killed(
    duty: Duty, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    [first] = await duty.several_rounds()

    asked = []

    async def no_answer(name: str, seconds: float) -> bool:
        asked.append(name)
        raise StorageFailed("it is dead")

    monkeypatch.setattr(duty.stores[first].tickets, "lease", no_answer)
    await until(lambda: "janitor" in asked, "the end of its last renewal")
    duty.swept.clear()
    clock.advance(module.LEASE_ROUNDS * 0.01 + 1)
    [second] = await duty.several_rounds()
    assert second != first


# --- outages ----------------------------------------------------------------------------------------------------------


async def serve(janitor: Janitor, clock: Clock, seconds: float) -> None:
    """The server runs for so long: its janitor sweeps all the time."""
    end = clock() + seconds
    while clock() < end:
        await janitor.sweep()
        clock.advance(min(60.0, end - clock()))
    await janitor.sweep()


LIMITS: dict[str, object] = {"idle_timeout": HOUR, "paused_timeout": HOUR, "handover_wait_timeout": HOUR}


@pytest.mark.parametrize("restarted", [True, False], ids=["no server", "suspended"])
async def test_time_without_a_server_does_not_count_as_idle(stores: Stores, clock: Clock, restarted: bool) -> None:
    janitor = employ(stores, **LIMITS, failed_grace=HOUR, tombstone_time=HOUR)
    tickets = [await stores.uploading(), await stores.new(), await stores.waiting(), await stores.failed()]
    paused = await stores.uploading()
    await stores.tickets.update(paused.id, lambda known: known.pause(None, clock()))
    tickets.append(paused)
    states = [await stores.state(ticket) for ticket in tickets]
    await serve(janitor, clock, HOUR / 2)
    clock.advance(36 * HOUR)
    if restarted:
        janitor = employ(stores, **LIMITS, failed_grace=HOUR, tombstone_time=HOUR)
    # Clients have some minutes to come back, and then what was left of their time.
    await serve(janitor, clock, HOUR / 2 + 590)
    assert [await stores.state(ticket) for ticket in tickets] == states
    assert stores.files_of(tickets[3]) == [tickets[3].id]
    await serve(janitor, clock, 70)
    after = [await stores.state(ticket) for ticket in (*tickets[:3], paused)]
    assert after == [State.CANCELLED, State.CANCELLED, State.FAILED, State.CANCELLED]
    assert stores.files_of(tickets[3]) == []


async def test_an_outage_is_logged_once(stores: Stores, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await employ(stores).sweep()
    clock.advance(DAY)
    for janitor in (employ(stores), employ(stores)):
        await serve(janitor, clock, 120)
    assert caplog.text.count("no server ran for 86400 s") == 1


async def test_another_worker_that_runs_makes_it_no_outage(stores: Stores, clock: Clock) -> None:
    """One of two workers was stopped; clients could send to the other."""
    ticket = await stores.uploading()
    stopped, other = employ(stores, **LIMITS), employ(stores, **LIMITS)
    await stopped.sweep()
    await serve(other, clock, HOUR - 10)
    assert await stores.state(ticket) == State.UPLOADING
    clock.advance(20)
    await stopped.sweep()
    assert await stores.state(ticket) == State.CANCELLED


@pytest.mark.parametrize(("running", "down"), [(300.0, 5.0), (300.0, 120.0)])
async def test_restarts_every_few_minutes_do_not_keep_idle_uploads(
    stores: Stores, clock: Clock, running: float, down: float
) -> None:
    ticket = await stores.uploading()
    begun = clock()
    while await stores.state(ticket) == State.UPLOADING:
        assert clock() - begun < 4 * HOUR, "the upload is kept for ever"
        janitors = [employ(stores, **LIMITS), employ(stores, **LIMITS)]
        for janitor in janitors:
            await janitor.sweep()
        await serve(janitors[0], clock, running)
        await janitors[1].sweep()
        clock.advance(down)
    assert clock() - begun >= HOUR


async def test_a_store_that_records_no_time_ends_no_upload(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await stores.uploading()

    async def broken() -> None:
        raise StorageFailed("the disk is on strike")

    monkeypatch.setattr(stores.tickets, "note_service", broken)
    clock.advance(DAY)
    await employ(stores).sweep()
    assert await stores.state(ticket) == State.UPLOADING
    assert "cleanup step failed, will retry: the disk is on strike" in caplog.text


async def test_the_time_is_recorded_during_a_long_round(
    stores: Stores, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOTE_INTERVAL", 0.001)
    janitor = employ(stores)
    held = asyncio.Event()
    monkeypatch.setattr(janitor, "sweep", held.wait)
    monkeypatch.setattr(janitor, "_interval", lambda: 0.001)
    noted: list[float] = []
    real = stores.tickets.note_service

    async def note() -> object:
        noted.append(clock())
        return await real()

    monkeypatch.setattr(stores.tickets, "note_service", note)
    running = asyncio.get_running_loop().create_task(janitor.run())
    await until(lambda: len(noted) > 3, "several notes")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_clock_that_jumps_by_an_hour_ends_no_upload(
    stores: Stores, clock: Clock, ticks: Clock, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    monkeypatch.setattr("incoming.core.service_time.MIN_OUTAGE", 3 * HOUR)
    limits = {"idle_timeout": 600.0, "paused_timeout": 600.0, "handover_wait_timeout": 600.0}
    janitor = employ(stores, **limits, failed_grace=600.0, tombstone_time=600.0)
    tickets = [await stores.uploading(), await stores.waiting(), await stores.failed(), await stores.finished()]
    clock.advance(jump)
    await janitor.sweep()
    assert [await stores.state(ticket) for ticket in tickets] == [ticket.state for ticket in tickets]
    assert stores.files_of(tickets[2]) == [tickets[2].id]
    # When the clock is right again, the limits are late by no more than the jump.
    clock.advance(-jump)
    for passing in (clock, ticks):
        passing.advance(abs(jump) + 601)
    await janitor.sweep()
    assert await stores.state(tickets[0]) == State.CANCELLED
