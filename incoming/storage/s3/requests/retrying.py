"""When a request to an object store is tried again, and how many bytes are sent to it at a time.

A store that is slow or away gets fewer requests at once, half as many after each failure and one more after as many
successes (AIMD). After a time without any success requests fail; until then their bytes wait in the spool.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar

from incoming.core.errors import StorageFailed
from incoming.storage.s3.requests.answers import S3Error
from incoming.storage.s3.requests.http_sender import Unreachable

log = logging.getLogger(__name__)

RETRY_TIMEOUT = 30.0
"""Seconds without a success after which a request has failed: the client gets 502 and tries again later."""

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
MOST_AT_ONCE = 16
"""PUTs under way. More only share the line."""

T = TypeVar("T")
Attempt = Callable[[], Awaitable[T]]


class Throttle:
    """How many requests may be under way: additive increase, multiplicative decrease."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self.limit = 4.0
        self.under_way = 0
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def __aenter__(self) -> None:
        while self.under_way >= int(self.limit):
            place = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self._wake()  # the place may have been given to this one already
                raise
        self.under_way += 1

    async def __aexit__(self, *_: object) -> None:
        self.under_way -= 1
        self._wake()

    def succeeded(self) -> None:
        """Note that a request was carried out."""
        self.limit = min(self._most, self.limit + 1 / self.limit)
        self._wake()

    def failed(self) -> None:
        """Note that a request failed because the store is busy, slow or away."""
        self.limit = max(1.0, self.limit / 2)

    def _wake(self) -> None:
        free = int(self.limit) - self.under_way
        while free > 0 and self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                free -= 1


class Retrying:
    """The requests of one store."""

    def __init__(self, name: str, *, timeout: float = RETRY_TIMEOUT) -> None:
        self.puts = Throttle()
        self.retries = 0
        """How many requests were tried again so far."""
        self._name = name
        self._timeout = timeout
        self._succeeded_at = -1.0
        self._is_away = False
        """Whether the timeout has passed before and nothing succeeded since: then each call is tried once."""

    async def call(self, attempt: Attempt[T], *, is_put: bool = False) -> T:
        """Call `attempt` until it succeeds. Raises S3Error that no repetition cures, StorageFailed after RETRY_TIMEOUT
        without a success of any request.

        A request that fails although others succeed is tried further, and logged once: Ceph refuses for ten minutes to
        complete an upload whose completion a gateway has begun that died since.
        """
        loop = asyncio.get_running_loop()
        began, pause, is_logged = loop.time(), FIRST_PAUSE, False
        while True:
            try:
                result = await self._once(attempt, is_put)
            except (Unreachable, S3Error) as error:
                if isinstance(error, S3Error) and not error.is_transient:
                    raise
                self.retries += 1
                if self._is_away or loop.time() - max(began, self._succeeded_at) >= self._timeout:
                    self._is_away = True
                    raise StorageFailed(f"object store {self._name}: {error}") from error
                if not is_logged and loop.time() - began >= self._timeout:
                    is_logged = True
                    log.warning(
                        "object store %s: %s; other requests succeed, trying this one further", self._name, error
                    )
            else:
                self._succeeded_at, self._is_away = loop.time(), False
                return result
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _once(self, attempt: Attempt[T], is_put: bool) -> T:
        if not is_put:
            return await attempt()
        async with self.puts:
            try:
                result = await attempt()
            except (Unreachable, S3Error) as error:
                if isinstance(error, Unreachable) or error.is_transient:
                    self.puts.failed()
                raise
            self.puts.succeeded()
            return result
