"""One attempt: what is recorded before it, what the answer makes of the ticket, when the next one is due.

The clock stands still unless a test sets it, so that hours of an app being away take no time.
"""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tornado.ioloop import IOLoop

from incoming.callbacks.answer import Answer as AppAnswer
from incoming.callbacks.answer import Verdict
from incoming.callbacks.client import CallbackClient
from incoming.callbacks.delivery import Delivery, longest_pause
from incoming.core.errors import StorageFailed
from incoming.core.ticket import Callback, State, Ticket
from incoming.settings.settings import Settings
from incoming.storage.ticket_store import Change
from tests.support.app_stub import DROP, Answer, AppStub, Reply, Script
from tests.support.app_stub import Callback as Call
from tests.support.ports import free_port
from tests.support.stores import Clock, Stores, until

HOUR = 3600.0


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


class Desk:
    """Makes attempts one at a time."""

    def __init__(self, stores: Stores, clock: Clock, tickets: object = None, **settings: object) -> None:
        self.stores = stores
        self.clock = clock
        self.settings = Settings(**settings)  # type: ignore[arg-type]
        self.caller = CallbackClient(self.settings, clock)
        self.delivery = Delivery(tickets or stores.tickets, stores.files, self.settings, self.caller)  # type: ignore[arg-type]

    async def claim(self) -> tuple[str, Callback]:
        [ticket] = await self.stores.tickets.claim(self.delivery.lease, 10, longest_pause(self.settings))
        assert ticket.callback is not None
        return ticket.id, ticket.callback

    async def attempt(self, waited: float = 0.0) -> Ticket:
        """Claims the one callback that is due, makes an attempt and returns the ticket after it."""
        ticket_id, claimed = await self.claim()
        await self.delivery.attempt(ticket_id, claimed, waited)
        after = await self.stores.tickets.get(ticket_id)
        assert after is not None
        return after


def refused(port: int | None = None) -> str:
    return f"http://127.0.0.1:{port or free_port()}/"


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.promise(56, 60)
async def test_done_finishes_and_removes_the_file(stores: Stores, clock: Clock, app_stub: AppStub) -> None:
    ticket = await stores.arrived(app_stub.url)
    after = await Desk(stores, clock).attempt()
    assert (after.state, after.callback) == (State.FINISHED, None)
    assert app_stub.callbacks[0].params["filename"] == ticket.location.address
    assert stores.files_of(ticket) == []


@pytest.mark.promise(60)
async def test_done_leaves_the_file_where_the_app_wants_it(stores: Stores, clock: Clock, app_stub: AppStub) -> None:
    ticket = await stores.arrived(app_stub.url, remove_file_when_finished=False)
    assert (await Desk(stores, clock).attempt()).state == State.FINISHED
    assert stores.content_of(ticket) == b"content"


@pytest.mark.parametrize(("repeated", "state"), [(True, State.FINISHED), (False, State.HANDING_OVER)])
async def test_a_file_that_the_app_took_in_a_request_that_was_repeated_is_taken(
    stores: Stores, clock: Clock, tmp_path: Path, repeated: bool, state: State
) -> None:
    """The first request came on a kept connection, which the app has closed; the second finds the id gone."""
    desk = Desk(stores, clock)

    async def post(ticket: Ticket, callback: Callback, **more: object) -> AppAnswer:
        Path(ticket.location.address).rename(tmp_path / "taken")
        return AppAnswer(Verdict.UNCLEAR, "it answered 404", repeated=repeated)

    desk.caller.post = post  # type: ignore[method-assign,assignment]
    await stores.arrived("http://app.example/")
    assert (await desk.attempt()).state == state


