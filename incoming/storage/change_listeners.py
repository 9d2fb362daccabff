"""The listeners of one process to the changes of tickets. Knows no store, and not who has made a change."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

log = logging.getLogger(__name__)


class ChangeListeners:
    """Those of one store. Called on the event loop."""

    def __init__(self) -> None:
        self._listeners: list[Callable[[str], None]] = []
        self._outbox: list[Callable[[], None]] = []

    def add(self, listener: Callable[[str], None]) -> None:
        """Call `listener` with the id of each ticket that changes from now on."""
        self._listeners.append(listener)

    def add_outbox(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever callbacks have changed."""
        self._outbox.append(listener)

    def notify_outbox(self) -> None:
        """Call the listeners to callbacks."""
        for listener in self._outbox:
            listener()

    def notify(self, ids: Iterable[str]) -> None:
        """Call all listeners; one that fails keeps the others from nothing."""
        for ticket_id in ids:
            for listener in self._listeners:
                try:
                    listener(ticket_id)
                except Exception:
                    log.exception("a listener to changes of tickets failed")
