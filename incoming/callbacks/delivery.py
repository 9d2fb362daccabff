"""One attempt to tell an app about an upload, from the claim to what the answer makes of the ticket.

The attempt is recorded before it is made and the answer before anything follows from it, so an app may be told twice,
with the same Incoming-Delivery, but never not at all. Decides how long an app may be out of reach and how long to pause
between attempts. What is said and what an answer means is callback.py's; how many at once is handover.py's.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import replace

from incoming.callbacks.answer import Answer, Verdict
from incoming.callbacks.client import CallbackClient
from incoming.core.callback_url import shown_url
from incoming.core.errors import UnknownTicket, UploadError
from incoming.core.steady_clock import Clock, steady
from incoming.core.ticket import Callback, Event, State, Ticket
from incoming.monitoring.metrics import WorkerCounters
from incoming.settings.settings import Settings
from incoming.settings.value_types import duration_text
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import Change, Claim, TicketStore

log = logging.getLogger(__name__)

LEASE_MARGIN = 15.0
"""Seconds that a worker holds a callback beyond the app's time to answer, to record the answer even on a slow disk."""

FIRST_PAUSE = 1.0
RETRY_AFTER_LIMIT = 300.0
"""Seconds of an app's Retry-After that are honoured; a longer one would only keep the user waiting."""

RECORD_PAUSES = (0.2, 1.0, 5.0, 15.0)


class _NotOurs(Exception):
    """Since it was claimed, the callback was settled or is being tried by somebody else."""


def longest_pause(settings: Settings) -> float:
    """The most seconds that a callback is put off. One that is due later was noted before the clock was set back."""
    return max(settings.handover_max_backoff, RETRY_AFTER_LIMIT)


