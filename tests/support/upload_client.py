"""A client of ours that never gives up: it reconnects, asks what is there, and remembers every byte it was promised.

Speaks all three ways of sending: chunks over the WebSocket, the library's pieces over HTTP, and the plain resumable PUT
of other people's clients. What it was promised must be there whenever it asks; else `broken` says what was not.
"""

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.websocket import WebSocketClientConnection, WebSocketClosedError, websocket_connect

from incoming.core.extents import Extents, Range
from incoming.wire.messages import CHUNK_HEADER, SUBPROTOCOL
from tests.support.stores import until

WEBSOCKET, HTTP, PUT = "websocket", "http", "put"
WAYS = (WEBSOCKET, HTTP, PUT)

FINAL = ("finished", "cancelled", "failed")

CLOSED_WITHIN = 2.0
"""Seconds that the server has to answer a close frame."""


class Lost(Exception):
    """The connection is gone, or the server said to come back later; the upload goes on."""


class UploadClient:
    """Sends `content` under a ticket to 127.0.0.1:`port`; `run()` returns the upload's final state.

    `rate` is bytes a second; `patience` is how many seconds any one answer may take before the connection counts as
    lost. `forgiving`: the disk is known to lose bytes, so the server may take a promise back as
    long as it says so. `errors` counts the codes that the server gave.
    """

    def __init__(
        self,
        port: int,
        ticket_id: str,
        content: bytes,
        way: str = WEBSOCKET,
        *,
        chunk: int = 64 * 1024,
        window: int = 8,
        rate: float = float("inf"),
        retry_pause: float = 0.1,
        seed: int = 0,
        patience: float = 20.0,
        forgiving: bool = False,
    ) -> None:
        self.port = port
        self.ticket_id = ticket_id
        self.content = content
        self.way = way
        self.acked = Extents()
        self.under_way = 0
        """Chunks sent and not acked."""
        self.connections = 0
        self.cuts_in_flight = 0
        """How often a connection was lost with chunks under way."""
        self.state = "new"
        self.sent = 0
        self.errors: Counter[int] = Counter()
        self.broken: list[str] = []
        self.forgiving = forgiving
        self._chunk = chunk
        self._window = window
        self._rate = rate
        self._retry_pause = retry_pause
        self._patience = patience
        self._random = random.Random(f"{seed} {ticket_id}")
        self._session = uuid.uuid4().hex
        self._epoch: int | None = None
        self._http: SimpleAsyncHTTPClient | None = None
        self._leaving: set[asyncio.Task[None]] = set()

    @property
    def reconnects(self) -> int:
        return max(0, self.connections - 1)

    async def run(self) -> str:
        """Sends everything and waits for the handover, however often it takes."""
        self._http = SimpleAsyncHTTPClient(force_instance=True, max_clients=self._window + 2)
        try:
            while self.state not in FINAL:
                try:
                    await (self._over_websocket() if self.way == WEBSOCKET else self._over_http())
                except (Lost, OSError, TimeoutError, WebSocketClosedError, HTTPClientError):
                    self.cuts_in_flight += bool(self.under_way)
                    await asyncio.sleep(self._retry_pause * self._random.uniform(0.5, 1.5))
                finally:
                    self.under_way = 0
        finally:
            self._http.close()
            await asyncio.gather(*self._leaving, return_exceptions=True)
        return self.state

    # --- what was promised --------------------------------------------------------------------------------------------

    def _promised(self, chunk: Range) -> None:
        self.acked = self.acked.add(*chunk)

    def _see(self, extents: list[Range], state: str) -> None:
        """The server says what it has: nothing that was promised may be missing."""
        told = Extents((start, end) for start, end in extents)
        if self.forgiving:
            self.acked &= told
        for start, end in self.acked:
            if state == "uploading" and not told.covers(start, end):
                self.broken.append(f"{self.ticket_id}: [{start}, {end}) was acked, now there is {told}")
        self.acked |= told
        self.state = state

    def _missing(self) -> list[Range]:
        """What is to be sent, in chunks of changing size, not all in order, some of it twice."""
        chunks = []
        for start, end in self.acked.missing(0, len(self.content)):
            at = start
            while at < end:
                to = min(end, at + self._random.randint(1, self._chunk))
                chunks.append((max(0, at - self._random.choice((0, 0, 0, 1000))), to))
                at = to
        for _ in range(len(chunks) // 4):
            one, other = self._random.randrange(len(chunks)), self._random.randrange(len(chunks))
            chunks[one], chunks[other] = chunks[other], chunks[one]
        return chunks

    @contextmanager
    def _flying(self) -> Iterator[None]:
        self.under_way += 1
        yield  # a failure leaves it counted, until the connection is replaced
        self.under_way -= 1

    async def _pace(self, length: int) -> None:
        self.sent += length
        if self._rate != float("inf"):
            await asyncio.sleep(length / self._rate)

    def _hello(self) -> dict[str, Any]:
        known = {} if self._epoch is None else {"epoch": self._epoch}
        return {"type": "hello", "session": self._session, "name": "a.bin", "size": len(self.content), **known}

    def _complain(self, problem: dict[str, Any]) -> None:
        self.errors[problem["code"]] += 1
        if not problem["retry"]:
            raise AssertionError(f"{self.way} upload {self.ticket_id} was ended: {problem}")
        raise Lost(problem["message"])

    # --- WebSocket ----------------------------------------------------------------------------------------------------

    async def _over_websocket(self) -> None:
        self.connections += 1
        address = f"ws://127.0.0.1:{self.port}/incoming/0.1/frontend/upload_ws?ticket={self.ticket_id}"
        connecting = asyncio.ensure_future(websocket_connect(address, subprotocols=[SUBPROTOCOL]))
        await asyncio.wait([connecting], timeout=self._patience)
        if not connecting.done():
            connecting.add_done_callback(self._leave_late)
            raise Lost("no handshake")
        connection = connecting.result()
        sending: asyncio.Task[None] | None = None
        try:
            await connection.write_message(json.dumps(self._hello()))
            welcome = await self._hear(connection)
            self._epoch = welcome["epoch"]
            self._see(welcome["extents"], welcome["state"])
            if self.state == "uploading":
                room = asyncio.Semaphore(self._window)
                sending = asyncio.create_task(self._send_all(connection, room))
                while self.state == "uploading":
                    self._take(await self._hear(connection), room)
            while self.state not in FINAL:
                self._take(await self._hear(connection), None)
        finally:
            if sending is not None:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)
            self._leave(connection)

    def _leave(self, connection: WebSocketClientConnection) -> None:
        task = asyncio.create_task(_close(connection))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    def _leave_late(self, connecting: asyncio.Future[WebSocketClientConnection]) -> None:
        """A WebSocket that has opened after all, and that nobody waits for any more."""
        if not connecting.cancelled() and connecting.exception() is None:
            self._leave(connecting.result())

    async def _send_all(self, connection: WebSocketClientConnection, room: asyncio.Semaphore) -> None:
        for start, end in self._missing():
            await room.acquire()
            self.under_way += 1
            message = CHUNK_HEADER.pack(1, start) + self.content[start:end]
            await connection.write_message(message, binary=True)
            await self._pace(end - start)

    async def _hear(self, connection: WebSocketClientConnection) -> dict[str, Any]:
        while True:
            async with asyncio.timeout(self._patience):
                text = await connection.read_message()
            if text is None:
                raise Lost("closed")
            message: dict[str, Any] = json.loads(text)
            if message["type"] == "ping":
                await connection.write_message(json.dumps({"type": "pong"}))
            elif message["type"] == "error":
                self._complain(message)
            else:
                return message

    def _take(self, message: dict[str, Any], room: asyncio.Semaphore | None) -> None:
        if message["type"] == "ack":
            for start, end in message["chunks"]:
                self._promised((start, end))
                self.under_way -= 1
                if room is not None:
                    room.release()
        elif message["type"] == "state":
            self.state = message["state"]

    # --- HTTP ---------------------------------------------------------------------------------------------------------

    async def _over_http(self) -> None:
        self.connections += 1
        if self.way == HTTP:
            welcome = json.loads((await self._ask("POST", body=json.dumps(self._hello()).encode())).body)
            self._epoch = welcome["epoch"]
        else:
            welcome = json.loads((await self._ask("GET")).body)
        self._see(welcome["extents"], "uploading" if welcome["state"] == "new" else welcome["state"])
        if self.state == "uploading":
            await self._put_all()
        while self.state not in FINAL:
            answer = await self._ask("GET", f"?wait=2&state={self.state}")
            status = json.loads(answer.body)
            self.state = status["state"]
            if self.state == "uploading" and status["arrived"] < len(self.content):
                raise Lost(
                    "less is there than was acked"
                )  # the next round finds out which bytes, and whether it may be

    async def _put_all(self) -> None:
        chunks = iter(self._missing() or [(0, 0)])

        async def put_some() -> None:
            for start, end in chunks:
                await self._put(start, end)

        putting = [asyncio.create_task(put_some()) for _ in range(max(1, self._window // 3))]
        try:
            await asyncio.gather(*putting)
        finally:
            for task in putting:
                task.cancel()
            await asyncio.gather(*putting, return_exceptions=True)

    async def _put(self, start: int, end: int) -> None:
        size = len(self.content)
        told = f"bytes {start}-{end - 1}/{size}" if end > start else f"bytes */{size}"
        query = f"?session={self._session}&epoch={self._epoch}" if self.way == HTTP else "?filename=a.bin"
        with self._flying():
            answer = await self._ask("PUT", query, self.content[start:end], {"Content-Range": told})
        if answer.code not in (200, 308):
            raise Lost(f"status {answer.code}")
        self._promised((start, end))
        await self._pace(end - start)

    async def _ask(
        self, method: str, query: str = "", body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        assert self._http is not None
        url = f"http://127.0.0.1:{self.port}/incoming/0.1/frontend/upload/{self.ticket_id}{query}"
        answer = await self._http.fetch(
            HTTPRequest(
                url,
                method,
                headers={"Accept": "application/json", **(headers or {})},
                body=body,
                connect_timeout=self._patience,
                request_timeout=self._patience,
                follow_redirects=False,
            ),
            raise_error=False,
        )
        if answer.code == 599:
            raise Lost(str(answer.error))
        if answer.code >= 400:
            try:
                problem = json.loads(answer.body)
            except ValueError:
                raise Lost(f"status {answer.code}") from None  # not from the server: a proxy answered
            self._complain(problem)
        return answer


async def _close(connection: WebSocketClientConnection) -> None:
    """Close a WebSocket; its socket in any case, which would outlive the loop when the server's answer is late."""
    stream = connection.protocol.stream if connection.protocol is not None else None
    connection.close()
    if stream is None:
        return
    try:
        with suppress(AssertionError):
            await until(stream.closed, "the close frame being answered", CLOSED_WITHIN)
    finally:
        stream.close()
