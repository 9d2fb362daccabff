"""WebSocket or HTTP: which of them is tried next, from what has worked so far.

Decides that a WebSocket on which nothing arrives, time after time, gives way to HTTP, and that it is tried again when
HTTP reaches nobody either. Knows no connection.
"""

from __future__ import annotations

FAILURES = 2
"""WebSockets in a row that have brought nothing, after which HTTP is used."""

KINDS = ("auto", "websocket", "http")


class TransportChoice:
    """`wanted` is `auto`, `websocket` or `http`; the latter two are never left."""

    def __init__(self, wanted: str = "auto") -> None:
        if wanted not in KINDS:
            raise ValueError(f"{wanted!r} is no transport: {', '.join(KINDS)}")
        self._wanted = wanted
        self._failures = 0

    @property
    def kind(self) -> str:
        """What is tried next."""
        if self._wanted != "auto":
            return self._wanted
        return "http" if self._failures >= FAILURES else "websocket"

    def websocket_failed(self, *, is_unusable: bool) -> None:
        """Note a WebSocket without success; `is_unusable` if a proxy refused or broke it."""
        self._failures += FAILURES if is_unusable else 1

    def websocket_worked(self) -> None:
        """Note an acknowledged chunk over a WebSocket."""
        self._failures = 0

    def http_reached_nobody(self) -> None:
        """Note that HTTP failed, too: the server is unreachable, which does not count against WebSockets."""
        self._failures = 0
