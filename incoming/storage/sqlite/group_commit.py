"""The one thread that writes to the database: all that waits for it goes into one transaction (group commit).

Decides what a transaction is made of, how durable it is and whose failure is whose: an operation that fails takes
nobody else with it, a commit that fails is a failure of all. It knows versions of tickets, but no ticket.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

from incoming.core.errors import ServerShutdown, StorageFailed, copied
from incoming.core.ticket import Ticket
from incoming.storage.call_batcher import Answer
from incoming.storage.sqlite.errors import DatabaseFaults
from incoming.storage.sqlite.schema import BUSY_TIMEOUT, THIS_HOST, connect, retry_while_busy

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_OPERATIONS = 1000
"""Operations in one transaction, so that the first one's answer does not wait for an endless stream of others."""

COMMIT_INTERVAL = 0.02
"""Seconds from one transaction to the next when all that waits may wait: then it carries what many uploads bring."""

WRITE_LOCK_TIMEOUT = 0.01
"""Seconds that SQLite itself waits for its turn to write before `retry_while_busy` does."""


class Transaction:
    """What an operation of this `host` works on. Each change of a ticket gets a version, higher than all before."""

    def __init__(self, connection: sqlite3.Connection, host: str) -> None:
        self.connection = connection
        self.host = host
        self.first = self.version = int(
            connection.execute("SELECT value FROM meta WHERE key = 'version'").fetchone()[0]
        )
        self.changed: list[str] = []
        self.owes = False
        """Whether a callback has changed."""
        self.saved: dict[str, Ticket] = {}
        """What was written of each ticket last. It may have been undone since: no row has that version then."""

    def change(self, ticket_id: str, *, quiet: bool = False) -> int:
        """Record a change and return the ticket's new version. `quiet` does not notify listeners of this process."""
        self.version += 1
        if not quiet:
            self.changed.append(ticket_id)
        return self.version


class Operation(Answer):
    """One call of the store on its way."""

    __slots__ = ("durable", "quick", "work")

    def __init__(
        self,
        work: Callable[[Transaction], Any],
        quick: Callable[[Transaction], Any] | None,
        durable: bool,
        future: asyncio.Future[Any],
    ) -> None:
        super().__init__(future)
        self.work = work
        self.quick = quick
        self.durable = durable


class TransactionLostError(Exception):
    """SQLite has rolled back everything, not only what failed."""


