"""What the commands print: lines for people, with everything escaped that the terminal cannot show."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn, TextIO

from incoming.server import log_format
from incoming.settings.command_line import options_of, with_hint

STDERR = 2
_losses: list[OSError] = []
"""Why standard output has been given up."""


class CommandParser(argparse.ArgumentParser):
    """Parses a command line, and says what is wrong with it in one line, with the option that may have been meant.

    Options are spelled out, also those of the commands below: an abbreviation would mean another option, or none, as
    soon as a release adds one.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **given})
        self._words: list[str] = []

    def add_config(self, **others: tuple[str, str]) -> None:
        """Add `--config`, and `others` with value and help, before the command and behind it."""
        options = {"--config": ("FILE", "the server's configuration file"), **others}
        commands = [action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction)]
        below = [parser for choices in commands for parser in choices.values()]
        for option, (value, about) in options.items():
            self.add_argument(option, metavar=value, help=about)
            for command in below:
                command.add_argument(option, default=argparse.SUPPRESS, metavar=value, help=about)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Remember the words for `error`."""
        self._words = [word for word in args or () if isinstance(word, str)]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Complain, and end with code 2. An unknown option explains what is wrong with the words behind it."""
        known = {"--", *options_of(self)}
        unknown = [word for word in self._words if word.startswith("--") and word.partition("=")[0] not in known]
        if unknown and "unrecognized" not in message:
            message = f"unrecognized arguments: {' '.join(unknown)}"
        complain(self.prog, with_hint(self, message))
        raise SystemExit(2)


def open_streams() -> None:
    """Give standard output and error somewhere to go where a caller has closed them, and occupy standard input.

    Otherwise files and sockets get their numbers, and Python has no stream for them.
    """
    _losses.clear()
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))


def say(line: str) -> None:
    """Print a line to standard output. What the terminal's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    _print(line.encode(encoding, "backslashreplace").decode(encoding))


def flush() -> bool:
    """Write what has been printed to standard output. Return False if nothing can be printed there any more."""
    try:
        sys.stdout.flush()
    except OSError as error:
        _give_up_output(error)
    return not _losses


def output_failed() -> bool:
    """Return whether something could not be printed to standard output; that its reader has gone is no failure."""
    flush()
    return any(not isinstance(error, BrokenPipeError) for error in _losses)


def _print(line: str) -> None:
    """What cannot be printed must not end what a command does: its exit code tells that."""
    try:
        print(line)  # noqa: T201 - this is what a command is for
    except OSError as error:
        _give_up_output(error)


def _give_up_output(error: OSError) -> None:
    _losses.append(error)
    _discard(sys.stdout)
    if not isinstance(error, BrokenPipeError):
        complain("incoming", f"cannot print: {error.strerror}")


def note(line: str) -> None:
    """Print a line to standard error at once, if that is possible."""
    try:
        print(line, file=sys.stderr, flush=True)  # noqa: T201
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Let what is still buffered of a stream, and what follows, go nowhere: Python would fail for it at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)


def complain(command: str, message: str) -> None:
    """Print what is wrong to standard error, in one line."""
    note(f"{command}: {log_format.printable(message)}")


def explain(error: Exception) -> str:
    """Return an error in one line; of a file's the name and the system's text, without number and quotes."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)


def fail(command: str, message: str, code: int) -> int:
    """Print an error and return the exit code."""
    complain(command, message)
    return code
