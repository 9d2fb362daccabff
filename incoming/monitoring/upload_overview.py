"""Which uploads an operator is shown, in which order, and what of each: for the status page and the command line alike.

Knows tickets and what workers note of connections, but neither pages nor terminals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from incoming.core.ticket import FINAL, RECEIVING, State, Ticket
from incoming.storage.operator_store import OperatorStore
from incoming.storage.ticket_store import TicketStore

UNDER_WAY = (State.UPLOADING, State.ARRIVED, State.HANDING_OVER, State.WAITING, State.FAILED)
"""What an operator may have to do something about. A ticket in `new` says nothing yet, ended ones nothing any more."""

WITH_THE_APP = tuple(state for state in UNDER_WAY if state not in RECEIVING)
"""Those of them that wait for an app, or for an operator."""

ENDED = (State.FINISHED, State.CANCELLED)
ENDED_SHOWN_FOR = 300.0
"""Seconds for which an upload that has ended well stays in the list."""

OPERATOR_REASON = "Cancelled by the operator"


async def shown(
    tickets: TicketStore, operators: OperatorStore, connected: Sequence[str], now: float, limit: int
) -> list[Ticket]:
    """At most `limit` tickets: those that somebody is connected to, those under way, and those that ended just now.

    What waits for an app or for an operator has half of the places, so that no crowd of uploads pushes it off the list.
    Raises what the stores raise.
    """
    found: dict[str, Ticket] = {}
    for ticket in await operators.latest(WITH_THE_APP, limit // 2):
        found[ticket.id] = ticket
    for ticket_id in connected[:limit]:
        known = found.get(ticket_id) or await tickets.get(ticket_id)
        if known is not None:
            found[ticket_id] = known
    for ticket in await operators.latest(UNDER_WAY, limit):
        found.setdefault(ticket.id, ticket)
    for ticket in await operators.latest(ENDED, limit // 10):
        if now - ticket.state_since < ENDED_SHOWN_FOR:
            found.setdefault(ticket.id, ticket)
    there = frozenset(connected)
    return sorted(list(found.values())[:limit], key=lambda ticket: _order(ticket, there))


def _order(ticket: Ticket, connected: frozenset[str]) -> tuple[int, float]:
    """By what it is about and by age, neither of which changes every second: a list that jumps cannot be read."""
    if ticket.state in FINAL:
        group = 1 if ticket.state == State.FAILED else 3
    elif ticket.state in RECEIVING:
        group = 0 if ticket.id in connected else 2
    else:
        group = 1
    return group, -ticket.created_at


def describe(ticket: Ticket, connections: Mapping[str, Any] | None, now: float) -> dict[str, Any]:
    """What an operator may know of an upload: no secret, but the whole id, with which its file could be sent."""
    callback = ticket.callback
    connections = connections or {}
    return {
        "id": ticket.id,
        "name": ticket.identity.name,
        "size": ticket.size,
        "arrived": ticket.extents.size,
        "state": str(ticket.state),
        "paused": ticket.paused,
        "age": round(now - ticket.created_at, 1),
        "idle": round(now - ticket.active_at, 1),
        "in_state": round(now - ticket.state_since, 1),
        "requested_by": ticket.options.requested_by,
        "clients": connections.get("clients", []),
        "transports": connections.get("transports", []),
        "connections": connections.get("connections", 0),
        "speed": round(connections.get("speed", 0.0)),
        "attempts": callback.attempts if callback else 0,
        "next_attempt": round(callback.due_at - now, 1) if callback else None,
        "problem": (callback.last_error if callback else "") or ticket.reason,
        "may_cancel": ticket.state in RECEIVING,
        "may_retry": callback is not None or (ticket.state == State.FAILED and bool(ticket.path)),
    }
