"""A real file system of a few MiB, which can be filled to the last byte and made read-only."""

import os
import subprocess
from pathlib import Path

from tests.support.tools import require_root, require_tool


class SmallDisk:
    """A tmpfs of `size` bytes at `path`. Use it in a with statement."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self._size = size
        self._filler = path / "filler"

    def __enter__(self) -> "SmallDisk":
        require_root()
        self.path.mkdir(exist_ok=True)
        _run("mount", "-t", "tmpfs", "-o", f"size={self._size},mode=0750", "tmpfs", str(self.path))
        return self

    def __exit__(self, *_: object) -> None:
        # Lazily: a process that was just killed may hold a file for a moment.
        _run("umount", "-l", str(self.path))

    @property
    def free(self) -> int:
        facts = os.statvfs(self.path)
        return facts.f_bavail * facts.f_frsize

    def fill(self, leave: int = 0) -> None:
        """Fill the disk with another file, except for this many bytes."""
        # Unbuffered: what did not fit would be written once more when the file is closed.
        with self._filler.open("ab", buffering=0) as filler:
            while (room := self.free - leave) > 0:
                try:
                    filler.write(bytes(min(room, 1 << 20)))
                except OSError:
                    return

    def empty(self) -> None:
        """Remove that file."""
        self._filler.unlink(missing_ok=True)

    def read_only(self, wanted: bool = True) -> None:
        """Remount read-only. Raises CalledProcessError while a file is open for writing."""
        _run("mount", "-o", f"remount,{'ro' if wanted else 'rw'}", str(self.path))


def _run(*command: str) -> None:
    subprocess.run([require_tool(command[0]), *command[1:]], check=True, capture_output=True)
