"""Transactions: tried again while nothing was committed, and never reported as lost when they were not.

Decides what a commit whose answer was lost has come to, and that nothing is done over a connection before what the
database has lost is mended. How long a server that is away is waited for is decided by outage.py. Knows no ticket and
no table.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import asyncpg

from incoming.core.errors import ServerShutdown
from incoming.storage.postgres.connection.connector import CONNECTIONS, Connector
from incoming.storage.postgres.connection.errors import BROKEN, TRANSIENT, DatabaseFaults
from incoming.storage.postgres.connection.history import History, HistoryWatch
from incoming.storage.postgres.connection.outage import OUTAGE_TIMEOUT, NoTurn, Outage

T = TypeVar("T")

_XID = "SELECT pg_current_xact_id_if_assigned()::text"

Work = Callable[[asyncpg.Connection], Awaitable[T]]
Confirm = Callable[[asyncpg.Connection, T], Awaitable[bool]]
"""Whether the result of a transaction is in the database; False also when it was changed since."""

XidOf = Callable[[T], str | None]
"""The id of the transaction that the result is of, None if it has written nothing."""

Mend = Callable[[asyncpg.Connection, History, History], Awaitable[None]]
"""Called with the histories before and now, in a transaction."""


async def _not_there(connection: asyncpg.Connection, result: object) -> bool:
    return False


@dataclass
class OutcomeUnknown(ConnectionError, Generic[T]):
    """The connection ended in COMMIT: the transaction `xid` with this result was made, or was not."""

    xid: str | None
    history: History
    result: T


class HistoryChanged(ConnectionError):
    """A pooler has led a transaction to a server with another history. It was not begun."""


class Transactions:
    """The connections of one process.

    When the history has changed, `mend` is called before any other work, and `mended` when that is committed.
    """

    def __init__(
        self,
        connector: Connector,
        pool: asyncpg.Pool,
        faults: DatabaseFaults,
        history: HistoryWatch,
        mend: Mend,
        mended: Callable[[], None],
        timeout: float = OUTAGE_TIMEOUT,
    ) -> None:
        self._connector = connector
        self._pool = pool
        self._faults = faults
        self._history = history
        self._mend = mend
        self._when_mended = mended
        self._mended = history.known
        self._mending = asyncio.Lock()
        self._turns = asyncio.Semaphore(CONNECTIONS - 1)
        self._outage = Outage(timeout)
        self._closed = False
        self._under_way = 0
        self._idle = asyncio.Event()

    @property
    def is_mended(self) -> bool:
        """Whether nothing is left to mend in the present history."""
        return self._mended == self._history.known

    @property
    def outages(self) -> int:
        """How often the server has begun to be away."""
        return self._outage.count

    async def run(self, work: Work[T], confirm: Confirm[T] = _not_there, xid_of: XidOf[T] | None = None) -> T:
        """Return the result of `work` once its transaction is committed. It may be tried several times.

        `confirm` is asked when the answer to COMMIT was lost with the server; a transaction without one is made again.
        Without `xid_of` the transaction's id takes a further round trip.
        Raises what `work` raises; StorageFull, StorageFailed or, once closed, ServerShutdown.
        """
        return await self._with_retries(partial(self._transaction, work, xid_of), confirm, self._turns)

    async def run_statement(self, work: Work[T]) -> T:
        """Do the same for one statement that may be made twice. It is a transaction by itself, in one round trip.

        Takes no turn: there is at most one caller at a time, whose connection nobody else uses.
        """

        async def make() -> T:
            async with self._connection() as connection:
                try:
                    return await work(connection)
                except BROKEN:
                    _end(connection)
                    raise

        attempt = partial(self._transaction, work) if self._connector.is_pooled else make
        return await self._with_retries(attempt, _not_there, nullcontext())

    async def read(self, work: Work[T], *, at_once: bool = False) -> T:
        """Do the same for one query; `at_once` it waits for no turn, only for a connection."""

        async def ask() -> T:
            async with self._connection() as connection:
                if not self._connector.is_pooled:
                    return await work(connection)
                # A pooler may give each statement outside of a transaction to another server connection.
                async with connection.transaction(isolation="repeatable_read", readonly=True):
                    await self._connector.apply_settings(connection)
                    return await work(connection)

        return await self._with_retries(ask, _not_there, nullcontext() if at_once else self._turns)

    async def _with_retries(
        self, attempt: Callable[[], Awaitable[T]], confirm: Confirm[T], turn: AbstractAsyncContextManager[None]
    ) -> T:
        if self._closed:
            raise ServerShutdown("the server is stopping")
        self._under_way += 1
        try:
            # Waiting for others of this process is no failure of the server, and has no deadline.
            async with turn:
                return await self._until_deadline(attempt, confirm)
        finally:
            self._under_way -= 1
            self._idle.set()

    async def _until_deadline(self, attempt: Callable[[], Awaitable[T]], confirm: Confirm[T]) -> T:
        deadline, step = time.monotonic() + self._outage.timeout, attempt
        while True:
            try:
                async with self._outage.turn(deadline):
                    return await step()
            except NoTurn as late:
                raise self._faults.blame(self._outage.error) from late
            except OutcomeUnknown as lost:
                step = partial(self._settle, lost, attempt, confirm)
                error: BaseException = lost
            except TRANSIENT as failed:
                error = failed
            except asyncpg.PostgresError as failed:
                raise self._faults.blame(failed) from failed
            if self._closed or self._outage.is_over(deadline):
                raise self._faults.blame(error) from error

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._pool.acquire(timeout=self._outage.timeout)
        try:
            await self._catch_up(connection)
            yield connection
        finally:
            # What happens to a connection afterwards must not change what has happened over it.
            with suppress(*BROKEN):
                await self._pool.release(connection, timeout=self._outage.timeout)

    async def _catch_up(self, connection: asyncpg.Connection) -> None:
        """Mend what the database has lost before anything else builds on it."""
        if self._history.is_stale:
            await self._history.examine(connection)
        if self.is_mended:
            return
        async with self._mending:
            while self._mended != (known := self._history.known):
                async with connection.transaction():
                    await self._connector.apply_settings(connection)
                    await self._mend(connection, self._mended, known)
                self._mended = known
                self._when_mended()

    async def _prepare(self, connection: asyncpg.Connection) -> None:
        """Apply settings and check the history behind a pooler, where the server connection is known only now."""
        if self._connector.is_pooled:
            await self._connector.apply_settings(connection)
            if not await self._history.is_current(connection):
                raise HistoryChanged("the server has failed over")

    async def _transaction(self, work: Work[T], xid_of: XidOf[T] | None = None) -> T:
        async with self._connection() as connection:
            history = self._history.known
            transaction = connection.transaction()
            await transaction.start()
            try:
                await self._prepare(connection)
                result = await work(connection)
                xid = await connection.fetchval(_XID) if xid_of is None else xid_of(result)
            except HistoryChanged:
                await transaction.rollback()
                raise
            except BROKEN:
                _end(connection)
                raise
            except BaseException:
                with suppress(*TRANSIENT):
                    await transaction.rollback()
                raise
            try:
                await transaction.commit()
            except BROKEN as error:
                _end(connection)
                raise OutcomeUnknown(xid, history, result) from error
            return result

    async def _settle(self, lost: OutcomeUnknown[T], attempt: Callable[[], Awaitable[T]], confirm: Confirm[T]) -> T:
        """Find out what a transaction has come to whose connection ended in its COMMIT: it must not be made twice."""
        status = "committed" if lost.xid is None else "in progress"  # without an id nothing was written
        while status == "in progress":
            async with self._connection() as connection:
                status = await self._status(connection, lost, confirm)
            await asyncio.sleep(0.05 if status == "in progress" else 0)  # its server process has not noticed yet
        return lost.result if status == "committed" else await attempt()

    async def _status(self, connection: asyncpg.Connection, lost: OutcomeUnknown[T], confirm: Confirm[T]) -> str:
        # On another timeline the id may be that of another transaction, and after a restart as well: a crash takes the
        # ids with it that were not on the disk, and they are given again.
        if self._history.known.name != lost.history.name:
            return "committed" if await confirm(connection, lost.result) else "aborted"
        return str(await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", lost.xid))

    async def close(self) -> None:
        """Take nothing more, and wait for what is under way."""
        self._closed = True
        while self._under_way:
            self._idle.clear()
            await self._idle.wait()


def _end(connection: asyncpg.Connection) -> None:
    """End a connection that is of no use any more."""
    with suppress(*BROKEN):
        connection.terminate()
