"""What `incoming send` remembers between two runs: which file was sent with which ticket, and how far a pipe was read.

Decides where that is and that a record is on disk before the first byte of its file goes out. A run that has sent
everything leaves nothing behind. With a ticket anybody can send the file, so the records are their user's alone.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from incoming.platform.files import sync


class AlreadyRunning(Exception):
    """Another process sends the same files to the same place."""


@dataclass(frozen=True, slots=True)
class Record:
    """One file: the URL of its upload, and what tells the file from another one of its name."""

    path: str
    url: str
    size: int | None = None
    modified_ns: int | None = None
    is_done: bool = False
    piped_length: int = 0
    piped_digest: str = ""

    def is_of(self, found: os.stat_result) -> bool:
        """Return whether this is still the file that the upload began with."""
        return (self.size, self.modified_ns) == (found.st_size, found.st_mtime_ns)

    def done(self) -> Record:
        """Return the record of a file that the application has taken."""
        return replace(self, is_done=True)


class Records:
    """The records of one command: the same files, sent to the same place."""

    def __init__(self, directory: Path, files: Sequence[str], where: Sequence[str]) -> None:
        paths = [path if path == "-" else absolute(path) for path in files]
        self._directory = directory / _digest(json.dumps([paths, list(where)]))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from the same work. Raises AlreadyRunning, and OSError."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._directory / "lock"
        with lock.open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise AlreadyRunning("another process sends the same files just now") from error
            yield
            if not any(self._directory.glob("*.json")):
                lock.unlink(missing_ok=True)
                with contextlib.suppress(OSError):  # the next one has come already
                    self._directory.rmdir()

    def find(self, path: str) -> Record | None:
        """Return the record of a file, if there is a readable one."""
        try:
            fields = json.loads(self._file(path).read_text())
            return Record(**fields)
        except (OSError, ValueError, TypeError):
            return None

    def keep(self, record: Record, *, synced: bool = True) -> None:
        """Put a record on disk, whole or not at all."""
        file = self._file(record.path)
        new = file.with_suffix(".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            stream.write(json.dumps(asdict(record)))
            stream.flush()
            if synced:
                sync(stream.fileno())
        new.rename(file)

    def forget(self, path: str) -> None:
        """Remove the record of a file."""
        self._file(path).unlink(missing_ok=True)

    def forget_all(self) -> None:
        """Remove all records of this command."""
        for file in self._directory.glob("*.json"):
            file.unlink(missing_ok=True)

    def _file(self, path: str) -> Path:
        return self._directory / f"{_digest(path)}.json"


def state_directory(environment: Mapping[str, str]) -> Path:
    """Return the directory for state that the XDG Base Directory Specification names."""
    named = Path(environment.get("XDG_STATE_HOME", ""))
    home = Path(environment.get("HOME") or Path.home())
    return (named if named.is_absolute() else home / ".local" / "state") / "incoming" / "send"


def absolute(path: str) -> str:
    """Return the path from the root, with links in it as they are: they may lead elsewhere tomorrow."""
    return str(Path.cwd() / os.path.normpath(path))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
