"""The stall watchdog: decides when nothing arrives over a connection for too long, or too little.

Goes by bytes rather than messages: a large chunk on a slow line takes minutes. Knows neither what the bytes mean nor
how a connection is ended.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from incoming.core.errors import TooSlow
from incoming.handlers.upload.minimum_rate import MinimumRate
from incoming.platform.sockets import silent_for
from incoming.settings.settings import Settings


class StallWatchdog:
    """One connection's. `clock` is a monotonic one, in seconds."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.last_input_at = clock()
        """When something last arrived."""
        self._clock = clock
        self._dead_after = settings.dead_after
        self._rate = settings.minimum_rate
        self._pace = MinimumRate(settings.minimum_rate, settings.dead_after)
        self._timer: asyncio.TimerHandle | None = None

    def input_received(self) -> None:
        """Note that something has arrived."""
        self.last_input_at = self._clock()

    @property
    def seconds_silent(self) -> float:
        """Return the seconds since the last call of `input_received`."""
        return self._clock() - self.last_input_at

    def silence(self, connection: socket.socket) -> float:
        """Return the seconds since the last byte arrived, also of an incomplete message."""
        return silent_for(connection, self.seconds_silent)

    def schedule(self, seconds: float, look: Callable[[], None]) -> None:
        """Call `look` once, after so many seconds. Replaces an earlier call that is still due."""
        self.stop()
        self._timer = asyncio.get_running_loop().call_later(seconds, look)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def verdict(
        self, connection: socket.socket, received: int | None, *, busy: bool, excused: bool = False
    ) -> TooSlow | None:
        """Return the error to end the connection with, or None. `received` counts all bytes so far, None if unknown.

        `busy`: the sender waits for the server. `excused`: nothing was expected of it since the last call.
        """
        if not busy and self.silence(connection) >= self._dead_after:
            return TooSlow(f"nothing came for {self._dead_after:g} s")
        if self._pace.too_slow(self._clock(), received, excused=busy or excused):
            return TooSlow(f"less than {self._rate} bytes a second came")
        return None