class Delivery:
    """Makes attempts, any number side by side."""

    def __init__(
        self,
        tickets: TicketStore,
        store: ByteStore,
        settings: Settings,
        clock: Clock,
        caller: CallbackClient,
        counters: WorkerCounters | None = None,
    ) -> None:
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._clock = clock
        self._steady = steady(clock)
        self._caller = caller
        self._counters = counters or WorkerCounters()

    @property
    def lease(self) -> float:
        """Seconds after which an attempt of which nothing was heard is somebody else's to repeat."""
        return self._settings.handover_timeout + LEASE_MARGIN

    async def attempt(self, claim: Claim) -> None:
        """Tells the app and records the answer. Raises what the store raises, as long as the app was not called."""
        now = self._clock()
        before = claim.callback
        # Unanswered until the answer is recorded: should this worker die, nobody knows what the app has heard.
        callback = replace(before, attempts=before.attempts + 1, due_at=now + self.lease, unanswered=True)
        try:
            ticket = await self._tickets.update(claim.ticket.id, lambda known: _begun(known, claim, callback, now))
        except _NotOurs:
            return
        called_at = time.perf_counter()
        answer = await self._caller.post(ticket, callback)
        self._counters.called_back(answer.verdict.value, time.perf_counter() - called_at)
        if before.unanswered and await self._was_taken_before(ticket, answer):
            answer = Answer(Verdict.DONE)
        last_at = self._last_attempt_at(callback, answer)
        try:
            if last_at > self._steady():
                later = replace(
                    callback,
                    last_error=answer.reason,
                    unanswered=before.unanswered or not answer.heard,
                    unclear_since=self._unclear_since(callback, answer),
                )
                await self._put_off(ticket, callback, later, answer, last_at)
            else:
                await self._conclude(ticket, callback, answer)
        except UnknownTicket:
            log.info("upload %s: forgotten while its app was called", ticket.id)

    async def _was_taken_before(self, ticket: Ticket, answer: Answer) -> bool:
        """Whether the app knows the id no more, or fails, because it did all its work in an attempt whose answer was
        lost. Then it has moved the file away, which nobody else would.
        """
        if ticket.state != State.HANDING_OVER or not answer.heard or answer.verdict in (Verdict.DONE, Verdict.WAIT):
            return False
        try:
            if await self._store.kept(ticket):
                return False
        except UploadError:
            return False
        log.info("upload %s: %s; but it took the file in an attempt before", ticket.id, answer.reason)
        return True

    def _unclear_since(self, callback: Callback, answer: Answer) -> float:
        if answer.verdict != Verdict.UNCLEAR:
            return 0.0
        return callback.unclear_since or self._steady()

    def _last_attempt_at(self, callback: Callback, answer: Answer) -> float:
        """When the last attempt after such an answer is to be made, in steady seconds; 0 if none is."""
        if answer.verdict == Verdict.AGAIN:
            return callback.since + self._settings.handover_retry_time
        if answer.verdict == Verdict.UNCLEAR:
            return self._unclear_since(callback, answer) + self._settings.handover_refusal_time
        return 0.0

    async def _put_off(
        self, ticket: Ticket, callback: Callback, later: Callback, answer: Answer, last_at: float
    ) -> None:
        pause = min(self._pause(callback, answer), last_at - self._steady())
        later = replace(later, due_at=self._clock() + pause)
        await self._record(ticket.id, lambda known: changed(known, callback, later), durable=False)
        if callback.attempts & (callback.attempts - 1) == 0:  # the 1st, 2nd, 4th, 8th, ...: an outage floods no log
            parts = (ticket.id, callback.attempts, answer.reason, pause)
            log.warning("upload %s: callback attempt %d: %s; next in %.0f s", *parts, extra=_facts(ticket, answer))

    def _pause(self, callback: Callback, answer: Answer) -> float:
        """Exponential back-off with jitter, or longer if the app asked for it."""
        longest = self._settings.handover_max_backoff
        pause = min(FIRST_PAUSE * 2.0 ** min(callback.attempts - 1, 30), longest) * random.uniform(0.5, 1.0)
        return max(pause, min(answer.retry_after or 0.0, RETRY_AFTER_LIMIT))

    async def _conclude(self, ticket: Ticket, callback: Callback, answer: Answer) -> None:
        now = self._clock()
        if callback.cancelled:
            await self._record(ticket.id, lambda known: changed(known, callback, None))
            if answer.verdict == Verdict.DONE:
                log.info("upload %s: the app knows of the cancellation", ticket.id, extra=_facts(ticket, answer))
            else:
                parts = (ticket.id, answer.reason)
                log.warning(
                    "upload %s: the app was not told of the cancellation: %s", *parts, extra=_facts(ticket, answer)
                )
            return
        reason = self._failure(callback, answer)
        after = await self._record(ticket.id, lambda known: _answered(known, callback, answer.verdict, reason, now))
        if after.state == State.FAILED:
            log.warning("upload %s: handover failed: %s", ticket.id, after.reason, extra=_facts(ticket, answer))
        else:
            outcome = (ticket.id, callback.attempts, after.state)
            log.info("upload %s: handed over in attempt %d, now %s", *outcome, extra=_facts(ticket, answer))
        await self.clear(after)

    def _failure(self, callback: Callback, answer: Answer) -> str:
        tries = "once" if callback.attempts == 1 else f"{callback.attempts} times"
        if answer.verdict == Verdict.REFUSED:
            return f"the application did not take the file: {answer.reason}"
        if answer.verdict == Verdict.UNCLEAR:
            return f"the application did not take the file: {answer.reason} (tried {tries})"
        spent = duration_text(round(self._settings.handover_retry_time))
        return f"the application could not be reached (tried {tries} in {spent}): {answer.reason}"

    async def _record(self, ticket_id: str, change: Change, *, durable: bool = True) -> Ticket:
        """Commits what the app said, however long the database needs: an answer that is forgotten is asked for again,
        and many an app does not know the id any more then.
        """
        attempt = 0
        while True:
            try:
                return await self._tickets.update(ticket_id, change, durable=durable)
            except UnknownTicket:
                raise
            except UploadError as error:
                log.warning("upload %s: the app's answer cannot be recorded yet: %s", ticket_id, error.message)
            await asyncio.sleep(RECORD_PAUSES[min(attempt, len(RECORD_PAUSES) - 1)])
            attempt += 1

    async def clear(self, ticket: Ticket) -> None:
        """Removes a file that is finished with, if it is ours to remove; usually the app has moved it away already."""
        if ticket.state != State.FINISHED or not ticket.options.remove_file_when_finished:
            return
        try:
            await self._store.remove(ticket, finished=True)
        except UploadError as error:
            log.warning("upload %s: its file could not be removed now: %s", ticket.id, error.message)


def _facts(ticket: Ticket, answer: Answer) -> dict[str, str]:
    """For the log: the URL that was called, without its secrets, and the known cure of what went wrong."""
    options = ticket.options
    facts = {"url": shown_url(options.signal_finish_url, options.backend_secret)}
    return facts if answer.advice is None else {**facts, "hint": str(answer.advice)}


# --- what an attempt makes of a ticket; another attempt, or finish_upload, may have been faster -----------------------


def _same_attempt(known: Ticket, callback: Callback) -> bool:
    owed = known.callback
    return owed is not None and (owed.id, owed.attempts) == (callback.id, callback.attempts)


def _begun(known: Ticket, claim: Claim, trying: Callback, now: float) -> Ticket:
    if not _same_attempt(known, claim.callback):
        raise _NotOurs
    if trying.cancelled:
        return replace(known, callback=trying)
    return known.move(Event.CALL, now, callback=trying)


def changed(known: Ticket, callback: Callback, after: Callback | None) -> Ticket:
    """With `after` in the place of this callback, unless that has been tried again or settled since."""
    return replace(known, callback=after) if _same_attempt(known, callback) else known


def _answered(known: Ticket, callback: Callback, verdict: Verdict, reason: str, now: float) -> Ticket:
    """An acceptance counts whichever attempt it answers; a refusal only if no later attempt may bring better news."""
    if verdict == Verdict.DONE and known.state == State.WAITING:
        return known.finish(now)
    if known.state != State.HANDING_OVER:
        return known
    if verdict in (Verdict.DONE, Verdict.WAIT):
        return known.answered(verdict.value, now)
    return known.refuse(reason, now) if _same_attempt(known, callback) else known
