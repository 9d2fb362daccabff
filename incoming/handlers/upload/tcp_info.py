"""What the kernel knows of a TCP connection (TCP_INFO): when data last arrived, and how much was received and
acknowledged.

A large chunk on a slow line takes minutes to become a message, and a slow peer is not a dead one. Knows nothing of what
the bytes mean.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

_LAST_DATA_RECEIVED = struct.Struct("=52xI")
"""tcpi_last_data_recv of struct tcp_info (linux/tcp.h): eight bytes of flags, then eleven 32-bit words before it."""

_BYTES_RECEIVED = struct.Struct("=128xQ")
"""tcpi_bytes_received of the same: after all 24 words, two pacing rates and the bytes acknowledged (Linux 4.1)."""

_BYTES_ACKED = struct.Struct("=120xQ")
"""tcpi_bytes_acked of the same."""

_FIGURES = struct.Struct("=68xI28xI120xI")
"""tcpi_rtt in microseconds, tcpi_total_retrans, and tcpi_rcv_ooopack (Linux 5.4)."""


class TcpFigures(NamedTuple):
    """How a connection fares: the round trip in seconds; segments that this side has sent again, and segments that came
    out of order, most of them behind a lost one, from its beginning.
    """

    rtt: float
    retransmits: int
    out_of_order: int


def figures_of(connection: socket.socket) -> TcpFigures | None:
    """Return the figures; None where the kernel does not know them. Behind a proxy they are those of the way to it."""
    try:
        microseconds, retransmits, out_of_order = _FIGURES.unpack(
            connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _FIGURES.size)
        )
    except (AttributeError, OSError, struct.error):
        return None
    return TcpFigures(microseconds / 1e6, retransmits, out_of_order)


def silent_for(connection: socket.socket, since_message: float) -> float:
    """Return the seconds since the last byte arrived; where the kernel does not say, `since_message`, those since the
    last whole message.
    """
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECEIVED.size)
        (milliseconds,) = _LAST_DATA_RECEIVED.unpack(info)
    except (AttributeError, OSError, struct.error):
        return since_message
    return float(min(since_message, milliseconds / 1000))


def received_by(connection: socket.socket) -> int | None:
    """Return all bytes received from the peer; None where the kernel does not count them."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED.size)
        (received,) = _BYTES_RECEIVED.unpack(info)
    except (AttributeError, OSError, struct.error):
        return None
    return int(received)


def acknowledged_by(connection: socket.socket) -> int | None:
    """Return all bytes that the peer's kernel has acknowledged; None where the kernel does not count them."""
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size)
        (acknowledged,) = _BYTES_ACKED.unpack(info)
    except (AttributeError, OSError, struct.error):
        return None
    return int(acknowledged)


class MinimumRate:
    """Whether a sender keeps to `rate` bytes a second over `period` seconds. A rate of 0 is none."""

    def __init__(self, rate: int, period: float) -> None:
        self._rate = rate
        self._period = period
        self._since: tuple[float, int] | None = None

    def too_slow(self, now: float, received: int | None, *, excused: bool) -> bool:
        """Return whether too little arrived in the last period; `received` counts all bytes so far. `excused`: nothing
        was expected of the sender since the last call. That nothing at all arrives is not decided here.
        """
        if self._since is None or received is None or excused:
            self._since = None if received is None else (now, received)
            return False
        since, before = self._since
        if now - since < self._period:
            return False
        self._since = (now, received)
        return before < received < before + self._rate * (now - since)
