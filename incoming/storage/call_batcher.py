"""Small blocking calls, run one after the other by one thread while that is quick, with results delivered together.

Waking a thread for each small write, which then competes with the event loop for the interpreter lock, costs many times
the write. So one thread runs all pending calls, and what they need from elsewhere is prepared for many at once. Decides
how long calls are gathered under load, and when another thread is added: when one call takes longer than SLOW_CALL.
Knows nothing of what the calls do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any, Generic, TypeVar

from incoming.core.errors import ServerShutdown

A = TypeVar("A")
T = TypeVar("T")

Prepare = Callable[[Sequence[A]], Sequence[Callable[[], T]]]
"""Return for each argument the call that is to be made with it. Blocks, and raises nothing."""

WAKE_INTERVAL = 0.005
"""Seconds between two wake-ups of a thread, and until results are delivered at the latest."""

SLOW_CALL = 0.02
"""Seconds after which a call counts as blocking the others."""

MAX_BATCH = 32
"""Calls that are prepared together, and results that are delivered without further delay."""


class Answer:
    """The result of one call for the event loop. `error` or `result` is set when it has been made."""

    __slots__ = ("error", "future", "result")

    def __init__(self, future: asyncio.Future[Any]) -> None:
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def answer(self) -> None:
        """Set the future, unless its caller was cancelled. Runs on the event loop."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.result)
        else:
            self.future.set_exception(self.error)


class Call(Answer):
    """One pending call; `work` is set when it is prepared."""

    __slots__ = ("argument", "work")

    def __init__(self, argument: Any, future: asyncio.Future[Any]) -> None:
        super().__init__(future)
        self.argument = argument
        self.work: Callable[[], Any] | None = None

    def run(self) -> None:
        assert self.work is not None  # noqa: S101 - for the type checker
        try:
            self.result = self.work()
        except BaseException as error:
            self.error = error


class CallBatcher(Generic[A, T]):
    """Runs calls for one event loop, at most `threads` at the same time."""

    def __init__(self, threads: int, name: str, prepare: Prepare[A, T]) -> None:
        """Call `prepare` on a thread with the arguments of calls that are made next, at most MAX_BATCH."""
        self._threads = ThreadPoolExecutor(threads, name)
        self._most = threads
        self._prepare = prepare
        self._waiting: deque[Call] = deque()
        self._prepared: deque[Call] = deque()
        self._done: deque[Call] = deque()
        self._lock = Lock()
        self._runners = 0
        self._advanced_at = 0.0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, argument: A) -> T:
        """Make the call for this argument; return or raise what it does. Raises ServerShutdown after `close`."""
        if self._closed:
            raise ServerShutdown("the server is stopping")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append(Call(argument, future))
        if self._timer is None:
            self._look(loop)
        return await future

    def close(self) -> None:
        """Refuse new calls; pending ones are done when `join` returns."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        if self._waiting:
            self._send_runner(asyncio.get_running_loop())

    def join(self) -> None:
        """Block until all calls are done. Call `close` first."""
        self._threads.shutdown()

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        """Start a thread if pending calls need one: the first, or another because a call blocks the others."""
        self._timer = None
        self._answer()
        if self._closed:
            return
        with self._lock:
            runners = self._runners
        blocked = time.monotonic() - self._advanced_at >= SLOW_CALL and runners < self._most
        if (self._waiting or self._prepared) and (blocked or not runners):
            self._send_runner(loop)
        elif not runners:
            return  # the next call need not wait
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
        """Return the next call, or None when there is none: then this thread ends, and the next call starts another."""
        with self._lock:
            if self._prepared:
                return self._prepared.popleft()
            if not self._waiting:
                self._runners -= 1
                return None
            calls = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
        for call, work in zip(calls, self._prepare([call.argument for call in calls]), strict=True):
            call.work = work
        with self._lock:
            # Where another thread finds them if this one is blocked by the first.
            self._prepared.extend(calls[1:])
        return calls[0]
