"""Notify systemd how the server is: the protocol for services of `Type=notify` (sd_notify(3), sd_watchdog_enabled(3)).

`systemctl start` returns when the server answers, and fails when it cannot start; `systemctl status` shows what it
does; with `WatchdogSec=` systemd restarts a server that no longer works. Without systemd this does nothing.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import MutableMapping

log = logging.getLogger(__name__)

STATUS_INTERVAL = 10.0
"""Seconds between two reports, unless the watchdog wants more of them."""


class Notifier:
    """Who is notified by a worker: here nobody. `interval` is in seconds, None for no reports."""

    interval: float | None = None

    def ready(self) -> None:
        """Notify that the server accepts requests."""

    def alive(self, status: str) -> None:
        """This process works, and how it is."""

    def stopping(self) -> None:
        """Notify that the server is draining."""


class ServiceManager(Notifier):
    """systemd, for the process that it started. A failure to notify it is only logged, once."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Take the variables, so that no child process believes that they are meant for it."""
        path = environment.pop("NOTIFY_SOCKET", "")
        timeout, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        # A name that begins with "@" is an abstract one, which the kernel spells with a zero byte.
        self._address = f"\0{path[1:]}" if path[:1] == "@" else path
        self._failed = False
        self.timeout: float | None = None
        """Seconds of silence after which systemd kills the service."""
        if path and timeout.isdecimal() and int(timeout) and pid in ("", str(os.getpid())):
            self.timeout = int(timeout) / 1e6
        if path:
            self.interval = STATUS_INTERVAL if self.timeout is None else min(STATUS_INTERVAL, self.timeout / 3)

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self, status: str) -> None:
        watchdog = ["WATCHDOG=1"] if self.timeout is not None else []
        self._send("\n".join([*watchdog, f"STATUS={status}"]))

    def stopping(self) -> None:
        self._send("STOPPING=1\nSTATUS=draining: no new work; waiting for uploads and callbacks")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messenger:
                # A manager that does not read must not stop the server.
                messenger.setblocking(False)
                messenger.sendto(message.encode(), self._address)
        except OSError as error:
            if not self._failed:
                log.warning("cannot notify systemd of %s: %s", message.partition("\n")[0], error)
            self._failed = True
