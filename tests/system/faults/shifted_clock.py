"""A wall clock that jumps: `time.time` of a server under test, shifted while it runs, and not the monotonic clock.

All of the server's wall time comes from `time.time`. Python imports `sitecustomize` at its start, so neither the server
nor the machine is changed.
"""

import mmap
import os
import struct
from pathlib import Path

_OFFSET = struct.Struct("d")

_SITECUSTOMIZE = """\
import mmap, os, struct, time

_fd = os.open(os.environ["SHIFTED_CLOCK"], os.O_RDONLY)
_offset = mmap.mmap(_fd, 8, access=mmap.ACCESS_READ)
os.close(_fd)
_time, _unpack = time.time, struct.Struct("d").unpack_from
time.time = lambda: _time() + _unpack(_offset)[0]
"""


class ShiftedClock:
    """`env` is for a server; `jump` moves the clock of all servers that were started with it, at once."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        offset = directory / "offset"
        offset.write_bytes(_OFFSET.pack(0.0))
        with offset.open("r+b") as file:
            self._offset = mmap.mmap(file.fileno(), _OFFSET.size)
        path = os.pathsep.join(filter(None, (str(directory), os.environ.get("PYTHONPATH"))))
        self.env = {"PYTHONPATH": path, "SHIFTED_CLOCK": str(offset)}
        self._ahead = 0.0

    def jump(self, seconds: float) -> None:
        """Set the clock `seconds` ahead of the machine's."""
        self._ahead = seconds
        _OFFSET.pack_into(self._offset, 0, seconds)

    def advance(self, seconds: float) -> None:
        """Let time pass while no server runs, so that pending work is due when the next one starts."""
        self.jump(self._ahead + seconds)
