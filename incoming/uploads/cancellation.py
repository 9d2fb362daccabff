"""Cancel an upload by one transaction on its ticket, concurrently with workers that write to it.

Decides whether the app is notified. The caller decides when the bytes may be removed: it may have pending writes.
"""

from __future__ import annotations

import logging
import uuid

from incoming.core.errors import UploadError
from incoming.core.ticket import Callback, Ticket
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import TicketStore

log = logging.getLogger(__name__)


async def cancel(tickets: TicketStore, ticket_id: str, reason: str, *, notify_app: bool) -> Ticket:
    """Cancel for good and return the ticket. Raises UnknownTicket, or WrongState if it is too late."""
    now = tickets.clock.now()
    notice = Callback(str(uuid.uuid4()), cancelled=True, since=now, due_at=now) if notify_app else None
    ticket = await tickets.update(ticket_id, lambda known: known.cancel(reason, notice, now))
    if ticket.state_since == now:
        log.info("upload %s: cancelled: %s", ticket_id, ticket.reason, extra=ticket.options.trace)
    return ticket


async def remove_bytes(store: ByteStore, ticket: Ticket, *, finished: bool = True) -> None:
    """Remove the bytes of an upload that has ended; unless `finished`, not its complete file.

    What cannot be removed now the janitor removes later.
    """
    try:
        await (store.remove(ticket) if finished else store.remove_partial(ticket))
    except UploadError as error:
        log.warning("upload %s: its file could not be removed now: %s; retrying later", ticket.id, error.message)
