"""The kinds of ByteStore that the contract is tried on, each on a place of its own that several stores may share."""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from incoming.core.location import Location
from incoming.storage.byte_store import ByteStore
from incoming.storage.filesystem.store import FileStore
from incoming.storage.memory.files import MemoryByteStore, MemoryFile
from tests.support.part_store import PartStore

PART = 8
"""Bytes of a part of the store that buffers: less than the tests write."""


class Place(Protocol):
    """What stores share, as workers do."""

    def open(self) -> ByteStore: ...

    def read(self, location: Location) -> bytes:
        """Return what an application finds there."""
        ...

    def take(self, location: Location) -> None:
        """Move the file away, as an application does."""
        ...


class Directory:
    def __init__(self, root: Path) -> None:
        self.root = root

    def open(self) -> ByteStore:
        return FileStore(self.root)

    def read(self, location: Location) -> bytes:
        assert location.kind == "file"
        return Path(location.address).read_bytes()

    def take(self, location: Location) -> None:
        Path(location.address).unlink()


class PartsInDirectory(Directory):
    def open(self) -> ByteStore:
        return PartStore(self.root, part_size=PART)


class Memory:
    def __init__(self, root: Path) -> None:
        self.files: dict[str, MemoryFile] = {}

    def open(self) -> ByteStore:
        return MemoryByteStore(self.files)

    def read(self, location: Location) -> bytes:
        assert location.kind == "memory"
        return bytes(self.files[location.address].content)

    def take(self, location: Location) -> None:
        del self.files[location.address]


PLACES: dict[str, Callable[[Path], Place]] = {"filesystem": Directory, "memory": Memory, "parts": PartsInDirectory}
