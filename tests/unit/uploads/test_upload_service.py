"""Who may send, when a file is whole, what becomes of it, and that nothing is left of those who went away."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tornado.ioloop import IOLoop

from incoming.core.errors import (
    FileChanged,
    FileTooLarge,
    ServerShutdown,
    StorageFailed,
    TakenOver,
    UnknownTicket,
    UploadCancelled,
    WrongState,
)
from incoming.core.extents import Extents
from incoming.core.ticket import Callback, Event, Identity, State, Ticket
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.status_waiter import wait_for_change, wait_for_news
from incoming.wire.messages import Hello
from tests.support.stores import until
from tests.support.upload_service_bench import Bench, open_descriptors, outcome, start_write

MakeBench = Callable[..., Bench]


@pytest.fixture
def make_bench(tmp_path: Path, io_loop: IOLoop) -> Iterator[MakeBench]:
    """Makes workers on one directory. At the end none of them may hold anything."""
    made: list[Bench] = []

    def make(**settings: object) -> Bench:
        made.append(Bench(tmp_path / "storage", **settings))
        return made[-1]

    yield make
    for bench in made:
        io_loop.run_sync(bench.idle)
    for bench in made:
        io_loop.run_sync(bench.close)


def is_state(*states: State) -> Callable[[object], bool]:
    return lambda news: isinstance(news, Ticket) and news.state in states


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_a_hello_opens_the_upload(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    ticket = upload.ticket
    assert (ticket.state, ticket.size, ticket.epoch, ticket.session) == (State.UPLOADING, 10, 1, "session-1")
    assert bench.upload_service.uploads() == [(ticket, 1)]
    bench.upload_service.leave(upload)


async def test_connections_of_one_uploader_share_epoch_and_upload(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    one = await bench.open(ticket_id)
    other = await bench.open(ticket_id, epoch=one.ticket.epoch)
    assert one is other
    assert one.ticket.epoch == 1
    assert bench.upload_service.uploads() == [(one.ticket, 2)]
    bench.upload_service.leave(one)
    bench.upload_service.leave(other)


async def test_late_bytes_of_a_connection_that_has_left_open_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    upload = await bench.open(await bench.new())
    await upload.write(0, b"a" * 10, upload.ticket.epoch)
    bench.upload_service.leave(upload)
    await until(lambda: open_descriptors(bench.files.root) == [], "the file being closed")
    with pytest.raises(ServerShutdown):
        await upload.write(10, b"b" * 10, upload.ticket.epoch)
    assert open_descriptors(bench.files.root) == []
    assert (await bench.upload_service.get_ticket(upload.ticket.id)).extents == Extents([(0, 10)])


@pytest.mark.parametrize(("held", "call"), [("files", "sync"), ("tickets", "update")])
async def test_the_last_to_leave_closes_the_file_after_a_checkpoint_under_way(
    make_bench: MakeBench, held: str, call: str
) -> None:
    bench = make_bench()
    faults = {"files": bench.files.faults, "tickets": bench.tickets.faults}[held]
    upload = await bench.open(await bench.new())
    await upload.write(0, b"a" * 10, upload.ticket.epoch)
    again = await bench.open(upload.ticket.id, epoch=upload.ticket.epoch)
    faults.hold(call)
    bench.upload_service.leave(upload)
    bench.upload_service.leave(again)
    await faults.until_held(call)
    third = bench.upload_service._enter(upload.ticket)  # a connection comes and goes meanwhile
    bench.upload_service.leave(third)
    await bench.ticket(upload.ticket.id)
    assert bench.files.faults.calls["release"] == 0
    faults.release(call)
    await until(lambda: bench.held() == (), "nothing being held")
    assert (faults.hit[call], bench.files.faults.calls["sync"], bench.files.faults.calls["release"]) == (1, 1, 1)


async def test_unknown_tickets_are_refused(make_bench: MakeBench) -> None:
    bench = make_bench()
    for attempt in (
        bench.open("00000000-0000-4000-8000-000000000000"),
        bench.upload_service.open_plain("nonsense", Identity()),
        bench.upload_service.join("nonsense", 1),
        bench.upload_service.get_ticket("nonsense"),
        bench.upload_service.pause("nonsense", None),
        bench.upload_service.cancel("nonsense", "", notify_app=True),
        bench.upload_service.finalise("nonsense"),
        wait_for_change(bench.upload_service, "nonsense", "new", 1.0),
    ):
        with pytest.raises(UnknownTicket):
            await attempt


async def test_another_file_or_one_too_large_is_refused(make_bench: MakeBench) -> None:
    bench = make_bench(max_size=1000)
    ticket_id = await bench.new(max_size=500)
    with pytest.raises(FileTooLarge, match="500"):
        await bench.open(ticket_id, size=501)
    bench.upload_service.leave(await bench.open(ticket_id, size=500))
    with pytest.raises(FileChanged):
        await bench.open(ticket_id, size=499)
    with pytest.raises(FileTooLarge, match="1000"):
        await bench.open(await bench.new(), size=1001)


async def test_the_size_may_become_known_late(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.upload_service.open_plain(ticket_id, Identity())
    await upload.write(0, b"a" * 10)
    assert (await bench.upload_service.settled(upload)).state == State.UPLOADING
    bench.upload_service.leave(await bench.upload_service.open_plain(ticket_id, Identity(size=10)))
    assert (await bench.upload_service.settled(upload)).state == State.ARRIVED
    assert bench.content(ticket_id) == b"a" * 10
    bench.upload_service.leave(upload)


# --- taking over ------------------------------------------------------------------------------------------------------


async def test_a_session_gets_no_events_from_before_it(make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    before = await bench.ticket(ticket_id)
    upload = await bench.open(ticket_id)
    heard = bench.hear(ticket_id)

    async def read_before(asked: str) -> Ticket:
        return before

    monkeypatch.setattr(bench.tickets, "get", read_before)
    bench.upload_service._listeners._changed(ticket_id)
    await heard.until(lambda news: isinstance(news, Ticket), "the news")
    assert heard.news == [upload.ticket]
    heard.stop()
    monkeypatch.undo()
    bench.upload_service.leave(upload)


async def test_a_new_session_takes_over_and_the_old_one_is_notified_at_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    old = await bench.open(ticket_id)
    heard = bench.hear(ticket_id)
    new = await bench.open(ticket_id, session="session-2")
    assert [news.session for news in heard.news if isinstance(news, Ticket)][:1] == ["session-2"]
    with pytest.raises(TakenOver):
        await bench.open(ticket_id, session="session-1", epoch=1)
    with pytest.raises(TakenOver):
        await bench.upload_service.join(ticket_id, 1)
    with pytest.raises(TakenOver):
        await bench.upload_service.pause(ticket_id, 1)
    heard.stop()
    for upload in (old, new):
        bench.upload_service.leave(upload)


async def test_a_takeover_on_another_worker_is_noticed_within_a_second(make_bench: MakeBench) -> None:
    here, there = make_bench(), make_bench()
    ticket_id = await here.new()
    old = await here.open(ticket_id)
    heard = here.hear(ticket_id)
    began = asyncio.get_running_loop().time()
    new = await there.open(ticket_id, session="session-2")
    await heard.until(lambda news: isinstance(news, Ticket) and news.session == "session-2")
    assert asyncio.get_running_loop().time() - began < 1.0
    heard.stop()
    here.upload_service.leave(old)
    there.upload_service.leave(new)


async def test_a_superseded_session_does_not_get_the_new_epoch(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    bench.tickets.faults.hold("updated")
    first = asyncio.create_task(bench.open(ticket_id, session="session-1"))
    await bench.tickets.faults.until_held("updated")
    let_go = bench.tickets.faults.pass_by("updated")
    upload = await bench.open(ticket_id, session="session-2")
    let_go()
    with pytest.raises(TakenOver):
        await first
    assert (upload.ticket.session, upload.ticket.epoch) == ("session-2", 2)
    bench.upload_service.leave(upload)


async def test_the_same_uploader_continues_after_a_loss_by_the_disk(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    epoch = upload.ticket.epoch
    await bench.tickets.update(ticket_id, lambda known: known.distrust())
    again = await bench.open(ticket_id, epoch=epoch)
    assert again.ticket.epoch > epoch
    for one in (upload, again):
        bench.upload_service.leave(one)


# --- complete ---------------------------------------------------------------------------------------------------------


async def test_the_whole_file_arrives_with_its_callback_in_the_outbox(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    heard = bench.hear(ticket_id)
    await upload.write(0, b"0123456789")
    ticket = await heard.until(is_state(State.ARRIVED))
    assert isinstance(ticket, Ticket)
    assert ticket.location.address == str(bench.files.final(ticket_id))
    assert ticket.synced == Extents([(0, 10)])
    assert ticket.callback is not None
    assert not ticket.callback.cancelled
    [claimed] = await bench.tickets.claim(1.0, 10, 3600.0)
    assert claimed.id == ticket_id
    assert bench.content(ticket_id) == b"0123456789"
    heard.stop()
    bench.upload_service.leave(upload)


async def test_an_empty_file_arrives_with_its_hello(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=0)
    assert (await bench.upload_service.settled(upload)).state == State.ARRIVED
    assert bench.content(ticket_id) == b""
    bench.upload_service.leave(upload)


@pytest.fixture
def quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("incoming.uploads.completion_retries.DELAYS", (0.01, 0.01))


async def send_and_hold(bench: Bench) -> tuple[str, ActiveUpload]:
    """Send all bytes of a file as a client without a session, and hold its completion."""
    ticket_id = await bench.new()
    upload = await bench.upload_service.open_plain(ticket_id, Identity(size=10))
    bench.files.faults.hold("complete")
    await upload.write(0, b"a" * 10)
    await bench.files.faults.until_held("complete")
    return ticket_id, upload


@pytest.mark.usefixtures("quick_retries")
async def test_completing_a_file_is_retried_without_its_client(make_bench: MakeBench) -> None:
    """A client without a session has nothing to send any more, and asks only for the state."""
    bench = make_bench()
    ticket_id, upload = await send_and_hold(bench)
    heard = bench.hear(ticket_id)
    bench.upload_service.leave(upload)
    bench.tickets.faults.fail("update", *[StorageFailed("the database is away")] * 2)
    bench.files.faults.release("complete")
    await heard.until(is_state(State.ARRIVED))
    heard.stop()
    assert bench.tickets.faults.hit["update"] == 2
    assert bench.content(ticket_id) == b"a" * 10


@pytest.mark.usefixtures("quick_retries")
async def test_completing_a_file_is_not_retried_for_ever(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id, upload = await send_and_hold(bench)
    bench.tickets.faults.fail_always("update", StorageFailed("the database is away"))
    bench.files.faults.release("complete")
    await until(lambda: bench.tickets.faults.hit["update"] == 3, "the last retry")
    await bench.upload_service.wait_until_settled()
    assert not bench.upload_service._retries._timers
    bench.tickets.faults.fail_always("update", None)
    assert (await bench.upload_service.finalise(ticket_id)).state == State.ARRIVED
    bench.upload_service.leave(upload)


async def test_two_workers_that_complete_a_file_at_once_owe_one_callback(make_bench: MakeBench) -> None:
    workers = [make_bench() for _ in range(2)]
    ticket_id = await workers[0].new()
    uploads = [await workers[0].open(ticket_id, size=20)]
    uploads.append(await workers[1].upload_service.join(ticket_id, 1))
    for bench in workers:
        bench.files.faults.hold("complete")
    await uploads[0].write(0, b"a" * 10, 1)
    await uploads[1].write(10, b"b" * 10, 1)
    finalising = [asyncio.create_task(bench.upload_service.finalise(ticket_id)) for bench in workers]
    for bench in workers:
        await bench.files.faults.until_held("complete")
    for bench in workers:
        bench.files.faults.release("complete")
    tickets = await asyncio.gather(*finalising)
    assert tickets[0].state == tickets[1].state == State.ARRIVED
    assert tickets[0].callback == tickets[1].callback
    assert workers[0].content(ticket_id) == b"a" * 10 + b"b" * 10
    for bench, upload in zip(workers, uploads, strict=True):
        bench.upload_service.leave(upload)


async def test_a_callback_already_answered_is_not_owed_again(make_bench: MakeBench) -> None:
    """The slower of two workers is so slow that the app has the file before it comes to say so."""
    fast, slow = make_bench(), make_bench()
    ticket_id = await fast.new()
    uploads = [await fast.open(ticket_id, size=10), await slow.open(ticket_id, size=10)]
    fast.files.faults.hold("complete")
    slow.files.faults.hold("completed")
    await uploads[0].write(0, b"a" * 10, 1)
    finalising = asyncio.create_task(slow.upload_service.finalise(ticket_id))
    await slow.files.faults.until_held("completed")
    fast.files.faults.release("complete")
    await until(lambda: uploads[0].ticket.state == State.ARRIVED, "the file")
    for change in ("hand over", "done"):
        await fast.tickets.update(ticket_id, lambda known, change=change: _answered(known, change, 1.0))  # type: ignore[misc]
    slow.files.faults.release("completed")
    ticket = await finalising
    assert (ticket.state, ticket.callback) == (State.FINISHED, None)
    assert await fast.ticket(ticket_id) == ticket
    fast.upload_service.leave(uploads[0])
    slow.upload_service.leave(uploads[1])


def _answered(known: Ticket, change: str, now: float) -> Ticket:
    return known.move(Event.CALL, now) if change == "hand over" else known.answered("done", now)


async def test_a_completion_that_failed_is_made_up_for_by_the_next_hello(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    heard = bench.hear(ticket_id)
    bench.tickets.faults.fail("update", None, StorageFailed("the database is away"))
    await upload.write(0, b"a" * 10)
    await heard.until(lambda news: isinstance(news, StorageFailed))
    assert bench.tickets.faults.hit["update"] == 1
    assert (await bench.ticket(ticket_id)).state == State.UPLOADING
    again = await bench.open(ticket_id, size=10)
    await heard.until(is_state(State.ARRIVED))
    assert bench.content(ticket_id) == b"a" * 10
    heard.stop()
    for one in (upload, again):
        bench.upload_service.leave(one)


async def test_finalising_what_is_not_whole_changes_nothing(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    assert (await bench.upload_service.finalise(ticket_id)).state == State.NEW
    upload = await bench.open(ticket_id, size=10)
    await upload.write(0, b"a" * 9)
    assert (await bench.upload_service.finalise(ticket_id)).state == State.UPLOADING
    assert bench.files.faults.calls["complete"] == 0
    bench.upload_service.leave(upload)


async def test_a_hello_after_the_end_gets_the_outcome(make_bench: MakeBench) -> None:
    bench = make_bench()
    arrived, cancelled = await bench.new(), await bench.new()
    upload = await bench.open(arrived, size=1)
    await upload.write(0, b"a")
    await until(lambda: upload.ticket.state == State.ARRIVED, "the file")
    await bench.upload_service.cancel(cancelled, "enough", notify_app=True)
    with pytest.raises(FileChanged):
        await bench.open(arrived, size=2)
    with pytest.raises(WrongState):
        await bench.upload_service.cancel(arrived, "too late", notify_app=True)
    late = [await bench.open(ticket_id, size=1, session="session-2", epoch=0) for ticket_id in (arrived, cancelled)]
    assert [one.ticket.state for one in late] == [State.ARRIVED, State.CANCELLED]
    for one in (upload, *late):
        bench.upload_service.leave(one)


# --- pausing and cancelling -------------------------------------------------------------------------------------------


@pytest.mark.promise(4)
async def test_pausing_lasts_until_the_next_hello(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    await upload.write(0, b"before")
    assert (await bench.upload_service.pause(ticket_id, upload.ticket.epoch)).paused
    bench.upload_service.leave(upload)
    await bench.idle()
    assert (await bench.ticket(ticket_id)).extents == Extents([(0, 6)])
    upload = await bench.open(ticket_id)
    assert not upload.ticket.paused
    bench.upload_service.leave(upload)


async def test_cancelling_removes_the_bytes_and_notifies_all_clients(make_bench: MakeBench) -> None:
    here, there = make_bench(), make_bench()
    ticket_id = await here.new()
    upload = await here.open(ticket_id)
    await upload.write(0, b"something")
    heard = here.hear(ticket_id)
    ticket = await there.upload_service.cancel(ticket_id, "changed my mind", notify_app=True)
    assert ticket.callback is not None
    assert ticket.callback.cancelled
    news = await heard.until(is_state(State.CANCELLED))
    assert isinstance(news, Ticket)
    assert news.reason == "changed my mind"
    assert not here.files.part(ticket_id).exists()
    with pytest.raises(UploadCancelled, match="changed my mind"):
        await upload.write(10, b"late")
    heard.stop()
    here.upload_service.leave(upload)


async def test_cancelling_twice_is_cancelling_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    first = await bench.upload_service.cancel(ticket_id, "one", notify_app=True)
    second = await bench.upload_service.cancel(ticket_id, "two", notify_app=True)
    assert second == first


async def test_the_app_gets_no_callback_for_its_own_cancellation(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket = await bench.upload_service.cancel(await bench.new(), "by the app", notify_app=False)
    assert ticket.callback is None


@pytest.mark.parametrize("stage", ["write", "update"])
async def test_a_chunk_in_progress_is_stored_or_reported_as_cancelled(make_bench: MakeBench, stage: str) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    store = bench.files if stage == "write" else bench.tickets
    store.faults.hold(stage)
    chunk = start_write(upload, 0, b"a" * 10)
    await store.faults.until_held(stage)
    cancelling = asyncio.create_task(bench.upload_service.cancel(ticket_id, "now", notify_app=True))
    if stage == "update":
        await store.faults.until_held(stage, 2)
    else:
        await until(lambda: upload.ticket.state == State.CANCELLED, "the cancellation")
    store.faults.release(stage)
    assert (await cancelling).state == State.CANCELLED
    result = await outcome(chunk)
    assert result is None or isinstance(result, UploadCancelled)
    await until(lambda: not bench.files.part(ticket_id).exists(), "the bytes being removed")
    bench.upload_service.leave(upload)


async def test_cancelling_during_completion_cancels(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    bench.files.faults.hold("completed")
    await upload.write(0, b"a" * 10)
    await bench.files.faults.until_held("completed")
    cancelling = asyncio.create_task(bench.upload_service.cancel(ticket_id, "now", notify_app=True))
    await until(lambda: upload.ticket.state == State.CANCELLED, "the cancellation")
    bench.files.faults.release("completed")
    await cancelling
    await until(lambda: not bench.files.final(ticket_id).exists(), "the file being removed")
    assert (await bench.ticket(ticket_id)).state == State.CANCELLED
    bench.upload_service.leave(upload)


async def test_completing_what_was_cancelled_meanwhile_is_no_failure(
    make_bench: MakeBench, caplog: pytest.LogCaptureFixture
) -> None:
    bench, other = make_bench(), make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    heard = bench.hear(ticket_id)
    bench.files.faults.hold("complete")
    await upload.write(0, b"a" * 10)
    await bench.files.faults.until_held("complete")
    await other.upload_service.cancel(ticket_id, "elsewhere", notify_app=True)
    bench.files.faults.release("complete")
    await until(lambda: not bench.upload_service._finalising, "the attempt to complete it")
    assert [type(news) for news in heard.news if not isinstance(news, Ticket)] == []
    assert "completing the file failed" not in caplog.text
    assert not bench.files.final(ticket_id).exists()
    heard.stop()
    bench.upload_service.leave(upload)


async def test_bytes_that_cannot_be_removed_do_not_hold_up_the_cancelling(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    bench.files.faults.fail("remove", StorageFailed("read-only"))
    assert (await bench.upload_service.cancel(ticket_id, "", notify_app=True)).state == State.CANCELLED
    assert bench.files.faults.hit["remove"] == 1


# --- waiting for news -------------------------------------------------------------------------------------------------


async def test_waiting_ends_with_a_change_of_state(make_bench: MakeBench) -> None:
    here, there = make_bench(), make_bench()
    ticket_id = await here.new()
    assert (await wait_for_change(here.upload_service, ticket_id, "uploading", 20.0)).state == State.NEW
    waiting = asyncio.create_task(wait_for_change(here.upload_service, ticket_id, "new", 20.0))
    there.upload_service.leave(await there.open(ticket_id))
    assert (await waiting).state == State.UPLOADING
    assert (await wait_for_change(here.upload_service, ticket_id, "uploading", 0.01)).state == State.UPLOADING


async def test_waiting_ends_when_the_handover_is_in_another_trouble(make_bench: MakeBench) -> None:
    here, there = make_bench(), make_bench()
    ticket_id = await here.new()
    owed = Callback("d", cancelled=False, since=0, due_at=0, attempts=1)

    def trouble(error: str) -> Callable[[Ticket], Ticket]:
        return lambda known: replace(known, state=State.HANDING_OVER, callback=replace(owed, last_error=error))

    await there.tickets.update(ticket_id, trouble(""))
    one = asyncio.create_task(wait_for_change(here.upload_service, ticket_id, "handing_over", 20.0))
    several = asyncio.create_task(wait_for_news(here.upload_service, {ticket_id: "handing_over"}, 20.0))
    await asyncio.sleep(0.1)
    assert not one.done()
    assert not several.done()
    await there.tickets.update(ticket_id, trouble("it answered 404"))
    for found in (await one, (await several)[ticket_id]):
        assert isinstance(found, Ticket)
        assert found.callback is not None
        assert found.callback.last_error == "it answered 404"


async def test_waiting_for_several_uploads_ends_with_the_first_news_of_one(make_bench: MakeBench) -> None:
    here, there = make_bench(), make_bench()
    ids = [await here.new() for _ in range(3)]
    seen = dict.fromkeys(ids, "new")
    waiting = asyncio.create_task(wait_for_news(here.upload_service, seen, 20.0))
    await until(lambda: here.upload_service._listeners._listeners, "the waiting")
    there.upload_service.leave(await there.open(ids[1]))
    [(ticket_id, ticket)] = (await waiting).items()
    assert isinstance(ticket, Ticket)
    assert (ticket_id, ticket.state) == (ids[1], State.UPLOADING)
    seen[ids[1]] = "uploading"
    assert await wait_for_news(here.upload_service, seen, 0.01) == {}
    assert here.upload_service._listeners._listeners == {}


async def test_what_is_final_or_unknown_is_news_at_once(make_bench: MakeBench) -> None:
    bench = make_bench()
    known, cancelled = await bench.new(), await bench.new()
    await bench.upload_service.cancel(cancelled, "", notify_app=False)
    news = await wait_for_news(bench.upload_service, {known: "new", cancelled: "cancelled", "nonsense": "new"}, 20.0)
    assert {ticket_id: type(found) for ticket_id, found in news.items()} == {
        cancelled: Ticket,
        "nonsense": UnknownTicket,
    }


async def test_waiting_for_several_uploads_ends_with_the_worker(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    waiting = asyncio.create_task(wait_for_news(bench.upload_service, {ticket_id: "new"}, 20.0))
    await until(lambda: bench.upload_service._listeners._listeners, "the waiting")
    await bench.upload_service.drain()
    assert await waiting == {}


async def test_waiting_for_one_upload_ends_with_the_worker(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    waiting = asyncio.create_task(wait_for_change(bench.upload_service, ticket_id, "new", 20.0))
    await until(lambda: bench.upload_service._listeners._listeners, "the waiting")
    await bench.upload_service.drain()
    assert (await waiting).state == State.NEW


async def test_a_change_that_cannot_be_read_is_read_again(
    make_bench: MakeBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.uploads.subscriptions.READ_RETRY_DELAY", 0.01)
    here, there = make_bench(), make_bench()
    ticket_id = await here.new()
    heard = here.hear(ticket_id)
    here.tickets.faults.fail("get", StorageFailed("locked"), StorageFailed("locked"))
    await there.upload_service.cancel(ticket_id, "", notify_app=False)
    await heard.until(is_state(State.CANCELLED))
    assert here.tickets.faults.hit["get"] == 2
    heard.stop()


async def test_changes_that_come_together_are_read_together(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    heard = bench.hear(ticket_id)
    bench.tickets.faults.hold("get")
    await bench.tickets.update(ticket_id, lambda known: known.open("session-1", None, 1.0))
    await bench.tickets.faults.until_held("get")
    for n in range(2, 20):
        await bench.tickets.update(ticket_id, lambda known, n=n: known.open(f"session-{n}", None, 1.0))  # type: ignore[misc]
    bench.tickets.faults.release("get")
    await heard.until(lambda news: isinstance(news, Ticket) and news.session == "session-19")
    assert bench.tickets.faults.calls["get"] <= 3
    heard.stop()


# --- the end ----------------------------------------------------------------------------------------------------------


async def test_draining_notifies_clients_checkpoints_and_refuses_new_work(make_bench: MakeBench) -> None:
    bench = make_bench(checkpoint_seconds=3600.0)
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id)
    heard = bench.hear(ticket_id)
    await upload.write(0, b"a" * 10)
    bench.files.faults.hold("write")
    late = start_write(upload, 10, b"b" * 10)
    await bench.files.faults.until_held("write")
    draining = asyncio.create_task(bench.upload_service.drain())
    await heard.until(lambda news: isinstance(news, ServerShutdown))
    for attempt in (
        bench.open(ticket_id),
        bench.upload_service.open_plain(ticket_id, Identity()),
        bench.upload_service.join(ticket_id, upload.ticket.epoch),
    ):
        with pytest.raises(ServerShutdown):
            await attempt
    bench.files.faults.release("write")
    await late
    await draining
    assert (await bench.ticket(ticket_id)).synced == Extents([(0, 20)])
    assert bench.upload_service.draining
    heard.stop()
    bench.upload_service.leave(upload)


async def test_draining_waits_for_a_file_that_is_being_completed(make_bench: MakeBench) -> None:
    bench = make_bench()
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=10)
    bench.files.faults.hold("complete")
    await upload.write(0, b"a" * 10)
    await bench.files.faults.until_held("complete")
    draining = asyncio.create_task(bench.upload_service.drain())
    bench.files.faults.release("complete")
    await draining
    assert (await bench.ticket(ticket_id)).state == State.ARRIVED
    bench.upload_service.leave(upload)


async def test_what_is_sent_after_draining_began_is_synced_before_the_worker_ends(make_bench: MakeBench) -> None:
    """A request under way may send its body to the end."""
    bench = make_bench(checkpoint_seconds=3600.0)
    ticket_id = await bench.new()
    upload = await bench.open(ticket_id, size=30)
    await bench.upload_service.drain()
    await upload.write(0, b"a" * 10)
    assert (await bench.ticket(ticket_id)).synced == Extents()
    bench.files.faults.hold("sync")
    bench.upload_service.leave(upload)
    settled = asyncio.create_task(bench.upload_service.wait_until_settled())
    await bench.files.faults.until_held("sync")
    assert not settled.done()
    bench.files.faults.release("sync")
    await settled
    assert (await bench.ticket(ticket_id)).synced == Extents([(0, 10)])


async def test_a_worker_that_died_loses_nothing_that_was_acked(make_bench: MakeBench) -> None:
    dead, alive = make_bench(checkpoint_seconds=3600.0), make_bench()
    ticket_id = await dead.new()
    upload = await dead.open(ticket_id, size=30)
    await upload.write(10, b"b" * 10)
    again = await alive.open(ticket_id, size=30, epoch=upload.ticket.epoch)
    assert again.ticket.extents == Extents([(10, 20)])
    await again.write(0, b"a" * 10)
    await again.write(20, b"c" * 10)
    await until(lambda: again.ticket.state == State.ARRIVED, "the file")
    assert alive.content(ticket_id) == b"a" * 10 + b"b" * 10 + b"c" * 10
    alive.upload_service.leave(again)
    dead.upload_service.leave(upload)


async def test_many_uploads_leave_nothing_behind(make_bench: MakeBench) -> None:
    bench = make_bench()
    before = len(asyncio.all_tasks())

    async def abort(n: int) -> None:
        upload = await bench.upload_service.open(await bench.new(), Hello(f"session-{n}", None, Identity(size=100)))
        chunks = [start_write(upload, start, b"a" * 10) for start in range(0, n % 7 * 10, 10)]
        bench.upload_service.leave(upload)
        await asyncio.gather(*chunks)

    await asyncio.gather(*(abort(n) for n in range(200)))
    await bench.idle()
    assert len(asyncio.all_tasks()) == before


async def test_the_last_connection_that_leaves_ends_the_wait_for_it(make_bench: MakeBench) -> None:
    service = (bench := make_bench()).upload_service
    await service.wait_until_left()
    ticket_id = await bench.new()
    connections = [await bench.open(ticket_id), await bench.open(await bench.new()), await bench.open(ticket_id)]
    waiting = asyncio.ensure_future(service.wait_until_left())
    for connection in connections:
        await asyncio.sleep(0)
        assert not waiting.done()
        service.leave(connection)
    await asyncio.wait_for(waiting, 20)
    assert service.uploads() == []
