"""Notices what other processes change, and keeps the time of the server.

Decides how news are not missed: a notification may be lost with its connection, so after each reconnect, and every
HEARTBEAT, what has changed since is asked for. Changes are found by transaction id: one that was under way at the last
look has an id from then on, whatever order the commits came in. After a failover these ids have gone back, and nothing
that was noticed before counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import asyncpg

from incoming.storage.postgres.connection.errors import ANY, AWAY, TRANSIENT, DatabaseFaults
from incoming.storage.postgres.connection.history import HistoryWatch
from incoming.storage.postgres.statements.tickets import OUTBOX

HEARTBEAT = 10.0
"""Seconds between two looks, and between two measurements of the server's clock."""

ANSWER_WITHIN = 5.0
"""Seconds after which a connection that does not answer counts as dead."""

CHANNEL = "SELECT 'incoming_' || current_schema()"
_NEWS = """SELECT pg_snapshot_xmin(pg_current_snapshot())::text AS horizon,
    array(SELECT (t.id, p.version) FROM tickets t JOIN progress p USING (id)
        WHERE t.changed >= $1::text::xid8) AS tickets"""
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"

Connect = Callable[[], Awaitable[asyncpg.Connection]]


class ServerTime:
    """The server's clock, estimated from the last measurement and the monotonic clock of this process."""

    def __init__(self) -> None:
        self._offset = time.time() - time.monotonic()

    def __call__(self) -> float:
        return time.monotonic() + self._offset

    async def measure(self, connection: asyncpg.Connection) -> None:
        asked = time.monotonic()
        answer = await connection.fetchval(_NOW, timeout=ANSWER_WITHIN)
        self._offset = answer - (asked + time.monotonic()) / 2


class NewsListener(Protocol):
    """Whom a Watcher serves. `process` is its name in its own notifications: an id, a name, and a version if there is
    one.
    """

    process: str

    def tickets_changed(self, versions: Mapping[str, int | None]) -> None:
        """Learn of the tickets that others have changed, each with its version if that is known."""

    def callbacks_changed(self) -> None:
        """Learn that the outbox has changed, which has a channel of its own."""

    def notifications_lost(self) -> None:
        """Learn that anything may have changed."""


class Watcher:
    """A connection of its own that brings news to `listener`."""

    def __init__(
        self,
        connect: Connect,
        faults: DatabaseFaults,
        server_time: ServerTime,
        history: HistoryWatch,
        listener: NewsListener,
    ) -> None:
        self._connect = connect
        self._faults = faults
        self._server_time = server_time
        self._history = history
        self._listener = listener
        self.reconnections = 0
        self._horizon = ""
        self._horizon_in = ""
        self._connection: asyncpg.Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()

    async def start(self) -> None:
        """Return when nothing that is changed from now on is missed."""
        connection = await self._listen()
        try:
            await self._server_time.measure(connection)
            await self._begin(connection)
        except BaseException:
            connection.terminate()
            raise
        self._task = asyncio.get_running_loop().create_task(self._run(connection))

    async def _listen(self) -> asyncpg.Connection:
        connection = self._connection = await self._connect()
        try:
            self._ended = ended = asyncio.Event()
            connection.add_termination_listener(lambda _: ended.set())
            await self._history.examine(connection)
            await connection.add_listener(await connection.fetchval(CHANNEL), self._hear)
            await connection.add_listener(
                await connection.fetchval(f"SELECT {OUTBOX}"), lambda *_: self._listener.callbacks_changed()
            )
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _begin(self, connection: asyncpg.Connection) -> None:
        """Count changes from now on."""
        self._horizon = (await connection.fetchrow(_NEWS, "9223372036854775807"))["horizon"]
        self._horizon_in = self._history.known.name

    def _hear(self, _: object, __: int, ___: str, payload: object) -> None:
        ticket_id, process, *version = str(payload).split(" ")
        if process != self._listener.process:
            self._listener.tickets_changed({ticket_id: int(version[0]) if version else None})

    async def _run(self, connection: asyncpg.Connection) -> None:
        await self._until_beat()
        while True:
            try:
                await self._beat(connection)
            except AWAY:
                pass  # the next connection is made, or tells the cause
            except ANY as error:
                self._faults.blame(error)
            finally:
                connection.terminate()
            connection = await self._reconnected()

    async def _beat(self, connection: asyncpg.Connection) -> None:
        if self._horizon_in != self._history.known.name:
            await self._begin(connection)
            self._listener.notifications_lost()
        while True:
            await self._server_time.measure(connection)
            news = await connection.fetchrow(_NEWS, self._horizon, timeout=ANSWER_WITHIN)
            self._horizon = news["horizon"]
            if news["tickets"]:
                self._listener.tickets_changed(dict(news["tickets"]))
                self._listener.callbacks_changed()
            await self._until_beat()
            if self._ended.is_set():
                return

    async def _until_beat(self) -> None:
        """Return at the next beat, or when the connection has ended."""
        # Not by wait_for, which until Python 3.12 loses a cancellation that comes with the event.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT * random.uniform(0.8, 1.0)):
                await self._ended.wait()

    async def _reconnected(self) -> asyncpg.Connection:
        pause = 0.1
        while True:
            await asyncio.sleep(random.uniform(0, pause))
            try:
                connection = await self._listen()
                self.reconnections += 1
                return connection
            except ANY as error:
                self._faults.blame(error)
            pause = min(2 * pause, 5.0)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self._connection is not None:
            with contextlib.suppress(*TRANSIENT):
                await self._connection.close(timeout=ANSWER_WITHIN)
