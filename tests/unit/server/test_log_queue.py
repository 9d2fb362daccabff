"""Writing the log: no reader and no full disk stops whoever logs, and what is lost is counted."""

import errno
import fcntl
import logging
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from incoming.server import log_queue
from incoming.server.log_format import TextLines
from incoming.server.log_queue import QueuedHandler


class Pipe:
    """A pipe as small as the kernel allows; nobody reads it until a test does."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.size = fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, 4096)

    def read(self) -> str:
        return os.read(self.reading, 10_000_000).decode()

    def lines(self, until: str) -> list[str]:
        text = ""
        while until not in text:
            text += self.read()
        return text.splitlines()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    os.set_blocking(pipe.reading, False)
    while True:  # lets a thread that is still writing end
        try:
            if not pipe.read():
                break
        except BlockingIOError:
            break
    os.close(pipe.writing)
    os.close(pipe.reading)


@pytest.fixture
def handle() -> Iterator[Callable[[int], QueuedHandler]]:
    handlers: list[QueuedHandler] = []

    def make(fd: int) -> QueuedHandler:
        handlers.append(QueuedHandler(fd))
        handlers[-1].setFormatter(logging.Formatter("%(message)s"))
        return handlers[-1]

    yield make
    for handler in handlers:
        handler._wait_written(20.0, end_thread=True)


def record(text: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord("incoming.x", logging.INFO, "/x/a.py", 7, text, arguments, None)


def test_records_come_in_order(pipe: Pipe, handle: Callable[[int], QueuedHandler]) -> None:
    handler = handle(pipe.writing)
    for number in range(100):
        handler.handle(record("line %d", number))
    assert pipe.lines("line 99\n") == [f"line {number}" for number in range(100)]


def test_without_a_reader_records_are_dropped_and_counted(
    pipe: Pipe, handle: Callable[[int], QueuedHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_queue, "MAX_BYTES", 20_000)
    handler = handle(pipe.writing)
    for number in range(1000):
        handler.handle(record("line %04d %s", number, "x" * 100))
    assert handler._bytes <= 20_000
    # What was kept, and the number of what was not, is written as soon as somebody reads.
    text = ""
    while sum(told := [int(count) for count in re.findall(r"^(\d+) log records were dropped", text, re.M)]) < 500 or (
        sum(told) + len(re.findall("^line .*\n", text, re.M)) < 1000
    ):
        text += pipe.read()
    numbers = [int(number) for number in re.findall(r"^line (\d+) x{100}$", text, re.M)]
    assert sum(told) + len(numbers) == 1000
    assert numbers == sorted(set(numbers))
    assert handler._dropped == 0


def test_the_wait_for_a_reader_at_the_end_is_bounded(
    pipe: Pipe, handle: Callable[[int], QueuedHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_queue, "FLUSH_SECONDS", 0.01)
    handler = handle(pipe.writing)
    handler.handle(record("x" * 100_000))
    handler.flush()
    handler.close()
    assert handler._waiting, "the record is still being written"
    pipe.lines("x" * 10 + "\n")


def test_the_end_waits_for_what_is_being_written(pipe: Pipe, handle: Callable[[int], QueuedHandler]) -> None:
    handler = handle(pipe.writing)
    handler.handle(record("last words"))
    handler.flush()
    assert not handler._waiting
    assert pipe.read() == "last words\n"


def test_a_non_blocking_pipe_loses_no_record(pipe: Pipe, handle: Callable[[int], QueuedHandler]) -> None:
    os.set_blocking(pipe.writing, False)
    handler = handle(pipe.writing)
    handler.handle(record("x" * 50_000))
    assert pipe.lines("\n") == ["x" * 50_000]


def test_a_regular_file_is_written_to_directly(tmp_path: Path, handle: Callable[[int], QueuedHandler]) -> None:
    with (tmp_path / "log").open("wb") as file:
        handler = handle(file.fileno())
        handler.handle(record("at once"))
        assert (tmp_path / "log").read_text() == "at once\n"
        assert handler._thread is None


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EPIPE, errno.EIO])
def test_dropped_records_are_counted_and_reported_later(
    number: int, tmp_path: Path, handle: Callable[[int], QueuedHandler], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, failures = os.write, [number] * 3

    def write(fd: int, data: bytes) -> int:
        if failures:
            raise OSError(failures.pop(), "cannot")
        return real(fd, data)

    with (tmp_path / "log").open("wb") as file:
        handler = handle(file.fileno())
        monkeypatch.setattr(log_queue.os, "write", write)
        for text in ("one", "two", "three", "four", "five"):
            handler.handle(record(text))
        monkeypatch.undo()
    assert (tmp_path / "log").read_text().splitlines() == [
        "3 log records were dropped because they could not be written",
        "four",
        "five",
    ]


def test_a_record_that_cannot_be_formatted_is_reported(tmp_path: Path, handle: Callable[[int], QueuedHandler]) -> None:
    with (tmp_path / "log").open("wb") as file:
        handler = handle(file.fileno())
        handler.setFormatter(TextLines())
        handler.handle(record("%d", "no number"))
        handler.handle(record("\udc80"))
    first, second = (tmp_path / "log").read_text().splitlines()
    assert "a log record of /x/a.py:7 cannot be formatted" in first
    assert r"\udc80" in second


def test_a_child_writes_its_own_records_only(pipe: Pipe, handle: Callable[[int], QueuedHandler]) -> None:
    """Forked while the parent's thread waits for a reader."""
    handler = handle(pipe.writing)
    handler.handle(record("parent " + "x" * 20_000))
    handler.handle(record("second"))
    log_queue.FORK_SECONDS, before = 0.01, log_queue.FORK_SECONDS
    try:
        pid = os.fork()
    finally:
        log_queue.FORK_SECONDS = before
    if not pid:
        try:
            assert handler._thread is None
            handler.handle(record("child"))
            handler._wait_written(20.0)
        finally:
            os._exit(0)
    lines: list[str] = []
    while "child" not in "".join(lines) or "second" not in "".join(lines):
        lines.append(pipe.read())
    os.waitpid(pid, 0)
    text = "".join(lines)
    assert (text.count("parent"), text.count("second"), text.count("child")) == (1, 1, 1)


def test_the_thread_ends_before_a_fork(pipe: Pipe, handle: Callable[[int], QueuedHandler]) -> None:
    handler = handle(pipe.writing)
    handler.handle(record("before"))
    assert handler._thread is not None
    handler.before_fork()
    assert handler._thread is None
    handler.handle(record("after"))
    assert pipe.lines("after\n") == ["before", "after"]
