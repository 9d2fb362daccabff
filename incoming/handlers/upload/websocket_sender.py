"""What is to be sent over one WebSocket: in order, no more of it than the other side reads, and then the end.

Decides what goes together in one message and how long a peer may take for our last words. Knows neither what a message
says nor what is received.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from incoming.core.extents import Range
from incoming.wire import messages

MOST_WAITING = 1000
"""Acks and messages that wait for a peer that does not read; then it is not read either."""

FAREWELL = 5.0
"""Seconds that a peer has to take our last messages before the connection is closed all the same."""


class WebSocketSender:
    """`write` sends a message and returns when it has left, `close` closes with a code and a reason; `clock` is a
    monotonic one, in seconds.
    """

    def __init__(
        self,
        write: Callable[[str], Awaitable[None]],
        close: Callable[[int, str], None],
        clock: Callable[[], float],
    ) -> None:
        self.ended = False
        """Set when the last message is known or the connection is gone: nothing more is sent."""
        self.said_at = clock()
        """When the last message left; before the first, when the connection began."""
        self._write = write
        self._close = close
        self._clock = clock
        self._acks: list[Range] = []
        self._messages: list[str] = []
        self._last_words: tuple[int, str] | None = None
        self._sending: asyncio.Task[None] | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._room = asyncio.Event()

    def ack(self, chunk: Range) -> None:
        """Those that come while a message is leaving go together in the next."""
        self._acks.append(chunk)
        self._flush()

    def send(self, message: str) -> None:
        if not self.ended:
            self._messages.append(message)
            self._flush()

    def end(self, code: int, reason: str) -> None:
        """Sends what is to be sent and closes; what comes after is ignored."""
        if not self.ended:
            self.ended = True
            self._last_words = (code, reason)
            self._deadline = asyncio.get_running_loop().call_later(FAREWELL, self._close, code, reason)
            self._flush()

    def abandon(self) -> None:
        """The connection is gone."""
        self.ended = True
        self._last_words = None
        self._acks.clear()
        self._messages.clear()
        self._room.set()
        if self._deadline is not None:
            self._deadline.cancel()
        # What owns us is held by these two: without them nothing is left to the garbage collector.
        self._write, self._close = _to_nobody, _nothing

    async def room(self) -> None:
        """Returns when another message may be received."""
        while len(self._acks) + len(self._messages) > MOST_WAITING:
            self._room.clear()
            await self._room.wait()

    def _flush(self) -> None:
        if self._sending is None:
            self._sending = asyncio.get_running_loop().create_task(self._send_all())

    async def _send_all(self) -> None:
        try:
            while self._acks or self._messages:
                acks, self._acks = self._acks, []
                waiting, self._messages = self._messages, []
                self._room.set()
                if acks:
                    await self._write(messages.ack(acks))
                for message in waiting:
                    await self._write(message)
                self.said_at = self._clock()
        except (WebSocketClosedError, StreamClosedError):
            self.abandon()
        finally:
            self._sending = None
        if self._last_words is not None:
            self._close(*self._last_words)


async def _to_nobody(message: str) -> None:
    """The connection is gone."""
    raise WebSocketClosedError


def _nothing(code: int, reason: str) -> None:
    """It is closed already."""
