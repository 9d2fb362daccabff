"""What stands in front of several gateways to one object store, as a load balancer does, and what it may do wrong."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from tests.support.ceph_cluster import Gateway
from tests.support.ports import free_port

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class StoreEntrance:
    """Gives each request to the next gateway that accepts connections; answers 503 if there is none, or if `busy`.

    Of requests whose head begins with a key of `losing`, so many answers are lost: the gateway has carried them out,
    and the connection is closed. `hits` counts what it did wrong.
    """

    def __init__(self, gateways: Sequence[Gateway]) -> None:
        self.port = free_port()
        self.busy = False
        self.losing: Counter[str] = Counter()
        self.hits: Counter[str] = Counter()
        self._gateways = gateways
        self._turn = 0
        self._writers: set[asyncio.StreamWriter] = set()
        """Those of all open connections."""
        self._serving: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="store-entrance", daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        listening = asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(listening, self._loop).result(10)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        # A connection that is being accepted when the server is closed, or when its task is cancelled, stays open
        # (CPython 3.11): accept no more, and let these tasks end first.
        for listening in self._server.sockets:
            self._loop.remove_reader(listening.fileno())
        while tasks := [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]:
            for task in self._serving:
                task.cancel()
            await asyncio.wait(tasks)
        self._server.close()
        for writer in tuple(self._writers):  # those of tasks that were cancelled before their first step
            self._abort(writer)
        await asyncio.sleep(0)  # the transports close their sockets in the loop's next turn

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        task = self._loop.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry out one request; the connection is closed after it."""
        try:
            async with self._closing(writer):
                head = await reader.readuntil(b"\r\n\r\n")
                answer = BUSY if self.busy else await self._ask(head, reader)
                self.hits["busy"] += answer is BUSY
                if not self._is_lost(head):
                    writer.write(answer)
                    await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            self.hits["broken"] += 1

    @asynccontextmanager
    async def _closing(self, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
        """Close a connection when what was written has been sent; at once after an error or cancellation.

        A peer that reads nothing, such as a frozen gateway, would keep a connection with unsent bytes open for ever.
        """
        self._writers.add(writer)
        try:
            yield
            writer.close()
            await writer.wait_closed()
        finally:
            self._abort(writer)

    def _abort(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        self._writers.discard(writer)

    def _is_lost(self, head: bytes) -> bool:
        for beginning, count in self.losing.items():
            if count and head.startswith(beginning.encode()) and b"uploadId=" in head.split(b"\r\n", 1)[0]:
                self.losing[beginning] -= 1
                self.hits[f"lost {beginning.strip()}"] += 1
                return True
        return False

    async def _ask(self, head: bytes, body: asyncio.StreamReader) -> bytes:
        connection = await self._connect()
        if connection is None:
            return BUSY
        reader, writer = connection
        async with self._closing(writer):
            lines = head.split(b"\r\n")
            length = next(
                (int(line.split(b":")[1]) for line in lines if line.lower().startswith(b"content-length:")), 0
            )
            writer.write(b"\r\n".join([lines[0], b"Connection: close", *lines[1:]]))
            while length:
                data = await body.read(min(length, 1 << 18))
                if not data:
                    raise ConnectionAbortedError("the client has left")
                writer.write(data)
                await writer.drain()
                length -= len(data)
            return await reader.read()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        for _ in self._gateways:
            self._turn += 1
            gateway = self._gateways[self._turn % len(self._gateways)]
            try:
                return await asyncio.open_connection("127.0.0.1", gateway.port)
            except OSError:
                continue
        return None
