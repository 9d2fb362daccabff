"""`incoming check storage`: whether the storage directory can keep uploads, how fast and how long it can.

Decides how it is measured and which figures are too small. Which calls a file system must have is decided by the
storage itself. Writes files of its own and removes them; a missing directory is not made.
"""

from __future__ import annotations

import contextlib
import errno
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from incoming.cli.checks.findings import Findings
from incoming.cli.upload_texts import readable_size
from incoming.platform import files
from incoming.platform.mounts import kind_of
from incoming.settings.settings import Settings
from incoming.storage.open import DATABASE, UnusableStorage, check_version, prepare

SAMPLE = 32 * 1024 * 1024
PIECE = bytes(range(256)) * 4096
SYNCS = 8

SLOW_WRITE = 20_000_000
"""Bytes a second. A line of 160 Mbit/s brings as much."""
SLOW_SYNC = 0.1
"""Seconds. Each end of an upload waits for several syncs."""
FEW_FILES = 10_000
CLOCK_OFF = 2.0
"""Seconds."""

VOLATILE = {"tmpfs": "the memory of this machine", "ramfs": "the memory of this machine", "overlay": "a container"}


def check_storage(
    settings: Settings,
    taken_to: Path | None = None,
    seen_at: Path | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Findings:
    """Return what was found of the directory. `taken_to` is where an application puts files that it takes, `seen_at`
    where it sees this directory: a container's mount, or that of a network file system.
    """
    found = Findings("storage")
    directory = settings.storage_dir
    if not directory.is_dir():
        found.fault(f"there is no directory {directory}", "start the server once, or make it for the server's user")
        return found
    try:
        prepare(settings)
    except UnusableStorage as error:
        found.fault(str(error), "see the cure in that line")
        return found
    found.good(f"{directory}: files can be made, locked, synced and renamed")
    _check_kind(directory, found)
    _check_room(settings, found)
    with _scratch(directory) as path:
        _check_speed(path, found, clock)
        _check_clock(path, found)
    _check_mode(directory, found)
    _check_database(settings, found)
    if taken_to is not None:
        _check_taking(directory, taken_to, found)
    if seen_at is not None:
        _check_seen(directory, seen_at, found)
    return found


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    path = directory / f".incoming-check-{os.getpid()}-{os.urandom(4).hex()}"
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _check_kind(directory: Path, found: Findings) -> None:
    kind = kind_of(directory)
    if kind in VOLATILE:
        found.fault(f"{directory} is on {kind}, which ends with {VOLATILE[kind]}", "use a disk, or mount a volume")
    elif kind:
        found.good(f"the file system is {kind}")


def _check_room(settings: Settings, found: Findings) -> None:
    room = os.statvfs(settings.storage_dir)
    free = room.f_bavail * room.f_frsize
    if free < settings.low_space:
        found.fault(
            f"{readable_size(free)} are free, less than low_space ({readable_size(settings.low_space)}): no tickets",
            "free some, or enlarge the disk",
        )
    else:
        found.good(f"{readable_size(free)} are free")
    if room.f_files and room.f_favail < FEW_FILES:
        found.fault(f"{room.f_favail} more files can be made (inodes)", "remove small files, or make a new file system")


def _check_speed(path: Path, found: Findings, clock: Callable[[], float]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        begin = clock()
        for _ in range(SAMPLE // len(PIECE)):
            os.write(descriptor, PIECE)
        files.sync(descriptor)
        rate = SAMPLE / max(clock() - begin, 1e-6)
        syncs = []
        for _ in range(SYNCS):
            os.pwrite(descriptor, b"x" * 4096, 0)
            begin = clock()
            files.sync(descriptor)
            syncs.append(clock() - begin)
    except OSError as error:
        found.fault(f"{readable_size(SAMPLE)} could not be written: {error.strerror}", "free some space; see the quota")
        return
    finally:
        os.close(descriptor)
    sync = statistics.median(syncs)
    _judge(found, f"{readable_size(int(rate))}/s are written and synced", is_slow=rate < SLOW_WRITE)
    _judge(found, f"a sync takes {1000 * sync:.1f} ms", is_slow=sync > SLOW_SYNC)


def _judge(found: Findings, fact: str, *, is_slow: bool) -> None:
    if is_slow:
        found.fault(f"{fact}, which is slow", "use a faster disk; see what else uses it (iostat -x 1)")
    else:
        found.good(fact)


def _check_clock(path: Path, found: Findings) -> None:
    """Compare the clock of the file system, which may be another machine's, with this one's."""
    path.write_bytes(b"now")
    off = path.stat().st_mtime - time.time()
    if abs(off) > CLOCK_OFF:
        found.fault(f"the clock of the file system is {off:+.1f} s from this machine's", "run NTP on both machines")
    else:
        found.good("the clock of the file system is this machine's")


def _check_mode(directory: Path, found: Findings) -> None:
    facts = directory.stat()
    if facts.st_mode & 0o007:
        found.fault(
            f"everybody on this machine may look into {directory} (mode {facts.st_mode & 0o777:03o})",
            f"chmod o= {directory}",
        )
    else:
        found.good(f"{directory} has mode {facts.st_mode & 0o777:03o}, user {facts.st_uid}, group {facts.st_gid}")


def _check_database(settings: Settings, found: Findings) -> None:
    try:
        check_version(settings)
    except UnusableStorage as error:
        if (settings.storage_dir / DATABASE).exists():
            found.fault(str(error), "run the release that the database belongs to; see doc/operations.md")
        else:
            found.note(f"{error}; a first start makes it. If a server uses this directory, it is another one there")
    else:
        found.good("the database is of this release")


def _check_taking(directory: Path, taken_to: Path, found: Findings) -> None:
    """Try what an application does that takes a file: rename it into a directory of its own."""
    with _scratch(directory) as source:
        source.touch(0o640)
        target = taken_to / source.name
        try:
            source.rename(target)
        except OSError as error:
            if error.errno == errno.EXDEV:
                found.note(f"{taken_to} is on another file system: files that are taken are copied, which takes time")
            else:
                found.fault(f"no file can be moved to {taken_to}: {error.strerror}", "see that both are writable")
        else:
            target.unlink()
            found.good(f"files are moved to {taken_to} by a rename, which takes no time")


def _check_seen(directory: Path, seen_at: Path, found: Findings) -> None:
    """Check that an application sees a file of this directory, by the path that callbacks would name."""
    with _scratch(directory) as mark:
        mark.touch(0o640)
        seen = seen_at / mark.name
        if not (seen.exists() and seen.samefile(mark)):
            found.fault(f"a file of {directory} is not in {seen_at}", "give the app the same directory, not a copy")
        elif seen_at.absolute() != directory.absolute():
            found.fault(
                f"callbacks name files below {directory}, which the app sees at {seen_at}",
                "mount it under the same path",
            )
        else:
            found.good(f"the app sees {directory} under the same path")
