"""Claims: a client without a session becomes the only sender of an upload with its request.

The HTTP protocols with one offset (doc/protocol.md) have no hello. Their requests claim the upload: appends under way
in this worker end and keep what they have stored, then the epoch rises, which ends all other senders. Decides the order
of that. Knows no HTTP, and nothing of how an append is ended.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from incoming.core.ticket import Ticket
from incoming.uploads.active_upload import ActiveUpload

log = logging.getLogger(__name__)

STEP_ASIDE_TIMEOUT = 5.0
"""Seconds that a claim waits for the last bytes of appends that step aside. Later ones are refused by their epoch."""


def new_session() -> str:
    """Return a session that nobody else has."""
    return secrets.token_urlsafe(16)


@dataclass(frozen=True, slots=True)
class ClaimedUpload:
    """An upload as a claim has left it. `UploadService.leave` the `upload` once.

    `ticket` has the epoch and the session of the claim; `upload.ticket` may be newer already.
    """

    upload: ActiveUpload
    ticket: Ticket


class Append(Protocol):
    """A request whose body is being stored."""

    async def step_aside(self) -> None:
        """End the request for a newer one. Return when what it has stored is committed."""
        ...


class Appends:
    """The appends under way in one worker, by upload."""

    def __init__(self) -> None:
        self._under_way: dict[str, set[Append]] = {}

    def enter(self, ticket_id: str, append: Append) -> Callable[[], None]:
        """Add an append; the result removes it again."""
        self._under_way.setdefault(ticket_id, set()).add(append)

        def leave() -> None:
            appends = self._under_way.get(ticket_id, set())
            appends.discard(append)
            if not appends:
                self._under_way.pop(ticket_id, None)

        return leave

    async def displace(self, ticket_id: str) -> None:
        """End all appends of the upload for a newer request. Return when they have ended."""
        appends = tuple(self._under_way.get(ticket_id, ()))
        if not appends:
            return
        try:
            async with asyncio.timeout(STEP_ASIDE_TIMEOUT):
                await asyncio.gather(*(append.step_aside() for append in appends))
        except TimeoutError:
            log.warning(
                "upload %s: an append has not ended after %g s; it is ended by its epoch", ticket_id, STEP_ASIDE_TIMEOUT
            )
