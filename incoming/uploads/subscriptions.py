"""Subscriptions of this worker's connections to changes of tickets, made by any process.

Decides how often a changed ticket is read: one read per ticket at a time, repeated if it has changed meanwhile. Does
not know what a change means, nor what a listener does with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from incoming.core.errors import UploadError
from incoming.core.ticket import Ticket
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.active_upload import ActiveUpload

log = logging.getLogger(__name__)

News = Ticket | UploadError
Listener = Callable[[News], None]
"""Called on the event loop with the ticket after each change, or with the error after which to reconnect."""

READ_RETRY_DELAY = 1.0
"""Seconds after which a ticket that could not be read is tried again."""


class TicketSubscriptions:
    """All subscriptions of one worker. `uploads`, those with connections here, get the new versions as well."""

    def __init__(self, tickets: TicketStore, uploads: Mapping[str, ActiveUpload]) -> None:
        self._tickets = tickets
        self._uploads = uploads
        self._listeners: dict[str, set[Listener]] = {}
        self._reading: dict[str, bool] = {}
        """Tickets that are being read; True if one has changed since the read began."""
        self._tasks: set[asyncio.Task[None]] = set()
        tickets.watch(self._changed)

    def add(self, ticket_id: str, listener: Listener) -> Callable[[], None]:
        """Call `listener` at each change of the ticket. The result unsubscribes."""
        self._listeners.setdefault(ticket_id, set()).add(listener)

        def stop() -> None:
            listeners = self._listeners.get(ticket_id, set())
            listeners.discard(listener)
            if not listeners:
                self._listeners.pop(ticket_id, None)

        return stop

    def notify(self, ticket_id: str, news: News) -> None:
        """Call all listeners of this ticket."""
        for listener in tuple(self._listeners.get(ticket_id, ())):
            listener(news)

    def notify_all(self, error: UploadError) -> None:
        """Call all listeners with the error."""
        for ticket_id in tuple(self._listeners):
            self.notify(ticket_id, error)

    def learned(self, ticket: Ticket) -> None:
        """Publish the version of a ticket that a call of this worker has returned."""
        upload = self._uploads.get(ticket.id)
        if upload is None or upload.adopt(ticket):
            self.notify(ticket.id, ticket)

    def _changed(self, ticket_id: str) -> None:
        if ticket_id not in self._listeners and ticket_id not in self._uploads:
            return
        if ticket_id in self._reading:
            self._reading[ticket_id] = True
            return
        self._reading[ticket_id] = False
        task = asyncio.get_running_loop().create_task(self._read(ticket_id))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _read(self, ticket_id: str) -> None:
        try:
            again = True
            while again:
                self._reading[ticket_id] = False
                again = not await self._read_once(ticket_id) or self._reading[ticket_id]
        finally:
            del self._reading[ticket_id]

    async def _read_once(self, ticket_id: str) -> bool:
        """Read the ticket and publish it; return False if that must be retried."""
        try:
            ticket = await self._tickets.get(ticket_id)
        except UploadError as error:
            log.warning("upload %s: its change cannot be read yet: %s", ticket_id, error.message)
            await asyncio.sleep(READ_RETRY_DELAY)
            return ticket_id not in self._listeners
        if ticket is not None:
            if upload := self._uploads.get(ticket_id):
                upload.adopt(ticket)
                ticket = upload.ticket  # a session may have begun since it was read
            self.notify(ticket_id, ticket)
        return True

    async def close(self) -> None:
        """Stop reading."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
