"""Reports to a client of how its upload's bytes fare: when one is due over a WebSocket, and what the kernel adds to it.

What is measured otherwise, and what it says of the limit, is path_figures.py's. Knows neither messages nor requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from tornado.iostream import IOStream

from incoming.monitoring.connections import ClientActivity
from incoming.monitoring.path_figures import PathFigures
from incoming.platform.sockets import TcpFigures, figures_of

REPORT_INTERVAL = 2.0
"""Seconds between two reports, and before the first: uploads that take less get none."""


class KernelReader:
    """Passes on what the kernel counts of one connection that may have served other uploads before."""

    def __init__(self, stream: IOStream | None) -> None:
        self._stream = stream
        self._before = self._read()

    def measure(self, sender: ClientActivity) -> None:
        """Report to `sender` what has been counted since the last call, or the beginning."""
        now, before = self._read(), self._before
        if now is not None and before is not None:
            sender.measured(now.rtt, now.retransmits - before.retransmits, now.out_of_order - before.out_of_order)
            self._before = now

    def _read(self) -> TcpFigures | None:
        connection = None if self._stream is None else self._stream.socket
        return None if connection is None else figures_of(connection)


class PathReports:
    """One connection's. `send` is called every REPORT_INTERVAL while bytes come or `is_busy`."""

    def __init__(
        self,
        sender: ClientActivity,
        stream: IOStream | None,
        clock: Callable[[], float],
        is_busy: Callable[[], bool],
        send: Callable[[PathFigures], None],
    ) -> None:
        self._sender = sender
        self._kernel = KernelReader(stream)
        self._clock = clock
        self._is_busy = is_busy
        self._send = send
        self._timer: asyncio.TimerHandle | None = None

    def moved(self) -> None:
        """Note that bytes have come."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(REPORT_INTERVAL, self._report)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _report(self) -> None:
        self._timer = None
        self._kernel.measure(self._sender)
        self._send(self._sender.figures(self._clock()))
        if self._is_busy():
            self.moved()
