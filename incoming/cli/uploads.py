"""`incoming uploads list|watch|show|cancel|retry`: what the status page does, from a shell on the server's machine.

Works on the stores in the storage directory, whether the server runs or not: workers learn of a change here as of each
other's changes. Decides what is printed; what may be done is decided by the layers below.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from incoming.cli.terminal import CommandParser, complain, explain, fail, flush, say
from incoming.cli.upload_texts import CLEAR, change, full, listing
from incoming.core.errors import BadParameter, UploadError
from incoming.core.ticket import Ticket
from incoming.monitoring.connections import UploadActivity
from incoming.monitoring.upload_overview import OPERATOR_REASON, UNDER_WAY, describe, describe_fully
from incoming.monitoring.upload_selection import PROBLEM, SORTS, STATES, named, selected, selection
from incoming.monitoring.worker_reports import overview_of
from incoming.server import log_format
from incoming.settings.settings import ConfigError, Settings, load_settings
from incoming.storage.open import UnusableStorage, check_version, open_stores
from incoming.uploads.cancellation import cancel, remove_bytes
from incoming.uploads.handover import retry

COMMAND = "incoming uploads"
Describe = Callable[[Ticket, UploadActivity | None, float], dict[str, Any]]

ABOUT = (
    "What the status page does, from a shell on the server's machine, as the service's user or root; the server may be "
    "running or not. Exit codes: 0 success, 1 the operation failed, 2 usage error."
)


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run the command and return the exit code. Prints to standard output."""
    parsed = parser().parse_args(arguments)
    try:
        if "sort" in parsed:
            selection(parsed.state or "", parsed.search, parsed.sort)
        settings = load_settings(_server_options(parsed), environment)
        check_version(settings)
    except (BadParameter, ConfigError, UnusableStorage) as error:
        return fail(COMMAND, str(error), 2)
    log_format.configure("warning", "text")
    try:
        return asyncio.run(_Command(settings, parsed).run())
    except KeyboardInterrupt:
        return 0
    except (UploadError, OSError) as error:
        return fail(COMMAND, explain(error), 1)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the commands."""
    made = CommandParser(prog=COMMAND, description=ABOUT, epilog="See doc/operations.md.")
    commands = made.add_subparsers(dest="command", required=True, parser_class=CommandParser)
    listing = commands.add_parser("list", help="list uploads under way, or those in one state, the latest first")
    watching = commands.add_parser("watch", help="list them again and again; without a terminal, print what changes")
    watching.add_argument("--interval", type=_number, default=2, metavar="S", help="seconds between (default: 2)")
    for command in (listing, watching):
        command.add_argument(
            "--state", choices=list(STATES), help="only those in this state, or with a problem", metavar="STATE"
        )
        command.add_argument("--search", default="", metavar="TEXT", help="only those that mention it, in any state")
        command.add_argument("--sort", default="", metavar="ORDER", help=f"{', '.join(SORTS)}; -ORDER for the opposite")
        command.add_argument("--limit", type=_number, default=100, metavar="N", help="at most N uploads (default: 100)")
    for name, about in (
        ("show", "show all facts about one upload"),
        ("cancel", "cancel uploads, remove what has arrived, and notify their apps"),
        ("retry", "try handovers now, also those that have failed while their files are kept"),
    ):
        command = commands.add_parser(name, help=about)
        command.add_argument(
            "id", nargs=None if name == "show" else "+", help="the upload's id, or its first characters as in the log"
        )
        if name == "cancel":
            command.add_argument("--reason", default=OPERATOR_REASON, help="the reason that its user and its app get")
    for command in commands.choices.values():
        command.add_argument("--json", action="store_true", help="print JSON")
    made.add_config(**{"--storage-dir": ("DIR", "the storage directory (default: as configured)")})
    return made


def _number(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _server_options(parsed: argparse.Namespace) -> list[str]:
    given = {"--config": parsed.config, "--storage-dir": parsed.storage_dir}
    return [word for option, value in given.items() if value for word in (option, value)]


class _Command:
    """One call."""

    def __init__(self, settings: Settings, parsed: argparse.Namespace) -> None:
        self._settings = settings
        self._options = parsed
        self._sending: dict[str, UploadActivity] | None = None
        self._code = 0

    async def run(self) -> int:
        stores = await open_stores(self._settings)
        self._tickets, self._operators, self._files = stores.tickets, stores.operators, stores.files
        try:
            work: Callable[[], Awaitable[None]] = getattr(self, f"_{self._options.command}")
            await work()
        finally:
            await stores.close()
        return self._code

    async def _list(self) -> None:
        facts, are_all = await self._listed()
        if self._options.json:
            say(json.dumps(facts, indent=2))
        elif facts:
            for line in listing(facts):
                say(line)
            if not are_all:
                complain(COMMAND, f"there are more than these {len(facts)}: --limit shows more")
        else:
            say("no uploads" if self._options.state is None else f"no uploads in state {self._options.state}")

    async def _listed(self) -> tuple[list[dict[str, Any]], bool]:
        """Return the facts of the uploads that are asked for, and whether there are no more of them."""
        options = self._options
        wanted = selection(options.state or "", options.search, options.sort)
        if options.search or options.sort or options.state == PROBLEM:
            found = await selected(self._operators, wanted, (await overview_of(self._operators)).uploads)
        else:
            states = wanted.states if options.state else UNDER_WAY
            found = await self._operators.latest(states, options.limit + 1)
        return [await self._facts(ticket) for ticket in found[: options.limit]], len(found) <= options.limit

    async def _watch(self) -> None:
        """Print changes until the operator interrupts it, or the reader of the output has gone."""
        seen: dict[str, tuple[Any, ...]] = {}
        while True:
            self._sending = None
            facts, _ = await self._listed()
            if sys.stdout.isatty() and not self._options.json:
                say(CLEAR + "\n".join(listing(facts) if facts else ["no uploads"]))
            else:
                seen = self._say_changes(facts, seen)
            if not flush():
                return
            await asyncio.sleep(self._options.interval)

    def _say_changes(self, facts: list[dict[str, Any]], seen: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        """Print a line for each upload of which something changed, and return what is known of them now."""
        known = {one["id"]: tuple(one[name] for name in ("state", "arrived", "paused", "problem")) for one in facts}
        for one in facts:
            if known[one["id"]] != seen.get(one["id"]):
                say(json.dumps(one) if self._options.json else change(one, self._tickets.clock.now()))
        return known

    async def _show(self) -> None:
        await self._print(await named(self._operators, self._options.id))

    async def _cancel(self) -> None:
        await self._each(self._cancel_one)

    async def _cancel_one(self, ticket: Ticket) -> Ticket:
        cancelled = await cancel(self._tickets, ticket.id, self._options.reason, notify_app=True)
        await remove_bytes(self._files, ticket)
        return cancelled

    async def _retry(self) -> None:
        await self._each(lambda ticket: retry(self._tickets, ticket.id))

    async def _each(self, change_one: Callable[[Ticket], Awaitable[Ticket]]) -> None:
        """Change all uploads that are named, or none if one of them is unknown. Of several, each may fail."""
        tickets = {(one := await named(self._operators, text)).id: one for text in self._options.id}
        if len(tickets) == 1:
            return await self._print(await change_one(*tickets.values()))
        changed = []
        for ticket in tickets.values():
            try:
                changed.append(await self._facts(await change_one(ticket)))
            except UploadError as error:
                complain(COMMAND, f"upload {ticket.id[:8]}: {error}")
                self._code = 1
        if self._options.json:
            say(json.dumps(changed, indent=2))
        elif changed:
            for line in listing(changed):
                say(line)
        return None

    async def _facts(self, ticket: Ticket, described: Describe = describe) -> dict[str, Any]:
        """Return an upload's facts and its present connections, which workers report every few seconds."""
        if self._sending is None:
            self._sending = (await overview_of(self._operators)).uploads
        return described(ticket, self._sending.get(ticket.id), self._tickets.clock.now())

    async def _print(self, ticket: Ticket) -> None:
        facts = await self._facts(ticket, describe_fully)
        if self._options.json:
            say(json.dumps(facts, indent=2))
            return
        for line in full(facts):
            say(line)
