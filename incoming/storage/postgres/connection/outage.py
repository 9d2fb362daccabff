"""A server that is away: one caller at a time tries it, after pauses that grow, and the others wait or fail.

Decides how long callers wait. The pauses are random up to their length (full jitter), so that the instances do not all
come back at the same moment. Knows no connection.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import asyncpg

from incoming.core.errors import UploadError
from incoming.storage.postgres.connection.errors import AWAY

OUTAGE_TIMEOUT = 10.0
"""Seconds for which a call is tried again; then its caller has an error with which clients come back later."""

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 1.0
"""Seconds between two tries, at most."""


class NoTurn(Exception):
    """Another caller tries the server, and this one has waited for long enough."""


class Outage:
    """Whether the server is away, and which caller may try it next."""

    def __init__(self, timeout: float = OUTAGE_TIMEOUT, clock: Callable[[], float] = time.monotonic) -> None:
        self.timeout = timeout
        self.error: BaseException = TimeoutError()
        self.count = 0
        """How often the server has begun to be away."""
        self._clock = clock
        self._since: float | None = None
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self._prober = asyncio.Lock()

    @property
    def is_known(self) -> bool:
        """Whether the server has been away for longer than callers wait. Then they need not wait as well."""
        return self._since is not None and self._clock() - self._since > self.timeout

    def is_over(self, deadline: float) -> bool:
        """Return whether a caller that has just failed has waited long enough, or the next try comes too late."""
        return self.is_known or self._clock() >= deadline or (self._since is not None and self._next > deadline)

    @asynccontextmanager
    async def turn(self, deadline: float) -> AsyncIterator[None]:
        """Enter to try the server; while it answers, all may at the same time. Raises NoTurn."""
        with_lock = self._since is not None and await self._wait_for_turn(deadline)
        try:
            yield
        except asyncpg.QueryCanceledError:  # an OperatorInterventionError, but it took too long, which is an answer
            self._answered()
            raise
        except AWAY as error:
            self._failed(error)
            raise
        except (asyncpg.PostgresError, UploadError):
            self._answered()
            raise
        else:
            self._answered()
        finally:
            if with_lock:
                self._prober.release()

    async def _wait_for_turn(self, deadline: float) -> bool:
        """Return whether this caller holds the lock; it does not when the server has come back meanwhile."""
        if self.is_known and self._prober.locked():
            raise NoTurn
        try:
            async with asyncio.timeout(max(0.0, deadline - self._clock())):
                await self._prober.acquire()
        except TimeoutError as error:
            raise NoTurn from error
        try:
            if self._since is not None and not self.is_known:
                await asyncio.sleep(max(0.0, self._next - self._clock()))
        except BaseException:
            self._prober.release()
            raise
        if self._since is None:
            self._prober.release()
            return False
        return True

    def _failed(self, error: BaseException) -> None:
        now = self._clock()
        self.count += self._since is None
        self._since, self.error = self._since or now, error
        self._next = now + random.uniform(0, self._pause)
        self._pause = min(2 * self._pause, LONGEST_PAUSE)

    def _answered(self) -> None:
        self._since, self._pause = None, FIRST_PAUSE
