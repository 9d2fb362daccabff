"""What the URLs of an upload have in common, whichever dialect they speak: the ticket and the status.

Decides how long a status request waits. Knows nothing of how bytes are sent.
"""

from __future__ import annotations

import asyncio
import json

from incoming.core.errors import BadParameter, TooBusy
from incoming.core.ticket import Ticket, canonical_id
from incoming.handlers.services import Services
from incoming.handlers.upload.streaming_handler import StreamingHandler
from incoming.handlers.upload.upload_request import find_ticket
from incoming.uploads.status_waiter import wait_for_change
from incoming.wire import messages

LONG_POLL = 25.0
"""Seconds that a status request may wait at most: below the 30 s after which some proxies time out."""


class UploadResource(StreamingHandler):
    """A URL whose first path argument is the ticket."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._poll: asyncio.Task[Ticket] | None = None
        """While a status request waits for another state."""

    def decode_argument(self, value: bytes, name: str | None = None) -> str:
        """Decode as UTF-8 with replacement characters: a name in another encoding is no reason to refuse the file."""
        return value.decode("utf-8", "replace")

    def admit_page(self) -> None:
        self.path_args = [canonical_id(self.path_args[0]), *self.path_args[1:]]
        super().admit_page()

    async def admit_ticket(self) -> Ticket:
        """Return the ticket of the request. Raise UnknownTicket or Forbidden."""
        ticket = await find_ticket(self.path_args[0], self.request.headers, self.services.upload_service)
        self.services.connection_limiter.mark_identified(self._stream)
        return ticket

    def location(self, dialect: str, name: str) -> str:
        """Return the Location of an upload's resource. Relative to the request's URL, which survives all proxies,
        unless the operator has set where clients reach this server.
        """
        base = self.services.settings.public_url
        if not base:
            return name
        return f"{base}/incoming/0.1/frontend/{dialect}/{name}"

    def send_json(self, text: str) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(text)

    def evict(self) -> None:
        """End this request: the upload has more connections than allowed. What has arrived is kept."""
        self.end_with(TooBusy(f"an upload has at most {self.services.settings.connections_per_upload} connections"))

    async def get(self, ticket: str, *more: str) -> None:
        """Answer with the status; with `wait=S` as soon as it differs from `state` (default: the present one)."""
        if not self.concluded() and (known := await self.news_of(ticket)) is not None:
            received = self.services.upload_service.received(known.id)
            self.send_json(json.dumps(messages.status(known, self.services.limits(known), received)))

    async def news_of(self, ticket: str) -> Ticket | None:
        """Return the ticket for a status request, after the wait that it asks for; None if the client is gone."""
        known = await self.services.upload_service.get_ticket(ticket)
        seconds = self._seconds(self.get_query_argument("wait", "0"))
        if seconds:
            seen = self.get_query_argument("state", known.state)
            waiting = wait_for_change(self.services.upload_service, ticket, seen, seconds)
            self._poll = asyncio.get_running_loop().create_task(waiting)
            await asyncio.wait([self._poll])
            if not self._ended:
                known = self._poll.result()
        return None if self._ended else known

    def _seconds(self, declared: str) -> float:
        if not (declared.isascii() and declared.isdigit()) or len(declared) > 4:
            raise BadParameter("'wait' is a number of seconds")
        return min(float(declared), LONG_POLL)

    def release(self) -> None:
        if self._poll is not None:
            self._poll.cancel()
