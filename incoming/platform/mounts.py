"""Which mount a path is on. Reads proc(5); systems that have none, such as macOS, tell of no mounts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MOUNTS = Path("/proc/self/mountinfo")


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


def read_mounts(file: Path = MOUNTS) -> list[str]:
    """Return the lines of mountinfo; none where the system has no such file."""
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []


def kind_of(path: str | Path, file: Path = MOUNTS) -> str:
    """Return the type of the file system that `path` is on, as mount(8) names it; empty if the system does not tell."""
    mount = mount_of(os.path.realpath(path), read_mounts(file))
    return "" if mount is None else mount.kind
