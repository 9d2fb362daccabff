"""What the commands print: lines for people, with everything escaped that the terminal cannot show."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from incoming.server import log_format
from incoming.settings.command_line import with_hint


class CommandParser(argparse.ArgumentParser):
    """Parses a command line, and says what is wrong with it in one line, with the option that may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Print an error and exit with code 2."""
        complain(self.prog, with_hint(self, message))
        raise SystemExit(2)


def say(line: str) -> None:
    """Print a line to standard output. What the terminal's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding))  # noqa: T201 - this is what a command is for


def complain(command: str, message: str) -> None:
    """Print what is wrong to standard error, in one line."""
    print(f"{command}: {log_format.printable(message)}", file=sys.stderr)  # noqa: T201


def fail(command: str, message: str, code: int) -> int:
    """Print an error and return the exit code."""
    complain(command, message)
    return code
