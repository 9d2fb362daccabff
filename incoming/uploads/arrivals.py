"""Record that a whole file has arrived, together with the callback that it owes the app.

Decides what becomes of the file: it has arrived, it is not the one that the app expects, or it must be sent again. When
the app is called is decided by the outbox.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import replace

from incoming.core.extents import Extents
from incoming.core.location import Location
from incoming.core.ticket import Callback, State, Ticket, TicketOptions
from incoming.storage.ticket_store import TicketStore

log = logging.getLogger(__name__)

Commit = Callable[[Callback], Awaitable[Ticket]]
"""Records the arrival with this callback in one transaction; returns the ticket as committed, raises what the store
raises. Another worker may have recorded it before: then the ticket has another callback, or none.
"""

Outbox = Callable[[TicketOptions, Callback, Commit], Awaitable[Ticket]]
"""Calls `commit` once, with the callback or with one whose first attempt has begun, and returns or raises what that
does.
"""


async def leave_due(options: TicketOptions, callback: Callback, commit: Commit) -> Ticket:
    """Record the callback as due: any worker makes it. An Outbox of workers that make no callbacks."""
    return await commit(callback)


async def record_arrival(
    tickets: TicketStore, outbox: Outbox, whole: Ticket, location: Location, digest: str
) -> tuple[Ticket, bool]:
    """Record the file of this ticket, which is durable at `location`; return the ticket, and whether the file is not
    the one that the app expects. Raises what the store raises.
    """
    now, ticket_id = tickets.clock.now(), whole.id
    is_wrong = whole.options.expected_digest not in ("", digest)
    notice = Callback(str(uuid.uuid4()), cancelled=is_wrong, since=now, due_at=now)

    async def commit(callback: Callback) -> Ticket:
        def change(known: Ticket) -> Ticket:
            if known.state != State.UPLOADING:
                return known
            if not known.complete:
                # Another worker's sync has failed meanwhile, and the file cannot be partial again.
                return replace(known, synced=Extents()).distrust()
            return known.spoil(digest, callback, now) if is_wrong else known.arrive(location, callback, now, digest)

        return await tickets.update(ticket_id, change, believed=whole)

    ticket = await (leave_due if is_wrong else outbox)(whole.options, notice, commit)
    if ticket.callback is not None and ticket.callback.id == notice.id:
        if is_wrong:
            log.warning("upload %s: %s; the bytes are removed", ticket_id, ticket.reason, extra=whole.options.trace)
        else:
            log.info("upload %s: %d bytes have arrived", ticket_id, ticket.size, extra=whole.options.trace)
    return ticket, is_wrong
