"""`incoming check callback URL`: a trial call to an app, from the server's machine, before any user sends a file.

Decides what is printed and the exit code: 0 the app accepts callbacks, 1 it does not, 2 usage error. What a trial call
is, and what an answer means, is decided in incoming.callbacks. Nothing is sent besides the trial; of an https URL the
certificate is read in a connection of its own, after the app has accepted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

from incoming.callbacks.answer import Answer
from incoming.callbacks.client import CallbackClient, ssl_context
from incoming.callbacks.trial import CallbackTrial, explained, succeeded
from incoming.cli.checks.findings import Findings
from incoming.cli.terminal import say
from incoming.client.upload.address import did_you_mean
from incoming.core.callback_url import MAX_SHOWN, shown_url
from incoming.core.ticket import TicketOptions
from incoming.core.ticket_options import FORM, FORMATS
from incoming.handlers.backend.ticket_options import MAX_SECRET, callback_url
from incoming.server import log_format
from incoming.settings.settings import ConfigError, Settings

SLOW_RESPONSE = 2.0
"""Seconds. An app that works before it answers keeps a connection of its own server busy for each upload."""

EXPIRES_SOON = 14 * 86400.0
"""Seconds before the end of a certificate at which an operator wants to know of it."""

HANDSHAKE = 5.0
"""Seconds for reading a certificate."""

ABOUT = (
    "Call an app as the server does when a file has arrived, marked as a trial (header Incoming-Test: yes, field "
    "test=yes), and say what it answered. The call obeys callback_hosts, callback_networks, callback_ca_file and the "
    "time-outs of the configuration. Exit codes: 0 the app accepts callbacks, 1 it does not, 2 usage error."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this check."""
    parser.add_argument("url", metavar="URL", help="what the app gives as signalFinishURL")
    parser.add_argument(
        "--format", choices=FORMATS, default=FORM, help="what the app gives as signalFinishFormat (default: form)"
    )
    parser.add_argument("--secret", default="", help="the app's backendSecret; other users can see it while this runs")
    parser.add_argument(
        "--secret-file",
        dest="file_with_secret",
        metavar="FILE",
        help="a file whose first line is the secret; - for stdin",
    )


def check_callback(url: str, settings: Settings, secret: str = "", form: str = FORM) -> Findings:
    """Return what was found by a trial call. Raises ConfigError for a URL that cannot be used."""
    options = TicketOptions(usable_url(url), backend_secret=secret, signal_finish_format=form)
    found = Findings(f"callback {shown_url(url, secret)}")
    answer, lines = asyncio.run(_call(settings, options))
    for line in lines:
        found.note(line)
    if succeeded(answer):
        found.good(f"the app answered '{answer.verdict.value}'")
    else:
        cause, cure = (line.partition(": ")[2] for line in explained(answer))
        found.fault(f"{answer.reason} ({cause})", cure)
    return found


def run(given: argparse.Namespace, settings: Settings) -> int:
    """Make the trial call and return the exit code. Raises ConfigError and OSError for what cannot be used."""
    secret = read_secret(given.secret, given.file_with_secret)
    url = usable_url(given.url)
    log_format.configure("warning", "text")
    say(f"calling {shown_url(url, secret)} as a trial, {'signed' if secret else 'without a secret'}")
    options = TicketOptions(url, backend_secret=secret, signal_finish_format=given.format)
    return _report(*asyncio.run(_call(settings, options)))


def usable_url(text: str) -> str:
    """Return the URL of a callback. Raises ConfigError, which names the one that may have been meant."""
    try:
        return callback_url(text)
    except ValueError as error:
        raise ConfigError(f"the URL {text[:MAX_SHOWN]!r} cannot be used: {error}{did_you_mean(text)}") from error


def read_secret(secret: str, file: str | None) -> str:
    """Return the secret, or the first line of the file with it. Raises ConfigError, OSError."""
    if file:
        if secret:
            raise ConfigError("give --secret or --secret-file, not both")
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
        secret = text.partition("\n")[0].removesuffix("\r")
    if len(secret) > MAX_SECRET:
        raise ConfigError(f"the secret has {len(secret)} characters, the limit is {MAX_SECRET}")
    return secret


async def _call(settings: Settings, options: TicketOptions) -> tuple[Answer, list[str]]:
    """Return the answer and, if the app accepted, what else is known of the call, a line each."""
    client = CallbackClient(settings)
    begin = time.perf_counter()
    try:
        answer = await CallbackTrial(client, settings.storage_dir).call(options, time.time())
    finally:
        client.close()
    if not succeeded(answer):
        return answer, []
    lines = [_took(time.perf_counter() - begin)]
    lines += [line async for line in _certificate(options.signal_finish_url, settings.callback_ca_file)]
    lines.append(
        f"by this configuration files lie in {settings.storage_dir}: try 'incoming check storage --seen-at DIR'"
    )
    return answer, lines


def _took(seconds: float) -> str:
    slow = "; answer before the work is done, with 'wait' if need be" if seconds > SLOW_RESPONSE else ""
    return f"it took {seconds:.2f} s{slow}"


async def _certificate(url: str, ca_file: str, now: Callable[[], float] = time.time) -> AsyncIterator[str]:
    """Yield a line on the certificate of an https URL, if it can be read."""
    parts = urlsplit(url)
    if parts.scheme != "https":
        return
    context = ssl_context(ca_file) if ca_file else ssl.create_default_context()
    with contextlib.suppress(OSError, TimeoutError):
        opening = asyncio.open_connection(parts.hostname, parts.port or 443, ssl=context)
        _, writer = await asyncio.wait_for(opening, HANDSHAKE)
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        ends = ssl.cert_time_to_seconds(str((connection.getpeercert() or {})["notAfter"]))
        writer.close()
        left = ends - now()
        renew = "; renew it" if left < EXPIRES_SOON else ""
        yield f"{connection.version()}; the certificate is valid for {left / 86400:.0f} more days{renew}"


def _report(answer: Answer, lines: list[str]) -> int:
    if succeeded(answer):
        for line in lines:
            say(line)
        say(f"the app answered '{answer.verdict.value}': callbacks work")
        return 0
    say(f"the trial failed: {answer.reason}")
    for line in explained(answer):
        say(line[0].lower() + line[1:])
    return 1
