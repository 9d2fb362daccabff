"""Processes: how many descriptors one may have, and how a signal is waited for."""

from __future__ import annotations

import contextlib
import resource
import signal
import time
from collections.abc import Callable, Set

MAX_DESCRIPTORS = 10_240
"""OPEN_MAX of macOS, which refuses more for a process although its limit says that there is none."""

SIGNAL_POLL_INTERVAL = 0.1
"""Seconds between two looks for a signal on a system where waiting for one has no end."""


def raise_descriptor_limit() -> None:
    """Raise the soft limit on descriptors, usually 1,024 or 256, to the hard one, which is the operator's."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == hard:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (ValueError, OSError):
        if soft != resource.RLIM_INFINITY and soft < MAX_DESCRIPTORS:
            with contextlib.suppress(ValueError, OSError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (MAX_DESCRIPTORS, hard))


def wait_for_signal(
    awaited: Set[signal.Signals], seconds: float, sleep: Callable[[float], None] = time.sleep
) -> int | None:
    """Return the number of one of the blocked signals `awaited`, or None when none came within `seconds`.

    macOS has no sigtimedwait(2), and discards a blocked SIGCHLD that has no handler. There the result is None within
    SIGNAL_POLL_INTERVAL, so that a caller can look after its children.
    """
    sigtimedwait = getattr(signal, "sigtimedwait", None)
    if sigtimedwait is not None:
        info = sigtimedwait(awaited, seconds)
        return None if info is None else int(info.si_signo)
    if not signal.sigpending() & awaited:
        sleep(min(seconds, SIGNAL_POLL_INTERVAL))
    pending = signal.sigpending() & awaited
    return int(signal.sigwait(pending)) if pending else None
