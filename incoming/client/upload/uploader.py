"""Sends one file with a ticket, until the application has it: through lost connections, restarts and full disks.

Decides when to connect, with how many connections, when to try again and when to give up. Bytes and their order are the
senders' and the schedule's; what is known between two runs of a program is the program's.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import ssl
from collections.abc import AsyncIterator

from incoming.client.backoff import Backoff
from incoming.client.errors import NotTheServer, Unreachable
from incoming.client.upload.address import UploadAddress, as_address
from incoming.client.upload.concurrency import Concurrency
from incoming.client.upload.connection import Connection, ConnectionLost, Greeting, WebSocketUnusable
from incoming.client.upload.connection_sender import ConnectionSender, SharedWork
from incoming.client.upload.http_connection import Client, UploadResource, client_session, open_http
from incoming.client.upload.outcome import Outcome, raise_unless_finished, wait_for_outcome
from incoming.client.upload.pacing import RateLimit
from incoming.client.upload.progress import Progress, Watcher, ignore
from incoming.client.upload.retrying import Retrying
from incoming.client.upload.schedule import Schedule
from incoming.client.upload.source_file import SourceFile
from incoming.client.upload.transport_choice import TransportChoice
from incoming.client.upload.websocket_connection import open_websocket
from incoming.core.errors import UploadError
from incoming.core.extents import Extents
from incoming.wire.client_messages import SENDING_STATES, Welcome

CONNECTIONS = 8
"""Connections at most, by default; as many are used as raise the speed."""

MEASURE_INTERVAL = 0.5
"""Seconds between looks at the speed."""


class Uploader:
    """One upload. `send` is a coroutine for any asyncio loop, `send_blocking` the same for everybody else."""

    def __init__(
        self,
        url: str | UploadAddress,
        file: str | os.PathLike[str],
        *,
        name: str | None = None,
        connections: int = CONNECTIONS,
        rate: int = 0,
        transport: str = "auto",
        give_up_after: float | None = None,
        on_progress: Watcher = ignore,
        tls: ssl.SSLContext | None = None,
        client: Client | None = None,
    ) -> None:
        """`url` is the ticket's, `rate` in bytes a second, `give_up_after` in seconds without any success: by default
        it is tried for ever. `client` has connections that several uploads share. Raises BadAddress.
        """
        self._address = address = as_address(url)
        self._file = file
        self._name = name
        self._connections = connections
        self._rate = rate
        self._choice = TransportChoice(transport)
        self._retrying = Retrying(Backoff(give_up_after), address, lambda error: self._tell("retrying", str(error)))
        self._watch = on_progress
        self._tls = tls
        self._shared = client
        self._session = secrets.token_urlsafe(16)
        self._epoch: int | None = None
        self._senders: set[ConnectionSender] = set()
        self._work: SharedWork | None = None

    def send_blocking(self) -> Outcome:
        """Send the file and wait for the application; see `send`."""
        return asyncio.run(self.send())

    async def send(self) -> Outcome:
        """Send the file and wait until the application has taken it.

        Called again, also by another process, it continues. Raises the server's error when it refuses,
        UploadCancelled and HandoverFailed with the reason, SourceChanged, OSError of the file, GaveUp, NotTheServer.
        """
        self._source = await asyncio.to_thread(SourceFile, self._file, self._name)
        try:
            async with client_session(self._shared) as client:
                self._client = client
                self._resource = UploadResource(client, self._address, self._tls)
                return await self._until_taken()
        finally:
            self._source.close()

    async def _until_taken(self) -> Outcome:
        self._tell("connecting")
        while True:
            await self._retrying.until_done(self._transfer)
            state = await wait_for_outcome(self._resource, self._retrying, self._watch, self._source.size)
            if state is not None:
                return Outcome(self._address.ticket, self._source.size, state)

    # --- sending ------------------------------------------------------------------------------------------------------

    async def _transfer(self) -> None:
        """Send what is missing over one connection, with others beside it. Returns when all has arrived or ended."""
        async with self._connection() as connection:
            if connection.welcome.state not in SENDING_STATES:
                return
            work = self._begin(connection.welcome)
            helpers = asyncio.create_task(self._help(work, connection.welcome))
            try:
                await self._run_sender(work, connection)
            finally:
                helpers.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await helpers

    def _begin(self, welcome: Welcome) -> SharedWork:
        schedule = Schedule(self._source.size, welcome.alignment)
        schedule.welcome(Extents(welcome.extents))
        rate = min(filter(None, (self._rate, welcome.max_rate)), default=0)
        self._work = SharedWork(
            self._source,
            schedule,
            RateLimit(rate),
            self._count_arrived,
            raise_unless_finished,
            lambda: self._tell("uploading"),
        )
        return self._work

    async def _run_sender(self, work: SharedWork, connection: Connection) -> None:
        sender = ConnectionSender(work, connection)
        self._senders.add(sender)
        self._tell("uploading", transport=connection.kind)
        try:
            await sender.run()
        finally:
            self._senders.discard(sender)
            if sender.has_worked:
                self._retrying.succeeded()
            if connection.kind == "websocket" and sender.has_worked:
                self._choice.websocket_worked()
            elif connection.kind == "websocket" and not work.schedule.is_complete:
                self._choice.websocket_failed(is_unusable=False)

    async def _help(self, work: SharedWork, welcome: Welcome) -> None:
        """Keep as many further connections as raise the speed. One that fails is missed by nobody."""
        wanted = Concurrency(min(self._connections, welcome.connections))
        tasks: set[asyncio.Task[None]] = set()
        try:
            while True:
                await asyncio.sleep(MEASURE_INTERVAL)
                for task in [task for task in tasks if task.done()]:
                    tasks.discard(task)
                    if not task.cancelled() and task.exception() is not None:
                        wanted.connection_failed()
                wanted.measure(work.schedule.arrived)
                while len(tasks) > wanted.wanted - 1:
                    await _cancel(tasks.pop())
                if len(tasks) < wanted.wanted - 1 and work.schedule.has_more:
                    tasks.add(asyncio.create_task(self._helper(work)))
        finally:
            for task in tasks:
                await _cancel(task)

    async def _helper(self, work: SharedWork) -> None:
        async with self._connection() as connection:
            if connection.welcome.state == "uploading":
                await self._run_sender(work, connection)

    @contextlib.asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        """Open a connection of the kind that works, and close it at the end."""
        greeting = Greeting(self._session, self._epoch, self._source.identity)
        connection: Connection
        if self._choice.kind == "http":
            try:
                connection = await open_http(self._resource, greeting)
            except ConnectionLost:
                self._choice.http_reached_nobody()
                raise
        else:
            try:
                connection = await open_websocket(self._client, self._address, greeting, self._tls)
            except WebSocketUnusable:
                self._choice.websocket_failed(is_unusable=True)
                raise
        self._retrying.reached()
        try:
            self._epoch = connection.welcome.epoch
            yield connection
        finally:
            await connection.close()

    async def _count_arrived(self) -> int:
        status = await self._resource.status()
        return int(status.get("arrived") or 0)

    def _tell(self, state: str, note: str = "", transport: str = "") -> None:
        size = self._source.size
        arrived = self._work.schedule.arrived if self._work else 0
        kind = transport or (self._choice.kind if self._senders else "")
        self._watch(Progress(state, arrived, size, len(self._senders), kind, note))


async def _cancel(task: asyncio.Task[None]) -> None:
    """Cancel a task and ignore what it raises."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, UploadError, Unreachable, NotTheServer):
        await task
