"""Heartbeats: by which the supervisor learns that a worker's event loop still runs.

All workers write their process id into one pipe. A worker that is silent for too long is replaced, because its clients
would wait in vain. Only with systemd's watchdog, which decides for how long.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress

from incoming.server.sd_notify import Notifier

_BEAT = struct.Struct("=i")


class Heartbeats(Notifier):
    """The pipe. The supervisor makes it before it starts workers; a worker calls `alive`, the supervisor `received`."""

    def __init__(self, timeout: float) -> None:
        """Replace a worker after `timeout` seconds without a heartbeat."""
        self.timeout = timeout
        self.interval = timeout / 3
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)

    def alive(self, status: str) -> None:
        """Send one beat of this process. Writes of this size are atomic (POSIX, PIPE_BUF)."""
        with suppress(BlockingIOError):
            os.write(self._writing, _BEAT.pack(os.getpid()))

    def received(self) -> set[int]:
        """Return the ids of the processes that have sent a beat since the last call."""
        found: set[int] = set()
        with suppress(BlockingIOError):
            while beats := os.read(self._reading, _BEAT.size * 1024):
                found.update(pid for (pid,) in _BEAT.iter_unpack(beats[: len(beats) // _BEAT.size * _BEAT.size]))
        return found
