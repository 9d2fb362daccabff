"""The location of a complete file, as the application gets it."""

from __future__ import annotations

from dataclasses import dataclass

FILE = "file"
"""The kind of a location that is an absolute path of this host's file systems."""


@dataclass(frozen=True, slots=True)
class Location:
    """`kind` names what `address` is: an absolute path for FILE, a URL for stores elsewhere. Both are empty before the
    file is complete. `etag` and `version` are what an object store calls this very content; empty for files.
    """

    kind: str = ""
    address: str = ""
    etag: str = ""
    version: str = ""
