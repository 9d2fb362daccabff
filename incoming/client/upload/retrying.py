"""Trying again: which failures pass, how long to wait, and when to give up.

Decides for all kinds of uploads alike; what is tried is nothing to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from incoming.client.backoff import Backoff
from incoming.client.errors import NotTheServer, Unreachable
from incoming.client.upload.address import UploadAddress
from incoming.core.errors import UploadError

STRANGE_ANSWERS = 5
"""Answers that are no server's, before the first one that is, after which the URL is taken for wrong."""

Passing = (UploadError, NotTheServer, Unreachable)
"""What may pass; whether it does, `pause` decides."""

T = TypeVar("T")


class GaveUp(Unreachable):
    """Nothing has worked for as long as was agreed. What has arrived is kept; the upload can be continued."""


class Retrying:
    """The attempts of one upload. `note` is called with every failure that will be retried."""

    def __init__(self, backoff: Backoff, address: UploadAddress, note: Callable[[Exception], None]) -> None:
        self._backoff = backoff
        self._where = address.http.rpartition("/")[0]
        self._note = note
        self._reached = False
        self._strange = 0

    def succeeded(self) -> None:
        """Note a success: start again with short pauses."""
        self._reached = True
        self._backoff.succeeded()

    def reached(self) -> None:
        """Note that the server has answered, even with an error."""
        self._reached = True

    async def pause(self, error: UploadError | NotTheServer | Unreachable) -> None:
        """Wait until the next attempt. Raise the error when another one is of no use, and GaveUp after the time."""
        after = None
        if isinstance(error, UploadError):
            if not error.retry:
                raise error
            after = error.retry_after
        elif isinstance(error, NotTheServer) and not self._reached:
            self._strange += 1
            if self._strange >= STRANGE_ANSWERS:
                raise NotTheServer(f"{self._where}: {error}") from error
        pause = self._backoff.next_pause(after)
        if pause is None:
            raise GaveUp(str(error)) from error
        self._note(error)
        await asyncio.sleep(pause)

    async def until_done(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what an attempt returns at last."""
        while True:
            try:
                result = await attempt()
            except Passing as error:
                await self.pause(error)
            else:
                self.succeeded()
                return result
