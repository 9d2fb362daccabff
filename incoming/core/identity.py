"""Which file an upload is about: what its senders say of it, and whether two of them can mean the same one.

Decides which parts must agree. Whether the file is wanted is the ticket's question.
"""

from __future__ import annotations

from dataclasses import dataclass

from incoming.core.errors import FileChanged


@dataclass(frozen=True, slots=True)
class Identity:
    """What a client says of its file; None is what it does not say.

    `size` is in bytes, `last_modified` in milliseconds since the epoch (File.lastModified), `fingerprint` an opaque
    digest of samples of the content, `media_type` what the browser takes the file for (File.type).
    """

    name: str | None = None
    size: int | None = None
    last_modified: int | None = None
    fingerprint: str | None = None
    media_type: str | None = None

    def join(self, told: Identity) -> Identity:
        """What is known after another client has told its part. Raises FileChanged when it means another file.

        A file may have another name or be taken for another type on another device; the first ones stay.
        """
        for label, was, now in (
            ("size", self.size, told.size),
            ("modification time", self.last_modified, told.last_modified),
            ("content", self.fingerprint, told.fingerprint),
        ):
            if was is not None and now is not None and was != now:
                raise FileChanged(f"not the file that this upload was begun with: its {label} was {was}, now {now}")
        return Identity(
            name=told.name if self.name is None else self.name,
            size=told.size if self.size is None else self.size,
            last_modified=told.last_modified if self.last_modified is None else self.last_modified,
            fingerprint=told.fingerprint if self.fingerprint is None else self.fingerprint,
            media_type=told.media_type if self.media_type is None else self.media_type,
        )
