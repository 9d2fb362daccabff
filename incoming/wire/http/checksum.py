"""The checksum of a body, computed while the body arrives. Knows no field that clients send it in."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Protocol

from incoming.core.errors import ChecksumMismatch


class Hash(Protocol):
    """What is used of a hash function, as of those in hashlib."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the bytes of a body must come to."""

    algorithm: str
    expected: bytes
    hash: Hash

    def update(self, data: bytes | memoryview) -> None:
        """Count the next bytes of the body."""
        self.hash.update(data)

    def check(self) -> None:
        """Raise ChecksumMismatch if the body was another one."""
        if not hmac.compare_digest(self.hash.digest(), self.expected):
            raise ChecksumMismatch(f"the body does not have the {self.algorithm} checksum that was sent with it")
