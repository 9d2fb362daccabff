"""The identity of a file: what clients state about it, and whether two statements can describe the same file.

Decides which parts must agree. Does not decide whether the file is acceptable; the ticket does.
"""

from __future__ import annotations

from dataclasses import dataclass

from incoming.core.errors import FileChanged

MAX_NAME = 1024
MAX_MEDIA_TYPE = 255
"""Characters."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client states about its file; None for what it does not state.

    `size` is in bytes, `last_modified` in milliseconds since the epoch (File.lastModified), `fingerprint` an opaque
    digest of samples of the content, `media_type` the type that the browser assumes (File.type). `metadata` is further
    metadata in the tus protocol's syntax.
    """

    name: str | None = None
    size: int | None = None
    last_modified: int | None = None
    fingerprint: str | None = None
    media_type: str | None = None
    metadata: str | None = None

    def join(self, other: Identity) -> Identity:
        """Return the combined identity. Raise FileChanged when `other` means another file.

        Name, type and metadata may differ between devices; the first ones stay.
        """
        for label, was, now in (
            ("size", self.size, other.size),
            ("modification time", self.last_modified, other.last_modified),
            ("content", self.fingerprint, other.fingerprint),
        ):
            if was is not None and now is not None and was != now:
                raise FileChanged(f"not the file that this upload was begun with: its {label} was {was}, now {now}")
        return Identity(
            name=other.name if self.name is None else self.name,
            size=other.size if self.size is None else self.size,
            last_modified=other.last_modified if self.last_modified is None else self.last_modified,
            fingerprint=other.fingerprint if self.fingerprint is None else self.fingerprint,
            media_type=other.media_type if self.media_type is None else self.media_type,
            metadata=other.metadata if self.metadata is None else self.metadata,
        )
