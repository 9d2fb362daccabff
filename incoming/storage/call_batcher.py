"""Small blocking calls, done by one thread after the other as long as that goes quickly, and answered together.

A thread of its own for each small write costs many times what the write does: to be woken, to wrest the interpreter
from the event loop, to wake that in turn. So one thread does all that waits. Decides how long calls wait for others
under load, and when a second thread is called to help: when a call blocks, the others go on after SLOW_CALL. Knows
nothing of what is done.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, TypeVar

from incoming.core.errors import ServerShutdown

T = TypeVar("T")

WAKE_INTERVAL = 0.005
"""Seconds after which a thread is woken again at the earliest, and answers are given at the latest."""

SLOW_CALL = 0.02
"""Seconds that one call may hold up the others."""

MAX_BATCH = 32
"""Answers that are given at the latest when there are so many."""


class Answer:
    """What a thread tells the event loop of one call. `error` or `result` is set when it has been made."""

    __slots__ = ("error", "future", "result")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        """On the event loop; nobody is told who has given up waiting."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Call(Answer):
    """One call on its way."""

    __slots__ = ("work",)

    def __init__(self, work: Callable[[], Any], future: asyncio.Future[Any]) -> None:
        super().__init__(future)
        self.work = work

    def run(self) -> None:
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error


class CallBatcher:
    """Used from one event loop. At most `threads` calls are under way at once."""

    def __init__(self, threads: int, name: str) -> None:
        self._threads = ThreadPoolExecutor(threads, name)
        self._most = threads
        self._waiting: deque[Call] = deque()
        self._done: deque[Call] = deque()
        self._lock = Lock()
        self._runners = 0
        self._advanced_at = 0.0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises. Raises ServerShutdown after `close`."""
        if self._closed:
            raise ServerShutdown("the server is stopping")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append(Call(work, future))
        if self._timer is None:
            self._look(loop)
        return await future

    def close(self) -> None:
        """Nothing new is taken; what was is done by the time that `join` returns."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting:
            self._send_runner(asyncio.get_running_loop())

    def join(self) -> None:
        """Blocks until all is done. After `close`."""
        self._threads.shutdown()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Whether what waits needs a thread: the first one, or a further one because a call blocks the others."""
        self._timer = None
        self._answer()
        if self._closed:
            return
        with self._lock:
            runners = self._runners
        blocked = time.monotonic() - self._advanced_at >= SLOW_CALL and runners < self._most
        if self._waiting and (blocked or not runners):
            self._send_runner(loop)
        elif not runners:
            return  # the next errand need not wait
        self._timer = loop.call_later(WAKE_INTERVAL, self._look, loop)

    def _send_runner(self, loop: asyncio.AbstractEventLoop) -> None:
        with self._lock:
            self._runners += 1
        self._advanced_at = time.monotonic()
        self._threads.submit(self._run_all, loop)

    def _answer(self) -> None:
        while self._done:
            self._done.popleft().answer()

    # --- on the threads -----------------------------------------------------------------------------------------------

    def _run_all(self, loop: asyncio.AbstractEventLoop) -> None:
        unsaid = 0
        while (errand := self._next()) is not None:
            errand.run()
            self._done.append(errand)
            self._advanced_at = time.monotonic()
            unsaid += 1
            if unsaid == MAX_BATCH:
                unsaid = 0
                loop.call_soon_threadsafe(self._answer)
        if unsaid:
            loop.call_soon_threadsafe(self._answer)

    def _next(self) -> Call | None:
        """None when there is no more to do; then this thread counts as gone, and the next errand calls another."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._runners -= 1
            return None
