"""What the commands print: lines for people, with everything escaped that the terminal cannot show."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from typing import NoReturn

from incoming.server import log_format

_CHOICE = re.compile(r"invalid choice: '(.*)' \(choose from (.*)\)")


class CommandParser(argparse.ArgumentParser):
    """Parses a command line, and says what is wrong with it in one line, with the option that may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Complain, and end with code 2."""
        unknown = [word for word in message.split() if word.startswith("--")] if "unrecognized" in message else []
        known = [option for action in self._actions for option in action.option_strings]
        if choice := _CHOICE.search(message):
            unknown, known = [choice[1]], re.findall(r"[\w-]+", choice[2])
        close = [found for word in unknown for found in difflib.get_close_matches(word.partition("=")[0], known, n=1)]
        hint = f"did you mean {close[0]}?" if close else "--help lists all options"
        complain(self.prog, f"{message}; {hint}")
        raise SystemExit(2)


def say(line: str) -> None:
    """Print a line to standard output. What the terminal's encoding lacks is escaped."""
    encoding = sys.stdout.encoding or "ascii"
    print(line.encode(encoding, "backslashreplace").decode(encoding))  # noqa: T201 - this is what a command is for


def complain(command: str, message: str) -> None:
    """Print what is wrong to standard error, in one line."""
    print(f"{command}: {log_format.printable(message)}", file=sys.stderr)  # noqa: T201


def fail(command: str, message: str, code: int) -> int:
    """Complain, and return the exit code."""
    complain(command, message)
    return code
