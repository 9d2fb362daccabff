"""Accept connections from one listening socket: a few at a time if other workers accept from it as well, and with a
pause when the process or the system is out of descriptors.

A listening socket stays readable while a connection waits, so an event loop repeats an accept that fails at once, for
ever. This file decides when accepting is tried again; it does not know what is done with a connection.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from incoming.server.occasional_log import OccasionalLog

log = logging.getLogger(__name__)

ACCEPT_BATCH = 128
"""Connections accepted in one turn of the event loop."""

ACCEPT_SHARE = 4
"""Connections that a worker accepts before it leaves the next ones to the other workers for a moment."""

SHARE_DELAY = 0.003
"""Seconds of that moment. The kernel wakes all workers for the same connection, but not at the same time: the first
could have accepted a hundred before the second runs. A worker accepts 1,300 a second this way, as many as it can serve.
"""

ACCEPT_RETRY_DELAY = 1.0
"""Seconds until accepting is tried again. The kernel holds the connections that come meanwhile."""

_OF_ONE_CONNECTION = frozenset(
    {
        *(errno.ECONNABORTED, errno.EINTR, errno.EPROTO, errno.EPERM, errno.ENOPROTOOPT, errno.EOPNOTSUPP),
        *(errno.ENETDOWN, errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENONET),
    }
)
"""Errors of the connection that was to be accepted, not of the listening socket (accept(2))."""


class Listener:
    """`accepted` gets each new connection and its address, on the event loop; what it raises is logged."""

    def __init__(
        self,
        listening: socket.socket,
        accepted: Callable[[socket.socket, Any], None],
        loop: asyncio.AbstractEventLoop | None = None,
        *,
        is_shared: bool = False,
    ) -> None:
        """Accept fairly with `is_shared`: other processes accept from the same socket."""
        self._most = ACCEPT_SHARE if is_shared else ACCEPT_BATCH
        self._is_shared = is_shared
        self._socket = listening
        self._accepted = accepted
        self._loop = loop or asyncio.get_running_loop()
        self._failures = OccasionalLog()
        self._resume: asyncio.TimerHandle | None = None
        self._stopped = False
        self._loop.add_reader(listening, self._accept)

    def stop(self) -> None:
        """Stop accepting and close the socket."""
        if self._stopped:
            return
        self._stopped = True
        if self._resume is not None:
            self._resume.cancel()
        else:
            self._loop.remove_reader(self._socket)
        self._socket.close()

    def _accept(self) -> None:
        for _ in range(self._most):
            if self._stopped:
                return
            try:
                connection, address = self._socket.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _OF_ONE_CONNECTION:
                    continue
                self._pause(error)
                return
            try:
                self._accepted(connection, address)
            except Exception:
                connection.close()
                log.exception("a new connection could not be served")
        if self._is_shared and not self._stopped:
            self._rest(SHARE_DELAY)

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._socket)
        self._resume = self._loop.call_later(seconds, self._go_on)

    def _pause(self, error: OSError) -> None:
        self._rest(ACCEPT_RETRY_DELAY)
        if count := self._failures.due():
            log.warning(
                "cannot accept connections: %s; trying again every %g s",
                error.strerror or error,
                ACCEPT_RETRY_DELAY,
                extra={"failures": count},
            )

    def _go_on(self) -> None:
        self._resume = None
        self._loop.add_reader(self._socket, self._accept)
