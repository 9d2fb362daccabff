"""One attempt to call an app about an upload, from the claim to the ticket's next state.

The attempt is recorded before the call, and the answer before anything follows from it: an app may be called twice with
the same Incoming-Delivery, but never not at all. Decides how long attempts go on and how long the pauses between them
are. What is sent is decided by payload.py, what an answer means by answer.py, how many run at once by dispatcher.py.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import replace

from incoming.callbacks.answer import Answer, Verdict
from incoming.callbacks.client import CallbackClient
from incoming.core.callback_url import shown_url
from incoming.core.errors import UnknownTicket, UploadError
from incoming.core.ticket import Callback, Event, State, Ticket
from incoming.monitoring.metrics import WorkerCounters
from incoming.settings.settings import Settings
from incoming.settings.value_types import duration_text
from incoming.storage.byte_store import ByteStore, ObjectsStore, has_ability, store_of
from incoming.storage.ticket_store import Change, TicketStore

log = logging.getLogger(__name__)

LEASE_MARGIN = 15.0
"""Seconds that a lease lasts beyond the app's time to answer, so that a slow disk can still record the answer."""

FIRST_PAUSE = 1.0
RETRY_AFTER_LIMIT = 300.0
"""Longest Retry-After, in seconds, that is honoured; a longer one would only keep the user waiting."""

ROUNDING = 0.001
"""Seconds that are no time for another attempt, but what rounding leaves of a limit."""

RECORD_PAUSES = (0.2, 1.0, 5.0, 15.0)


class _NotOurs(Exception):
    """Since the claim, the callback was settled, or another worker has tried it."""


def longest_pause(settings: Settings) -> float:
    """Return the longest pause in seconds. A callback due later was recorded before the clock was set back."""
    return max(settings.handover_max_backoff, RETRY_AFTER_LIMIT)


