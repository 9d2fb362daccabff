"""One request that waits for news of several uploads, so that a page with many of them holds one connection.

Decides only what belongs to HTTP: who may ask, how many, for how long. What news is, uploads/status_waiter.py decides.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from incoming.core.errors import BadRequest, Forbidden, MessageTooLarge, UploadError
from incoming.core.ticket import Ticket, canonical_id
from incoming.handlers import cors
from incoming.handlers.services import Services
from incoming.handlers.upload.streaming_handler import StreamingHandler
from incoming.handlers.upload.upload_resource import LONG_POLL
from incoming.uploads.status_waiter import News, wait_for_news
from incoming.wire import messages
from incoming.wire.json_fields import MAX_CONTROL
from incoming.wire.wait_request import parse_wait


class UploadsWait(StreamingHandler):
    """`.../frontend/uploads/wait`: POST with the tickets and the states that are known of them (doc/protocol.md)."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._message = bytearray()
        self._waiting: asyncio.Task[News] | None = None

    async def admit(self) -> None:
        self.admit_page()
        if (self.body_length or 0) > MAX_CONTROL:
            raise MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes")

    async def take(self, data: bytes) -> None:
        self._message += data
        if len(self._message) > MAX_CONTROL:
            raise MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes")

    def release(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def post(self) -> None:
        """Answer when one of the uploads is in another state than the request says, or after `wait` seconds."""
        if self.concluded():
            return
        try:
            asked = parse_wait(self._message.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise BadRequest("a control message is UTF-8") from error
        given = {canonical_id(ticket_id): ticket_id for ticket_id in asked.seen}
        seen = {ticket_id: asked.seen[given[ticket_id]] for ticket_id in given}
        if await self._has_any_ticket(seen):
            self.services.connection_limiter.mark_identified(self._stream)
        work = wait_for_news(self.services.upload_service, seen, min(asked.seconds, LONG_POLL))
        self._waiting = asyncio.get_running_loop().create_task(work)
        await asyncio.wait([self._waiting])
        if self._ended:
            return  # the client is gone
        news = self._waiting.result()
        uploads = [self._describe(given[ticket_id], found) for ticket_id, found in news.items()]
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps({"type": "news", "uploads": uploads}))

    async def _has_any_ticket(self, tickets: Iterable[str]) -> bool:
        for ticket_id in tickets:
            try:
                await self.services.upload_service.get_ticket(ticket_id)
            except UploadError:
                continue
            return True
        return False

    def _describe(self, given: str, found: Ticket | UploadError) -> dict[str, Any]:
        origin = self.request.headers.get("Origin")
        if isinstance(found, Ticket):
            if cors.allowed(origin, found.options.allowed_origins):
                return {**messages.status(found), "id": given}
            found = Forbidden("pages of this origin may not use this ticket")
        return {"id": given, "error": messages.describe_error(found)}

    def options(self) -> None:
        if self.concluded():
            return
        self.set_status(204)
        self.set_header("Allow", "POST, OPTIONS")
        self.finish()
