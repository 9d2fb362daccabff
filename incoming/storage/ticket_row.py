"""A ticket as a row of the database and back, without loss.

Decides how each field is kept: as a column where the database must search by it, the extents packed, everything else as
JSON by its name. A row written before a field existed gets the field's default; a field that is no longer known is
dropped. It knows no SQL beyond the names of its columns.
"""

from __future__ import annotations

import json
import sys
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from itertools import chain
from operator import attrgetter
from typing import Any, TypeVar

from incoming.core.errors import StorageFailed
from incoming.core.extents import Extents, Range
from incoming.core.location import FILE
from incoming.core.ticket import Callback, Identity, Location, State, Ticket, TicketOptions
from incoming.core.timeline import Entry

COLUMNS = (
    *("id", "version", "state", "active_at", "state_since", "due_at", "extents", "synced", "terms", "rest"),
    *("reserved", "requested_by"),
)
"""`terms` holds the options, apart because they never change; `due_at` repeats the callback's, for the index. The last
two are there for the sums that the database keeps.
"""

PROGRESS = ("version", "active_at", "extents", "synced")
"""The columns that change when bytes have come or were synced, and nothing else has happened."""

_APART = ("options", "identity", "callback", "location", "timeline")
"""Fields of a ticket that are no simple values. The location's address is kept as `path`, as it was called before."""

T = TypeVar("T")

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_NAMES: dict[type, tuple[str, ...]] = {
    kind: tuple(field.name for field in fields(kind)) for kind in (Callback, Identity, TicketOptions)
}
_constant = attrgetter(*(field.name for field in fields(Ticket) if field.name not in PROGRESS))
_REST = tuple(field.name for field in fields(Ticket) if field.name not in (*COLUMNS, *_APART))


def to_row(ticket: Ticket) -> tuple[Any, ...]:
    """Return the values of COLUMNS."""
    callback = ticket.callback
    rest = {name: getattr(ticket, name) for name in _REST}
    rest["identity"] = _dict(ticket.identity)
    rest["path"], rest["kind"] = ticket.location.address, ticket.location.kind
    if ticket.location.etag or ticket.location.version:
        rest["etag"], rest["object_version"] = ticket.location.etag, ticket.location.version
    rest["callback"] = None if callback is None else _dict(callback)
    rest["timeline"] = [(entry.at, entry.event, entry.detail) for entry in ticket.timeline]
    packed = pack(ticket.extents)
    return (
        ticket.id,
        ticket.version,
        ticket.state.value,
        ticket.active_at,
        ticket.state_since,
        None if callback is None else callback.due_at,
        packed,
        packed if ticket.synced is ticket.extents else pack(ticket.synced),
        _encode(_dict(ticket.options)),
        _encode(rest),
        ticket.reserved,
        ticket.options.requested_by.encode("ascii", "replace").decode("ascii"),
    )


def is_progress(before: Ticket, after: Ticket) -> bool:
    """Return whether the two differ only in PROGRESS."""
    return _constant(after) == _constant(before) and after.reserved == before.reserved


def to_progress(ticket: Ticket) -> tuple[Any, ...]:
    """Return the values of PROGRESS."""
    packed = pack(ticket.extents)
    synced = packed if ticket.synced is ticket.extents else pack(ticket.synced)
    return ticket.version, ticket.active_at, packed, synced


def from_row(row: Sequence[Any]) -> Ticket:
    """Return the ticket of a row with COLUMNS. Raises StorageFailed if it is damaged."""
    ticket_id, version, state, active_at, state_since, _, extents, synced, terms, rest, *_ = row
    try:
        values = json.loads(rest)
        callback = values.pop("callback", None)
        identity = values.pop("identity", {})
        path = values.pop("path", "")
        kind = values.pop("kind", FILE if path else "")
        location = Location(kind, path, values.pop("etag", ""), values.pop("object_version", ""))
        values.setdefault("file_kept", bool(path))
        return Ticket(
            id=ticket_id,
            version=version,
            state=State(state),
            active_at=active_at,
            state_since=state_since,
            extents=unpack(extents),
            synced=unpack(synced),
            options=_known(TicketOptions, json.loads(terms)),
            identity=_known(Identity, identity),
            location=location,
            callback=None if callback is None else _known(Callback, callback),
            parts=_ranges(values.pop("parts", ())),
            order=_ranges(values.pop("order", ())),
            timeline=tuple(Entry(*entry) for entry in values.pop("timeline", ())),
            **{name: values[name] for name in _REST if name in values},
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise StorageFailed("the record of this upload is damaged") from error


def readable(
    rows: Iterable[Sequence[Any]],
    damaged: Callable[[str], None],
    limit: int | None = None,
    wanted: Callable[[Ticket], bool] = lambda ticket: True,
) -> list[Ticket]:
    """Return the tickets of the first `limit` rows that can be read and are wanted. One damaged record must not hold up
    everything else: `damaged` is called with the id of each.
    """
    tickets: list[Ticket] = []
    for row in rows:
        if len(tickets) == limit:
            break
        try:
            ticket = from_row(row)
        except StorageFailed:
            damaged(row[0])
        else:
            if wanted(ticket):
                tickets.append(ticket)
    return tickets


def pack(extents: Extents) -> bytes:
    """Encode starts and ends in turn, each as a little-endian 64-bit integer."""
    numbers = array("Q", chain.from_iterable(extents))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def unpack(packed: bytes) -> Extents:
    """Decode the result of `pack`. Raises ValueError."""
    numbers = array("Q")
    numbers.frombytes(packed)
    if sys.byteorder == "big":
        numbers.byteswap()
    return Extents(zip(numbers[::2], numbers[1::2], strict=True))


def _ranges(values: Sequence[Sequence[int]]) -> tuple[Range, ...]:
    return tuple((start, end) for start, end in values)


def _dict(value: Callback | Identity | TicketOptions) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _NAMES[type(value)]}


def _known(kind: type[T], values: dict[str, Any]) -> T:
    # JSON has no tuples, and the values have no lists.
    return kind(
        **{
            name: tuple(values[name]) if isinstance(values[name], list) else values[name]
            for name in _NAMES[kind]
            if name in values
        }
    )
