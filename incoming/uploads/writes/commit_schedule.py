"""Decides when the durable ranges of one upload are committed: as soon as its senders need it, and no more often.

All that is durable by then is committed together. Knows neither the writes nor the ticket.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

COMMIT_INTERVAL = 0.02
"""Seconds between two commits of an upload, unless a sender asks for less: what is stored meanwhile is committed
together, so that acknowledgements cost little.
"""

RANGE_SECONDS = 50e-6
"""Seconds between two commits for each range of the upload, whatever its senders wait for: a commit writes them all,
which takes about a twentieth of that.
"""


class Commit(Protocol):
    """Commit all that is durable by now; with `patient` it may be delayed, to be committed together with others."""

    async def __call__(self, *, patient: bool) -> None: ...


class CommitSchedule:
    """Schedule of one upload. Holds a reference to it only while a commit is due."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        """Runs while a commit is due or under way."""
        self._wanted = False
        self._committed_at = 0.0
        self._within = math.inf
        """Seconds that the next commit may be delayed."""
        self._sooner = asyncio.Event()
        """Set when `_within` has decreased."""

    def plan(self, within: float, commit: Commit, ranges: Callable[[], int]) -> None:
        """Call `commit` in `within` seconds; later, and less often, for an upload of many ranges."""
        self._wanted = True
        if within < self._within:
            self._within = within
            self._sooner.set()
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run(commit, ranges))

    async def _run(self, commit: Commit, ranges: Callable[[], int]) -> None:
        clock = asyncio.get_running_loop().time
        try:
            while self._wanted:
                while clock() < (due := self._committed_at + max(self._within, ranges() * RANGE_SECONDS)):
                    self._sooner.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout_at(due):
                            await self._sooner.wait()
                self._committed_at, patient, self._within = clock(), self._within > 0, math.inf
                self._wanted = False
                await commit(patient=patient)
        finally:
            self.task = None
