"""Which uploads an operator asks for: by state, by what they mention, in which order.

The status page and the command line select alike. Decides what can be asked for and how much of it is looked at.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from incoming.core.errors import BadParameter, UnknownTicket
from incoming.core.ticket import State, Ticket, canonical_id
from incoming.monitoring.connections import NO_ACTIVITY, UploadActivity
from incoming.monitoring.upload_overview import UNDER_WAY
from incoming.storage.operator_store import OperatorStore

PROBLEM = "problem"
"""In place of a state: uploads under way or failed whose app has not taken the file at the last attempt."""

ACTIVE = "active"
"""In place of a state: all those in which an operator may have to act."""

STATES: Mapping[str, tuple[State, ...]] = {
    ACTIVE: UNDER_WAY,
    PROBLEM: UNDER_WAY,
    **{state.value: (state,) for state in State},
}

LOOKED_AT = 1000
"""Uploads that are sorted; of more, those in which something happened last."""

SHORT_ID = 8
"""Characters of an id that logs and commands show, and that are enough to name an upload."""

MAX_TEXT = 200
"""Characters of a search text."""

_Key = Callable[[Ticket, UploadActivity], Any]
_KEYS: Mapping[str, _Key] = {
    "active": lambda ticket, activity: ticket.active_at,
    "age": lambda ticket, activity: -ticket.created_at,
    "arrived": lambda ticket, activity: ticket.extents.size,
    "attempts": lambda ticket, activity: ticket.callback.attempts if ticket.callback else 0,
    "name": lambda ticket, activity: (ticket.identity.name or "").lower(),
    "size": lambda ticket, activity: ticket.size or 0,
    "speed": lambda ticket, activity: activity.speed,
    "state": lambda ticket, activity: list(State).index(ticket.state),
}
SORTS = tuple(_KEYS)
_ASCENDING = frozenset({"name", "state"})
"""The other orders begin with the largest."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is asked for. `state` is a key of STATES, or empty for all states; `sort` is one of SORTS, with a minus sign
    for the opposite order.
    """

    state: str = ""
    text: str = ""
    sort: str = "active"

    @property
    def states(self) -> tuple[State, ...]:
        return STATES[self.state] if self.state else tuple(State)

    def is_wanted(self, ticket: Ticket) -> bool:
        """Return whether the ticket, which is in one of the states, is asked for."""
        return self.state != PROBLEM or has_problem(ticket)


def selection(state: str = "", text: str = "", sort: str = "") -> Selection:
    """Return what is asked for. Raises BadParameter, which names the value and what may have been meant."""
    if state:
        _check("state", state, STATES)
    _check("order", (sort or "active").removeprefix("-"), SORTS)
    if len(text) > MAX_TEXT:
        raise BadParameter(f"the search text has {len(text)} characters, the limit is {MAX_TEXT}")
    return Selection(state, text.strip(), sort or "active")


def _check(kind: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        close = difflib.get_close_matches(value, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(known)}"
        raise BadParameter(f"{kind} {value[:50]!r} is unknown; {hint}")


def has_problem(ticket: Ticket) -> bool:
    """Return whether the app has not taken the file when it was called last, or the upload has failed."""
    return ticket.state in UNDER_WAY and bool(ticket.problem)


async def selected(operators: OperatorStore, wanted: Selection, sending: Mapping[str, UploadActivity]) -> list[Ticket]:
    """Return the uploads that are asked for, in order, of the LOOKED_AT newest. Raises what the store raises."""
    found = await operators.search(wanted.states, wanted.text, LOOKED_AT)
    name = wanted.sort.removeprefix("-")
    key = _KEYS[name]
    reverse = (name not in _ASCENDING) != wanted.sort.startswith("-")
    return sorted(
        filter(wanted.is_wanted, found),
        key=lambda ticket: key(ticket, sending.get(ticket.id, NO_ACTIVITY)),
        reverse=reverse,
    )


async def named(operators: OperatorStore, beginning: str) -> Ticket:
    """Return the one upload whose id begins so. Raises BadParameter, UnknownTicket, or what the store raises."""
    beginning = canonical_id(beginning.rstrip("…"))
    if len(beginning) < SHORT_ID:
        raise BadParameter(f"give at least the first {SHORT_ID} characters of the id")
    found = await operators.matching(beginning, 2)
    if not found:
        raise UnknownTicket(f"there is no upload whose id begins with {beginning[:40]}")
    if len(found) > 1:
        raise BadParameter(f"several ids begin with {beginning}: give more of it")
    return found[0]
