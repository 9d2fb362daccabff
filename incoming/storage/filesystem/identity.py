"""Checks that a partial file is the one that was begun, and which of its bytes are surely there.

Decides what is recorded of a file with its ticket, and when a hole proves that bytes are missing. Does not know where
files are, who writes them, or what happens to an upload whose file was replaced.
"""

from __future__ import annotations

from incoming.core.extents import Extents
from incoming.storage.filesystem.disk import Disk, Facts

ZEROS_ARE_KEPT = frozenset({"btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs"})
"""File systems on which bytes that were written are never a hole, not even zeros. ZFS makes holes of zeros when it
compresses, and what is behind a network or FUSE file system is unknown: there a hole proves nothing.
"""

MARGIN = 1024 * 1024
"""Bytes before a hole that are not believed either: a file that was cut off within a block and grew again has zeros
from the cut to the end of that block. More than any file system's block.
"""


def identity(disk: Disk, fd: int, facts: Facts) -> str:
    """Return what is recorded of the open file. Inode numbers are reused, times of creation are not."""
    return f"{facts.inode[1]}:{disk.born(fd)}"


def is_same(noted: str, found: str) -> bool:
    """Return whether two records are of one file. They lack the device, which may change with every mount."""
    (inode, _, born), (other, _, birth) = noted.partition(":"), found.partition(":")
    return inode == other and (born == birth or "0" in (born, birth))


def surely_there(disk: Disk, fd: int, length: int, claimed: Extents, *, holes_prove: bool) -> Extents:
    """Return the part of `claimed` that the file of so many bytes surely has."""
    held = Extents([(0, length)])
    if holes_prove:
        ranges = []
        at = 0
        while (found := disk.data(fd, at, length)) is not None:
            ranges.append(found)
            at = found[1]
        held = Extents(ranges)
    missing = [gap for start, end in claimed for gap in held.missing(start, end)]
    believed = claimed & held
    for start, _ in missing:
        if start < length:
            believed = believed.without(start - MARGIN, start)
    return believed
