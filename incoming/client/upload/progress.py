"""What can be seen of an upload while it runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

ARRIVED = frozenset({"arrived", "handing_over", "waiting", "finished"})
"""States in which every byte is at the server."""


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of an upload. `arrived` and `size` are in bytes; `size` is None while nobody knows it."""

    state: str
    """`connecting`, `retrying`, or a state of doc/protocol.md."""
    arrived: int
    size: int | None
    connections: int = 0
    transport: str = ""
    note: str = ""
    """For people: why it is retried, or what the server says of the handover."""


Watcher = Callable[[Progress], None]


def ignore(_: Progress) -> None:
    """Watch nothing."""
