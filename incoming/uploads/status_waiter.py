"""Wait until one or any of several uploads is in another state than the one that a client knows.

Decides what counts as a change. Knows neither the client nor the format of the response.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from incoming.core.errors import UploadError
from incoming.core.ticket import FINAL, Ticket
from incoming.uploads.upload_service import UploadService
from incoming.wire.messages import reason_of

News = dict[str, Ticket | UploadError]


async def wait_for_change(service: UploadService, ticket_id: str, seen: str, seconds: float) -> Ticket:
    """Return the ticket as soon as its state differs from `seen` or its reason changes, or after `seconds`.

    Raises UnknownTicket or what the store raises.
    """
    first, changed = reason_of(await service.get_ticket(ticket_id)), asyncio.Event()
    stop = service.listen(ticket_id, lambda news: changed.set())
    try:
        async with asyncio.timeout(seconds):
            while True:
                changed.clear()
                ticket = await service.get_ticket(ticket_id)
                if (ticket.state, reason_of(ticket)) != (seen, first) or ticket.state in FINAL or service.draining:
                    return ticket
                await changed.wait()
    except TimeoutError:
        return await service.get_ticket(ticket_id)
    finally:
        stop()


async def wait_for_news(service: UploadService, seen: Mapping[str, str], seconds: float) -> News:
    """Return the uploads, by ticket, that are in another state than the one in `seen`, or whose reason changes, as soon
    as there is one.

    An upload in a final state, and one that cannot be read, is news at once. Without any within `seconds`, and when the
    worker stops, the result is empty.
    """
    changed = asyncio.Event()
    changes: set[str] = set()

    def mark(ticket_id: str) -> Callable[[object], None]:
        def mark_one(_: object) -> None:
            changes.add(ticket_id)
            changed.set()

        return mark_one

    reasons: dict[str, str] = {}
    with ExitStack() as subscriptions:
        for ticket_id in seen:
            subscriptions.callback(service.listen(ticket_id, mark(ticket_id)))
        news = await _news(service, seen, reasons, frozenset(seen))
        try:
            async with asyncio.timeout(seconds):
                while not news and not service.draining:
                    await changed.wait()
                    changed.clear()
                    reading = frozenset(changes)
                    changes.clear()
                    news = await _news(service, seen, reasons, reading)
        except TimeoutError:
            pass
    return news


async def _news(
    service: UploadService, seen: Mapping[str, str], reasons: dict[str, str], reading: frozenset[str]
) -> News:
    """Read these tickets and return the changed ones. `reasons` keeps the reasons that were read first."""
    news: News = {}
    for ticket_id in sorted(reading):
        try:
            ticket = await service.get_ticket(ticket_id)
        except UploadError as error:
            news[ticket_id] = error
            continue
        reason = reason_of(ticket)
        if ticket.state != seen[ticket_id] or ticket.state in FINAL or reasons.setdefault(ticket_id, reason) != reason:
            news[ticket_id] = ticket
    return news
