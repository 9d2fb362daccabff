"""Whether instances on several machines can share a directory, by the mount that it is on.

Decides which options break a promise that uploads rely on: that a lock holds on all machines, and that a write which
was not reported as failed has happened. Reads nothing itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from incoming.platform.mounts import mount_of

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
