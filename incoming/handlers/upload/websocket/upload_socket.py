"""Chunks and control messages over a WebSocket (RFC 6455, sub-protocol `incoming.1`, doc/protocol.md).

Turns messages into calls of the upload service and its news into messages. Decides only what belongs to the connection:
its first message, how it ends, when it is dead. Tornado makes the handshake and writes; reader.py reads.
Tornado's own pings are off: a browser's pong waits behind the data that it has queued, so liveness goes by bytes of any
kind.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from tornado.http1connection import HTTP1Connection
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketHandler

from incoming.core.errors import (
    BadRequest,
    InternalError,
    MessageTooLarge,
    MethodNotAllowed,
    TooBusy,
    TooSlow,
    UploadError,
)
from incoming.core.ticket import FINAL, RECEIVING, State, Ticket, canonical_id
from incoming.handlers.base import Answering
from incoming.handlers.services import Services
from incoming.handlers.upload.path_reports import PathReports
from incoming.handlers.upload.stall_watchdog import StallWatchdog
from incoming.handlers.upload.upload_request import check_page, epoch_is_over, find_ticket, forget_request
from incoming.handlers.upload.websocket.chunk_receiver import ChunkReceiver
from incoming.handlers.upload.websocket.direct_parts import DirectParts
from incoming.handlers.upload.websocket.reader import receive
from incoming.handlers.upload.websocket.sender import WebSocketSender
from incoming.monitoring.connections import ClientActivity
from incoming.monitoring.path_figures import PathFigures
from incoming.platform.sockets import received_by
from incoming.uploads.active_upload import ActiveUpload
from incoming.wire import messages, websocket_frames
from incoming.wire.messages import CHUNK_HEADER, MAX_CONTROL, SUBPROTOCOL, Cancel, Hello, Pause, Ping, Sent, Sign

log = logging.getLogger(__name__)


class UploadSocket(Answering, WebSocketHandler):
    """One WebSocket connection; several may carry one upload."""

    def initialize(self, services: Services) -> None:
        super().initialize(services)
        self._settings = services.settings
        self._upload_service = services.upload_service
        self._ticket_id = ""
        self._problem: UploadError | None = None
        self._stream: IOStream | None = None
        """Set when the handshake is over."""
        self._upload: ActiveUpload | None = None
        """Set from an accepted hello while bytes are expected, like the following ones."""
        self._chunks: ChunkReceiver | None = None
        self._reports: PathReports | None = None
        self._direct: DirectParts | None = None
        self._sender: ClientActivity | None = None
        """Set from an accepted hello to the end of the connection."""
        self._leave: Callable[[], None] | None = None
        """Ends what an accepted hello has begun."""
        self._release: Callable[[], None] | None = None
        """Ends that part of it which only bytes need; None while there is none."""
        self._reports_path = False
        self._epoch = 0
        self._session = ""
        self._sent_state = (State.UPLOADING, "")
        self._outlet = WebSocketSender(services.monotonic)
        self._sending: asyncio.Task[None] | None = None
        self._watchdog = StallWatchdog(self._settings, services.monotonic)
        self._seen_at = self._watchdog.last_input_at

    # --- the handshake ------------------------------------------------------------------------------------------------

    async def prepare(self) -> None:
        """Read the ticket before anything is buffered: a client without a ticket gets no buffer for a chunk."""
        headers = self.request.headers
        check_page(headers, self._settings)
        if self.request.method != "GET":
            raise MethodNotAllowed(f"{self.request.method} is not a method of this URL")
        if headers.get("Upgrade", "").lower() != "websocket":
            raise BadRequest("this URL is a WebSocket; the request has no 'Upgrade: websocket' (RFC 6455)")
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            # While the worker drains, Tornado answers "Connection: close" instead of "Connection: Upgrade" and closes.
            connection._disconnect_on_finish = False
        self._ticket_id = canonical_id(self.get_query_argument("ticket", ""))
        try:
            await find_ticket(self._ticket_id, headers, self._upload_service)
        except UploadError as error:
            self._problem = error

    def check_origin(self, origin: str) -> bool:
        """Return True: `prepare` has checked the origin, for requests of the same origin as well."""
        return True

    @property
    def max_message_size(self) -> int:
        if self._problem is not None:
            return MAX_CONTROL
        return max(MAX_CONTROL, self._settings.chunk_max + CHUNK_HEADER.size)

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return SUBPROTOCOL if SUBPROTOCOL in subprotocols else None

    def get_compression_options(self) -> dict[str, Any] | None:
        return None

    async def open(self, *args: str, **kwargs: str) -> None:
        """Read the connection to its end. Tornado, which would read it otherwise, waits for this."""
        self.set_nodelay(True)
        self._address = self.client
        forget_request(self)
        sending = self._outlet.run(self.write_message, self.close, self._not_stored)
        self._sending = asyncio.get_running_loop().create_task(sending)
        if self._problem is None and self.selected_subprotocol != SUBPROTOCOL:
            self._problem = BadRequest(f"the WebSocket sub-protocol must be {SUBPROTOCOL}")
        if self._problem is not None:
            self._fail(self._problem)
        else:
            self._watch(self._settings.hello_timeout)
        connection = self.ws_connection
        try:
            if connection is not None and connection.stream is not None:
                await self._receive(connection.stream)
        finally:
            if connection is not None:
                connection.on_connection_close()
            self.on_connection_close()

    # --- from the client ----------------------------------------------------------------------------------------------

    async def _receive(self, stream: IOStream) -> None:
        self._stream = stream
        try:
            reader = websocket_frames.FrameReader(self.max_message_size, MAX_CONTROL)
            await receive(stream, reader, self._take, self._is_waiting)
        except websocket_frames.FrameError as error:
            self.close(error.code, error.message)
        except OSError:  # the connection has ended
            if self._chunks is not None and not self._outlet.ended:
                self._chunks.cut()

    async def _take(self, event: websocket_frames.Event) -> None:
        """Process one event. Nothing is read until this returns, which is the flow control: TCP slows the sender."""
        if not isinstance(event, websocket_frames.Data) or event.last:
            self._watchdog.input_received()
        if isinstance(event, websocket_frames.Close):
            self.close(event.code)  # answer the close frame, unless that was done (RFC 6455 section 5.5.1)
            return
        if self._outlet.ended or self._outlet.failure is not None:
            return
        try:
            await self._on_event(event)
        except UploadError as error:
            self._fail(error)
        except Exception:
            log.exception("upload %s: message handling failed; closing the connection", self._ticket_id)
            self._fail(InternalError())
        await self._outlet.room()

    async def _on_event(self, event: websocket_frames.Event) -> None:
        if isinstance(event, websocket_frames.Data):
            if self._chunks is None:
                await self._wake()
            if self._chunks is None:
                raise BadRequest("the first message must be a hello")
            if self._reports is not None:
                self._reports.moved()
            await self._chunks.take(event.data, last=event.last)
        elif isinstance(event, websocket_frames.Text):
            await self._on_control(event.text)
        elif isinstance(event, websocket_frames.LongText):
            raise MessageTooLarge(f"a control message has at most {MAX_CONTROL} bytes")
        elif isinstance(event, websocket_frames.Ping) and self._stream is not None:
            with suppress(StreamClosedError):
                await self._stream.write(websocket_frames.pong(event.payload))

    async def _on_control(self, text: str) -> None:
        message = messages.parse_control(text)
        if isinstance(message, Hello):
            await self._on_hello(message)
            return
        if self._sender is None:
            raise BadRequest("the first message must be a hello")
        if isinstance(message, Sign | Sent | Pause):
            await self._wake()
        if isinstance(message, Sign | Sent) and self._direct is not None:
            self._direct.take(message)
        elif isinstance(message, Pause) and self._chunks is not None:
            await self._chunks.settle()
            await self._upload_service.pause(self._ticket_id, self._epoch)
            self._outlet.send(messages.paused())
        elif isinstance(message, Cancel):
            self._on_change(await self._upload_service.cancel(self._ticket_id, message.reason, notify_app=True))
        elif isinstance(message, Ping):
            if message.limit:
                self._sender.reports(message.limit)
            self._outlet.send(messages.pong())

    async def _on_hello(self, hello: Hello) -> None:
        if self._sender is not None:
            raise BadRequest("hello was sent already")
        stop_listening = self._upload_service.listen(self._ticket_id, self._on_change)
        try:
            upload = await self._open_upload(hello)
        except BaseException:
            stop_listening()
            raise
        storage_time = upload.checkpoints.storage_time
        sender = self.services.connections.enter(self._ticket_id, "websocket", self._address, storage_time)
        sender.library = hello.library

        def leave() -> None:
            stop_listening()
            sender.leave()
            self.services.upload_connections.leave(self._ticket_id, self)

        if self._outlet.ended:
            leave()
            self._upload_service.leave(upload)
            return
        self._leave, self._sender = leave, sender
        self._epoch, self._reports_path = upload.ticket.epoch, hello.path
        self._take_up(upload, sender, skips=hello.ahead and not self._is_untouched(upload))
        self._begin(upload, hello.session)

    def _is_untouched(self, upload: ActiveUpload) -> bool:
        """Otherwise a chunk could complete a file that has changed, or be of a part for the object store."""
        direct = self._upload_service.direct.offered(upload.ticket)
        return not (upload.ticket.extents or upload.received or direct)

    def _take_up(self, upload: ActiveUpload, sender: ClientActivity, *, skips: bool = False) -> None:
        """Have what bytes of this upload need."""
        self._upload = upload
        reports = PathReports(sender, self._stream, self.services.monotonic, self._is_storing, self._report_path)
        stop_reports = upload.reports.add(lambda *news: self._outlet.send(messages.received(*news)))
        direct = DirectParts(self._upload_service.direct, upload, self._epoch, self._outlet, self._fail)

        def release() -> None:
            stop_reports()
            reports.stop()
            direct.close()
            self._upload_service.leave(upload)

        self._release = release
        self._reports, self._direct = reports if self._reports_path else None, direct
        self._chunks = ChunkReceiver(
            upload,
            sender,
            self.services.memory_budget,
            self._settings.chunk_max,
            self._epoch,
            self._outlet,
            self.services.monotonic,
            skips,
        )

    def _is_waiting(self) -> bool:
        """Whether the upload needs no bytes any more, and has its file or waits for its app."""
        return self._sender is not None and self._sent_state[0] not in RECEIVING

    def _shrink(self) -> None:
        """Free the memory that only bytes need: the buffer of an idle connection, and all of it once they are there."""
        if self._chunks is None or not self._chunks.idle:
            return
        if self._is_waiting():
            self._put_down()
        else:
            self._chunks.shrink()

    def _put_down(self) -> None:
        release, self._release = self._release, None
        self._upload = self._chunks = self._reports = self._direct = None
        if release is not None:
            release()

    async def _wake(self) -> None:
        """Take up an upload again of which a client still sends something: it gets the same answers as before."""
        if self._sender is None or self._chunks is not None:
            return  # there was no hello, or there is nothing to do
        upload = await self._upload_service.join(self._ticket_id, self._epoch)
        if self._outlet.ended:
            self._upload_service.leave(upload)
            return
        self._take_up(upload, self._sender)

    async def _open_upload(self, hello: Hello) -> ActiveUpload:
        upload = await self._upload_service.open(self._ticket_id, hello)
        try:
            await self._upload_service.direct.refresh(upload)
        except BaseException:
            self._upload_service.leave(upload)
            raise
        return upload

    def _begin(self, upload: ActiveUpload, session: str) -> None:
        """Welcome the uploader."""
        ticket = upload.ticket
        self._session = session
        self.services.connection_limiter.mark_identified(self._stream)
        self.services.upload_connections.take(ticket.id, self, self._settings.connections_per_upload)
        direct = self._upload_service.direct.offered(ticket)
        self._outlet.welcome(messages.welcome(ticket, self.services.limits(ticket), upload.received, direct=direct))
        self._watch(self._settings.ping_interval)
        self._on_change(ticket)

    def _not_stored(self, error: UploadError) -> None:
        """Report an upload that has ended or was taken over meanwhile as such, not as this chunk's failure."""
        if self._upload is not None:
            self._on_change(self._upload.ticket)
        self._fail(error)

    def _is_storing(self) -> bool:
        return self._chunks is not None and self._chunks.busy

    # --- to the client ------------------------------------------------------------------------------------------------

    def _on_change(self, news: Ticket | UploadError) -> None:
        if isinstance(news, UploadError):
            self._fail(news)
            return
        if self._sender is None:
            return
        if news.epoch != self._epoch and news.state in RECEIVING:
            self._fail(epoch_is_over(news, self._session))
            return
        state = (news.state, messages.reason_of(news))
        if state != self._sent_state:
            self._sent_state = state
            self._outlet.send(messages.state(news))
        if news.state in FINAL:
            self._outlet.end(1000, "")

    def _report_path(self, figures: PathFigures) -> None:
        self._outlet.send(messages.path(figures.to_json()))

    def evict(self) -> None:
        """End this connection: the upload has more than allowed."""
        self._fail(TooBusy(f"an upload has at most {self._settings.connections_per_upload} connections"))

    def _fail(self, error: UploadError) -> None:
        if not self._outlet.ended:
            self.services.counters.errors[error.name] += 1
            self._outlet.send(messages.error(error))
            self._outlet.end(messages.close_code(error), error.name)

    # --- stalls and the end -------------------------------------------------------------------------------------------

    @property
    def last_input_at(self) -> float:
        """When a whole message last arrived, by the monotonic clock."""
        return self._watchdog.last_input_at

    def _watch(self, delay: float) -> None:
        self._watchdog.schedule(delay, self._check_client)

    def _check_client(self) -> None:
        watchdog, stream = self._watchdog, self._stream
        if stream is None or stream.socket is None:
            return
        if self._sender is None:
            # From the last message on: opening an upload may take long as well.
            left = self._settings.hello_timeout - watchdog.seconds_silent
            if left > 0:
                self._watch(left)
            else:
                self._fail(TooSlow(f"no hello arrived within {self._settings.hello_timeout:g} s"))
            return
        now = self.services.monotonic()
        excused, self._seen_at = self.last_input_at > self._seen_at, now
        if error := watchdog.verdict(
            stream.socket, received_by(stream.socket), busy=self._is_storing(), excused=excused
        ):
            self._fail(error)
            return
        self._shrink()
        # Also to a peer that sends: while a large chunk crosses a slow line, it gets no other sign of life.
        interval = self._settings.ping_interval
        due = interval - max(watchdog.silence(stream.socket), now - self._outlet.said_at)
        if due <= interval * 0.1:
            self._outlet.send(messages.ping())
            due = interval
        self._watch(min(max(due, interval * 0.1), self._settings.dead_after / 2))

    def on_close(self) -> None:
        self._outlet.abandon()
        self._watchdog.stop()
        self._put_down()
        leave, self._leave, self._sender = self._leave, None, None
        if leave is not None:
            leave()
