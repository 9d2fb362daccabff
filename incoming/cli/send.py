"""`incoming send FILE|DIR|-… URL`: the uploader of a shell, a cron job and a script.

Decides the command line and the exit codes. How a file gets to the server is decided in incoming.client.upload, which
file gets which ticket in send_files.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import os
import signal
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from incoming.cli.send_codes import AGAIN, COMMAND, USAGE
from incoming.cli.terminal import CommandParser, complain, explain, fail
from incoming.client.upload.address import BadAddress, server_url, upload_address
from incoming.settings.value_types import parse_size

ABOUT = (
    "Send files to an application by way of an Incoming!! server, over several connections, and wait until the "
    "application has taken them. Run the same command again after an interruption: it continues. Exit codes: 0 the "
    "application has taken every file, 2 usage error, 3 come again (interrupted, or nothing worked for too long), "
    "4 refused, 5 a file has changed since its upload began."
)
MISSING = "this command needs further packages: pip install 'incoming[client]'"


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Send, and return the exit code. SystemExit(2) for a usage error, SystemExit(0) after --help."""
    given = parser().parse_args(arguments)
    try:
        _check(given)
        tls = believing(given.ca_file)
    except (BadAddress, OSError, ValueError) as error:
        return fail(COMMAND, explain(error), USAGE)
    try:
        from incoming.cli.send_files import Sending
    except ModuleNotFoundError as error:
        return fail(COMMAND, f"{MISSING} ({error.name} is missing)", USAGE)
    try:
        sending = Sending(given, environment, tls)
    except ValueError as error:
        return fail(COMMAND, str(error), USAGE)
    try:
        return asyncio.run(_until_ended(sending))
    except (KeyboardInterrupt, asyncio.CancelledError):
        complain(COMMAND, "interrupted; run the same command again to continue")
        return AGAIN


async def _until_ended(sending: Any) -> int:
    """Send, and end in order at a signal, so that a progress bar leaves the terminal as it was."""
    running = asyncio.ensure_future(sending.run())
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, running.cancel)
    code: int = await running
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = CommandParser(prog=COMMAND, description=ABOUT, epilog="See doc/send.md.")
    made.add_argument(
        "files", nargs="+", metavar="FILE", help="a file, a directory with all files in it, or - for stdin"
    )
    made.add_argument(
        "url", metavar="URL", help="the upload's URL (one file); with --ticket-from or --ticket-url the server's"
    )
    _add_tickets(made)
    made.add_argument("--name", help="the name that the application gets (default: the file's own; for - 'stdin')")
    made.add_argument("--connections", type=_count, default=8, metavar="N", help="connections at most (default: 8)")
    made.add_argument(
        "--parallel", type=_count, default=1, metavar="N", help="files that are sent at once, at most (default: 1)"
    )
    made.add_argument("--rate", type=_rate, default=0, metavar="RATE", help="bytes a second at most, such as 2MB")
    made.add_argument("--transport", choices=("auto", "websocket", "http"), default="auto", help="(default: auto)")
    made.add_argument(
        "--progress", choices=("bar", "plain", "json", "none"), help="(default: bar on a terminal, else plain)"
    )
    made.add_argument(
        "--give-up-after",
        type=_seconds,
        default=86400.0,
        metavar="SECONDS",
        help="end with code 3 when nothing has worked for this long (default: 86400)",
    )
    made.add_argument("--restart", action="store_true", help="cancel what an earlier run has begun, and begin anew")
    made.add_argument("--ca-file", metavar="FILE", help="believe the authorities in this PEM file instead")
    made.add_argument("--state-dir", type=Path, metavar="DIR", help="where unfinished uploads are remembered")
    return made


def _add_tickets(parser: argparse.ArgumentParser) -> None:
    tickets = parser.add_mutually_exclusive_group()
    tickets.add_argument("--ticket-url", metavar="URL", help="ask an application here for each file's ticket")
    tickets.add_argument(
        "--ticket-from",
        metavar="CMD",
        help="run this for each file's ticket, which it prints; it gets INCOMING_NAME, INCOMING_PATH, INCOMING_SIZE",
    )
    parser.add_argument(
        "--metadata",
        type=_pair,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="told to the application with the request for a ticket; may be given several times",
    )


def _check(given: argparse.Namespace) -> None:
    """Raise ValueError for what cannot work."""
    swapped = next((file for file in given.files if file.startswith(("http://", "https://"))), None)
    if swapped:
        raise ValueError(f"{swapped!r} is not a file; the URL comes last")
    for file in given.files:
        if file != "-" and not os.path.lexists(file):
            raise ValueError(f"{file!r}: there is no such file{_similar(Path(file))}")
    if "-" in given.files and sys.stdin is None:
        raise ValueError("stdin is closed: there is nothing to send")
    address = upload_address(given.url)
    _check_source(given, has_ticket=address is not None)
    one_file = len(given.files) == 1 and not Path(given.files[0]).is_dir()
    if address is not None and not one_file:
        raise ValueError("a ticket is for one file; for several use --ticket-url or --ticket-from")
    if given.name is not None and not one_file:
        raise ValueError("--name is for one file")
    if given.files.count("-") > 1:
        raise ValueError("stdin can be sent once")


def believing(ca_file: str | None) -> ssl.SSLContext | None:
    """Return the TLS that believes the authorities in a file, None for the system's. Raises ValueError."""
    if ca_file is None:
        return None
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise ValueError(f"--ca-file {ca_file}: there is no certificate in PEM in it") from error
    except OSError as error:
        raise ValueError(f"--ca-file {ca_file}: {error.strerror}") from error


def _similar(missing: Path) -> str:
    try:
        names = [path.name for path in missing.parent.iterdir()]
    except OSError:
        return ""
    close = difflib.get_close_matches(missing.name, names, n=1)
    return f"; did you mean {str(missing.with_name(close[0]))!r}?" if close else ""


def _check_source(given: argparse.Namespace, *, has_ticket: bool) -> None:
    """Raise ValueError unless there is one source of tickets."""
    has_source = bool(given.ticket_from or given.ticket_url)
    if given.ticket_url is not None:
        server_url(given.ticket_url)
    if has_ticket and has_source:
        raise ValueError("the URL has a ticket already; with --ticket-url or --ticket-from give the server's URL")
    if not has_ticket and not has_source:
        raise ValueError(
            "the URL is that of a server: give an upload's URL (.../incoming/0.1/frontend/upload/TICKET), or say by "
            "--ticket-url or --ticket-from where tickets come from"
        )
    if given.metadata and not has_source:
        raise ValueError("--metadata goes with the request for a ticket: it needs --ticket-url or --ticket-from")


def _pair(text: str) -> tuple[str, str]:
    key, sign, value = text.partition("=")
    if not key or not sign:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form KEY=VALUE")
    return key, value


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _rate(text: str) -> int:
    try:
        return parse_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of bytes, such as 500000, 500kB or 2MiB") from error


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
