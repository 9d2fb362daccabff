"""Retries of completing a file after a store has failed.

A client without a session, or one that has left, does not ask for it again. Decides when to retry and when to leave the
file to the janitor. Does not know what completing a file is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

DELAYS = (2.0, 5.0, 15.0, 30.0)
"""Seconds before each retry; after the last one the janitor completes the file."""


class CompletionRetries:
    """Retries of one worker. `complete` is called with the id of the upload."""

    def __init__(self, complete: Callable[[str], None]) -> None:
        self._complete = complete
        self._failures: dict[str, int] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._stopped = False

    def failed(self, ticket_id: str) -> None:
        """Plan the next retry, unless one is planned or there was the last one."""
        failures = self._failures.get(ticket_id, 0)
        if self._stopped or ticket_id in self._timers:
            return
        if failures == len(DELAYS):
            self._failures.pop(ticket_id, None)
            return
        self._failures[ticket_id] = failures + 1
        self._timers[ticket_id] = asyncio.get_running_loop().call_later(DELAYS[failures], self._retry, ticket_id)

    def _retry(self, ticket_id: str) -> None:
        del self._timers[ticket_id]
        self._complete(ticket_id)

    def ended(self, ticket_id: str) -> None:
        """Forget an upload that is complete, or cannot be completed any more."""
        self._failures.pop(ticket_id, None)
        if timer := self._timers.pop(ticket_id, None):
            timer.cancel()

    def stop(self) -> None:
        """Retry nothing more."""
        self._stopped = True
        for ticket_id in tuple(self._timers):
            self.ended(ticket_id)