class Delivery:
    """Makes attempts, any number of them concurrently."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ByteStore,
        settings: Settings,
        caller: CallbackClient,
        counters: WorkerCounters | None = None,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._clock = tickets.clock
        self._caller = caller
        self._counters = counters or WorkerCounters()

    @property
    def lease(self) -> float:
        """Seconds after which another worker may repeat an attempt without a recorded answer."""
        return self._settings.handover_timeout + LEASE_MARGIN

    async def attempt(
        self,
        ticket_id: str,
        claimed: Callback,
        waited: float = 0.0,
        read: Ticket | None = None,
        unmade: Callback | None = None,
    ) -> None:
        """Call the app and record the answer. Raises what the store raises, as long as the app was not called.

        `waited` are the seconds that the claimed callback waited for its turn, `read` the ticket as it was claimed. If
        the claim has recorded an attempt that was not made, `unmade` is the callback before it.
        """
        before = unmade or claimed
        callback = self.begun(before, waited)
        now = self._clock.now()
        try:
            ticket = await self._tickets.update(
                ticket_id, lambda known: _begun(known, claimed, callback, now), believed=read
            )
        except _NotOurs:
            return
        await self.make(ticket, callback, was_unanswered=before.unanswered)

    def begun(self, claimed: Callback, waited: float = 0.0) -> Callback:
        """Return the claimed callback as it must be recorded before its next attempt is made."""
        # Unanswered until the answer is recorded: if this worker dies, nobody knows whether the app got the call.
        return replace(
            claimed.end_pause(self._clock.steady()).spend(waited),
            attempts=claimed.attempts + 1,
            due_at=self._clock.now() + self.lease,
            unanswered=True,
        )

    async def make(self, ticket: Ticket, callback: Callback, *, was_unanswered: bool = False) -> None:
        """Make the attempt that is recorded as `callback`: call the app, and record its answer.

        `was_unanswered` tells whether the app may have received an earlier one of which no answer came.
        """
        called_at = self._clock.monotonic()
        answer = await self._call(ticket, callback)
        took = self._clock.monotonic() - called_at
        self._counters.called_back(answer.verdict.value, took)
        if (was_unanswered or answer.repeated) and await self._was_taken_before(ticket, answer):
            answer = Answer(Verdict.DONE)
        after = replace(
            callback.spend(took), last_error=answer.reason, unanswered=was_unanswered or not answer.answered
        )
        if answer.verdict != Verdict.UNCLEAR:
            after = replace(after, unclear_for=None)
        elif after.unclear_for is None:
            after = replace(after, unclear_for=0.0)
        left = self._time_left(after, answer)
        try:
            if left > ROUNDING:
                await self._put_off(ticket, callback, after, answer, left)
            else:
                await self._conclude(ticket, callback, answer)
        except UnknownTicket:
            log.info("upload %s: ticket expired while its app was called", ticket.id)

    async def _call(self, ticket: Ticket, callback: Callback) -> Answer:
        details: dict[str, str] = {}
        if not callback.cancelled:
            try:
                store = store_of(self._store, ticket)
                details = await store.describe(ticket) if has_ability(store, ObjectsStore) else {}
            except UploadError as error:
                return Answer(Verdict.AGAIN, f"the app was not called: {error.message}", answered=False)
        return await self._caller.post(ticket, callback, details=details)

    async def _was_taken_before(self, ticket: Ticket, answer: Answer) -> bool:
        """Return whether the app took the file in an attempt whose answer was lost, and therefore no longer knows the
        id or fails. Then it has moved the file away, which only the app does.
        """
        if ticket.state != State.HANDING_OVER or not answer.answered or answer.verdict in (Verdict.DONE, Verdict.WAIT):
            return False
        try:
            if await self._store.kept(ticket):
                return False
        except UploadError:
            return False
        log.info("upload %s: %s; the app took the file in an earlier attempt", ticket.id, answer.reason)
        return True

    def _time_left(self, callback: Callback, answer: Answer) -> float:
        """Return the seconds until the last attempt after such an answer; none if there is no further one."""
        if answer.verdict == Verdict.AGAIN:
            return self._settings.handover_retry_time - callback.tried_for
        if answer.verdict == Verdict.UNCLEAR:
            return self._settings.handover_refusal_time - (callback.unclear_for or 0.0)
        return 0.0

    async def _put_off(self, ticket: Ticket, callback: Callback, after: Callback, answer: Answer, left: float) -> None:
        pause = min(self._pause(callback, answer), left)
        now = self._clock.now()
        later = after.put_off(pause, now, self._clock.steady())
        await self._record(ticket, lambda known: _settled(known, callback, later, answer, now), durable=False)
        if callback.attempts & (callback.attempts - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...: an outage floods no log
            parts = (ticket.id, callback.attempts, answer.reason, pause)
            log.warning("upload %s: callback attempt %d: %s; next in %.0f s", *parts, extra=_facts(ticket, answer))

    def _pause(self, callback: Callback, answer: Answer) -> float:
        """Return the pause: exponential back-off with jitter, or longer if the app asked for it."""
        longest = self._settings.handover_max_backoff
        pause = min(FIRST_PAUSE * 2.0 ** min(callback.attempts - 1, 30), longest) * random.uniform(0.5, 1.0)
        return max(pause, min(answer.retry_after or 0.0, RETRY_AFTER_LIMIT))

    async def _conclude(self, ticket: Ticket, callback: Callback, answer: Answer) -> None:
        now = self._clock.now()
        if callback.cancelled:
            await self._record(ticket, lambda known: _settled(known, callback, None, answer, now))
            if answer.verdict == Verdict.DONE:
                log.info("upload %s: the app knows of the cancellation", ticket.id, extra=_facts(ticket, answer))
            else:
                parts = (ticket.id, answer.reason)
                log.warning(
                    "upload %s: the app was not notified of the cancellation: %s", *parts, extra=_facts(ticket, answer)
                )
            return
        reason = self._failure(callback, answer)
        after = await self._record(ticket, lambda known: _answered(known, callback, answer, reason, now))
        if after.state == State.FAILED:
            log.warning("upload %s: handover failed: %s", ticket.id, after.reason, extra=_facts(ticket, answer))
        else:
            outcome = (ticket.id, callback.attempts, after.state)
            log.info("upload %s: handed over in attempt %d, now %s", *outcome, extra=_facts(ticket, answer))
        await self._clear(after)

    def _failure(self, callback: Callback, answer: Answer) -> str:
        tries = "once" if callback.attempts == 1 else f"{callback.attempts} times"
        if answer.verdict == Verdict.REFUSED:
            return f"the application did not take the file: {answer.reason}"
        if answer.verdict == Verdict.UNCLEAR:
            return f"the application did not take the file: {answer.reason} (tried {tries})"
        spent = duration_text(round(self._settings.handover_retry_time))
        return f"the application could not be reached (tried {tries} in {spent}): {answer.reason}"

    async def _record(self, begun: Ticket, change: Change, *, durable: bool = True) -> Ticket:
        """Commit the app's answer, however long the database needs: an answer that is lost is asked for again, and
        many apps no longer know the id then.
        """
        attempt = 0
        while True:
            try:
                return await self._tickets.update(begun.id, change, durable=durable, believed=begun)
            except UnknownTicket:
                raise
            except UploadError as error:
                log.warning("upload %s: cannot record the app's answer yet: %s; retrying", begun.id, error.message)
            await asyncio.sleep(RECORD_PAUSES[min(attempt, len(RECORD_PAUSES) - 1)])
            attempt += 1

    async def _clear(self, ticket: Ticket) -> None:
        """Remove the file of a finished upload if that is agreed; usually the app has moved it away already."""
        if ticket.state != State.FINISHED or not ticket.options.remove_file_when_finished:
            return
        try:
            await self._store.remove(ticket)
        except UploadError as error:
            log.warning("upload %s: its file could not be removed now: %s; retrying later", ticket.id, error.message)


def _facts(ticket: Ticket, answer: Answer) -> dict[str, str]:
    """Return log fields: the URL that was called, without its secrets, the trace, and the known cure of the failure."""
    options = ticket.options
    facts = {"url": shown_url(options.signal_finish_url, options.backend_secret), **options.trace}
    return facts if answer.advice is None else {**facts, "hint": str(answer.advice)}


# --- what an attempt does to a ticket; another attempt, or finish_upload, may have come first -------------------------


def _same_attempt(known: Ticket, callback: Callback) -> bool:
    owed = known.callback
    return owed is not None and (owed.id, owed.attempts) == (callback.id, callback.attempts)


def _begun(known: Ticket, claimed: Callback, trying: Callback, now: float) -> Ticket:
    if not _same_attempt(known, claimed):
        raise _NotOurs
    if trying.cancelled:
        return replace(known, callback=trying)
    return known.move(Event.CALL, now, callback=trying)


def changed(known: Ticket, callback: Callback, after: Callback | None) -> Ticket:
    """Return the ticket with `after` in place of this callback, unless that was tried again or settled since."""
    return replace(known, callback=after) if _same_attempt(known, callback) else known


def _settled(known: Ticket, callback: Callback, after: Callback | None, answer: Answer, now: float) -> Ticket:
    """Return the ticket as `changed` does, with the answer in its timeline."""
    return changed(_noted(known, callback, answer, now), callback, after) if _same_attempt(known, callback) else known


def _noted(known: Ticket, callback: Callback, answer: Answer, now: float) -> Ticket:
    return known.noted(now, "answer", f"attempt {callback.attempts}: {answer.reason or answer.verdict.value}")


def _answered(known: Ticket, callback: Callback, answer: Answer, reason: str, now: float) -> Ticket:
    """Return the ticket after an answer. An acceptance counts whichever attempt it answers; a refusal only if no later
    attempt is under way.
    """
    accepted = answer.verdict in (Verdict.DONE, Verdict.WAIT)
    if answer.verdict == Verdict.DONE and known.state == State.WAITING:
        return _noted(known, callback, answer, now).finish(now)
    if known.state != State.HANDING_OVER or not (accepted or _same_attempt(known, callback)):
        return known
    noted = _noted(known, callback, answer, now)
    return noted.answered(answer.verdict.value, now) if accepted else noted.refuse(reason, now)
