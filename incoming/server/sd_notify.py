"""Notify systemd that the server is ready: the protocol for services of `Type=notify` (sd_notify(3)).

`systemctl start` returns when the server answers, and fails when it cannot start. Without systemd this does nothing.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify_ready() -> None:
    """Send READY=1; call it once, in the process that systemd started. A failure is only logged."""
    path = os.environ.pop("NOTIFY_SOCKET", "")
    if not path:
        return
    # A name that begins with "@" is an abstract one, which the kernel spells with a zero byte.
    address = f"\0{path[1:]}" if path[0] == "@" else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger:
            messenger.sendto(b"READY=1", address)
    except OSError as error:
        log.warning("cannot notify systemd that the server is ready: %s", error)
