"""What the commands print: lines for people, with everything escaped that the terminal cannot show."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, NoReturn

from incoming.server import log_format
from incoming.settings.command_line import options_of, with_hint


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


def say(line: str) -> None:
    """Print a line to standard output. What the terminal's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding))  # noqa: T201 - this is what a command is for


def complain(command: str, message: str) -> None:
    """Print what is wrong to standard error, in one line."""
    print(f"{command}: {log_format.printable(message)}", file=sys.stderr)  # noqa: T201


def explain(error: Exception) -> str:
    """Return an error in one line; of a file's the name and the system's text, without number and quotes."""
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{os.fspath(error.filename)}: {error.strerror}"
    return str(error)


def fail(command: str, message: str, code: int) -> int:
    """Print an error and return the exit code."""
    complain(command, message)
    return code
