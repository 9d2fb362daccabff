"""OperatorStore: the Protocol of what operators see of all workers together, and the values it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from incoming.core.ticket import State, Ticket

TRAFFIC_SLOT = 10
"""Seconds that one entry of Notes.traffic stands for."""

TRAFFIC_SLOTS = 360
"""Entries that are kept: an hour."""


REPORT_KEPT_FOR = 3600.0
"""Seconds after which the facts of a worker that died without a word are removed."""


@dataclass(frozen=True, slots=True)
class Notes:
    """What all workers have noted: the facts of each that noted any lately, by its name; what all have counted since
    the store was made; and the bytes that came in each slot of TRAFFIC_SLOT seconds since the epoch.
    """

    facts: Mapping[str, str]
    counted: Mapping[str, float]
    traffic: Mapping[int, int]


def worker_name(instance: str, pid: int, token: str) -> str:
    """Return the name under which a worker of an instance notes; `token` tells it from earlier ones of its number."""
    return f"{instance}:{pid}:{token}"


def instance_of(worker: str) -> str:
    """Return the instance that a worker belongs to, from its name."""
    return worker.rsplit(":", 2)[0]


@runtime_checkable
class EventCountingStore(Protocol):
    """The ability of a store whose database is on another machine, and shared with other instances."""

    def events(self) -> Mapping[str, float]:
        """Return how often something happened to this process since its start: by `database/<event>` what it met at the
        database, and by `takeovers/<duty>` or `takeovers/upload` what it took over from silent processes.
        """
        ...


class OperatorStore(Protocol):
    """What operators see of all workers together. Raises like TicketStore; the same store offers both."""

    async def note(self, worker: str, facts: str | None, counted: Mapping[str, float], traffic: int = 0) -> None:
        """Replaces what this worker told of itself (None: it ends), adds to what all have counted and to the traffic of
        this moment, in one transaction that no power cut needs to spare.
        """
        ...

    async def notes(self, within: float) -> Notes:
        """Return all notes; facts only of workers that noted them in the last `within` seconds.

        Counted are besides, as `entered/<state>`, how many tickets ever came into each state.
        """
        ...

    async def latest(self, states: Sequence[State], limit: int) -> list[Ticket]:
        """Return the most recently changed tickets in these states, newest first."""
        ...

    async def search(self, states: Sequence[State], text: str, limit: int) -> list[Ticket]:
        """Return the tickets in these states that contain the text (text_search.py), newest first, among the SEARCHED
        most recently changed ones of each state.
        """
        ...

    async def matching(self, beginning: str, limit: int) -> list[Ticket]:
        """Return tickets whose id has this prefix: logs and pages show only the first part of an id."""
        ...
