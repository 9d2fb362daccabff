"""`incoming database upgrade|copy|check|release`: what operators do with the ticket database itself.

Decides the command line and what is printed. Exit codes: 0 success, 1 failed or something to change, 2 usage error.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence

from incoming.cli.check import config_options, report
from incoming.cli.checks.database import check_database
from incoming.cli.terminal import CommandParser, explain, fail, say
from incoming.core.errors import UploadError
from incoming.server import log_format
from incoming.settings.settings import ConfigError, Settings, load_settings
from incoming.storage.administration import copy, release, upgrade
from incoming.storage.open import UnusableStorage

COMMAND = "incoming database"
ABOUT = (
    "Upgrade, move or examine the ticket database, as the service's user. Exit codes: 0 success, 1 failed or something "
    "to change, 2 usage error."
)


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the command and return the exit code. Prints to standard output."""
    given = parser().parse_args(arguments)
    log_format.configure("warning", "text")
    try:
        settings = load_settings(config_options(given.config), environment)
    except ConfigError as error:
        return fail(COMMAND, str(error), 2)
    try:
        return _COMMANDS[given.command](settings)
    except (UploadError, UnusableStorage, OSError) as error:
        return fail(COMMAND, explain(error), 1)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the commands."""
    made = CommandParser(prog=COMMAND, description=ABOUT, epilog="See doc/scaling.md.")
    commands = made.add_subparsers(dest="command", required=True, parser_class=CommandParser)
    for name, about in (
        ("upgrade", "bring the tables up to date; needed only where the server's start says so"),
        ("copy", "move all tickets from SQLite in storage_dir to the empty PostgreSQL database that `database` names"),
        ("check", "look for what may lose commits or slow the database down, and say what to change"),
        ("release", "remove the lock of another host from the SQLite database; only if that host is gone"),
    ):
        commands.add_parser(name, help=about, description=about)
    made.add_config()
    return made


def _upgrade(settings: Settings) -> int:
    say(f"{upgrade(settings)} is of this release")
    return 0


def _copy(settings: Settings) -> int:
    number, where = copy(settings)
    say(f"{number} tickets are in {where} now; start the server with `database`: its uploads continue")
    return 0


def _check(settings: Settings) -> int:
    return report(check_database(settings))


def _release(settings: Settings) -> int:
    host = release(settings)
    say("no host has the ticket database" if host is None else f"removed the lock of host {host!r}")
    return 0


_COMMANDS = {"upgrade": _upgrade, "copy": _copy, "check": _check, "release": _release}
