"""When an upload's file is synced to the disk, and what is still believed of it after a sync has failed.

The kernel may drop the pages that it could not write, and the next fsync succeeds all the same. So a failed sync is
never tried again and then believed: what was not synced before it is gone, the ticket says so, and until that is
recorded nothing more is committed. This file knows nothing of pieces, acks and connections.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
from typing import Protocol

from incoming.core.errors import StorageFailed, StorageFull, UploadError
from incoming.core.ticket import RECEIVING, State, Ticket
from incoming.settings.settings import Settings
from incoming.storage.byte_store import ByteStore
from incoming.storage.ticket_store import TicketStore

log = logging.getLogger(__name__)


class Subject(Protocol):
    """The upload, as far as syncing goes."""

    ticket: Ticket

    def know(self, ticket: Ticket) -> bool: ...

    def lose(self, error: UploadError) -> None: ...


class Checkpointer:
    """One upload's, in one worker. `suspect` while it must be recorded that a sync has failed."""

    def __init__(self, subject: Subject, tickets: TicketStore, store: ByteStore, settings: Settings) -> None:
        self.task: asyncio.Task[None] | None = None
        self.suspect = False
        self._subject: Subject = weakref.proxy(subject)  # it has us: a cycle would be left to the garbage collector
        self._tickets = tickets
        self._store = store
        self._settings = settings
        self._unsynced = 0
        self._timer: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()

    @property
    def owed(self) -> bool:
        """Whether something is not yet synced, or not yet recorded as lost."""
        return bool(self._unsynced) or self.suspect

    def wrote(self, count: int) -> None:
        """So many bytes more are in the file."""
        self._unsynced += count

    def plan(self) -> None:
        """Something was committed: a checkpoint is due after so many bytes or so much time."""
        if self._unsynced >= self._settings.checkpoint_bytes:
            self._start()
        elif self._unsynced and self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._settings.checkpoint_seconds, self._start)

    def _start(self) -> None:
        self._stop_timer()
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.take()
        except UploadError as error:
            log.warning("upload %s: checkpoint failed: %s", self._subject.ticket.id, error.message)
        finally:
            self.task = None

    async def take(self) -> None:
        """Syncs the file and records what is now safe from a power cut. Raises what the stores raise."""
        async with self._turn:
            await self._clear()
            if not self._unsynced or self._subject.ticket.state not in RECEIVING:
                self._unsynced = 0
                return
            committed = self._subject.ticket.extents
            await self._sync()
            believed = self._subject.ticket
            self._subject.know(
                await self._tickets.update(
                    believed.id,
                    lambda known: known.checkpoint(committed),
                    durable=False,
                    quiet=True,
                    believed=believed,
                )
            )

    async def sync(self) -> None:
        """After this, all that was written before survives a power cut. Raises what the stores raise."""
        async with self._turn:
            await self._clear()
            await self._sync()

    async def clear(self) -> None:
        """Returns when no failure is left unrecorded. Raises what the TicketStore raises."""
        async with self._turn:
            await self._clear()

    async def complete(self, size: int) -> str:
        """Gives the whole file its final name, durably, and returns its path. Raises what the stores raise."""
        # Nobody else syncs meanwhile: an error of the disk is told only once, to whoever asks first.
        async with self._turn:
            await self._clear()
            self._stop_timer()
            try:
                path = await self._store.complete(self._subject.ticket.id, size)
            except (StorageFull, StorageFailed) as error:
                # Without a partial file it has its final name already, or is gone; the next try finds out.
                if await self._store.present(self._subject.ticket.id) is not None:
                    await self._distrust(error)
                raise
            self._unsynced = 0
            return path

    async def _sync(self) -> None:
        unsynced, self._unsynced = self._unsynced, 0
        try:
            await self._store.sync(self._subject.ticket.id)
        except (StorageFull, StorageFailed) as error:
            await self._distrust(error)
            raise
        except BaseException:
            self._unsynced += unsynced
            raise

    async def _distrust(self, error: UploadError) -> None:
        self.suspect = True
        self._subject.lose(error)
        await self._clear()

    async def _clear(self) -> None:
        if self.suspect:
            self._subject.know(await self._tickets.update(self._subject.ticket.id, _distrusted))
            self.suspect = False

    def stop(self) -> None:
        """No checkpoint is due any more, because one was made or nothing is worth one."""
        self._stop_timer()
        self._unsynced = 0

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _distrusted(known: Ticket) -> Ticket:
    return known.distrust() if known.state == State.UPLOADING else known
