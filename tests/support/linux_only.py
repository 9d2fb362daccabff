"""What only Linux has: the names that no module but incoming.platform may use, and a way to take them away.

`remove()` leaves this process as one on another POSIX system would be: the names are gone from Python's modules, /proc
and /sys cannot be read. statx(2) and fallocate(2) stay: macOS has calls of its own in their place, which this kernel
lacks; tests/unit/platform has stand-ins for them.
"""

import importlib
import os
import sys
from typing import Any

NAMES: dict[str, tuple[str, ...]] = {
    "os": (
        *("fdatasync", "pwritev", "preadv", "copy_file_range", "sendfile", "splice", "pipe2", "memfd_create"),
        *("posix_fadvise", "posix_fallocate", "eventfd", "pidfd_open", "getrandom", "setns", "unshare"),
        *("sched_getaffinity", "sched_setaffinity", "O_TMPFILE", "O_PATH", "O_DIRECT", "SEEK_DATA", "SEEK_HOLE"),
    ),
    "socket": (
        *("SOCK_CLOEXEC", "SOCK_NONBLOCK", "TCP_INFO", "TCP_USER_TIMEOUT", "TCP_KEEPIDLE", "TCP_KEEPINTVL"),
        *("TCP_QUICKACK", "TCP_CORK", "TCP_DEFER_ACCEPT", "SO_REUSEPORT", "SO_PEERCRED", "AF_NETLINK"),
    ),
    "fcntl": ("F_OFD_SETLK", "F_OFD_SETLKW", "F_OFD_GETLK", "F_SETPIPE_SZ", "F_ADD_SEALS"),
    "signal": ("sigtimedwait", "sigwaitinfo", "pidfd_send_signal", "SIGPWR", "SIGRTMIN"),
    "time": ("CLOCK_BOOTTIME",),
    "select": ("epoll",),
    "resource": ("prlimit",),
}
"""By module."""

PATHS = ("/proc/", "/sys/", "/etc/machine-id")

CALLS = ("renameat2", "prctl", "fallocate", "statx")
"""Of the C library, by ctypes."""

STAY = ("fallocate", "statx")


def remove() -> None:
    """Take all of them away from this process and those that it forks."""
    for module, names in NAMES.items():
        holder = importlib.import_module(module)
        for name in names:
            if hasattr(holder, name):
                delattr(holder, name)
    if hasattr(os, "process_cpu_count"):  # it uses sched_getaffinity
        os.process_cpu_count = os.cpu_count
    sys.addaudithook(_refuse)


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], str):
        if arguments[0].startswith(PATHS):
            raise FileNotFoundError(2, "No such file or directory", arguments[0])
    elif event == "ctypes.dlsym" and arguments[1] in CALLS and arguments[1] not in STAY:
        raise AttributeError(f"undefined symbol: {arguments[1]}")
