"""Finish a handover for the app, or retry it now for an operator.

Each is one transaction on the ticket, so it works concurrently with the workers, which are notified as of any change.
When callbacks are made is decided by the dispatcher.
"""

from __future__ import annotations

import logging
import uuid
from dataclasses import replace

from incoming.core.errors import WrongState
from incoming.core.ticket import Callback, State, Ticket
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import TicketStore
from incoming.uploads.cancellation import remove_bytes

log = logging.getLogger(__name__)

RETRIED = "retried"
"""The timeline's entry for an operator's retry."""


async def finish(tickets: TicketStore, store: ByteStore, ticket_id: str) -> Ticket:
    """Finish an upload because the app has processed its file; remove the file if the ticket asks for it.

    A call before the answer `wait`, and a repeated one, succeed. Raises UnknownTicket, or WrongState if the app was not
    called yet or the upload has failed.
    """
    now = tickets.clock.now()
    ticket = await tickets.update(
        ticket_id, lambda known: known if known.state == State.FINISHED else known.finish(now)
    )
    log.info("upload %s: finished by the app", ticket_id, extra=ticket.options.trace)
    if ticket.options.remove_file_when_finished:
        await remove_bytes(store, ticket)
    return ticket


async def retry(tickets: TicketStore, ticket_id: str) -> Ticket:
    """Make a callback due at once: one that waits for its next attempt, or a failed one while its file is kept.

    Raises UnknownTicket, or WrongState if no callback is due and none has failed.
    """
    now = tickets.clock.now()
    notice = Callback(str(uuid.uuid4()), cancelled=False, since=now, due_at=now)

    def change(known: Ticket) -> Ticket:
        if known.callback is not None:
            return replace(known.noted(now, RETRIED), callback=replace(known.callback, due_at=now))
        if known.state == State.FAILED and known.file_kept:
            return known.noted(now, RETRIED).retry(notice, now)
        kept = "and its file is not kept any more" if known.state == State.FAILED else "and owes the app no callback"
        raise WrongState(f"nothing to hand over: the upload is in state '{known.state}' {kept}")

    return await tickets.update(ticket_id, change)
