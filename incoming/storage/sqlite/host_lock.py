"""The host that uses the database: SQLite's locks and shared memory work within one machine only.

A file beside the database names the host; its modification time is a heartbeat, by the clock of the file system.
Decides when another host may start: at once after a clean end, otherwise STALE_AFTER seconds after the last heartbeat.
All processes of one boot of one machine share the lock, so restarts and several workers need nothing. Knows no SQL.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from incoming.core.errors import StorageFailed
from incoming.platform.host import boot_id, machine_id, time_since_boot

log = logging.getLogger(__name__)

HEARTBEAT = 10.0
"""Seconds between two heartbeats of a process."""

STALE_AFTER = 60.0
"""Seconds after the last heartbeat after which its host counts as gone."""

POLL_INTERVAL = 1.0
"""Seconds between two looks at a lock that is waited for."""

MODE = 0o600
"""Like the database's."""


@dataclass(frozen=True, slots=True)
class Host:
    """One boot of one machine. `machine` is systemd's id of it, empty where there is none, as in many containers."""

    name: str
    boot: str
    machine: str = ""

    @staticmethod
    def this() -> Host:
        """Return the host of this process. `boot` is empty if the system does not know it."""
        return Host(socket.gethostname(), boot_id(), machine_id())

    def rebooted(self, other: Host) -> bool:
        """Return whether `other` is certainly an earlier boot of this machine."""
        return bool(self.machine) and (self.name, self.machine) == (other.name, other.machine)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the file says; `age` are the seconds since its last heartbeat."""

    host: Host
    heartbeat: float
    age: float


class HostLock:
    """One process's part in its host's lock on the database at `database`."""

    def __init__(
        self,
        database: Path,
        host: Host | None = None,
        clock: Callable[[], float] = time_since_boot,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Use `clock`, which also counts while the machine is suspended."""
        self.path = database.with_name(f"{database.name}.host")
        self._host = host or Host.this()
        self._clock = clock
        self._sleep = sleep
        self._beat_at = 0.0
        self._shared = -1

    def acquire(self) -> None:
        """Take or share the lock. Blocks for at most STALE_AFTER if this host may have had it before a reboot.

        Raises StorageFailed while another host has it; OSError.
        """
        if not self._host.boot:
            return  # a system that does not tell cannot be told apart
        while not self._acquired():
            self._sleep(POLL_INTERVAL)
        self._beat_at = self._clock()
        self._share()

    def be_alone(self) -> None:
        """Raise StorageFailed while another process of this host has a share; none can get one until `release`."""
        if self._shared < 0:
            return
        try:
            fcntl.flock(self._shared, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StorageFailed("the ticket database is in use: stop the server first") from error

    def check(self) -> None:
        """Raise StorageFailed while another host has the lock; change nothing."""
        seen = self._look()
        if seen is not None and seen.host.boot != self._host.boot and seen.age < STALE_AFTER:
            raise self._refusal(seen)

    def keep(self) -> None:
        """Call before each transaction: gives the heartbeat in time. Raises StorageFailed if another host took over.

        That may have happened only if this process was frozen for STALE_AFTER, so the file is read once per HEARTBEAT.
        """
        now = self._clock()
        if not self._beat_at or now - self._beat_at < HEARTBEAT:
            return
        try:
            seen = self._look()
            if seen is not None and seen.host.boot != self._host.boot:
                raise StorageFailed(f"host {seen.host.name!r} has taken over the ticket database; end this server")
            if seen is None:
                self._create()
            self._beat()
        except OSError as error:
            if now - self._beat_at > STALE_AFTER / 2:
                raise StorageFailed(f"the lock of the ticket database cannot be kept ({error.strerror})") from error
            return
        self._beat_at = now

    def release(self) -> None:
        """Give up this process's share; the last one of the host removes the lock."""
        if self._shared < 0:
            return
        descriptor, self._shared = self._shared, -1
        with contextlib.suppress(OSError), _closing(descriptor):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if self._is_present(descriptor):
                self.path.unlink()

    def remove(self) -> Host | None:
        """Remove the lock, of any host; return its host. For operators who know that the host is gone."""
        seen = self._look()
        self.path.unlink(missing_ok=True)
        return None if seen is None else seen.host

    def _acquired(self) -> bool:
        """Try once; return whether this host has the lock."""
        seen = self._look()
        if seen is None:
            return self._create()
        if seen.host.boot == self._host.boot:
            with contextlib.suppress(PermissionError):  # another user's, such as root's
                self._beat()
            return True
        if seen.age >= STALE_AFTER or self._host.rebooted(seen.host):
            log.warning("taking the ticket database over from host %r, active %.0f s ago", seen.host.name, seen.age)
            return self._replace()
        if seen.host.name == self._host.name:
            return self._wait_for(seen)
        raise self._refusal(seen)

    def _wait_for(self, seen: _Seen) -> bool:
        """Wait for a host of the same name: this one before a reboot, or another, which sends heartbeats."""
        log.warning("the ticket database was in use %.0f s ago by a host of this name; waiting for it", seen.age)
        while True:
            self._sleep(POLL_INTERVAL)
            now = self._look()
            if now is None or now.age >= STALE_AFTER or now.host != seen.host:
                return False
            if now.heartbeat > seen.heartbeat:
                raise self._refusal(now)

    def _refusal(self, seen: _Seen) -> StorageFailed:
        return StorageFailed(
            f"the ticket database is in use by host {seen.host.name!r}, last active {seen.age:.0f} s ago, and SQLite "
            f"serves one host: stop the server there, or wait until {STALE_AFTER:.0f} s after it is gone "
            f"(`incoming database release` if you know that it is); several hosts need PostgreSQL (`database`)"
        )

    # --- the file -----------------------------------------------------------------------------------------------------

    def _look(self) -> _Seen | None:
        try:
            text = self.path.read_text(encoding="utf-8")
            heartbeat = self.path.stat().st_mtime
        except FileNotFoundError:
            return None
        try:
            host = Host(**json.loads(text))
        except (ValueError, TypeError):
            host = Host("unknown", "")
        with self._written() as scratch:
            return _Seen(host, heartbeat, scratch.stat().st_mtime - heartbeat)

    @contextlib.contextmanager
    def _written(self) -> Iterator[Path]:
        """Keep a temporary file that names this host; its modification time is the file system's present."""
        scratch = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        try:
            scratch.write_text(json.dumps(asdict(self._host)), encoding="utf-8")
            scratch.chmod(MODE)
            yield scratch
        finally:
            scratch.unlink(missing_ok=True)

    def _create(self) -> bool:
        with self._written() as scratch:
            try:
                os.link(scratch, self.path)  # unlike a rename, it fails if another process was faster
            except FileExistsError:
                return False
        return True

    def _replace(self) -> bool:
        with self._written() as scratch:
            scratch.rename(self.path)
        self._sleep(POLL_INTERVAL)  # of two hosts that take over at the same moment the later one has it
        seen = self._look()
        return seen is not None and seen.host.boot == self._host.boot

    def _beat(self) -> None:
        os.utime(self.path)

    def _share(self) -> None:
        """Hold a shared lock of the file, by which the last process of the host knows that it is the last."""
        while True:
            try:
                descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                self._create()  # another process of this host was the last one just now
                continue
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            if self._is_present(descriptor):
                self._shared = descriptor
                return
            os.close(descriptor)

    def _is_present(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)
