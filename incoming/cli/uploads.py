"""`incoming uploads list|show|cancel|retry`: what the status page does, from a shell on the server's machine.

Works on the stores in the storage directory, whether the server runs or not: workers learn of a change here as of each
other's changes. Decides what is printed; what may be done is decided by the layers below.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from incoming.cli.terminal import complain, fail, say
from incoming.core.errors import BadParameter, UnknownTicket, UploadError
from incoming.core.ticket import State, Ticket
from incoming.monitoring.connections import UploadActivity
from incoming.monitoring.upload_overview import OPERATOR_REASON, UNDER_WAY, describe
from incoming.monitoring.worker_reports import overview_of
from incoming.server import log_format
from incoming.settings.settings import ConfigError, Settings, load_settings
from incoming.storage.open import UnusableStorage, check_version, open_stores
from incoming.uploads.cancellation import cancel, remove_bytes
from incoming.uploads.handover import retry

COMMAND = "incoming uploads"
COLUMNS = ("id", "state", "arrived", "size", "speed", "idle", "attempts", "name")
MORE = (
    *("age", "in_state", "paused", "clients", "transports", "connections"),
    *("media_type", "metadata", "digest", "requested_by", "callback_url", "next_attempt", "problem"),
)
SHORT_ID = 8
"""Characters of an id that are printed, as in the log."""

ABOUT = (
    "What the status page does, from a shell on the server's machine, as the service's user or root; the server may be "
    "running or not. Exit codes: 0 success, 1 the operation failed, 2 usage error."
)


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the command and return the exit code. Prints to standard output."""
    told = _parser().parse_args(arguments)
    try:
        settings = load_settings(_server_options(told), environment)
        check_version(settings)
    except (ConfigError, UnusableStorage) as error:
        return fail(COMMAND, str(error), 2)
    log_format.configure("warning", "text")
    try:
        return asyncio.run(_Command(settings, told).run())
    except (UploadError, OSError) as error:
        return fail(COMMAND, str(error), 1)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=COMMAND, allow_abbrev=False, description=ABOUT, epilog="See doc/operations.md."
    )
    parser.add_argument("--config", metavar="FILE", help="the server's configuration file, which names the directory")
    parser.add_argument("--storage-dir", metavar="DIR", help="the storage directory (default: as configured)")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="list uploads under way, or those in one state, the latest first")
    listing.add_argument("--state", choices=[str(state) for state in State], help="only those in this state")
    listing.add_argument("--limit", type=_number, default=100, metavar="N", help="at most N uploads (default: 100)")
    for name, about in (
        ("show", "show all facts about one upload"),
        ("cancel", "cancel an upload, remove what has arrived, and tell the app"),
        ("retry", "try a handover now, also one that has failed while its file is kept"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument("id", help="the upload's id, or its first characters as in the log")
        if name == "cancel":
            command.add_argument("--reason", default=OPERATOR_REASON, help="the reason that its user and its app get")
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _server_options(told: argparse.Namespace) -> list[str]:
    given = {"--config": told.config, "--storage-dir": told.storage_dir}
    return [word for option, value in given.items() if value for word in (option, value)]


class _Command:
    """One call."""

    def __init__(self, settings: Settings, told: argparse.Namespace) -> None:
        self._settings = settings
        self._options = told
        self._sending: dict[str, UploadActivity] | None = None

    async def run(self) -> int:
        stores = await open_stores(self._settings)
        self._tickets, self._operators, self._files = stores.tickets, stores.operators, stores.files
        try:
            work: Callable[[], Awaitable[None]] = getattr(self, f"_{self._options.command}")
            await work()
        finally:
            await stores.close()
        return 0

    async def _list(self) -> None:
        states = (State(self._options.state),) if self._options.state else UNDER_WAY
        found = await self._operators.latest(states, self._options.limit + 1)
        facts = [await self._facts(ticket) for ticket in found[: self._options.limit]]
        if self._options.json:
            say(json.dumps(facts, indent=2))
        elif facts:
            columns = (*COLUMNS, "problem") if any(fact["problem"] for fact in facts) else COLUMNS
            for line in table([columns, *(_cells(columns, fact) for fact in facts)]):
                say(line)
            if len(found) > len(facts):
                complain(COMMAND, f"there are more than these {len(facts)}: --limit shows more")
        else:
            say("no uploads" if self._options.state is None else f"no uploads in state {self._options.state}")

    async def _show(self) -> None:
        await self._print(await self._named())

    async def _cancel(self) -> None:
        ticket = await self._named()
        cancelled = await cancel(self._tickets, ticket.id, self._options.reason, notify_app=True)
        await remove_bytes(self._files, ticket)
        await self._print(cancelled)

    async def _retry(self) -> None:
        ticket = await self._named()
        await self._print(await retry(self._tickets, ticket.id))

    async def _named(self) -> Ticket:
        """Return the one upload whose id begins as given."""
        beginning = self._options.id.rstrip("…").lower()
        if len(beginning) < SHORT_ID:
            raise BadParameter(f"give at least the first {SHORT_ID} characters of the id")
        found = await self._operators.matching(beginning, 2)
        if not found:
            raise UnknownTicket(f"there is no upload whose id begins with {beginning}")
        if len(found) > 1:
            raise BadParameter(f"several ids begin with {beginning}: give more of it")
        return found[0]

    async def _facts(self, ticket: Ticket) -> dict[str, Any]:
        """Return an upload's facts and its present connections, which workers report every few seconds."""
        if self._sending is None:
            self._sending = (await overview_of(self._operators)).uploads
        return describe(ticket, self._sending.get(ticket.id), self._tickets.clock.now())

    async def _print(self, ticket: Ticket) -> None:
        facts = await self._facts(ticket)
        if self._options.json:
            say(json.dumps(facts, indent=2))
            return
        for name in ("id", *COLUMNS[1:], *MORE):
            say(f"{name:<13} {_text(name, facts[name])}")


def _cells(columns: Sequence[str], facts: Mapping[str, Any]) -> tuple[str, ...]:
    shortened = {**facts, "id": facts["id"][:SHORT_ID]}
    return tuple(_text(name, shortened[name]) for name in columns)


def _text(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name in ("arrived", "size"):
        return readable_size(value)
    if name == "speed":
        return f"{readable_size(value)}/s" if value else "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        value = ", ".join(value)
    if isinstance(value, dict):
        value = ", ".join(f"{key}={text}" for key, text in value.items())
    if name in ("age", "idle", "in_state", "next_attempt"):
        return readable_duration(value)
    return log_format.printable(str(value)) or "-"


def readable_size(size: int) -> str:
    """Return a size in binary units, with three significant digits."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:
            return f"{size} B" if unit == "B" else f"{value:.3g} {unit}" if value < 999.5 else f"{value:.0f} {unit}"
        value /= 1024
    return f"{value:.3g} TiB" if value < 999.5 else f"{value:.0f} TiB"


def readable_duration(seconds: float) -> str:
    """Return a duration in the two largest units that fit."""
    whole = max(0, round(seconds))
    for length, unit, small, small_unit in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= length:
            return f"{whole // length} {unit} {whole % length // small} {small_unit}"
    return f"{whole} s"


def table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield lines with aligned columns; the last column is not padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        padded = (cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False))
        yield "  ".join((*padded, row[-1]))
