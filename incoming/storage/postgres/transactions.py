"""Transactions: tried again while nothing was committed, and never reported as lost when they were not.

Decides how long a caller waits for a server that is away, and what a commit whose answer was lost has come to. Knows no
ticket and no table.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TypeVar

import asyncpg

from incoming.core.errors import ServerShutdown, UploadError
from incoming.storage.postgres.errors import BROKEN, TRANSIENT, DatabaseFaults

T = TypeVar("T")

PATIENCE = 10.0
"""Seconds for which a call is tried again; then its caller has an error with which clients come back later."""

LONGEST_PAUSE = 1.0
"""Seconds between two tries, at most; they are random, so that instances do not all come at the same moment."""

CONNECTIONS = 4
"""Connections of one process, besides the one that listens."""

Work = Callable[[asyncpg.Connection], Awaitable[T]]


class _Outage:
    """Whether the server has been away for longer than callers wait. Then one asks at a time, and the others fail."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.error: BaseException = TimeoutError()
        self.probing = 0
        self._since: float | None = None

    @property
    def is_known(self) -> bool:
        return self._since is not None and time.monotonic() - self._since > self.patience

    @contextmanager
    def probe(self) -> Iterator[None]:
        """While this is entered, somebody asks the server."""
        self.probing += 1
        try:
            yield
        except (*BROKEN, asyncpg.OperatorInterventionError, asyncpg.ReadOnlySQLTransactionError) as error:
            self._since, self.error = self._since or time.monotonic(), error
            raise
        except (asyncpg.PostgresError, UploadError):
            self._since = None  # it has answered
            raise
        else:
            self._since = None
        finally:
            self.probing -= 1


class Transactions:
    """The connections of one process."""

    def __init__(
        self, pool: asyncpg.Pool, faults: DatabaseFaults, patience: float = PATIENCE, connections: int = CONNECTIONS
    ) -> None:
        self._pool = pool
        self._faults = faults
        self._patience = patience
        self._turns = asyncio.Semaphore(connections)
        self._outage = _Outage(patience)
        self._closed = False
        self._under_way = 0
        self._idle = asyncio.Event()

    async def run(self, work: Work[T]) -> T:
        """Return the result of `work` once its transaction is committed. It may be tried several times.

        Raises what `work` raises; StorageFull, StorageFailed or, once closed, ServerShutdown.
        """
        return await self._patiently(lambda: self._transaction(work))

    async def read(self, work: Work[T]) -> T:
        """The same for one question, which needs no transaction."""

        async def ask() -> T:
            async with self._connection() as connection:
                return await work(connection)

        return await self._patiently(ask)

    async def _patiently(self, attempt: Callable[[], Awaitable[T]]) -> T:
        if self._closed:
            raise ServerShutdown("the server is stopping")
        self._under_way += 1
        try:
            return await self._until_deadline(attempt)
        finally:
            self._under_way -= 1
            self._idle.set()

    async def _until_deadline(self, attempt: Callable[[], Awaitable[T]]) -> T:
        # Waiting for others of this process is no failure of the server, and has no deadline.
        async with self._turns:
            deadline, pause = time.monotonic() + self._patience, 0.02
            while True:
                if self._outage.is_known and self._outage.probing:
                    raise self._faults.blame(self._outage.error)
                try:
                    with self._outage.probe():
                        return await attempt()
                except TRANSIENT as error:
                    if self._closed or self._outage.is_known or time.monotonic() + pause > deadline:
                        raise self._faults.blame(error) from error
                except asyncpg.PostgresError as error:
                    raise self._faults.blame(error) from error
                await asyncio.sleep(random.uniform(0, pause))
                pause = min(2 * pause, LONGEST_PAUSE)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await self._pool.acquire(timeout=self._patience)
        try:
            yield connection
        finally:
            # What happens to a connection afterwards must not change what has happened over it.
            with suppress(*BROKEN):
                await self._pool.release(connection, timeout=self._patience)

    async def _transaction(self, work: Work[T]) -> T:
        async with self._connection() as connection:
            transaction = connection.transaction()
            await transaction.start()
            try:
                result = await work(connection)
                xid = await connection.fetchval("SELECT pg_current_xact_id_if_assigned()::text")
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
                lost = error
            else:
                return result
        if xid is not None and not await self._was_committed(xid):
            raise lost
        return result

    async def _was_committed(self, xid: str) -> bool:
        """Ask what a transaction has come to whose connection ended in its COMMIT: it must not be made twice."""
        while True:
            async with self._connection() as connection:
                status = await connection.fetchval("SELECT pg_xact_status($1::text::xid8)", xid)
            if status != "in progress":
                return bool(status == "committed")
            await asyncio.sleep(0.05)  # its server process has not noticed yet

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
