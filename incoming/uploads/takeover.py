"""Raising an upload's epoch, so that no late write of the session before can do harm.

A worker checks the epoch under the file's lock before it writes. The new epoch is committed while that lock is held
here: a write either has ended by then, or finds the new epoch. Does not decide which client may send.
"""

from __future__ import annotations

from contextlib import nullcontext

from incoming.core.ticket import State, Ticket
from incoming.storage.byte_store import ByteStore, FencingStore, store_of
from incoming.storage.ticket_store import Change, TicketStore


class _EpochRises(Exception):
    def __init__(self, ticket: Ticket) -> None:
        super().__init__()
        self.ticket = ticket


async def update_fenced(
    tickets: TicketStore,
    store: ByteStore,
    ticket_id: str,
    change: Change,
    durable: bool,
    believed: Ticket | None = None,
) -> Ticket:
    """Call `TicketStore.update`; if it raises the epoch of an upload with bytes, do so while no write is under way.

    That update is always durable: after a power cut the same epoch must not be used again. Raises TooBusy if a writer
    does not end.
    """

    def unless_it_rises(known: Ticket) -> Ticket:
        changed = change(known)
        if changed.epoch > known.epoch and known.state != State.NEW:
            raise _EpochRises(known)
        return changed

    try:
        return await tickets.update(ticket_id, unless_it_rises, durable=durable, believed=believed)
    except _EpochRises as rises:
        its = store_of(store, rises.ticket)
        fence = its.fence(rises.ticket) if isinstance(its, FencingStore) else nullcontext()
        async with fence:
            return await tickets.update(ticket_id, change, durable=True)
