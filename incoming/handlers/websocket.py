"""Chunks and control messages over a WebSocket (RFC 6455, sub-protocol `incoming.1`, doc/protocol.md).

Turns messages into calls of the assembler and its news into messages. Decides only what belongs to the connection: its
first message, how much it may have under way, when it is dead. Tornado's own pings stay off: a browser's pong waits
behind the data it has queued, so that only bytes of any kind tell who is alive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from incoming.connections import Sender
from incoming.core import messages
from incoming.core.errors import BadRequest, Forbidden, InternalError, StorageFailed, TakenOver, TooSlow, UploadError
from incoming.core.extents import Range
from incoming.core.messages import CHUNK_HEADER, MAX_CONTROL, SUBPROTOCOL, Cancel, Hello, Pause, Ping
from incoming.core.ticket import FINAL, RECEIVING, State, Ticket
from incoming.handlers import origins
from incoming.handlers.access import client_address
from incoming.handlers.liveness import silent_for
from incoming.handlers.services import Services
from incoming.upload import Upload

log = logging.getLogger("incoming.websocket")

CHUNKS_UNDER_WAY = 2
"""Chunks of the largest size that a connection may have received but not acked; then it is read no further."""

FAREWELL = 5.0
"""Seconds that a peer has to take our last messages before the connection is closed all the same."""


class UploadSocket(WebSocketHandler):
    """One connection that carries one upload, or its share of it."""

    def initialize(self, services: Services) -> None:
        self._services = services
        self._settings = services.settings
        self._assembler = services.assembler
        self._ticket_id = ""
        self._problem: UploadError | None = None
        self._upload: Upload | None = None
        self._sender: Sender | None = None
        self._epoch = 0
        self._session = ""
        self._told_state: State | None = None
        self._stop_listening: Callable[[], None] = lambda: None
        self._heard = time.monotonic()
        self._under_way = 0
        self._room = asyncio.Event()
        self._acks: list[Range] = []
        self._outbox: list[str] = []
        self._flushing = False
        self._ending: tuple[int, str] | None = None
        self._watchdog: asyncio.TimerHandle | None = None
        self._writes: set[asyncio.Task[None]] = set()

    # --- the handshake ------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Looks the ticket up before anything of the client is buffered: a stranger gets no room for a chunk."""
        self._ticket_id = self.get_query_argument("ticket", "")
        try:
            ticket = await self._assembler.look(self._ticket_id)
            if not origins.allowed(self.request.headers.get("Origin"), ticket.terms.allowed_origins):
                raise Forbidden("pages of this origin may not use this ticket")
        except UploadError as error:
            self._problem = error

    def check_origin(self, origin: str) -> bool:
        return origins.allowed(origin, self._settings.allowed_origins)

    @property
    def max_message_size(self) -> int:
        if self._problem is not None:
            return MAX_CONTROL
        return max(MAX_CONTROL, self._settings.chunk_max + CHUNK_HEADER.size)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def get_compression_options(self) -> dict[str, Any] | None:
        return None

    def open(self, *args: str, **kwargs: str) -> None:
        self.set_nodelay(True)
        if self._problem is None and self.selected_subprotocol != SUBPROTOCOL:
            self._problem = BadRequest(f"the WebSocket sub-protocol must be {SUBPROTOCOL}")
        if self._problem is not None:
            self._fail(self._problem)
            return
        self._watch(self._settings.hello_timeout)

    # --- from the client ----------------------------------------------------------------------------------------------

    async def on_message(self, message: str | bytes) -> None:
        self._heard = time.monotonic()
        if self._ending is not None:
            return
        try:
            if isinstance(message, bytes):
                await self._on_chunk(message)
            else:
                await self._on_control(message)
        except UploadError as error:
            self._fail(error)
        except Exception:
            log.exception("upload %s: a message could not be handled", self._ticket_id)
            self._fail(InternalError("the server has a defect; its log says more"))

    async def _on_control(self, text: str) -> None:
        message = messages.parse_control(text)
        if isinstance(message, Hello):
            await self._on_hello(message)
            return
        if self._upload is None:
            raise BadRequest("the first message must be a hello")
        if isinstance(message, Pause):
            await self._finish_writes()
            await self._assembler.pause(self._ticket_id, self._epoch)
            self._send(messages.paused())
        elif isinstance(message, Cancel):
            await self._assembler.cancel(self._ticket_id, message.reason, notify_app=True)
            self._on_news(await self._assembler.look(self._ticket_id))
        elif isinstance(message, Ping):
            self._send(messages.pong())

    async def _on_hello(self, hello: Hello) -> None:
        if self._upload is not None:
            raise BadRequest("hello was said already")
        self._stop_listening = self._assembler.listen(self._ticket_id, self._on_news)
        upload = await self._assembler.open(self._ticket_id, hello)
        if self._ending is not None or self.ws_connection is None:
            self._assembler.leave(upload)
            return
        ticket = upload.ticket
        self._upload = upload
        client = str(client_address(self.request, self._settings))
        self._sender = self._services.connections.enter(ticket.id, "websocket", client)
        self._epoch = ticket.epoch
        self._session = hello.session
        self._told_state = State.UPLOADING
        self._send(messages.welcome(ticket, self._services.limits(ticket)))
        self._watch(self._settings.ping_interval)
        self._on_news(ticket)

    async def _on_chunk(self, message: bytes) -> None:
        if self._upload is None or self._sender is None:
            raise BadRequest("the first message must be a hello")
        offset, data = messages.parse_chunk(message)
        task = asyncio.get_running_loop().create_task(self._write(self._upload, self._sender, offset, data))
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        self._under_way += len(data)
        while self._under_way > CHUNKS_UNDER_WAY * self._settings.chunk_max:
            # Not reading on is the flow control: TCP tells the sender.
            self._room.clear()
            await self._room.wait()

    async def _write(self, upload: Upload, sender: Sender, offset: int, data: memoryview) -> None:
        came_at = time.perf_counter()
        try:
            await upload.write(offset, data, self._epoch)
            sender.stored(len(data), time.perf_counter() - came_at)
            self._acks.append((offset, offset + len(data)))
            self._flush()
        except UploadError as error:
            # An upload that has ended or was taken over meanwhile is told as such, not as this chunk's failure.
            self._on_news(upload.ticket)
            self._fail(error)
        finally:
            self._under_way -= len(data)
            self._room.set()

    async def _finish_writes(self) -> None:
        if self._writes:
            await asyncio.wait(tuple(self._writes))

    # --- to the client ------------------------------------------------------------------------------------------------

    def _on_news(self, news: Ticket | UploadError) -> None:
        if isinstance(news, UploadError):
            self._fail(news)
            return
        if self._upload is None:
            return
        if news.epoch != self._epoch and news.state in RECEIVING:
            if news.session in ("", self._session):
                self._fail(StorageFailed("bytes that had arrived were lost by a fault of the disk; send them again"))
            else:
                self._fail(TakenOver("the upload goes on in another window"))
            return
        if news.state != self._told_state:
            self._told_state = news.state
            self._send(messages.state(news))
        if news.state in FINAL:
            self._end(1000, "")

    def _send(self, message: str) -> None:
        self._outbox.append(message)
        self._flush()

    def _fail(self, error: UploadError) -> None:
        if self._ending is None:
            self._services.counters.errors[error.name] += 1
            self._outbox.append(messages.error(error))
            self._end(messages.close_code(error), error.name)

    def _end(self, code: int, reason: str) -> None:
        """Sends what is to be sent and closes; what comes after is ignored."""
        if self._ending is None:
            self._ending = (code, reason)
            self._flush()
            asyncio.get_running_loop().call_later(FAREWELL, self.close, code, reason)

    def _flush(self) -> None:
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().create_task(self._flush_all())

    async def _flush_all(self) -> None:
        """Acks that come while a message is being written go together in the next: a slow reader costs no memory."""
        try:
            while self._acks or self._outbox:
                acks, self._acks = self._acks, []
                outbox, self._outbox = self._outbox, []
                if acks:
                    outbox.insert(0, messages.ack(acks))
                for message in outbox:
                    await self.write_message(message)
        except (WebSocketClosedError, StreamClosedError):
            return
        finally:
            self._flushing = False
        if self._ending is not None:
            self.close(*self._ending)

    # --- life and death -----------------------------------------------------------------------------------------------

    def _watch(self, delay: float) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._watchdog = asyncio.get_running_loop().call_later(delay, self._look_after)

    def _look_after(self) -> None:
        if self.ws_connection is None:
            return
        silent = time.monotonic() - self._heard
        stream = getattr(self.ws_connection, "stream", None)
        if stream is not None and stream.socket is not None:
            silent = silent_for(stream.socket, silent)
        if self._upload is None and time.monotonic() - self._heard >= self._settings.hello_timeout:
            self._fail(TooSlow(f"no hello came within {self._settings.hello_timeout:g} s"))
        elif not self._under_way and silent >= self._settings.dead_after:
            self._fail(TooSlow(f"nothing came for {self._settings.dead_after:g} s"))
        elif silent >= self._settings.ping_interval * 0.9 and self._upload is not None:
            self._send(messages.ping())
        self._watch(min(self._settings.ping_interval, self._settings.dead_after / 2))

    def on_close(self) -> None:
        self._ending = self._ending or (1006, "")
        self._room.set()
        self._stop_listening()
        if self._watchdog is not None:
            self._watchdog.cancel()
        if self._upload is not None:
            self._assembler.leave(self._upload)
            self._upload = None
        if self._sender is not None:
            self._sender.leave()
            self._sender = None
