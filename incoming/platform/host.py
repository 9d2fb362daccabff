"""The machine: its boot, its processors, the memory of this process, a clock that also counts while it sleeps.

Decides where each figure is read. Where the system does not report one, the answer says so and raises nothing.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time
from pathlib import Path

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Identifies this boot of the machine; see random(4)."""

_MACHINE_ID = Path("/etc/machine-id")
_STATM = Path("/proc/self/statm")

_LIBC = ctypes.CDLL(None, use_errno=True)


def boot_id(file: Path = BOOT_ID) -> str:
    """Return what identifies this boot of the machine; empty where the system does not tell."""
    return _first_line(file) or _sysctl(b"kern.bootsessionuuid")


def machine_id() -> str:
    """Return systemd's id of the machine (machine-id(5)); empty where there is none."""
    return _first_line(_MACHINE_ID)


def usable_cores() -> int:
    """Return the number of processors that this process may use."""
    getaffinity = getattr(os, "sched_getaffinity", None)
    return len(getaffinity(0)) if getaffinity is not None else os.cpu_count() or 1


def resident_memory() -> int:
    """Return this process's resident memory in bytes; where the system does not report it, the most that it was."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    except (OSError, ValueError, IndexError):
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024  # bytes there, KiB elsewhere


def time_since_boot() -> float:
    """Return the seconds of a clock that is never set and also counts while the machine is suspended."""
    # CLOCK_MONOTONIC of macOS counts then, which Linux's does not.
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


def _first_line(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _sysctl(name: bytes) -> str:
    """Return a text of sysctlbyname(3), which macOS and FreeBSD have; empty where there is none of that name."""
    sysctlbyname = getattr(_LIBC, "sysctlbyname", None)
    text, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
    if sysctlbyname is None or sysctlbyname(name, text, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return ""
    return text.value.decode("ascii", "replace").strip()
