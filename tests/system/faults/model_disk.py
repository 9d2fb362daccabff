"""A disk in memory that distinguishes synced data from the kernel's cache.

The model: what was written survives the death of the process. After a power cut each write since the file's last sync
has, by itself, survived, vanished or left garbage; each change of a name has survived or vanished by itself until its
directory was synced. Nothing that was synced is touched.
"""

import errno
import os
import random
import threading
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from incoming.storage.filesystem.disk import Facts

Change = tuple[int, bytes | None]
"""A write at an offset; or with None the file's new length."""

Naming = tuple[tuple[str, int | None], ...]
"""Names and the file that each gets; None takes the name away. A rename is one, for it is atomic."""

CHANGES = ("create", "write", "truncate", "fdatasync", "fsync", "rename", "unlink", "make_directory", "sync_directory")


@dataclass
class _File:
    platter: bytes = b""
    cached: list[Change] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        return self.after(self.cached)

    def after(self, changes: Sequence[Change]) -> bytes:
        content = bytearray(self.platter)
        for offset, data in changes:
            if data is None:
                content[offset:] = bytes(max(0, offset - len(content)))
            else:
                content.extend(bytes(max(0, offset - len(content))))
                content[offset : offset + len(data)] = data
        return bytes(content)


@dataclass
class _Directory:
    platter: dict[str, int] = field(default_factory=dict)
    cached: list[Naming] = field(default_factory=list)

    @property
    def names(self) -> dict[str, int]:
        return self.after(self.cached)

    def after(self, namings: Sequence[Naming]) -> dict[str, int]:
        names = dict(self.platter)
        for naming in namings:
            for name, inode in naming:
                if inode is None:
                    names.pop(name, None)
                else:
                    names[name] = inode
        return names


