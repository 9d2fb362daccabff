"""What `incoming send` shows while it works: a bar for people at a terminal, lines for logs, JSON for programs.

Decides how often and in which words. Bars and lines go to standard error, JSON and results to standard output.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TaskID, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bars

from incoming.cli.send_codes import COMMAND
from incoming.cli.terminal import complain, flush, note, say
from incoming.cli.upload_texts import readable_size
from incoming.client.upload.outcome import Outcome
from incoming.client.upload.progress import Progress
from incoming.server.log_format import printable

JSON_EVERY, LINE_EVERY = 0.5, 30.0
"""Seconds between two reports of mere progress."""

STATES = {
    "connecting": "connecting",
    "uploading": "sending",
    "arrived": "handing over to the application",
    "handing_over": "handing over to the application",
    "waiting": "the application is working on it",
    "finished": "finished",
    "retrying": "trying again",
}


class Display(Protocol):
    """Shows uploads, each by its path."""

    def show(self, path: str, progress: Progress) -> None:
        """Show the progress of an upload."""

    def done(self, path: str, outcome: Outcome | None) -> None:
        """Show that the application has taken a file; None if it did in an earlier run."""

    def failed(self, path: str, reason: str, code: int) -> None:
        """Show that a file was not sent."""


class Nothing:
    """Shows failures alone."""

    def show(self, path: str, progress: Progress) -> None:
        """Show nothing."""

    def done(self, path: str, outcome: Outcome | None) -> None:
        """Show nothing."""

    def failed(self, path: str, reason: str, code: int) -> None:
        """Complain."""
        complain(COMMAND, f"{path}: {reason}")


class _Seldom:
    """Lets a report through when the state or its note is new, or some time has passed."""

    def __init__(self, every: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._every = every
        self._clock = clock
        self._last: dict[str, tuple[str, str, float]] = {}

    def lets(self, path: str, progress: Progress) -> bool:
        """Return whether this one is reported."""
        state, note, at = self._last.get(path, ("", "", 0.0))
        shown, now = STATES.get(progress.state, progress.state), self._clock()
        if (shown, progress.note) == (state, note) and now - at < self._every:
            return False
        self._last[path] = (shown, progress.note, now)
        return True

    def forget(self, path: str) -> None:
        """Remove an upload that shows no further progress."""
        self._last.pop(path, None)


class Lines(Nothing):
    """A line at each change of state, and one now and then."""

    def __init__(self, seldom: _Seldom | None = None) -> None:
        self._seldom = seldom or _Seldom(LINE_EVERY)

    def show(self, path: str, progress: Progress) -> None:
        """Print a line. The end of a file is the result's."""
        if progress.state != "finished" and self._seldom.lets(path, progress):
            note(f"{printable(path)}: {_described(progress)}")

    def done(self, path: str, outcome: Outcome | None) -> None:
        """Print the result."""
        self._seldom.forget(path)
        say(f"{printable(path)}: {_result(outcome)}")

    def failed(self, path: str, reason: str, code: int) -> None:
        """Complain."""
        self._seldom.forget(path)
        super().failed(path, reason, code)


class JsonLines(Nothing):
    """A JSON object a line."""

    def __init__(self, seldom: _Seldom | None = None) -> None:
        self._seldom = seldom or _Seldom(JSON_EVERY)

    def show(self, path: str, progress: Progress) -> None:
        """Print an object of the type `progress`."""
        if self._seldom.lets(path, progress):
            self._print(
                type="progress",
                file=path,
                state=progress.state,
                arrived=progress.arrived,
                size=progress.size,
                connections=progress.connections,
                transport=progress.transport,
                note=progress.note,
            )

    def done(self, path: str, outcome: Outcome | None) -> None:
        """Print an object of the type `result`."""
        self._seldom.forget(path)
        ticket = outcome.ticket if outcome else None
        self._print(type="result", file=path, code=0, reason="", ticket=ticket, sent_before=outcome is None)

    def failed(self, path: str, reason: str, code: int) -> None:
        """Print an object of the type `result`."""
        self._seldom.forget(path)
        self._print(type="result", file=path, code=code, reason=reason, ticket=None, sent_before=False)

    def _print(self, **fields: Any) -> None:
        say(json.dumps(fields))
        flush()


class TerminalBars(Nothing):
    """A bar for each file that is being sent; its result is a line above the bars."""

    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def show(self, path: str, progress: Progress) -> None:
        """Move the bar."""
        if path not in self._tasks:
            self._tasks[path] = self._bars.add_task(printable(path), total=progress.size, state="")
        state = STATES.get(progress.state, progress.state)
        text = f"{state}: {printable(progress.note)}" if progress.note else state
        self._bars.update(self._tasks[path], completed=progress.arrived, total=progress.size, state=text)

    def done(self, path: str, outcome: Outcome | None) -> None:
        """Put the result in the bar's place."""
        self._end(path)
        self._bars.console.print(f"{printable(path)}: {_result(outcome)}", markup=False, highlight=False)

    def failed(self, path: str, reason: str, code: int) -> None:
        """Put the reason in the bar's place."""
        self._end(path)
        self._bars.console.print(f"{COMMAND}: {printable(path)}: {printable(reason)}", markup=False, highlight=False)

    def _end(self, path: str) -> None:
        if (task := self._tasks.pop(path, None)) is not None:
            self._bars.remove_task(task)


@contextlib.contextmanager
def display_for(kind: str | None) -> Iterator[Display]:
    """Return what was asked for: by default bars on a terminal, and lines elsewhere."""
    if kind is None:
        kind = "bar" if sys.stderr.isatty() else "plain"
    if kind != "bar":
        yield {"plain": Lines, "json": JsonLines, "none": Nothing}[kind]()
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Bars(*columns, console=Console(stderr=True)) as bars:
        yield TerminalBars(bars)


def _described(progress: Progress) -> str:
    words = [STATES.get(progress.state, progress.state)]
    if progress.note:
        words.append(printable(progress.note))
    if progress.state == "uploading":
        size = "?" if progress.size is None else readable_size(progress.size)
        words.append(f"{readable_size(progress.arrived)} of {size}")
        words.append(f"{progress.connections} by {progress.transport}")
    return ", ".join(words)


def _result(outcome: Outcome | None) -> str:
    return "sent before" if outcome is None else f"finished, {readable_size(outcome.size)}"
