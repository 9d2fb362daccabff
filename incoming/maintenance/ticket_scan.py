"""Many tickets, a batch at a time: a million tombstones cost little memory and hold up nobody.

Knows how to walk through what `TicketStore.find` offers, not what the tickets are wanted for.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

from incoming.core.ticket import State, Ticket
from incoming.storage.ticket_store import TicketStore

BATCH = 100
BREATH = 0.02
"""Seconds between two batches, for everybody else's work."""


def older(
    tickets: TicketStore,
    states: Sequence[State],
    before: float,
    after: float | None = None,
    *,
    breath: float = BREATH,
) -> AsyncIterator[Ticket]:
    """The tickets that entered one of these states between the two times, the oldest first.

    `breath` is how many seconds there are between two batches: 0 where nobody else has work.
    """
    return _walk(
        lambda start: tickets.find(states, state_before=before, after=start, limit=BATCH),
        lambda ticket: ticket.state_since,
        after,
        breath,
    )


def idle(tickets: TicketStore, states: Sequence[State], before: float) -> AsyncIterator[Ticket]:
    """The tickets in one of these states with which no client did anything since `before`, the longest idle first."""
    return _walk(
        lambda start: tickets.find(states, idle_since=before, after=start, limit=BATCH),
        lambda ticket: ticket.active_at,
        None,
        BREATH,
    )


async def _walk(
    find: Callable[[float | None], Awaitable[list[Ticket]]],
    key: Callable[[Ticket], float],
    start: float | None,
    breath: float,
) -> AsyncIterator[Ticket]:
    seen: set[str] = set()
    while True:
        batch = await find(start)
        for ticket in batch:
            if ticket.id not in seen:
                yield ticket
        if len(batch) < BATCH:
            return
        # The next batch starts with those of the last one's last moment; after a whole batch of one moment behind it.
        last = key(batch[-1])
        start = last if last != start else math.nextafter(last, math.inf)
        seen = {ticket.id for ticket in batch}
        await asyncio.sleep(breath)
