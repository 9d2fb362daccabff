"""Limit the connections of one upload: a new one evicts the one that has been silent for longest.

So a new connection is never refused because of dead ones that were not noticed yet.
"""

from __future__ import annotations

from typing import Protocol


class Seat(Protocol):
    """A connection."""

    @property
    def last_input_at(self) -> float:
        """When something last arrived over it, by the monotonic clock."""
        ...

    def evict(self) -> None:
        """End this connection; there are too many."""
        ...


class UploadConnectionLimiter:
    """The connections of one worker, by ticket."""

    def __init__(self) -> None:
        self._taken: dict[str, set[Seat]] = {}

    def take(self, ticket_id: str, seat: Seat, limit: int) -> None:
        """Add a connection, and evict others above the limit. Each is removed by `leave`, the evicted ones too."""
        taken = self._taken.setdefault(ticket_id, set())
        while len(taken) >= limit:
            silent = min(taken, key=lambda other: other.last_input_at)
            taken.discard(silent)
            silent.evict()
        taken.add(seat)

    def leave(self, ticket_id: str, seat: Seat) -> None:
        taken = self._taken.get(ticket_id, set())
        taken.discard(seat)
        if not taken:
            self._taken.pop(ticket_id, None)
