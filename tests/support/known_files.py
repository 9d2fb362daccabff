"""Files of known content: the same name and size give the same bytes everywhere, and their SHA-256 comes with them."""

import hashlib
import os
import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

_BLOCK = 1 << 20


@dataclass(frozen=True)
class KnownFile:
    """A file that a test made."""

    path: Path
    size: int

    @cached_property
    def sha256(self) -> str:
        return sha256_of(self.path)

    def read(self, start: int, end: int) -> bytes:
        """Bytes [start, end)."""
        with self.path.open("rb") as file:
            file.seek(start)
            return file.read(end - start)


def sha256_of(path: Path) -> str:
    """The hexadecimal SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_file(path: Path, size: int, seed: int = 0) -> KnownFile:
    """Fill `path` with `size` random bytes, always the same for one `seed`.

    Every block of 1 MiB starts with its own number, so that no two blocks are equal and a swapped one is noticed.
    """
    pattern = random.Random(seed).randbytes(_BLOCK)
    with path.open("wb") as file:
        for number in range(-(-size // _BLOCK)):
            block = number.to_bytes(8, "big") + pattern[8:]
            file.write(block[: size - number * _BLOCK])
    return KnownFile(path, size)


def make_sparse_file(path: Path, size: int, seed: int = 0) -> KnownFile:
    """A file of `size` bytes that takes hardly any disk: zeros, and here and there a random mark of up to 64 bytes.

    The marks are at the start, at the end, and across every multiple of 1 GiB: 32-bit offsets break at 2 and 4 GiB.
    """
    marks = random.Random(seed)
    gib = 1 << 30
    with path.open("wb") as file:
        file.truncate(size)
        for middle in [*range(0, size, gib), size]:
            start, end = max(0, middle - 32), min(size, middle + 32)
            os.pwrite(file.fileno(), marks.randbytes(end - start), start)
    return KnownFile(path, size)
