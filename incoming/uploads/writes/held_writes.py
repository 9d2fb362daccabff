"""Held writes: the bytes of one body are written as they arrive, and committed at its end all together or not at all.

For bodies with a checksum. Bytes that are written and not committed do not count, so a refused body leaves nothing to
undo, and a large one needs no memory. Knows nothing of checksums.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager

from incoming.core.ticket import Ticket
from incoming.core.token_bucket import Allowance
from incoming.storage.byte_store import Buffer
from incoming.uploads.active_upload import ActiveUpload
from incoming.uploads.writes.commit_schedule import COMMIT_INTERVAL


class HeldWrites:
    """What an `UploadWriter` needs of an upload, for one body from `start` on, in the epoch of its claim."""

    def __init__(self, upload: ActiveUpload, start: int, epoch: int) -> None:
        self._upload = upload
        self._start = self._end = start
        self._epoch = epoch

    @property
    def ticket(self) -> Ticket:
        return self._upload.ticket

    @property
    def allowance(self) -> Allowance:
        return self._upload.allowance

    def write(
        self,
        offset: int,
        data: Buffer,
        epoch: int | None = None,
        *,
        within: float = COMMIT_INTERVAL,
        on_settled: Callable[[], None] | None = None,
    ) -> asyncio.Future[None]:
        """Write like `ActiveUpload.write`, but done when the bytes are written. They follow those of the last call."""
        assert (offset, epoch) == (self._end, self._epoch)  # noqa: S101 - else bytes that never came would count
        self._end += len(data)
        return self._upload.write(offset, data, epoch, within=within, on_settled=on_settled, held=True)

    def flush(self) -> None:
        """Do nothing: held writes are done before they are durable."""

    def blocked(self, is_blocked: Callable[[], bool]) -> AbstractContextManager[None]:
        return self._upload.blocked(is_blocked)

    def commit(self) -> asyncio.Future[None]:
        """Commit all bytes, once all writes are done without an error. Done and failing like a write."""
        return self._upload.commit_held(self._start, self._end, self._epoch)
