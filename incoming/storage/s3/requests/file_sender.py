"""Sends ranges of files over sockets, each on a thread.

Decides when a transfer ends early. It knows neither HTTP nor S3.
"""

from __future__ import annotations

import asyncio
import errno
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

from incoming.platform.files import send

IDLE_TIMEOUT = 60.0
"""Seconds without a byte sent after which a transfer has failed."""

REPORT_INTERVAL = 1.0
"""Seconds between two calls of `progressed`."""


@dataclass(frozen=True, slots=True)
class FileRange:
    """`length` bytes of an open file from `start` on. Nobody changes them while they are sent."""

    file: int
    start: int
    length: int


class FileSender:
    """As many transfers at once as it has threads; more wait."""

    def __init__(self, threads: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="sendfile")
        self._active: set[socket.socket] = set()

    async def send(self, connection: socket.socket, content: FileRange, progressed: Callable[[], None]) -> None:
        """Send all of it over a non-blocking socket; call `progressed` now and then. Raises OSError.

        When this is cancelled the connection is shut down, and no byte is sent any more.
        """
        loop = asyncio.get_running_loop()
        # A descriptor of its own: that of a closed connection may be another one's soon.
        own = connection.dup()
        self._active.add(own)
        try:
            work = loop.run_in_executor(
                self._executor, _send_all, own, content, lambda: loop.call_soon_threadsafe(progressed)
            )
        except RuntimeError as error:
            self._forget(own)
            raise ConnectionAbortedError(errno.ECONNABORTED, "the server is stopping") from error
        work.add_done_callback(lambda _: self._forget(own))
        try:
            await asyncio.shield(work)
        except asyncio.CancelledError:
            _shut_down(own)
            await asyncio.wait([work])
            if not work.cancelled():
                work.exception()  # that of the shut connection
            raise

    def _forget(self, own: socket.socket) -> None:
        self._active.discard(own)
        own.close()

    def close(self) -> None:
        """Shut down the connections over which something is being sent, and end the threads."""
        for own in self._active:
            _shut_down(own)
        self._executor.shutdown(wait=True, cancel_futures=True)


def _shut_down(connection: socket.socket) -> None:
    with suppress(OSError):  # the other end has closed it
        connection.shutdown(socket.SHUT_RDWR)


def _send_all(connection: socket.socket, content: FileRange, report: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(connection, select.POLLOUT)
    at, end = content.start, content.start + content.length
    reported = time.monotonic()
    while at < end:
        try:
            sent = send(connection, content.file, at, end - at)
        except BlockingIOError:
            if not poll.poll(IDLE_TIMEOUT * 1000):
                raise TimeoutError(errno.ETIMEDOUT, f"no byte could be sent for {IDLE_TIMEOUT:g} s") from None
            continue
        if not sent:
            raise OSError(errno.EIO, "the file is shorter than what was written")
        at += sent
        if (now := time.monotonic()) - reported >= REPORT_INTERVAL:
            report()
            reported = now
