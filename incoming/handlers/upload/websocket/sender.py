"""The send queue of one WebSocket: acks, messages and one failure, and the loop that empties it.

Decides what is combined in one message and how long a peer may take for the last one. Knows neither what a message says
nor what is received. Holds no reference to the connection, because pending writes fill the queue after its end, too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from tornado.iostream import StreamClosedError
from tornado.websocket import WebSocketClosedError

from incoming.core.errors import UploadError
from incoming.core.extents import Range
from incoming.wire import messages

MAX_QUEUED = 1000
"""Acks and messages that may be queued. Above it the peer, which does not read, is not read either."""

CLOSE_TIMEOUT = 5.0
"""Seconds that a peer has to read the last messages before the connection is closed all the same."""


class WebSocketSender:
    """One connection's. `run` is called once; `clock` is a monotonic one, in seconds."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.ended = False
        """Set when the last message is known or the connection is gone: nothing more is sent."""
        self.failure: UploadError | None = None
        """The first reason why bytes could not be stored; then nothing more is to be received."""
        self.said_at = clock()
        """When the last message left; before the first, when the connection began."""
        self._clock = clock
        self._gone = False
        self._welcome = ""
        self._acks: list[Range] = []
        self._messages: list[str] = []
        self._last_words: tuple[int, str] | None = None
        self._deadline: asyncio.Timeout | None = None
        """Of `run`, while it runs."""
        # Futures while somebody waits, as an asyncio.Event takes 700 bytes: a connection is idle for hours.
        self._work: asyncio.Future[None] | None = None
        self._room: asyncio.Future[None] | None = None

    def welcome(self, message: str) -> None:
        """Queue the answer to the hello, which no ack overtakes: a client may send a chunk before it has the answer."""
        if not self.ended:
            self._welcome = message
            _wake(self._work)

    def ack(self, chunk: Range) -> None:
        """Queue an ack. Those that come while a message is leaving go together in the next."""
        if not self._gone:
            self._acks.append(chunk)
            _wake(self._work)

    def fail(self, error: UploadError) -> None:
        """Queue the failure of a write."""
        self.failure = self.failure or error
        _wake(self._work)

    def send(self, message: str) -> None:
        """Queue a message, unless the last one is known."""
        if not self.ended:
            self._messages.append(message)
            _wake(self._work)

    def end(self, code: int, reason: str) -> None:
        """Send what is queued and close; what comes after is ignored."""
        if not self.ended:
            self.ended = True
            self._last_words = (code, reason)
            _wake(self._work)
            self._hurry()

    async def room(self) -> None:
        """Return when another message may be received."""
        while len(self._acks) + len(self._messages) > MAX_QUEUED:
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    async def run(
        self,
        write: Callable[[str], Awaitable[None]],
        close: Callable[[int, str], None],
        failed: Callable[[UploadError], None],
    ) -> None:
        """Empty the queue until the end. `write` returns when a message has left; `failed` is called with the failure,
        once, before anything that is queued after it is sent.
        """
        try:
            async with asyncio.timeout(None) as self._deadline:
                self._hurry()
                await self._send_all(write, failed)
        except (WebSocketClosedError, StreamClosedError):
            self._last_words = None  # the connection is gone
        except TimeoutError:
            pass  # the peer does not read
        last_words = self._last_words
        self.abandon()
        if last_words is not None:
            close(*last_words)

    async def _send_all(self, write: Callable[[str], Awaitable[None]], failed: Callable[[UploadError], None]) -> None:
        is_sent = False
        while True:
            if self.failure is not None and not is_sent:
                is_sent = True
                failed(self.failure)
            if not (self._welcome or self._acks or self._messages):
                if self.ended:
                    return
                self._work = asyncio.get_running_loop().create_future()
                await self._work
                continue
            welcome, self._welcome = self._welcome, ""
            acks, self._acks = self._acks, []
            waiting, self._messages = self._messages, []
            _wake(self._room)
            if welcome:
                await write(welcome)
            if acks:
                await write(messages.ack(acks))
            for message in waiting:
                await write(message)
            self.said_at = self._clock()

    def _hurry(self) -> None:
        if self.ended and self._deadline is not None:
            self._deadline.reschedule(asyncio.get_running_loop().time() + CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """Queue nothing more and end `run`: the connection is closed."""
        self.ended = self._gone = True
        self._deadline = self._last_words = None
        self._welcome = ""
        self._acks.clear()
        self._messages.clear()
        _wake(self._room)
        _wake(self._work)


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
