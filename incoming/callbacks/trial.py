"""Trial calls: whether a callback URL works, found out before a user sends a file.

Decides what a trial looks like to the app, when it has succeeded, and what the caller learns of a failure: no more
than of a failed handover, so that a trial is no probe of the network behind this server. It is one attempt, like any
other one subject to callback_hosts, callback_networks, the time-outs and the signature.
"""

from __future__ import annotations

import uuid
from pathlib import Path

from incoming.callbacks.answer import Answer, Verdict
from incoming.callbacks.client import CallbackClient
from incoming.core.callback_url import shown_url
from incoming.core.errors import CallbackTestFailed, TooBusy
from incoming.core.location import FILE, Location
from incoming.core.ticket import Callback, Identity, State, Ticket, TicketOptions

TIMEOUT = 10.0
"""Seconds for an app to answer a trial, if `handover_timeout` is not shorter: somebody waits for the result."""

MAX_TRIALS = 16
"""Trial calls under way in one worker."""

FILE_NAME = "trial.txt"

_NOT_ACCEPTED = "the app was reached and refuses the trial"
_CURE = "answer 'done' to calls with test=yes and the right secret; the id of a trial is never one of yours"


class CallbackTrial:
    """The trial calls of one worker."""

    def __init__(self, client: CallbackClient, storage_dir: Path) -> None:
        self._client = client
        self._storage_dir = storage_dir
        self._under_way = 0

    async def call(self, options: TicketOptions, now: float) -> Answer:
        """Call the app as for a handover, marked as a trial, and return its answer. Raises TooBusy."""
        if self._under_way >= MAX_TRIALS:
            raise TooBusy(f"{MAX_TRIALS} trial calls are under way; ask again")
        ticket, callback = _example(options, self._storage_dir, now)
        self._under_way += 1
        try:
            return await self._client.post(ticket, callback, is_test=True, within=TIMEOUT)
        finally:
            self._under_way -= 1

    async def check(self, options: TicketOptions, now: float) -> None:
        """Raise CallbackTestFailed, which names cause and cure, unless the app accepts a trial call."""
        answer = await self.call(options, now)
        if succeeded(answer):
            return
        url = shown_url(options.signal_finish_url, options.backend_secret)
        raise CallbackTestFailed(
            f"the trial call to {url} failed: {answer.reason.rstrip('.')}. {'. '.join(explained(answer))}"
        )


def succeeded(answer: Answer) -> bool:
    """Return whether the app accepted the trial."""
    return answer.verdict in (Verdict.DONE, Verdict.WAIT)


def explained(answer: Answer) -> tuple[str, str]:
    """Return cause and cure of a trial that failed, as one sentence each."""
    cause, cure = _NOT_ACCEPTED, _CURE
    if answer.advice is not None:
        cause, cure = answer.advice.cause, answer.advice.cure
    return f"Cause: {cause}", f"Cure: {cure}"


def _example(options: TicketOptions, storage_dir: Path, now: float) -> tuple[Ticket, Callback]:
    """Return a ticket that does not exist, whose file is not there, and a new delivery."""
    name = str(uuid.uuid4())
    ticket = Ticket(
        name,
        options,
        created_at=now,
        active_at=now,
        state_since=now,
        state=State.HANDING_OVER,
        identity=Identity(name=FILE_NAME, size=0),
        location=_example_location(options, storage_dir, name),
    )
    return ticket, Callback(str(uuid.uuid4()), cancelled=False, since=now, due_at=now, attempts=1)


def _example_location(options: TicketOptions, storage_dir: Path, name: str) -> Location:
    if options.dest_type == FILE:
        return Location(FILE, str(storage_dir / name[:2] / name))
    return Location(options.dest_type, f"s3://trial/{options.dest_key or name}")
