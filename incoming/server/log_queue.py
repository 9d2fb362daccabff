"""Write log records to standard error without ever waiting for its reader.

A pipe or a terminal without a reader blocks its writer, and with an event loop the whole worker. So a thread writes
from a bounded queue; records that do not fit are dropped, and their number is logged later. A regular file is written
to directly. Knows no log format.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import stat
import threading
import time
from collections import deque
from weakref import WeakSet

MAX_BYTES = 1024 * 1024
"""Bytes of log lines that may wait to be written; a record beyond that is dropped."""

FLUSH_SECONDS = 2.0
"""Seconds for writing the queue at the end of the process, which a stalled reader must not prevent."""

FORK_SECONDS = 0.5
"""Seconds for writing the queue before a fork. A thread that is still blocked then does not exist in the child."""


class QueuedHandler(logging.Handler):
    """A handler that writes to the descriptor `fd`, which stays open."""

    def __init__(self, fd: int = 2) -> None:
        super().__init__()
        self._fd = fd
        self._direct = _is_regular(fd)
        self._renew()
        _handlers.add(self)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
        except Exception:
            self.handleError(record)
            return
        if self._direct:
            self._write(line)
        else:
            self._enqueue(line)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Log the origin of a record that cannot be formatted; logging itself would write to standard error."""
        text = "a log record of %s:%d cannot be formatted"
        self.emit(self._record(logging.ERROR, text, (record.pathname, record.lineno)))

    def flush(self) -> None:
        """Wait until all records are written, at most FLUSH_SECONDS."""
        self._wait_written(FLUSH_SECONDS)

    def close(self) -> None:
        self.flush()
        _handlers.discard(self)
        super().close()

    # --- the queue ----------------------------------------------------------------------------------------------------

    def _renew(self) -> None:
        """Start with an empty queue and no thread: after a fork the parent writes what was queued."""
        self._changed = threading.Condition(threading.Lock())
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._dropped = 0
        self._thread: threading.Thread | None = None
        self._ending = False

    def _enqueue(self, line: bytes) -> None:
        with self._changed:
            if self._bytes + len(line) > MAX_BYTES:
                self._dropped += 1
                return
            if self._thread is None and not self._start_thread():
                self._dropped += 1
                return
            self._waiting.append(line)
            self._bytes += len(line)
            self._changed.notify_all()

    def _start_thread(self) -> bool:
        """Start the thread with all signals blocked, which are for the main thread. Return False when the process is
        ending.
        """
        self._thread = threading.Thread(target=self._run, name="incoming-log", daemon=True)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self._thread.start()
        except RuntimeError:
            self._thread = None
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return self._thread is not None

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._waiting and not self._ending:
                    self._changed.wait()
                if not self._waiting:
                    self._thread = None
                    self._changed.notify_all()
                    return
                line = self._waiting[0]
            self._write(line)
            with self._changed:
                self._waiting.popleft()
                self._bytes -= len(line)
                self._changed.notify_all()

    def _wait_written(self, seconds: float, *, end_thread: bool = False) -> None:
        """Wait until the queue is empty and, with `end_thread`, the thread has ended, at most `seconds`."""
        deadline = time.monotonic() + seconds
        with self._changed:
            self._ending = end_thread
            self._changed.notify_all()
            while self._waiting or (end_thread and self._thread is not None):
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._changed.wait(remaining):
                    break
            self._ending = False

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, line: bytes) -> None:
        """Write one line, after one about the records dropped before it."""
        with self._changed:
            dropped = self._dropped
        if dropped:
            text = "%d log records were dropped because they could not be written"
            line = (self.format(self._record(logging.WARNING, text, (dropped,))) + "\n").encode() + line
        try:
            _write_all(self._fd, line)
        except OSError:
            dropped = -1  # a full disk, or a terminal or a reader that is gone
        with self._changed:
            self._dropped -= dropped

    def _record(self, level: int, text: str, arguments: tuple[object, ...]) -> logging.LogRecord:
        return logging.LogRecord(__name__, level, __file__, 0, text, arguments, None)

    # --- forks --------------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """End the thread, so that none exists while the process forks."""
        self._wait_written(FORK_SECONDS, end_thread=True)

    def after_fork_in_child(self) -> None:
        self._renew()


_handlers: WeakSet[QueuedHandler] = WeakSet()


def _before_fork() -> None:
    for handler in list(_handlers):
        handler.before_fork()


def _after_fork_in_child() -> None:
    for handler in list(_handlers):
        handler.after_fork_in_child()


os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)


def _is_regular(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False


def _write_all(fd: int, data: bytes) -> None:
    """Write all of it, also to a descriptor that another process has made non-blocking."""
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            poll = select.poll()
            poll.register(fd, select.POLLOUT)
            poll.poll()
