"""Tickets for the tests of what keeps them: plain ones, and any that there can be."""

import uuid
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from hypothesis import strategies as st

from incoming.core.extents import Extents, Range
from incoming.core.location import Location
from incoming.core.ticket import Callback, Identity, State, Ticket, TicketOptions
from incoming.core.timeline import Entry, Timeline
from incoming.storage.sqlite.schema import connect
from incoming.storage.ticket_row import COLUMNS, to_row

T = TypeVar("T")

NOW = 1_800_000_000.0


def new(ticket_id: str | None = None, **known: Any) -> Ticket:
    """A ticket as it is given out."""
    return Ticket(ticket_id or str(uuid.uuid4()), TicketOptions("http://app/finished", "s"), **{**TIMES, **known})


TIMES: dict[str, Any] = {"created_at": NOW, "active_at": NOW, "state_since": NOW}


def owing(due_at: float, **known: Any) -> Ticket:
    """A ticket whose app is owed a callback."""
    callback = Callback(str(uuid.uuid4()), cancelled=False, since=NOW, due_at=due_at)
    return new(state=State.ARRIVED, callback=callback, **known)


def fill(database: Path, tickets: Sequence[Ticket]) -> None:
    """Puts thousands into a new database at once; the last one's version is the highest."""
    connection = connect(database)
    insert = f"INSERT INTO tickets ({', '.join(COLUMNS)}) VALUES ({', '.join('?' * len(COLUMNS))})"
    connection.execute("BEGIN")
    connection.executemany(insert, map(to_row, tickets))
    connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (tickets[-1].version,))
    connection.execute("COMMIT")
    connection.close()


# --- any ticket -------------------------------------------------------------------------------------------------------

_texts = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates and NUL included
_numbers = st.integers(0, 2**53 - 1)
_times = st.floats(allow_nan=False, allow_infinity=False)
_ranges = st.lists(st.tuples(_numbers, _numbers), max_size=5).map(Extents)


def _any(kind: type[T], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """Every field by its type, so that one added later is tried as well."""
    by_type: dict[Any, st.SearchStrategy[Any]] = {
        str: _texts,
        int: _numbers,
        float: _times,
        bool: st.booleans(),
        str | None: st.none() | _texts,
        int | None: st.none() | _numbers,
        float | None: st.none() | _times,
        tuple[str, ...]: st.lists(_texts, max_size=3).map(tuple),
        tuple[Range, ...]: st.lists(st.tuples(_numbers, _numbers), max_size=3).map(tuple),
        Extents: _ranges,
        State: st.sampled_from(State),
        Timeline: st.lists(st.builds(Entry, _times, _texts, _texts), max_size=3).map(tuple),
    }
    hints = get_type_hints(kind)
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    return st.builds(kind, **{name: given[name] if name in given else by_type[hints[name]] for name in names})


any_ticket = _any(
    Ticket,
    id=st.uuids().map(str),
    options=_any(TicketOptions),
    identity=_any(Identity),
    location=_any(Location),
    callback=st.none() | _any(Callback),
)
