"""TCP connections: what the kernel knows of one (TCP_INFO of Linux), and when it gives one up.

A large chunk on a slow line takes minutes to become a message, and a slow peer is not a dead one. Knows nothing of what
the bytes mean. Other systems lay TCP_INFO out otherwise, or have none; the figures are unknown there.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
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
        microseconds, retransmits, out_of_order = _FIGURES.unpack(_tcp_info(connection, _FIGURES))
    except (OSError, struct.error):
        return None
    return TcpFigures(microseconds / 1e6, retransmits, out_of_order)


def silent_for(connection: socket.socket, since_message: float) -> float:
    """Return the seconds since the last byte arrived; where the kernel does not say, `since_message`, those since the
    last whole message.
    """
    try:
        info = _tcp_info(connection, _LAST_DATA_RECEIVED)
        (milliseconds,) = _LAST_DATA_RECEIVED.unpack(info)
    except (OSError, struct.error):
        return since_message
    return float(min(since_message, milliseconds / 1000))


def received_by(connection: socket.socket) -> int | None:
    """Return all bytes received from the peer; None where the kernel does not count them."""
    return _number(connection, _BYTES_RECEIVED)


def acknowledged_by(connection: socket.socket) -> int | None:
    """Return all bytes that the peer's kernel has acknowledged; None where the kernel does not count them."""
    return _number(connection, _BYTES_ACKED)


def _number(connection: socket.socket, layout: struct.Struct) -> int | None:
    try:
        (number,) = layout.unpack(_tcp_info(connection, layout))
    except (OSError, struct.error):
        return None
    return int(number)


def limit_silence(connection: socket.socket, *, idle: int, interval: int, unacknowledged: float) -> None:
    """End a connection whose peer acknowledges nothing for `unacknowledged` seconds; TCP waits a quarter of an hour.

    A connection without traffic is probed after `idle` seconds and then every `interval`. A system that lacks an option
    keeps its default.
    """
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE" if hasattr(socket, "TCP_KEEPIDLE") else "TCP_KEEPALIVE", idle),  # its name on macOS
        ("TCP_KEEPINTVL", interval),
        ("TCP_USER_TIMEOUT", int(unacknowledged * 1000)),
    ):
        option = getattr(socket, name, None)
        if option is not None:
            with contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, option, value)


def _tcp_info(connection: socket.socket, layout: struct.Struct) -> bytes:
    option = getattr(socket, "TCP_INFO", None)
    if option is None or not sys.platform.startswith("linux"):
        raise OSError(errno.ENOPROTOOPT, "this system has no TCP_INFO as Linux has it")
    return connection.getsockopt(socket.IPPROTO_TCP, option, layout.size)
