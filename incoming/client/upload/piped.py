"""Sends what comes out of a pipe: bytes that come once, in order, nobody knows how many.

Decides that a piece is kept in memory until the server has it, so that every loss of the line and every restart of the
server is got over. After the death of this program the same bytes must come once more: they are recognised by a digest
of everything before the last piece that was sent, and those that the server has are not sent again.
"""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
import re
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from incoming.client.backoff import Backoff
from incoming.client.upload.address import UploadAddress, as_address
from incoming.client.upload.connection import ConnectionLost
from incoming.client.upload.http_connection import UploadResource, client_session
from incoming.client.upload.outcome import Outcome, wait_for_outcome
from incoming.client.upload.pacing import RateLimit
from incoming.client.upload.progress import Progress, Watcher, ignore
from incoming.client.upload.retrying import Retrying
from incoming.client.upload.source_file import SourceChanged
from incoming.core.extents import Extents
from incoming.wire.client_messages import SENDING_STATES

PIECE_SIZE = 8 * 1024 * 1024
"""Bytes that are read, sent and acknowledged at a time."""

_RANGE = re.compile(r"bytes=0-([0-9]{1,16})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Mark:
    """What was read before a piece goes out, the piece included: its length in bytes, and a SHA-256 of it."""

    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class _Piece:
    """Bytes that were read, and everything up to their end."""

    data: bytes
    mark: Mark


class PipedUploader:
    """One upload from a stream. `before` is the last mark of an earlier run, `remember` is called with each new one."""

    def __init__(
        self,
        url: str | UploadAddress,
        stream: BinaryIO,
        *,
        name: str,
        rate: int = 0,
        give_up_after: float | None = None,
        on_progress: Watcher = ignore,
        tls: ssl.SSLContext | None = None,
        before: Mark | None = None,
        remember: Callable[[Mark], None] = lambda _: None,
    ) -> None:
        """Raises BadAddress."""
        self._address = address = as_address(url)
        self._stream = stream
        self._query = {"filename": name}
        self._media_type = mimetypes.guess_type(name)[0] or "application/octet-stream"
        self._rate = RateLimit(rate)
        self._retrying = Retrying(Backoff(give_up_after), address, self._note)
        self._watch = on_progress
        self._tls = tls
        self._before = before
        self._remember = remember
        self._digest = hashlib.sha256()
        self._read = 0
        self._arrived = 0

    async def send(self) -> Outcome:
        """Send until the stream ends, and wait until the application has the file. Raises what Uploader.send raises;
        SourceChanged if other bytes come than those that an earlier run has sent.
        """
        async with client_session() as client:
            self._resource = UploadResource(client, self._address, self._tls)
            self._watch(Progress("connecting", 0, None))
            if not await self._is_complete():
                await self._send_all()
            state = await wait_for_outcome(self._resource, self._retrying, self._watch, self._read)
            if state is None:
                raise SourceChanged("the server has lost bytes that came from the pipe; send them once more")
        return Outcome(self._address.ticket, self._read, state)

    async def _is_complete(self) -> bool:
        """Find out what has arrived, and read as far as an earlier run had read. Return whether that was all."""
        status = await self._retrying.until_done(self._resource.status)
        if not status.get("arrived"):
            return False
        extents = Extents((start, end) for start, end in status.get("extents", []))
        before = self._before
        if before is None or before.length < extents.end:
            raise SourceChanged(
                "the upload has bytes that this program has not sent, or does not remember; what comes from a pipe "
                "cannot be compared with them"
            )
        rest = await self._skip(before, extents.prefix)
        self._arrived = extents.prefix
        if status["state"] not in SENDING_STATES:
            if (await self._next()).data:
                raise SourceChanged("more comes from the pipe than an earlier run has sent")
            return True
        if rest:
            await self._put(_Piece(rest, before), None)
        return False

    async def _skip(self, mark: Mark, arrived: int) -> bytes:
        """Read what was read before; return what the server lacks of it, at most a piece. Raises SourceChanged."""
        rest = bytearray()
        while self._read < mark.length:
            begin = self._read
            data = (await self._next(min(PIECE_SIZE, mark.length - begin))).data
            if not data:
                raise SourceChanged("less comes from the pipe than an earlier run has sent")
            rest += data[max(0, arrived - begin) :]
        if self._digest.hexdigest() != mark.digest:
            raise SourceChanged("other bytes come from the pipe than those that an earlier run has sent")
        return bytes(rest)

    async def _send_all(self) -> None:
        """Send piece after piece; the last one tells the size. One is read while another is sent."""
        piece = await self._next()
        reading = asyncio.create_task(self._next())
        try:
            while (following := await reading).data:
                reading = asyncio.create_task(self._next())
                await self._put(piece, None)
                piece = following
        finally:
            reading.cancel()
        await self._put(piece, piece.mark.length)

    async def _put(self, piece: _Piece, total: int | None) -> None:
        """Send a piece until the server has it. `total` is the size of the file, known with the last piece."""
        self._remember(piece.mark)
        await self._retrying.until_done(lambda: self._put_once(piece, total))
        self._arrived = piece.mark.length
        self._watch(Progress("uploading", self._arrived, total, 1, "http"))

    async def _put_once(self, piece: _Piece, total: int | None) -> None:
        if pause := self._rate.reserve(len(piece.data)):
            await asyncio.sleep(pause)
        end = piece.mark.length
        span = f"{end - len(piece.data)}-{end - 1}" if piece.data else "*"
        content_range = f"bytes {span}/{'*' if total is None else total}"
        status, safe = await self._resource.put(piece.data, content_range, self._query, self._media_type)
        found = _RANGE.fullmatch(safe)
        if status == 308 and (int(found[1]) + 1 if found else 0) < end:
            raise ConnectionLost("the server has stored less than it was sent")

    async def _next(self, length: int | None = None) -> _Piece:
        """Return the next `length` bytes; fewer only at the end."""
        data = await asyncio.to_thread(_read_fully, self._stream, PIECE_SIZE if length is None else length)
        self._digest.update(data)
        self._read += len(data)
        return _Piece(data, Mark(self._read, self._digest.hexdigest()))

    def _note(self, error: Exception) -> None:
        self._watch(Progress("retrying", self._arrived, None, note=str(error)))


def _read_fully(stream: BinaryIO, length: int) -> bytes:
    parts = bytearray()
    while len(parts) < length and (part := stream.read(length - len(parts))):
        parts += part
    return bytes(parts)
