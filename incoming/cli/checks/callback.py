"""`incoming check callback URL`: a trial call to an app, from the server's machine, before any user sends a file.

Decides what is printed and the exit code: 0 the app accepts callbacks, 1 it does not, 2 usage error. What a trial call
is, and what an answer means, is decided in incoming.callbacks.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from incoming.callbacks.answer import Answer
from incoming.callbacks.client import CallbackClient
from incoming.callbacks.trial import CallbackTrial, explained, succeeded
from incoming.cli.terminal import say
from incoming.core.callback_url import shown_url
from incoming.core.ticket import TicketOptions
from incoming.core.ticket_options import FORM, FORMATS
from incoming.handlers.backend.ticket_options import MAX_SECRET, callback_url
from incoming.server import log_format
from incoming.settings.settings import ConfigError, Settings

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


def run(given: argparse.Namespace, settings: Settings) -> int:
    """Make the trial call and return the exit code. Raises ConfigError and OSError for what cannot be used."""
    secret = _secret(given)
    try:
        url = callback_url(given.url)
    except ValueError as error:
        raise ConfigError(f"the URL cannot be used: {error}") from error
    log_format.configure("warning", "text")
    say(f"calling {shown_url(url, secret)} as a trial, {'signed' if secret else 'without a secret'}")
    options = TicketOptions(url, backend_secret=secret, signal_finish_format=given.format)
    return _report(asyncio.run(_call(settings, options)))


def _secret(given: argparse.Namespace) -> str:
    secret: str = given.secret
    file = given.file_with_secret
    if file:
        if secret:
            raise ConfigError("give --secret or --secret-file, not both")
        text = sys.stdin.readline() if file == "-" else Path(file).read_text(encoding="utf-8")
        secret = text.partition("\n")[0].removesuffix("\r")
    if len(secret) > MAX_SECRET:
        raise ConfigError(f"the secret has {len(secret)} characters, the limit is {MAX_SECRET}")
    return secret


async def _call(settings: Settings, options: TicketOptions) -> Answer:
    client = CallbackClient(settings)
    try:
        return await CallbackTrial(client, settings.storage_dir).call(options, time.time())
    finally:
        client.close()


def _report(answer: Answer) -> int:
    if succeeded(answer):
        say(f"the app answered '{answer.verdict.value}': callbacks work")
        return 0
    say(f"the trial failed: {answer.reason}")
    for line in explained(answer):
        say(line[0].lower() + line[1:])
    return 1