class GroupCommitWriter:
    """Owns the writing connection.

    `committed` is called on the event loop with the ids changed by each transaction, `owed` if a callback changed.
    """

    def __init__(
        self,
        path: Path,
        faults: DatabaseFaults,
        committed: Callable[[list[str]], None],
        host: str = THIS_HOST,
        owed: Callable[[], None] = lambda: None,
        keep: Callable[[], None] = lambda: None,
    ) -> None:
        """Call `keep` before each transaction, which it may refuse by raising."""
        self.own: deque[tuple[int, int]] = deque(maxlen=1000)
        """The latest versions given by this process, as (from, to] of each transaction, in ascending order."""
        self._faults = faults
        self._committed = committed
        self._owed = owed
        self._keep = keep
        self._owes = False
        self._host = host
        self._connection = connect(path)
        self._connection.execute(f"PRAGMA busy_timeout = {int(WRITE_LOCK_TIMEOUT * 1000)}")
        self._full = False
        self._suspect = False
        self._waiting: deque[Operation] = deque()
        self._turns: SimpleQueue[bool] = SimpleQueue()
        """One entry for each time that the thread is to commit what waits; False when it is to end then."""
        self._turn_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="incoming-sqlite-write", daemon=True)
        self._thread.start()

    async def perform(
        self,
        work: Callable[[Transaction], T],
        *,
        durable: bool,
        patient: bool = False,
        quick: Callable[[Transaction], T | None] | None = None,
    ) -> T:
        """Run `work` in a transaction and return its result once that is committed.

        `patient` work may wait for COMMIT_INTERVAL after the transaction before. `quick` is tried first: it is one
        statement or none. When it returns None it has changed nothing, and `work` is done instead, as when it raises.
        """
        if self._closed:
            raise ServerShutdown("the server is stopping")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append(Operation(work, quick, durable, future))
        delay = self._turn_at + COMMIT_INTERVAL - time.monotonic() if patient else 0.0
        if delay <= 0:
            self._give_turn()
        elif self._timer is None:
            self._timer = loop.call_later(delay, self._give_turn)
        return await future

    def _give_turn(self) -> None:
        """Now the thread commits all that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._turn_at = time.monotonic()
        self._turns.put(True)

    def stop(self) -> None:
        """Block until all operations submitted before are committed."""
        if not self._closed:
            self._closed = True
            self._turns.put(False)
        self._thread.join()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        going = True
        while going:
            going = self._turns.get()
            while batch := self._collect():
                self._owes = False
                changed = self._commit(batch)
                self._report(batch, changed, self._owes)
                if going and len(batch) < MAX_OPERATIONS:
                    break  # who has come meanwhile gives a turn as well, or can wait for one
        self._connection.close()

    def _collect(self) -> list[Operation]:
        """Return the pending operations, at most MAX_OPERATIONS."""
        batch: list[Operation] = []
        while self._waiting and len(batch) < MAX_OPERATIONS:
            batch.append(self._waiting.popleft())
        return batch

    def _commit(self, batch: list[Operation]) -> list[str]:
        """Commit all in one transaction and return the ids of changed tickets. Each gets its result or error."""
        try:
            self._begin(any(operation.durable for operation in batch))
            transaction = Transaction(self._connection, self._host)
            for operation in batch:
                self._perform(operation, transaction)
            self._end(transaction)
        except TransactionLostError as error:
            if len(batch) > 1:
                return [ticket_id for operation in batch for ticket_id in self._commit([operation])]
            self._give_up(batch, error.__cause__ or error)
        except Exception as error:
            self._give_up(batch, error)
        else:
            self._owes = self._owes or transaction.owes
            return list(dict.fromkeys(transaction.changed))
        return []

    def _begin(self, durable: bool) -> None:
        self._keep()
        if self._suspect:
            self._start_log_anew()
        if durable != self._full:
            self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._full = durable
        retry_while_busy(lambda: self._connection.execute("BEGIN IMMEDIATE"))

    def _end(self, transaction: Transaction) -> None:
        own = (transaction.first, transaction.version)
        if transaction.version > transaction.first:
            self._connection.execute("UPDATE meta SET value = ? WHERE key = 'version'", (transaction.version,))
        self.own.append(own)
        try:
            self._connection.execute("COMMIT")
        except BaseException:
            self._suspect = True
            self.own.remove(own)
            raise

    def _start_log_anew(self) -> None:
        """Restart the write-ahead log, after copying all of it into the main file, which is synced.

        After a failed commit the log may have holes on the disk that no later sync reports. Later commits would be
        lost.
        """
        deadline = time.monotonic() + BUSY_TIMEOUT
        while self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > deadline:
                raise StorageFailed("the ticket database is busy since an error")
            time.sleep(WRITE_LOCK_TIMEOUT)
        self._suspect = False

    def _perform(self, operation: Operation, transaction: Transaction) -> None:
        operation.error = None
        if operation.quick is not None and self._is_quick(operation, operation.quick, transaction):
            return
        noted = len(transaction.changed)
        self._connection.execute("SAVEPOINT operation")
        try:
            operation.result = operation.work(transaction)
        except Exception as error:
            if not self._connection.in_transaction:
                raise TransactionLostError from error
            operation.error = self._blame(error)
            self._connection.execute("ROLLBACK TO operation")
            del transaction.changed[noted:]
        self._connection.execute("RELEASE operation")

    def _is_quick(self, operation: Operation, quick: Callable[[Transaction], Any], transaction: Transaction) -> bool:
        """Return whether `quick` succeeded. Its error is not reported: `work` runs then, with the present row."""
        noted = len(transaction.changed)
        try:
            operation.result = quick(transaction)
        except Exception as error:
            operation.result = None
            if not self._connection.in_transaction:
                raise TransactionLostError from error
        if operation.result is None:
            del transaction.changed[noted:]
        return operation.result is not None

    def _give_up(self, batch: list[Operation], error: BaseException) -> None:
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as again:
            self._blame(again)
        blamed = self._blame(error)
        for operation in batch:
            operation.error = copied(blamed)

    def _blame(self, error: BaseException) -> BaseException:
        """Return the error for the caller: its own unchanged, the database's as an UploadError."""
        if isinstance(error, sqlite3.Error | TransactionLostError):
            return self._faults.blame(error)
        return error

    def _report(self, batch: list[Operation], changed: list[str], owes: bool) -> None:
        # There is one event loop as a rule; one that ended before its answers came must not keep another from its own.
        for loop in dict.fromkeys(operation.future.get_loop() for operation in batch):
            answers = [operation for operation in batch if operation.future.get_loop() is loop]
            try:
                loop.call_soon_threadsafe(self._resolve, answers, changed, owes)
            except RuntimeError:
                log.warning("ticket database: the event loop ended before %d answers", len(answers))

    def _resolve(self, batch: list[Operation], changed: list[str], owes: bool) -> None:
        for operation in batch:
            operation.answer()
        self._committed(changed)
        if owes:
            self._owed()
