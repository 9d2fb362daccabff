"""How long a connection has been silent, in bytes rather than messages: a slow peer is not a dead one.

A large chunk on a slow line takes minutes to become a message, so the kernel is asked when the last data came. Knows
nothing of what the bytes mean.
"""

from __future__ import annotations

import socket
import struct

_LAST_DATA_RECEIVED = struct.Struct("=52xI")
"""tcpi_last_data_recv of struct tcp_info (linux/tcp.h): eight bytes of flags, then eleven 32-bit words before it."""


def silent_for(connection: socket.socket, since_message: float) -> float:
    """Seconds since the last byte came from the peer; `since_message`, the last whole message, where the kernel cannot
    tell.
    """
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
        (milliseconds,) = _LAST_DATA_RECEIVED.unpack(info)
    except (AttributeError, OSError, struct.error):
        return since_message
    return float(min(since_message, milliseconds / 1000))