class ModelDisk:
    """Implements storage/disk.py's Disk. `before` is called before every operation that changes anything."""

    def __init__(self, root: str) -> None:
        self.before: Callable[[str], None] = lambda name: None
        self._lock = threading.RLock()
        self._files: dict[int, _File] = {}
        self._directories: dict[int, _Directory] = {1: _Directory()}
        self._open: dict[int, int] = {}
        self._last = 1
        self._top = os.path.dirname(root)  # noqa: PTH120
        name = os.path.basename(root)  # noqa: PTH119
        self._directories[1].platter[name] = self._new_directory()

    def __deepcopy__(self, memo: object) -> Self:
        with self._lock:
            copy = object.__new__(type(self))
            copy.__dict__.update(self.__dict__, before=lambda name: None, _lock=threading.RLock(), _open={})
            copy._files = deepcopy(self._files)
            copy._directories = deepcopy(self._directories)
            return copy

    def after_power_cut(self, chance: random.Random) -> Self:
        """Return the disk after a power cut."""
        cut = deepcopy(self)
        for directory in cut._directories.values():
            survived = [naming for naming in directory.cached if chance.random() < 0.5]
            directory.platter, directory.cached = directory.after(survived), []
        for file in cut._files.values():
            survived: list[Change] = []
            for offset, data in file.cached:
                fate = chance.choice(("survived", "vanished", "garbled"))
                if fate == "survived":
                    survived.append((offset, data))
                elif fate == "garbled" and data is not None:
                    # The length may have grown and not the data reached the platter: zeros are garbage, too.
                    garbage = bytes(len(data)) if chance.random() < 0.5 else chance.randbytes(len(data))
                    survived.append((offset, garbage))
            file.platter, file.cached = file.after(survived), []
        return cut

    def put_into(self, root: Path) -> None:
        """Write it as real files and directories below `root`, which has the same path here."""
        self._put(self._find(str(root)) or 0, root)

    def _put(self, inode: int, path: Path) -> None:
        if inode in self._files:
            path.write_bytes(self._files[inode].content)
            return
        path.mkdir(exist_ok=True)
        for name, entry in self._directories[inode].names.items():
            self._put(entry, path / name)

    # --- names --------------------------------------------------------------------------------------------------------

    def _new_inode(self) -> int:
        self._last += 1
        return self._last

    def _new_directory(self) -> int:
        inode = self._new_inode()
        self._directories[inode] = _Directory()
        return inode

    def _find(self, path: str) -> int | None:
        inode: int | None = 1
        for name in path.removeprefix(self._top).strip("/").split("/"):
            if inode not in self._directories:
                return None
            inode = self._directories[inode].names.get(name)
        return inode

    def _place(self, path: str) -> tuple[_Directory, str]:
        parent, _, name = path.rpartition("/")
        inode = self._find(parent)
        if inode not in self._directories:
            raise FileNotFoundError(errno.ENOENT, "no such directory", parent)
        return self._directories[inode], name

    def _existing(self, path: str) -> int:
        inode = self._find(path)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, "no such file", path)
        return inode

    # --- what changes nothing -----------------------------------------------------------------------------------------

    def open(self, path: str, *, write: bool = True) -> int:
        with self._lock:
            return self._opened(self._existing(path))

    def _opened(self, inode: int) -> int:
        fd = max(self._open, default=100) + 1
        self._open[fd] = inode
        return fd

    def close(self, fd: int) -> None:
        with self._lock:
            del self._open[fd]

    def facts(self, fd: int) -> Facts:
        with self._lock:
            return self._facts(self._open[fd])

    def look(self, path: str) -> Facts | None:
        with self._lock:
            if not path.startswith(self._top):
                return Facts((0, 1), 0, False, 1)
            inode = self._find(path)
            return None if inode is None else self._facts(inode)

    def _facts(self, inode: int) -> Facts:
        file = self._files.get(inode)
        return Facts((1, inode), len(file.content) if file else 0, file is not None, 1)

    def born(self, fd: int) -> int:
        return 0

    def data(self, fd: int, start: int, length: int) -> tuple[int, int] | None:
        """Garbage is not a hole: damage by a power cut is not detectable as one."""
        return (start, length) if start < length else None

    def kind(self, path: str) -> str:
        return "model"

    def lock(self, fd: int, *, exclusive: bool) -> bool:
        """A no-op: there is one process, which orders its threads itself."""
        return True

    def unlock(self, fd: int) -> None: ...

    def lock_syncs(self, fd: int) -> bool:
        return True

    def free(self, path: str) -> int:
        return 1 << 40

    # --- what changes something ---------------------------------------------------------------------------------------

    def create(self, path: str, mode: int) -> int:
        self.before("create")
        with self._lock:
            directory, name = self._place(path)
            if name in directory.names:
                raise FileExistsError(errno.EEXIST, "file exists", path)
            inode = self._new_inode()
            self._files[inode] = _File()
            directory.cached.append(((name, inode),))
            return self._opened(inode)

    def write(self, fd: int, pieces: Sequence[bytes | memoryview], offset: int) -> int:
        self.before("write")
        with self._lock:
            data = b"".join(pieces)
            self._files[self._open[fd]].cached.append((offset, data))
            return len(data)

    def read(self, fd: int, room: memoryview, offset: int) -> int:
        with self._lock:
            data = self._files[self._open[fd]].content[offset : offset + len(room)]
            room[: len(data)] = data
            return len(data)

    def truncate(self, fd: int, length: int) -> None:
        self.before("truncate")
        with self._lock:
            self._files[self._open[fd]].cached.append((length, None))

    def fdatasync(self, fd: int) -> None:
        self.before("fdatasync")
        self._sync(fd)

    def fsync(self, fd: int) -> None:
        self.before("fsync")
        self._sync(fd)

    def _sync(self, fd: int) -> None:
        with self._lock:
            file = self._files[self._open[fd]]
            file.platter, file.cached = file.content, []

    def rename(self, source: str, target: str) -> None:
        self.before("rename")
        with self._lock:
            inode = self._existing(source)
            directory, old = self._place(source)
            where, new = self._place(target)
            assert where is directory, "a rename across directories is no single change here"
            directory.cached.append(((old, None), (new, inode)))

    def unlink(self, path: str) -> None:
        self.before("unlink")
        with self._lock:
            self._existing(path)
            directory, name = self._place(path)
            directory.cached.append(((name, None),))

    def make_directory(self, path: str, mode: int) -> None:
        self.before("make_directory")
        with self._lock:
            directory, name = self._place(path)
            if name not in directory.names:
                directory.cached.append(((name, self._new_directory()),))

    def sync_directory(self, path: str) -> None:
        self.before("sync_directory")
        with self._lock:
            directory = self._directories[self._existing(path)]
            directory.platter, directory.cached = directory.names, []
