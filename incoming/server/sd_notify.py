"""Tells who started the server that it serves now: systemd's protocol for services of `Type=notify` (sd_notify(3)).

So `systemctl start` returns when browsers are answered, and fails when the server cannot start. Started by anybody else
this does nothing.
"""

from __future__ import annotations

import logging
import os
import socket

log = logging.getLogger(__name__)


def tell_ready() -> None:
    """To be called once, by the process that was started. What cannot be told is logged and does no harm."""
    path = os.environ.pop("NOTIFY_SOCKET", "")
    if not path:
        return
    # A name that begins with "@" is an abstract one, which the kernel spells with a zero byte.
    address = f"\0{path[1:]}" if path[0] == "@" else path
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as messenger:
            messenger.sendto(b"READY=1", address)
    except OSError as error:
        log.warning("systemd cannot be told that the server is ready: %s", error)
