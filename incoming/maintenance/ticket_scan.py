"""Scan many tickets in batches: a million tombstones take little memory and delay nothing.

Knows how to iterate over `TicketStore.find`, not the purpose of the scan.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from incoming.core.ticket import State, Ticket
from incoming.storage.ticket_store import TicketStore

BATCH = 100
BATCH_DELAY = 0.02
"""Seconds between two batches, for other work."""


def older(
    tickets: TicketStore,
    states: Sequence[State],
    before: float,
    after: float | None = None,
) -> AsyncIterator[Ticket]:
    """Yield the tickets that entered one of these states between the two times, the oldest first."""
    return _walk(
        lambda start: tickets.find(states, state_before=before, after=start, limit=BATCH),
        lambda ticket: ticket.state_since,
        after,
    )


def idle(tickets: TicketStore, states: Sequence[State], before: float) -> AsyncIterator[Ticket]:
    """Yield the tickets in one of these states without activity of a client since `before`, the longest idle first."""
    return _walk(
        lambda start: tickets.find(states, idle_since=before, after=start, limit=BATCH),
        lambda ticket: ticket.active_at,
        None,
    )


async def _walk(
    find: Callable[[float | None], Awaitable[list[Ticket]]],
    key: Callable[[Ticket], float],
    start: float | None,
) -> AsyncIterator[Ticket]:
    seen: set[str] = set()
    while True:
        batch = await find(start)
        for ticket in batch:
            if ticket.id not in seen:
                yield ticket
        if len(batch) < BATCH:
            return
        # The next batch starts at the last one's latest time; after a whole batch of one time, behind it.
        last = key(batch[-1])
        start = last if last != start else math.nextafter(last, math.inf)
        seen = {ticket.id for ticket in batch}
        await asyncio.sleep(BATCH_DELAY)
