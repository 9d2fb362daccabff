"""The list of uploads for operators: which ones, in which order, with which fields.

The status page and the command line show the same. Knows tickets and the reports of workers, but no page or terminal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from incoming.core.callback_url import shown_url
from incoming.core.ticket import FINAL, RECEIVING, State, Ticket
from incoming.monitoring.connections import NO_ACTIVITY, UploadActivity
from incoming.storage.operator_store import OperatorStore
from incoming.storage.ticket_store import TicketStore
from incoming.wire.upload_metadata import as_object

UNDER_WAY = (State.UPLOADING, State.ARRIVED, State.HANDING_OVER, State.WAITING, State.FAILED)
"""The states in which an operator may have to act."""

WITH_THE_APP = tuple(state for state in UNDER_WAY if state not in RECEIVING)
"""The states that wait for an application or an operator."""

ENDED = (State.FINISHED, State.CANCELLED)
ENDED_SHOWN_FOR = 300.0
"""Seconds for which a finished or cancelled upload stays in the list."""

OPERATOR_REASON = "Cancelled by the operator"


async def shown(
    tickets: TicketStore, operators: OperatorStore, connected: Sequence[str], now: float, limit: int
) -> list[Ticket]:
    """Return at most `limit` tickets: those with connections, those in progress, and those that ended just now.

    Half of the places are reserved for uploads that wait for an application or an operator. Raises what the stores
    raise.
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
    """Order by group and age, which seldom change, so that the list stays readable."""
    if ticket.state in FINAL:
        group = 1 if ticket.state == State.FAILED else 3
    elif ticket.state in RECEIVING:
        group = 0 if ticket.id in connected else 2
    else:
        group = 1
    return group, -ticket.created_at


def describe(ticket: Ticket, activity: UploadActivity | None, now: float) -> dict[str, Any]:
    """Return what an operator may see of an upload: no secret, but the whole id, which permits sending the file."""
    callback = ticket.callback
    activity = activity or NO_ACTIVITY
    return {
        "id": ticket.id,
        "name": ticket.identity.name,
        "size": ticket.size,
        "media_type": ticket.identity.media_type,
        "metadata": as_object(ticket.identity.metadata),
        "arrived": ticket.extents.size,
        "dest_type": ticket.options.dest_type,
        "location": ticket.location.address or None,
        "digest": f"sha-256={ticket.digest}" if ticket.digest else None,
        "state": str(ticket.state),
        "paused": ticket.paused,
        "age": round(now - ticket.created_at, 1),
        "idle": round(now - ticket.active_at, 1),
        "in_state": round(now - ticket.state_since, 1),
        "requested_by": ticket.options.requested_by,
        "callback_url": shown_url(ticket.options.signal_finish_url, ticket.options.backend_secret),
        "clients": list(activity.clients),
        "transports": list(activity.transports),
        "libraries": list(activity.libraries),
        "connections": activity.connections,
        "speed": round(activity.speed),
        "limit": activity.limit if ticket.state in RECEIVING else "app" if ticket.state in WITH_THE_APP else "",
        "delay": round(activity.delay, 3),
        "pending": activity.pending,
        "rtt": round(activity.rtt, 6),
        "retransmits": activity.retransmits,
        "out_of_order": activity.out_of_order,
        "attempts": callback.attempts if callback else 0,
        "next_attempt": round(callback.due_at - now, 1) if callback else None,
        "problem": ticket.problem,
        "may_cancel": ticket.state in RECEIVING,
        "may_retry": callback is not None or (ticket.state == State.FAILED and ticket.file_kept),
    }


def describe_fully(ticket: Ticket, activity: UploadActivity | None, now: float) -> dict[str, Any]:
    """Return what `describe` does, what the app asked for, and what has happened, each with its time (seconds since the
    epoch).
    """
    options = ticket.options
    created = {"at": ticket.created_at, "event": "created", "detail": ""}
    return {
        **describe(ticket, activity, now),
        "created_at": ticket.created_at,
        "file": ticket.location.address if ticket.file_kept else None,
        "losses": ticket.losses,
        "answer": next((entry.detail for entry in reversed(ticket.timeline) if entry.event == "answer"), None),
        "remove_file_when_finished": options.remove_file_when_finished,
        "max_size": options.max_size,
        "max_rate": options.max_rate,
        "allowed_origins": list(options.allowed_origins),
        "allowed_types": list(options.allowed_types),
        "signed": bool(options.backend_secret),
        "trace_id": options.trace.get("trace_id"),
        "timeline": [
            created,
            *({"at": entry.at, "event": entry.event, "detail": entry.detail} for entry in ticket.timeline),
        ],
    }
