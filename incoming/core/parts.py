"""A file that is sent as parts, whose order is declared at the end (the concatenation of tus).

Each part is a range of the partial file, behind all parts so far. Decides which parts an upload may have, and in which
order they make its file. Knows neither how parts are named nor how they are put into their order.
"""

from __future__ import annotations

from dataclasses import replace

from incoming.core.errors import BadRequest, FileTooLarge, UnknownTicket, WrongState
from incoming.core.extents import Extents, Range
from incoming.core.size_limit import check_size
from incoming.core.ticket import RECEIVING, Event, Identity, Ticket

MAX_PARTS = 256
"""Parts of one upload, including discarded ones. Browsers open six connections to a server."""


def check_part(ticket: Ticket, part: Range) -> None:
    """Raise UnknownTicket if the upload has no such part, or gave it up."""
    if part not in ticket.parts or part[0] == part[1]:
        raise UnknownTicket("unknown part: the upload has none at these offsets")


def part_prefix(ticket: Ticket, part: Range) -> int:
    """Return how many bytes of a part have arrived without a hole. Of a complete file all have."""
    if ticket.state not in RECEIVING:
        return part[1] - part[0]
    gaps = ticket.extents.missing(*part)
    return (gaps[0][0] if gaps else part[1]) - part[0]


def with_part(ticket: Ticket, length: int, session: str, max_size: int, now: float) -> Ticket:
    """Return the ticket with one part more; it is the last of `parts`. The first one ends all other senders.

    Raise BadRequest for an upload that has bytes already, WrongState for one whose order is declared, FileTooLarge.
    """
    if ticket.state not in RECEIVING or ticket.order:
        raise WrongState(f"no part can be added: the upload is in state '{ticket.state}', or its order is declared")
    if ticket.extents and not ticket.parts:
        raise BadRequest("the upload was begun as one file, it cannot be sent in parts any more")
    if not length:
        raise BadRequest("a part has at least one byte")
    if len(ticket.parts) >= MAX_PARTS:
        raise FileTooLarge(f"an upload has at most {MAX_PARTS} parts")
    start = ticket.parts[-1][1] if ticket.parts else 0
    check_size(start + length, max_size, ticket.options.max_size, ticket.size or 0, at_least=True)
    first = not ticket.parts
    claimed = replace(ticket, session=session, epoch=ticket.epoch + 1) if first else ticket
    opened = claimed.move(Event.OPEN, now, paused=False, active_at=now)
    return replace(opened, parts=(*ticket.parts, (start, start + length)))


def without_part(ticket: Ticket, part: Range, now: float) -> Ticket:
    """Return the ticket with a part discarded: nothing of it counts, and its place is not used again."""
    check_part(ticket, part)
    if ticket.order:
        raise WrongState("no part can be given up: the order of the parts is declared")
    parts = tuple((end, end) if (start, end) == part else (start, end) for start, end in ticket.parts)
    extents, synced = ticket.extents.without(*part), ticket.synced.without(*part)
    return replace(ticket, parts=parts, extents=extents, synced=synced, active_at=now)


def with_order(ticket: Ticket, order: tuple[Range, ...], declared: Identity, max_size: int, now: float) -> Ticket:
    """Return the ticket with the order in which its parts make the file; its size is known then.

    To say it again is no error. Raise BadRequest for a part that there is not or that is incomplete, WrongState when
    another order was declared, FileChanged or FileTooLarge for the size, FileTypeRefused.
    """
    if ticket.order and ticket.order == order:
        return ticket
    if ticket.order or ticket.state not in RECEIVING:
        raise WrongState("the file was put together already")
    for part in order:
        if part not in ticket.parts or part[0] == part[1]:
            raise BadRequest("a part that is named there is not one of this upload")
        if not ticket.extents.covers(*part):
            raise BadRequest(f"the part at {part[0]}-{part[1]} is not complete")
    size = sum(end - start for start, end in order)
    # Parts that are not used may lie beyond the file's end.
    used = replace(ticket, extents=Extents()).identify(replace(declared, size=size), max_size)
    return replace(used, extents=ticket.extents, order=order, active_at=now)