@pytest.mark.promise(51, 61)
async def test_app_may_move_the_file_away_during_the_callback(
    stores: Stores, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def move(call: object) -> str:
        Path(call.params["filename"]).rename(tmp_path / "moved")  # type: ignore[attr-defined]
        return "done"

    with AppStub([move]) as app:
        await stores.arrived(app.url)
        assert (await Desk(stores, clock).attempt()).state == State.FINISHED
    assert (tmp_path / "moved").read_bytes() == b"content"
    assert [record.message for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.promise(57)
async def test_wait_waits_and_keeps_the_file(stores: Stores, clock: Clock) -> None:
    with AppStub(["wait"]) as app:
        ticket = await stores.arrived(app.url)
        after = await Desk(stores, clock).attempt()
    assert (after.state, after.callback) == (State.WAITING, None)
    assert stores.files_of(ticket) == [ticket.id]


@pytest.mark.promise(64)
@pytest.mark.parametrize("answer", [(403, "unknown id"), (418, "wrong secret"), (200, "refuse: what?"), (410, "late")])
async def test_refusal_fails_the_upload_and_keeps_the_file(
    stores: Stores, clock: Clock, answer: tuple[int, str]
) -> None:
    with AppStub([answer]) as app:
        ticket = await stores.arrived(app.url)
        after = await Desk(stores, clock).attempt()
    assert (after.state, after.callback, after.error_code) == (State.FAILED, None, 303)
    assert after.reason.startswith("the application did not take the file: ")
    assert answer[1].removeprefix("refuse: ") in after.reason
    assert stores.files_of(ticket) == [ticket.id]


async def test_file_that_cannot_be_removed_does_not_unmake_the_handover(
    stores: Stores, clock: Clock, app_stub: AppStub, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await stores.arrived(app_stub.url)
    stores.obstruct(ticket)
    assert (await Desk(stores, clock).attempt()).state == State.FINISHED
    assert "its file could not be removed now" in caplog.text


# --- notices of cancellation ------------------------------------------------------------------------------------------


@pytest.mark.promise(46, 53, 54, 58)
@pytest.mark.parametrize("answer", ["", "done", "wait", (404, "who?"), (418, ""), (301, "")])
async def test_any_answer_to_a_cancellation_settles_it(stores: Stores, clock: Clock, answer: Script) -> None:
    with AppStub([answer]) as app:
        await stores.cancelled(app.url, "changed my mind")
        after = await Desk(stores, clock).attempt()
        [call] = app.callbacks
    assert (after.state, after.callback) == (State.CANCELLED, None)
    assert (call.params["cancelled"], call.params["cancelReason"]) == ("yes", "changed my mind")
    assert call.params["filename"] == ""


@pytest.mark.parametrize("trouble", [DROP, (500, ""), (503, ""), (429, "")])
async def test_an_undelivered_cancellation_is_retried(stores: Stores, clock: Clock, trouble: Script) -> None:
    with AppStub([trouble, ""]) as app:
        await stores.cancelled(app.url)
        desk = Desk(stores, clock)
        after = await desk.attempt()
        assert after.state == State.CANCELLED
        assert after.callback is not None
        clock.now = after.callback.due_at
        assert (await desk.attempt()).callback is None
        assert len({call.headers["incoming-delivery"] for call in app.callbacks}) == 1


async def test_retries_of_a_cancellation_are_bounded(
    stores: Stores, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await stores.cancelled(refused())
    desk = Desk(stores, clock, handover_retry_time=HOUR)
    began = clock()
    after = await attempts_until(desk, clock() + 2 * HOUR)
    assert clock() - began == pytest.approx(HOUR)
    assert (after.state, after.callback) == (State.CANCELLED, None)
    assert caplog.text.count("the app was not notified of the cancellation: Connection refused") == 1


async def test_answers_are_in_the_timeline(stores: Stores, clock: Clock) -> None:
    with AppStub([(500, "broken"), "wait", "done"]) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        first = await desk.attempt()
        assert first.callback is not None
        began, clock.now = clock.now, first.callback.due_at
        after = await desk.attempt()
    assert [(entry.at, entry.event, entry.detail) for entry in after.timeline[2:]] == [
        (began, "handing_over", ""),
        (began, "answer", "attempt 1: it answered 500 Internal Server Error: broken"),
        (clock.now, "answer", "attempt 2: wait"),
        (clock.now, "waiting", ""),
    ]


async def test_a_refusal_and_an_undelivered_cancellation_are_in_the_timeline(stores: Stores, clock: Clock) -> None:
    with AppStub([(403, "not mine"), (503, ""), "gone"]) as app:
        await stores.arrived(app.url)
        refused = await Desk(stores, clock).attempt()
        assert [(entry.event, entry.detail) for entry in refused.timeline[3:]] == [
            ("answer", "attempt 1: it answered 403 Forbidden: not mine"),
            ("failed", "the application did not take the file: it answered 403 Forbidden: not mine"),
        ]
        await stores.cancelled(app.url)
        desk = Desk(stores, clock)
        after = await desk.attempt()
        assert after.callback is not None
        clock.now = after.callback.due_at
        after = await desk.attempt()
    assert [(entry.event, entry.detail) for entry in after.timeline[1:]] == [
        ("cancelled", "changed my mind"),
        ("answer", "attempt 1: it answered 503 Service Unavailable"),
        ("answer", "attempt 2: done"),
    ]


# --- again ------------------------------------------------------------------------------------------------------------


async def test_the_attempt_is_recorded_before_the_app_is_called(stores: Stores, clock: Clock) -> None:
    ticket = await stores.arrived("")
    seen: list[Ticket] = []
    loop = asyncio.get_running_loop()

    def look(call: object) -> str:
        seen.append(asyncio.run_coroutine_threadsafe(stores.get(ticket), loop).result(10))
        return "done"

    with AppStub([look]) as app:
        await stores.tickets.update(
            ticket.id, lambda known: replace(known, options=replace(known.options, signal_finish_url=app.url))
        )
        desk = Desk(stores, clock)
        await desk.attempt()
    [during] = seen
    assert during.state == State.HANDING_OVER
    assert during.callback is not None
    assert (during.callback.attempts, during.callback.due_at) == (1, clock() + desk.delivery.lease)
    assert desk.delivery.lease > desk.settings.handover_timeout


@pytest.mark.parametrize("trouble", [DROP, (500, "oops"), (502, ""), (408, ""), (425, ""), (429, "")])
async def test_a_failure_is_followed_by_another_attempt_of_the_same_delivery(
    stores: Stores, clock: Clock, trouble: Script
) -> None:
    with AppStub([trouble, "done"]) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        after = await desk.attempt()
        assert after.state == State.HANDING_OVER
        assert after.callback is not None
        assert clock() + 0.5 <= after.callback.due_at <= clock() + 1
        assert after.callback.last_error
        clock.now = after.callback.due_at
        assert (await desk.attempt()).state == State.FINISHED
        first, second = (call.headers for call in app.callbacks)
    assert first["incoming-delivery"] == second["incoming-delivery"]
    assert (first["incoming-attempt"], second["incoming-attempt"]) == ("1", "2")


# --- answers that may not be the app's own ----------------------------------------------------------------------------

MINUTE = 60.0
DEPLOYED = [  # what stands in the app's place while it is redeployed
    Answer(200, ""),
    Answer(404, "404 page not found\n"),
    Answer(301, "", {"Location": "/elsewhere/"}),
    Answer(405, "Method Not Allowed"),
    Answer(421, ""),
    Answer(403, "<html><body>Forbidden</body></html>", {"Content-Type": "text/html"}),
    Answer(200, "<h1>We are back soon</h1>", {"Content-Type": "text/html"}),
]


async def attempts_until(desk: Desk, end: float) -> Ticket:
    """The ticket after all attempts that are due before `end`."""
    while True:
        after = await desk.attempt()
        if after.callback is None or after.callback.due_at > end:
            return after
        desk.clock.now = after.callback.due_at


@pytest.mark.promise(64)
@pytest.mark.parametrize("answer", DEPLOYED)
async def test_answers_of_a_proxy_during_a_deployment_fail_no_upload(
    stores: Stores, clock: Clock, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    with AppStub(default=answer) as app:
        ticket = await stores.arrived(app.url)
        desk = Desk(stores, clock)
        after = await attempts_until(desk, clock() + 9 * MINUTE)
        assert (after.state, after.error_code) == (State.HANDING_OVER, 0)
        assert stores.files_of(ticket) == [ticket.id]
        app.default = "done"
        assert after.callback is not None
        clock.now = after.callback.due_at
        assert (await desk.attempt()).state == State.FINISHED
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_the_same_answer_for_all_of_the_time_is_a_refusal(stores: Stores, clock: Clock) -> None:
    with AppStub(default=(404, "no such upload")) as app:
        ticket = await stores.arrived(app.url)
        began = clock()
        after = await attempts_until(Desk(stores, clock), clock() + HOUR)
        count = len(app.callbacks)
    assert (after.state, after.error_code) == (State.FAILED, 303)
    assert clock() - began == pytest.approx(10 * MINUTE)  # the last attempt is made at the very end
    wanted = f"the application did not take the file: it answered 404 Not Found: no such upload (tried {count} times)"
    assert after.reason == wanted
    assert stores.files_of(ticket) == [ticket.id]


async def test_an_hour_out_of_reach_leaves_an_unclear_answer_its_whole_time(stores: Stores, clock: Clock) -> None:
    with AppStub(default=(502, "")) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        after = await attempts_until(desk, clock() + HOUR)
        assert after.callback is not None
        clock.now, app.default = after.callback.due_at, (404, "")
        after = await attempts_until(desk, clock() + 9 * MINUTE)
        assert after.state == State.HANDING_OVER


async def test_a_server_error_restarts_the_refusal_time(stores: Stores, clock: Clock) -> None:
    with AppStub(default=(404, "")) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        after = await attempts_until(desk, clock() + 9 * MINUTE)
        assert after.callback is not None
        assert after.callback.unclear_for
        clock.now = after.callback.due_at
        app.answer_next((502, ""))
        after = await desk.attempt()
        assert after.callback is not None
        assert after.callback.unclear_for is None
        clock.now = after.callback.due_at
        assert (await attempts_until(desk, clock() + 9 * MINUTE)).state == State.HANDING_OVER


async def test_without_a_refusal_time_anything_but_an_acceptance_is_a_refusal(stores: Stores, clock: Clock) -> None:
    with AppStub(default=(404, "")) as app:
        await stores.arrived(app.url)
        after = await Desk(stores, clock, handover_refusal_time=0.0).attempt()
    assert after.state == State.FAILED
    assert after.reason == "the application did not take the file: it answered 404 Not Found (tried once)"


async def pauses(desk: Desk, count: int) -> list[float]:
    found = []
    for _ in range(count):
        after = await desk.attempt()
        assert after.callback is not None
        found.append(after.callback.due_at - desk.clock())
        desk.clock.now = after.callback.due_at
    return found


async def test_pauses_grow_exponentially_to_a_limit_and_differ(stores: Stores, clock: Clock) -> None:
    await stores.arrived(refused())
    found = await pauses(Desk(stores, clock, handover_max_backoff=60.0), 40)
    for number, pause in enumerate(found):
        longest = min(2.0**number, 60.0)
        assert longest / 2 - 0.001 <= pause <= longest + 0.001
    assert len({round(pause, 3) for pause in found[7:]}) > 10


@pytest.mark.parametrize(("asked", "pause"), [("120", 120.0), ("86400", 300.0)])
async def test_retry_after_is_honoured_up_to_a_limit(stores: Stores, clock: Clock, asked: str, pause: float) -> None:
    with AppStub([Answer(503, "", {"Retry-After": asked})]) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        assert await pauses(desk, 1) == pytest.approx([pause])
        assert pause <= longest_pause(desk.settings)


async def test_retry_after_shortens_no_pause(stores: Stores, clock: Clock) -> None:
    with AppStub([Answer(503, "", {"Retry-After": "0"})]) as app:
        await stores.arrived(app.url)
        [pause] = await pauses(Desk(stores, clock), 1)
    assert pause >= 0.5


async def test_an_app_that_is_down_for_an_hour_gets_its_file(stores: Stores, clock: Clock, app_stub: AppStub) -> None:
    app_stub.stop()
    ticket = await stores.arrived(app_stub.url)
    desk = Desk(stores, clock)
    began = clock()
    while clock() - began < HOUR:
        after = await desk.attempt()
        assert after.state == State.HANDING_OVER
        assert after.callback is not None
        assert after.callback.last_error == "Connection refused"
        clock.now = after.callback.due_at
    app_stub.start()
    assert (await desk.attempt()).state == State.FINISHED
    assert [call.params["id"] for call in app_stub.callbacks] == [ticket.id]


async def test_an_app_that_stays_down_makes_the_upload_fail_in_the_end(
    stores: Stores, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    ticket = await stores.arrived(refused())
    desk = Desk(stores, clock, handover_retry_time=2 * HOUR)
    after = await attempts_until(desk, clock() + 2 * HOUR - 5)
    assert after.state == State.HANDING_OVER
    assert after.callback is not None
    clock.now = after.callback.due_at
    after = await attempts_until(desk, clock() + 10)
    assert (after.state, after.error_code) == (State.FAILED, 303)
    assert re.fullmatch(
        r"the application could not be reached \(tried [0-9]+ times in 2h\): Connection refused", after.reason
    )
    assert stores.files_of(ticket) == [ticket.id]
    assert caplog.text.count("handover failed") == 1


async def test_the_last_attempt_is_made_at_the_very_end(stores: Stores, clock: Clock) -> None:
    with AppStub([Answer(503, "", {"Retry-After": "120"})]) as app:
        await stores.arrived(app.url)
        assert await pauses(Desk(stores, clock, handover_retry_time=5), 1) == pytest.approx([5.0])


async def test_without_a_retry_time_there_is_one_attempt(stores: Stores, clock: Clock) -> None:
    await stores.arrived(refused())
    after = await Desk(stores, clock, handover_retry_time=0.0).attempt()
    assert after.state == State.FAILED
    assert "tried once" in after.reason


async def test_a_long_outage_does_not_flood_the_log(
    stores: Stores, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    await stores.arrived(refused())
    await pauses(Desk(stores, clock), 40)
    assert caplog.text.count("Connection refused; next in") == 6  # attempts 1, 2, 4, 8, 16 and 32


# --- what counts towards the limits: late, never early ----------------------------------------------------------------


async def given_up_after(desk: Desk, passing: Sequence[Clock]) -> float:
    """The seconds until the app is given up, while these clocks go on together."""
    began = passing[-1].now
    while (after := await desk.attempt()).callback is not None:
        pause = after.callback.due_at - desk.clock()
        for clock in passing:
            clock.advance(pause)
    assert after.state == State.FAILED
    return passing[-1].now - began


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_clock_that_jumps_by_an_hour_fails_no_upload(
    stores: Stores, clock: Clock, ticks: Clock, jump: float
) -> None:
    await stores.arrived(refused())
    desk = Desk(stores, clock, handover_retry_time=600.0)
    clock.advance(jump)
    after = await desk.attempt()
    assert after.state == State.HANDING_OVER
    assert after.callback is not None
    assert after.callback.due_at <= clock() + 1
    clock.now = after.callback.due_at
    ticks.advance(1)
    assert 590 < await given_up_after(desk, (clock, ticks)) < 620


@pytest.mark.parametrize("answer", [(404, "who?"), (503, "")])
async def test_a_record_written_by_a_clock_that_was_an_hour_back_makes_no_limit_early(
    tmp_path: Path, answer: tuple[int, str]
) -> None:
    with AppStub(default=answer) as app:
        wrong, right = Clock(), Clock()
        wrong.advance(-HOUR)
        before = Stores(tmp_path / "storage", wrong)
        await before.arrived(app.url)
        limits = {"handover_retry_time": 600.0, "handover_refusal_time": 600.0}
        after = await Desk(before, wrong, **limits).attempt()
        assert after.callback is not None
        await before.close()
        stores = Stores(tmp_path / "storage", right)
        assert 590 < await given_up_after(Desk(stores, right, **limits), [right]) < 620
        assert len(app.callbacks) > 3
        await stores.close()


@pytest.mark.parametrize("answer", [(404, "who?"), (503, "")])
async def test_while_no_server_runs_no_time_of_an_app_is_spent(
    stores: Stores, clock: Clock, answer: tuple[int, str]
) -> None:
    with AppStub(default=answer) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock, handover_retry_time=600.0, handover_refusal_time=600.0)
        after = await attempts_until(desk, clock() + 60)
        assert after.state == State.HANDING_OVER
        clock.advance(24 * HOUR)  # and only then there is a server again
        assert 470 < await given_up_after(desk, [clock]) < 620


async def test_a_pause_that_an_operator_cuts_short_counts_only_as_far_as_it_lasted(
    stores: Stores, clock: Clock
) -> None:
    with AppStub(default=Answer(503, "", {"Retry-After": "300"})) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock, handover_retry_time=600.0)
        for _ in range(10):
            after = await desk.attempt()
            assert after.state == State.HANDING_OVER
            clock.advance(1)
            await stores.retry(after.id)
        assert after.callback is not None
        assert after.callback.tried_for == pytest.approx(9)


async def test_the_time_in_which_an_app_takes_other_callbacks_counts(stores: Stores, clock: Clock) -> None:
    await stores.arrived(refused())
    desk = Desk(stores, clock, handover_retry_time=600.0)
    after = await desk.attempt(waited=599)
    assert after.state == State.HANDING_OVER
    assert after.callback is not None
    clock.now = after.callback.due_at
    assert (await desk.attempt(waited=1)).state == State.FAILED


# --- somebody else was faster -----------------------------------------------------------------------------------------


async def while_answering(
    stores: Stores, clock: Clock, answer: Script, meanwhile: Callable[[Ticket], Awaitable[object]], **settings: object
) -> tuple[Ticket, AppStub]:
    """The ticket after an attempt during which `meanwhile` happened, before the app's answer was known."""
    loop = asyncio.get_running_loop()
    ticket = await stores.arrived("")

    def script(call: object) -> object:
        asyncio.run_coroutine_threadsafe(_await(meanwhile(ticket)), loop).result(10)
        return answer

    with AppStub([script]) as app:  # type: ignore[list-item]
        await stores.tickets.update(
            ticket.id, lambda known: replace(known, options=replace(known.options, signal_finish_url=app.url))
        )
        return await Desk(stores, clock, **settings).attempt(), app


async def _await(work: Awaitable[object]) -> object:
    return await work


@pytest.mark.promise(57)
@pytest.mark.parametrize("answer", ["wait", "done", (404, "?"), (500, ""), DROP])
async def test_finished_before_the_answer_was_known_stays_finished(
    stores: Stores, clock: Clock, answer: Script
) -> None:
    after, _ = await while_answering(
        stores, clock, answer, lambda ticket: stores.tickets.update(ticket.id, lambda known: known.finish(clock()))
    )
    assert (after.state, after.callback) == (State.FINISHED, None)


async def test_done_after_wait_finishes(stores: Stores, clock: Clock) -> None:
    """The answer to a repeated callback that came second."""
    after, _ = await while_answering(
        stores,
        clock,
        "done",
        lambda ticket: stores.tickets.update(ticket.id, lambda known: known.answered("wait", clock())),
    )
    assert after.state == State.FINISHED


@pytest.mark.parametrize("answer", ["wait", (404, "?"), (500, "")])
async def test_nothing_but_done_matters_after_wait(stores: Stores, clock: Clock, answer: Script) -> None:
    after, _ = await while_answering(
        stores,
        clock,
        answer,
        lambda ticket: stores.tickets.update(ticket.id, lambda known: known.answered("wait", clock())),
    )
    assert (after.state, after.callback) == (State.WAITING, None)


def another_attempt(known: Ticket) -> Ticket:
    assert known.callback is not None
    return replace(known, callback=replace(known.callback, attempts=known.callback.attempts + 1))


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ("done", State.FINISHED),
        ("wait", State.WAITING),
        ((404, "I know nothing of it any more"), State.HANDING_OVER),
        ((500, ""), State.HANDING_OVER),
    ],
)
async def test_only_good_news_of_an_attempt_counts_when_a_later_one_is_under_way(
    stores: Stores, clock: Clock, answer: Script, state: State
) -> None:
    after, _ = await while_answering(
        stores, clock, answer, lambda ticket: stores.tickets.update(ticket.id, another_attempt)
    )
    assert after.state == state
    assert (after.callback.attempts if after.callback else 2) == 2


async def test_ticket_that_is_forgotten_meanwhile_does_no_harm(stores: Stores, clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    ticket = await stores.arrived("")

    def script(call: object) -> str:
        asyncio.run_coroutine_threadsafe(stores.tickets.forget(ticket.id), loop).result(10)
        return "done"

    with AppStub([script]) as app:
        await stores.tickets.update(
            ticket.id, lambda known: replace(known, options=replace(known.options, signal_finish_url=app.url))
        )
        desk = Desk(stores, clock)
        await desk.delivery.attempt(*await desk.claim())
    assert await stores.state(ticket) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda known: known.finish(0.0),
        lambda known: known.refuse("no", 0.0),
        another_attempt,
        lambda known: replace(known, callback=Callback("another", cancelled=False, since=0.0, due_at=0.0, attempts=1)),
    ],
)
async def test_an_outdated_claim_makes_no_call(stores: Stores, clock: Clock, app_stub: AppStub, change: Change) -> None:
    app_stub.default = (500, "")
    await stores.arrived(app_stub.url)
    desk = Desk(stores, clock)
    after = await desk.attempt()
    assert after.callback is not None
    clock.now = after.callback.due_at
    ticket_id, claimed = await desk.claim()
    changed = await stores.tickets.update(ticket_id, change)
    await desk.delivery.attempt(ticket_id, claimed)
    assert len(app_stub.callbacks) == 1
    assert await stores.get(changed) == changed


# --- the answer was lost ----------------------------------------------------------------------------------------------


def move_away(call: Call) -> None:
    path = Path(call.params["filename"])
    if path.exists():
        path.rename(path.with_name("moved-by-the-app"))


def take(*answers: Script) -> list[Script]:
    """An app that moves the file away in its first callback and then answers like this."""

    def first(call: Call) -> Reply:
        move_away(call)
        return answers[0]  # type: ignore[return-value]

    return [first, *answers[1:]]


async def attempts(desk: Desk, count: int) -> Ticket:
    for _ in range(count):
        after = await desk.attempt()
        if after.callback is not None:
            desk.clock.now = after.callback.due_at
    return after


@pytest.mark.parametrize("second", [(404, "I know nothing of it any more"), (500, "no such file"), (200, "what?")])
async def test_app_that_did_its_work_before_the_answer_was_lost_has_got_the_file(
    stores: Stores, clock: Clock, second: Script
) -> None:
    with AppStub(take(DROP, second)) as app:
        await stores.arrived(app.url)
        after = await attempts(Desk(stores, clock), 2)
    assert (after.state, after.callback) == (State.FINISHED, None)


async def test_worker_that_died_in_a_delivery_is_an_answer_lost(stores: Stores, clock: Clock) -> None:
    with AppStub(take("done", (404, "?"))) as app:
        ticket = await stores.arrived(app.url)
        desk = Desk(stores, clock)
        app.hold()
        dying = asyncio.get_running_loop().create_task(desk.attempt())
        await until(lambda: app.callbacks, "the callback")
        dying.cancel()
        app.release()
        await until(lambda: not stores.files_of(ticket), "the app to move the file")
        clock.advance(desk.delivery.lease)
        assert (await desk.attempt()).state == State.FINISHED


async def test_refusal_after_a_lost_answer_is_one_while_the_file_is_there(stores: Stores, clock: Clock) -> None:
    with AppStub([DROP, (403, "no")]) as app:
        await stores.arrived(app.url)
        assert (await attempts(Desk(stores, clock), 2)).state == State.FAILED


async def test_a_missing_file_does_not_hide_a_refusal(stores: Stores, clock: Clock) -> None:
    with AppStub(take((500, "cannot register it"), (500, "cannot register it"), (403, "no"))) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        assert (await attempts(desk, 2)).state == State.HANDING_OVER
        assert (await desk.attempt()).state == State.FAILED


async def test_an_unavailable_app_that_took_the_file_is_still_called(stores: Stores, clock: Clock) -> None:
    with AppStub(take(DROP, DROP, "wait")) as app:
        await stores.arrived(app.url)
        desk = Desk(stores, clock)
        assert (await attempts(desk, 2)).state == State.HANDING_OVER
        assert (await desk.attempt()).state == State.WAITING


# --- the database in trouble ------------------------------------------------------------------------------------------


class Flaky:
    """A ticket store whose updates fail as long as `failures` lasts, from the second one on."""

    def __init__(self, stores: Stores, failures: int) -> None:
        self.stores = stores
        self.clock = stores.tickets.clock
        self.failures = failures
        self.updates = 0

    async def update(self, ticket_id: str, change: Change, **how: Any) -> Ticket:
        self.updates += 1
        if self.updates > 1 and self.failures:
            self.failures -= 1
            raise StorageFailed("the disk is on strike")
        return await self.stores.tickets.update(ticket_id, change, **how)


async def test_an_answer_is_recorded_however_long_the_database_needs(
    stores: Stores, clock: Clock, app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("incoming.callbacks.delivery.RECORD_PAUSES", (0.0, 0.01))
    await stores.arrived(app_stub.url)
    flaky = Flaky(stores, failures=5)
    after = await Desk(stores, clock, flaky).attempt()
    assert flaky.failures == 0
    assert after.state == State.FINISHED
    assert len(app_stub.callbacks) == 1


async def test_no_call_is_made_until_the_attempt_is_recorded(stores: Stores, clock: Clock, app_stub: AppStub) -> None:
    ticket = await stores.arrived(app_stub.url)
    flaky = Flaky(stores, failures=1)
    flaky.updates = 1
    desk = Desk(stores, clock, flaky)
    with pytest.raises(StorageFailed):
        await desk.attempt()
    assert app_stub.callbacks == []
    assert await stores.state(ticket) == State.ARRIVED


# --- what the log says ------------------------------------------------------------------------------------------------


async def test_no_log_record_contains_the_secret(
    stores: Stores, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "swordfish-in-the-url-and-the-form"
    with AppStub([(500, "x"), "done"]) as app:
        await stores.arrived(f"{app.url}?key={secret}", backend_secret=secret)
        desk = Desk(stores, clock)
        after = await desk.attempt()
        assert after.callback is not None
        clock.now = after.callback.due_at
        await desk.attempt()
        assert app.callbacks[1].params["secret"] == secret
    assert "handed over in attempt 2" in caplog.text
    assert {vars(record)["url"] for record in caplog.records if "attempt" in record.message} == {app.url}
    assert secret not in caplog.text
