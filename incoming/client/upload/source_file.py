"""The file that is sent: what identifies it, and its bytes for as long as they are those of one file.

Decides that a file has changed when its size or modification time differs from those at its opening. Each read is
followed by that check before a byte is sent, so no file arrives whole that was changed while it was read. Knows no
connection.
"""

from __future__ import annotations

import hashlib
import mimetypes
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from incoming.core.extents import Range
from incoming.core.identity import Identity

EDGE_SIZE = 64 * 1024
SAMPLE = 4 * 1024
SAMPLES = 8
"""What is sampled for the fingerprint, in bytes and places. The browser library takes the same samples, so that one of
them can continue what the other has begun.
"""

MTIME_RESOLUTION = 0.02
"""Seconds. A file that was changed less than this ago may change once more without another modification time."""


class SourceChanged(Exception):
    """The file is not any more what it was when the upload began."""


class SourceFile:
    """A regular file, open for reading."""

    def __init__(self, path: str | os.PathLike[str], name: str | None = None) -> None:
        """Open it. Raises OSError, and ValueError for what is no regular file."""
        self.path = Path(path)
        # A pipe without a writer must not hold this up.
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            self._opened = self._settled()
            if not stat.S_ISREG(self._opened.st_mode):
                raise ValueError(f"{self.path} is no regular file")
            self.size = self._opened.st_size
            self.identity = Identity(
                name=self.path.name if name is None else name,
                size=self.size,
                last_modified=max(0, self._opened.st_mtime_ns // 1_000_000),
                fingerprint=self._fingerprint(),
                media_type=mimetypes.guess_type(self.path.name)[0],
            )
        except BaseException:
            self.close()
            raise

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes [start, end). Blocks; threads may call it at once. Raises SourceChanged and OSError."""
        parts = []
        position = start
        while position < end:
            part = os.pread(self._descriptor, end - position, position)
            if not part:
                raise SourceChanged(f"{self.path} is shorter than it was when its upload began")
            parts.append(part)
            position += len(part)
        self.check()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def check(self) -> None:
        """Raise SourceChanged if the file has been written to since it was opened."""
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self._opened.st_size, self._opened.st_mtime_ns):
            raise SourceChanged(f"{self.path} was changed while it was sent")

    def close(self) -> None:
        """Read no more."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _settled(self) -> os.stat_result:
        found = os.fstat(self._descriptor)
        if 0 <= time.time() - found.st_mtime < MTIME_RESOLUTION:
            time.sleep(MTIME_RESOLUTION)
            found = os.fstat(self._descriptor)
        return found

    def _fingerprint(self) -> str:
        """Return a digest of samples, which takes milliseconds however large the file is."""
        digest = hashlib.sha256()
        for start, end in sampled(self.size):
            digest.update(self.read(start, end))
        return f"1-{digest.hexdigest()}"


def sampled(size: int) -> Iterator[Range]:
    """Yield the whole of a small file; of a larger one both ends and some places between them."""
    if size <= 2 * EDGE_SIZE + SAMPLES * SAMPLE:
        yield (0, size)
        return
    yield (0, EDGE_SIZE)
    for number in range(SAMPLES):
        start = EDGE_SIZE + number * (size - 2 * EDGE_SIZE) // SAMPLES
        yield (start, start + SAMPLE)
    yield (size - EDGE_SIZE, size)
