"""How many connections may carry one upload: whoever has been silent for longest makes room for the newcomer.

A newcomer is never refused because of connections that are dead without anybody knowing yet.
"""

from __future__ import annotations

from typing import Protocol


class Seat(Protocol):
    """A connection."""

    @property
    def heard(self) -> float:
        """When something last came over it, by the monotonic clock."""
        ...

    def evict(self) -> None:
        """Ends; there are too many."""
        ...


class UploadConnectionLimiter:
    """All of one worker, by ticket."""

    def __init__(self) -> None:
        self._taken: dict[str, set[Seat]] = {}

    def take(self, ticket_id: str, seat: Seat, limit: int) -> None:
        """To be left again, also by whoever had to make room."""
        taken = self._taken.setdefault(ticket_id, set())
        while len(taken) >= limit:
            silent = min(taken, key=lambda other: other.heard)
            taken.discard(silent)
            silent.evict()
        taken.add(seat)

    def leave(self, ticket_id: str, seat: Seat) -> None:
        taken = self._taken.get(ticket_id, set())
        taken.discard(seat)
        if not taken:
            self._taken.pop(ticket_id, None)
