"""A real disk that fails, dies, stalls or writes short when told to, and keeps account of it all."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

from incoming.storage.filesystem.disk import PosixDisk

Rule = Callable[[str, int], BaseException | None]
"""From the name of a call and its number, counted from 1 over all calls, to the error that it raises."""


class Died(Exception):
    """The process is gone: nothing it still had to do gets done."""


def io_error(number: int = errno.EIO) -> OSError:
    return OSError(number, os.strerror(number), "/secret/path")


class FaultyDisk:
    """Does what PosixDisk does unless `rule` has an error for the call. `hits` counts the errors raised.

    `most` limits the bytes of one write. `before` is called with each call's name first, on the calling thread.
    """

    def __init__(self, rule: Rule = lambda name, number: None, most: int | None = None) -> None:
        self.rule = rule
        self.most = most
        self.before: Callable[[str], None] = lambda name: None
        self.calls: list[str] = []
        self.hits = 0
        self.open_descriptors: set[int] = set()
        self._real = PosixDisk()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        real = getattr(self._real, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.before(name)
            with self._lock:
                self.calls.append(name)
                error = self.rule(name, len(self.calls))
                self.hits += error is not None
            if error is not None:
                if name == "close" and not isinstance(error, Died):
                    self.open_descriptors.discard(args[0])
                    real(*args)  # Linux closes a descriptor even when it reports an error
                raise error
            if name == "write" and self.most is not None:
                fd, pieces, offset = args
                args = (fd, [memoryview(pieces[0])[: self.most]], offset)
            if name == "close":
                self.open_descriptors.discard(args[0])  # first: the number may be given out again at once
            result = real(*args, **kwargs)
            if name in ("open", "create"):
                self.open_descriptors.add(result)
            return result

        return call

    def fail(self, name: str, *, times: int = 1, error: int = errno.EIO) -> None:
        """The next so many calls of that name fail."""
        left = [times]

        def rule(called: str, number: int) -> BaseException | None:
            if called != name or not left[0]:
                return None
            left[0] -= 1
            return io_error(error)

        self.rule = rule
        self.hits = 0

    def bury(self) -> None:
        """What the kernel does after a process has died: closes its files, which also ends their locks."""
        for fd in self.open_descriptors:
            self._real.close(fd)
        self.open_descriptors.clear()
