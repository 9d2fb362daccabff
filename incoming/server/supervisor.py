"""Supervise several worker processes: fork them, replace those that die, pass signals on.

The parent binds the sockets and then only waits. It has no event loop and no database, and its log thread ends before a
fork, so that a fork copies only what survives it. All workers accept on the same sockets. Does not know what a worker
does.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from incoming.platform.processes import wait_for_signal
from incoming.server.heartbeats import Heartbeats
from incoming.server.sd_notify import Notifier
from incoming.server.signals import log_hangup

log = logging.getLogger(__name__)

EARLY_EXIT = 5.0
"""Seconds; a worker that lived for less than this is replaced only after a pause."""

MAX_PAUSE = 30.0
KILL_AFTER = 10.0
"""Seconds beyond the time that workers have to end; then they are killed."""

_AWAITED = {signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}

Work = Callable[[int], int]
"""A worker's main function. It takes a descriptor that becomes readable when the parent ends; returns an exit code."""


@dataclass
class _Slot:
    """A place for one worker: its process, and when the next one may start if there is none."""

    pid: int = 0
    started: float = 0.0
    last_beat: float = 0.0
    pause: float = 0.0
    due: float = 0.0


def run_once(work: Work) -> int:
    """Run `work` in a process of its own; return its exit code, or 128 + signal."""
    lifeline, held = os.pipe()
    pid = _fork(work, lifeline, held)
    _, status = os.waitpid(pid, 0)
    os.close(lifeline)
    os.close(held)
    return _exit_code(status)


class Supervisor:
    """Keep `count` workers running until SIGTERM or SIGINT."""

    def __init__(
        self,
        count: int,
        work: Work,
        patience: float,
        close_sockets: Callable[[], None],
        notifier: Notifier | None = None,
        heartbeats: Heartbeats | None = None,
    ) -> None:
        """`patience` is the seconds that workers may take to end; `close_sockets` closes the parent's sockets. Workers
        that send no `heartbeats`, if there are any, are replaced. `notifier` learns how the server is.
        """
        self._notifier = notifier or Notifier()
        self._heartbeats = heartbeats
        self._checked_at = time.monotonic()
        """When silent workers were looked for last."""
        self._slots = [_Slot() for _ in range(count)]
        self._work = work
        self._patience = patience
        self._close_sockets = close_sockets
        self._lifeline, self._held = os.pipe()
        self._end_by: float | None = None
        self._killed = False

    def run(self) -> int:
        """Run until all workers have ended; return 0, or 1 if some had to be killed. Signals stay blocked."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _AWAITED)
        try:
            while True:
                self._fill()
                if self._end_by is not None and not any(slot.pid for slot in self._slots):
                    return 1 if self._killed else 0
                self._wait()
        finally:
            os.close(self._lifeline)
            os.close(self._held)

    def _fill(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if self._end_by is None and not slot.pid and slot.due <= now:
                slot.started = slot.last_beat = now
                slot.pid = _fork(self._work, self._lifeline, self._held)

    def _wait(self) -> None:
        """Wait for a signal, until a worker is due to start or, while ending, to be killed; then handle both."""
        now = time.monotonic()
        if self._end_by is not None:
            until = self._end_by
        else:
            until = min((slot.due for slot in self._slots if not slot.pid), default=now + 3600)
        if self._notifier.interval is not None:
            until = min(until, now + self._notifier.interval)
            self._notifier.alive(self._status())
        number = wait_for_signal(_AWAITED, max(0.0, until - now))
        if number == signal.SIGHUP:
            log_hangup()
        elif number not in (None, signal.SIGCHLD):
            self._end()
        if self._end_by is not None and time.monotonic() >= self._end_by:
            self._kill()
        self._kill_silent()
        self._reap()

    def _status(self) -> str:
        count = sum(1 for slot in self._slots if slot.pid)
        return f"{'draining: ' if self._end_by is not None else ''}{count} of {len(self._slots)} workers run"

    def _kill_silent(self) -> None:
        """Kill the workers that have sent no heartbeat for too long; what ends is replaced."""
        if self._heartbeats is None:
            return
        now, beating = time.monotonic(), self._heartbeats.received()
        # After a long pause of this process the whole machine may have stood still: the workers get another chance.
        has_paused, self._checked_at = now - self._checked_at > self._heartbeats.timeout / 2, now
        for slot in self._slots:
            if slot.pid in beating or has_paused:
                slot.last_beat = now
            elif slot.pid and now - slot.last_beat > self._heartbeats.timeout:
                log.error("worker %d has not answered for %.0f s; killing it", slot.pid, now - slot.last_beat)
                os.kill(slot.pid, signal.SIGKILL)
                slot.last_beat = now

    def _end(self) -> None:
        """Send SIGTERM to the workers; a second one makes them end at once."""
        if self._end_by is None:
            self._end_by = time.monotonic() + self._patience + KILL_AFTER
            self._notifier.stopping()
            self._close_sockets()
        self._signal_all(signal.SIGTERM)

    def _kill(self) -> None:
        log.error("workers did not exit in time; killing them")
        self._killed = True
        self._signal_all(signal.SIGKILL)
        self._end_by = time.monotonic() + KILL_AFTER

    def _signal_all(self, number: signal.Signals) -> None:
        for slot in self._slots:
            if slot.pid:
                os.kill(slot.pid, number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for slot in self._slots:
                if slot.pid == pid:
                    self._ended(slot, _exit_code(status))

    def _ended(self, slot: _Slot, code: int) -> None:
        now = time.monotonic()
        quick = now - slot.started < EARLY_EXIT
        slot.pause = min(MAX_PAUSE, max(0.5, slot.pause * 2)) if quick else 0.0
        slot.due = now + slot.pause
        if self._end_by is None:
            log.warning("a worker exited with code %d; starting another one in %g s", code, slot.pause)
        slot.pid = 0


def _fork(work: Work, lifeline: int, held: int) -> int:
    """Return the child's process id. The child restores signals, works, and ends without the parent's clean-up."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.close(held)
        # Ctrl-C reaches the whole terminal group; the parent passes it on as SIGTERM, and once is enough.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _AWAITED)
        code = work(lifeline)
    except BaseException:
        log.exception("a worker failed")
    finally:
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
