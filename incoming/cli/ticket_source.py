"""Where `incoming send` gets a ticket for each file: from the command line, from a command, or from an application.

Decides how they are asked and which answers are tickets. What a ticket allows is decided by the application.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import shutil
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import aiohttp

from incoming.client.upload.address import BadAddress, UploadAddress, checked_ticket, server_url, upload_address
from incoming.client.upload.http_connection import cause_of, client_session

TIMEOUT = 60.0
"""Seconds for an application or a command to answer. The server may try the application's callback meanwhile."""

MAX_ANSWER = 16 * 1024
MAX_SHOWN = 200


class NoTicket(Exception):
    """There is none at the moment."""


class TicketRefused(Exception):
    """There is none for this file, and there will be none."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """The file that a ticket is for. `path` is below the directory that was named, for a single file its name."""

    name: str
    path: str
    size: int | None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def fields(self) -> dict[str, str]:
        """Return what an application is told."""
        fields = {"filename": self.name, "path": self.path}
        if self.size is not None:
            fields["size"] = str(self.size)
        if self.metadata:
            fields["metadata"] = json.dumps(self.metadata)
        return fields


class TicketSource(Protocol):
    """Gives tickets."""

    is_fixed: bool
    """Whether it has one ticket and no more."""

    async def ticket(self, wanted: Wanted) -> UploadAddress:
        """Return the address of a new upload. Raises NoTicket and TicketRefused."""


class OneTicket:
    """The ticket in the URL of the command line."""

    is_fixed = True

    def __init__(self, address: UploadAddress) -> None:
        self._address = address

    async def ticket(self, wanted: Wanted) -> UploadAddress:
        """Return it."""
        return self._address


class TicketCommand:
    """A command that prints a ticket, or the URL of an upload."""

    is_fixed = False

    def __init__(self, command: str, server: str, environment: Mapping[str, str]) -> None:
        """Parse the command line. Raises ValueError if a shell would not accept it."""
        self._command = shlex.split(command)
        if not self._command:
            raise ValueError("the command of --ticket-from is empty")
        if shutil.which(self._command[0], path=environment.get("PATH")) is None:
            raise ValueError(f"--ticket-from {self._command[0]!r}: there is no such program, or it is not executable")
        self._server = server
        self._environment = environment

    async def ticket(self, wanted: Wanted) -> UploadAddress:
        """Run it. Its errors go to this program's standard error."""
        fields = {"INCOMING_NAME": wanted.name, "INCOMING_PATH": wanted.path}
        fields["INCOMING_SIZE"] = "" if wanted.size is None else str(wanted.size)
        fields["INCOMING_METADATA"] = json.dumps(wanted.metadata)
        try:
            process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                env={**self._environment, **fields},
            )
        except OSError as error:
            raise TicketRefused(f"{self._command[0]!r} cannot be run: {error.strerror}") from error
        output, _ = await process.communicate()
        if process.returncode:
            raise NoTicket(f"{self._command[0]!r} ended with code {process.returncode}")
        return _address(output, self._server, f"{self._command[0]!r}")


class TicketUrl:
    """An application that answers a POST about a file with a ticket, or with the URL of an upload."""

    is_fixed = False

    def __init__(self, url: str, server: str, tls: ssl.SSLContext | None) -> None:
        self._url = url
        self._server = server
        self._tls = tls

    async def ticket(self, wanted: Wanted) -> UploadAddress:
        """Ask it; by GET, with the same in the query, if it knows no POST."""
        form = wanted.fields()
        status, body = await self._ask("POST", {"data": form})
        if status == 405:
            status, body = await self._ask("GET", {"params": form})
        if status >= 500 or status in (408, 425, 429):
            raise NoTicket(f"{self._url} answered {_shown(status, body)}")
        if status not in (200, 201):
            raise TicketRefused(f"{self._url} answered {_shown(status, body)}")
        return _address(body, self._server, self._url)

    async def _ask(self, method: str, given: Mapping[str, Mapping[str, str]]) -> tuple[int, bytes]:
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                client_session() as client,
                client.request(
                    method,
                    self._url,
                    allow_redirects=False,
                    ssl=self._tls or True,
                    **given,  # type: ignore[arg-type]
                ) as answer,
            ):
                return answer.status, await answer.content.read(MAX_ANSWER)
        except TimeoutError as error:
            raise NoTicket(f"{self._url} did not answer within {TIMEOUT:.0f} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoTicket(f"{self._url} does not answer: {cause_of(error)}") from error


def _address(answer: bytes, server: str, source: str) -> UploadAddress:
    """Read a ticket: as text, as JSON, or in an object as `ticket`, `id` or `url`; or the URL of an upload."""
    text = answer.decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
    except ValueError:
        found = text
    if isinstance(found, dict):
        found = next((found[key] for key in ("url", "ticket", "id") if isinstance(found.get(key), str)), None)
    if isinstance(found, str):
        try:
            if "://" in found:
                return upload_address(found) or _no_ticket(source, text)
            return UploadAddress(server, checked_ticket(found))
        except BadAddress:
            pass
    return _no_ticket(source, text)


def _no_ticket(source: str, text: str) -> UploadAddress:
    raise TicketRefused(f"{source} gave no ticket but {text[:MAX_SHOWN]!r}")


def _shown(status: int, body: bytes) -> str:
    text = " ".join(body.decode("utf-8", "replace").split())[:MAX_SHOWN]
    return f"{status}: {text}" if text else str(status)


def source_for(
    url: str,
    ticket_url: str | None,
    ticket_from: str | None,
    environment: Mapping[str, str],
    tls: ssl.SSLContext | None,
) -> TicketSource:
    """Return the source that a command line names. Raises ValueError."""
    address = upload_address(url)
    if address is not None:
        return OneTicket(address)
    if ticket_from is not None:
        return TicketCommand(ticket_from, server_url(url), environment)
    if ticket_url is None:
        raise ValueError("no ticket and no source of tickets")
    return TicketUrl(ticket_url, server_url(url), tls)
