"""A connection by WebSocket, in sub-protocol `incoming.1`.

Decides what a broken one means: lost, of no use on this line, or an error of the server. What is sent when is the
uploader's.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Iterator

import aiohttp

from incoming.client.errors import error_from
from incoming.client.upload.address import UploadAddress
from incoming.client.upload.connection import LIBRARY, ConnectionLost, Greeting, WebSocketUnusable
from incoming.client.upload.http_connection import cause_of
from incoming.core.errors import BadRequest
from incoming.wire import client_messages as messages
from incoming.wire.client_messages import Acknowledged, ErrorMessage, StateNews, Welcome
from incoming.wire.messages import SUBPROTOCOL

OPEN_TIMEOUT = 15.0
"""Seconds for the handshake, and for the welcome."""

MAX_SILENT_PINGS = 2.5
"""Of the server's ping intervals: how long may pass without a byte from it."""

MAX_MESSAGE = 4 * 1024 * 1024
"""Bytes. The longest message of a server, a welcome with 2,000 ranges, stays far below."""


class WebSocketConnection:
    """One WebSocket."""

    kind = "websocket"
    ahead = 4

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, welcome: Welcome) -> None:
        self._socket = socket
        self.welcome = welcome
        self._silence = MAX_SILENT_PINGS * welcome.ping_interval

    async def send(self, offset: int, data: bytes) -> None:
        """Send a chunk. A line that takes nothing for as long as a server may be silent is lost."""
        with _losses():
            async with asyncio.timeout(self._silence):
                await self._socket.send_bytes(messages.chunk(offset, data))

    async def receive(self) -> Acknowledged | StateNews:
        """Return the next news. Pings are answered here."""
        while True:
            message = await _next(self._socket, self._silence)
            if isinstance(message, Acknowledged | StateNews):
                return message
            if isinstance(message, ErrorMessage):
                raise error_from(message.described)
            if isinstance(message, messages.Bare) and message.type == "ping":
                with _losses():
                    await self._socket.send_str(messages.pong())

    async def close(self) -> None:
        """Close the WebSocket without waiting for the other side for long."""
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            async with asyncio.timeout(1.0):
                await self._socket.close()


async def open_websocket(
    client: aiohttp.ClientSession, address: UploadAddress, greeting: Greeting, tls: ssl.SSLContext | None
) -> WebSocketConnection:
    """Connect and greet. Raises WebSocketUnusable, ConnectionLost and UploadError."""
    try:
        async with asyncio.timeout(OPEN_TIMEOUT):
            socket = await client.ws_connect(
                address.websocket, protocols=[SUBPROTOCOL], autoclose=True, max_msg_size=MAX_MESSAGE, ssl=tls or True
            )
    except aiohttp.WSServerHandshakeError as error:
        raise WebSocketUnusable(f"the handshake of the WebSocket got HTTP status {error.status}") from error
    except TimeoutError as error:
        raise WebSocketUnusable(f"the WebSocket did not open within {OPEN_TIMEOUT:g} s") from error
    except (aiohttp.ClientConnectorError, OSError) as error:
        raise ConnectionLost(cause_of(error)) from error
    except aiohttp.ClientError as error:
        raise WebSocketUnusable(f"the WebSocket did not open: {cause_of(error)}") from error
    try:
        return await _greet(socket, greeting)
    except BaseException:
        await socket.close()
        raise


async def _greet(socket: aiohttp.ClientWebSocketResponse, greeting: Greeting) -> WebSocketConnection:
    try:
        with _losses():
            await socket.send_str(messages.hello(greeting.session, greeting.epoch, greeting.identity, LIBRARY))
        answer = await _next(socket, OPEN_TIMEOUT)
    except (ConnectionLost, BadRequest) as error:
        raise WebSocketUnusable(f"the WebSocket brought no welcome: {error}") from error
    if isinstance(answer, ErrorMessage):
        problem = error_from(answer.described)
        if isinstance(problem, BadRequest):  # a header or message was spoiled on the way
            raise WebSocketUnusable(f"the server got no proper WebSocket: {problem}")
        raise problem
    if not isinstance(answer, Welcome):
        raise WebSocketUnusable("the WebSocket brought no welcome")
    return WebSocketConnection(socket, answer)


async def _next(socket: aiohttp.ClientWebSocketResponse, within: float) -> messages.ServerMessage:
    """Return the next message. A close code of the server's own is its error (doc/protocol.md)."""
    with _losses():
        received = await socket.receive(within)
    if received.type is aiohttp.WSMsgType.TEXT:
        return messages.parse(received.data)
    code = socket.close_code or 0
    if 4000 < code < 5000:
        described = {"code": code - 4000, "message": f"the server closed with {code}", "retry": code >= 4500}
        return ErrorMessage(described)
    raise ConnectionLost(f"the WebSocket was closed ({code or 'without a code'})")


@contextlib.contextmanager
def _losses() -> Iterator[None]:
    """Raise ConnectionLost for everything by which a connection ends."""
    try:
        yield
    except TimeoutError as error:
        raise ConnectionLost("nothing came or could be sent for too long") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ConnectionLost(cause_of(error)) from error
