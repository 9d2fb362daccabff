"""The mount that a directory is on, and whether instances on several machines can share it.

Decides which options break a promise that uploads rely on: that a lock holds on all machines, and that a write which
was not reported as failed has happened. Reads proc(5); changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")

NFS = frozenset({"nfs", "nfs4"})

_LOCAL_LOCKS = "locks hold on one machine only"
BREAKING = {
    "nolock": _LOCAL_LOCKS,
    "local_lock=all": _LOCAL_LOCKS,
    "local_lock=flock": _LOCAL_LOCKS,
    "nobrl": _LOCAL_LOCKS,
    "soft": "a write may fail although the server has only been away for a while",
    "softerr": "a write may fail although the server has only been away for a while",
}
"""Options with which instances must not share a directory, and why."""

OLD_NFS = re.compile(r"(?:nfs)?vers=(2|3|4|4\.0)")
"""Versions before 4.1: their locks are kept by another service, or are lost with a session."""


@dataclass(frozen=True, slots=True)
class Mount:
    """A mount: its type as mount(8) names it, and the options of mount point and file system."""

    kind: str
    options: frozenset[str]


def mount_of(path: str, lines: Iterable[str]) -> Mount | None:
    """Return the mount that the absolute `path` is on, from the lines of mountinfo; None if they do not tell."""
    best, found = "", None
    for line in lines:
        before, _, after = line.partition(" - ")
        mounted, described = before.split(), after.split()
        if len(mounted) < 6 or len(described) < 3:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mounted[4])
        # Of the mount points above the path the longest is the one, and of those of one name the last.
        if (path == point or path.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
            options = (*mounted[5].split(","), *described[2].split(","))
            best, found = point, Mount(described[0], frozenset(options))
    return found


def why_not_shared(path: str, lines: Iterable[str]) -> str | None:
    """Return in one sentence why instances on several machines cannot share this directory; None if nothing says so."""
    mount = mount_of(path, lines)
    if mount is None:
        return None
    for option in sorted(mount.options & BREAKING.keys()):
        return f"storage_dir {path!r} is mounted with {option!r}: {BREAKING[option]}; mount it 'hard' and with locks"
    old = sorted(option for option in mount.options if OLD_NFS.fullmatch(option))
    if mount.kind in NFS and old:
        return (
            f"storage_dir {path!r} is mounted with {old[0]!r}: instances need NFS 4.1 or later; mount it with vers=4.1"
        )
    return None


def read_mounts(file: Path = MOUNTS) -> list[str]:
    """Return the lines of mountinfo; none where the system has no such file."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
