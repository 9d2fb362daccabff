"""`incoming doctor`: every check that applies, and a report to send to those who help.

Decides what a report has: versions, the machine, settings without secrets, and what the checks have found. It has no
ticket, no file's name and no user's data; its reader can see all of it, because it is text.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import incoming
from incoming.cli.check import check_proxy, config_options
from incoming.cli.checks.callback import check_callback, read_secret
from incoming.cli.checks.config import check_config
from incoming.cli.checks.database import check_database
from incoming.cli.checks.findings import Findings
from incoming.cli.checks.storage import check_storage
from incoming.cli.terminal import CommandParser, explain, fail, say
from incoming.core.callback_url import shown_url
from incoming.server import log_format
from incoming.settings.settings import ConfigError

COMMAND = "incoming doctor"
ABOUT = (
    "Run the checks that apply (config, storage, database; proxy with --proxy, callback with --callback) and write a "
    "report without secrets, to send to those who help. Exit codes: 0 nothing to change, 1 something to change, "
    "2 usage error."
)
PACKAGES = ("tornado", "PyYAML", "aiohttp", "rich", "prometheus-client", "websockets", "asyncpg")
VARIABLES = ("container", "KUBERNETES_SERVICE_HOST", "INVOCATION_ID", "TZ", "LANG")


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Examine, write the report, and return the exit code."""
    given = parser().parse_args(arguments)
    log_format.configure("warning", "text")
    try:
        found = list(_examine(given, environment))
        lines = [*_machine(environment)]
        for findings in found:
            lines += ["", f"# {findings.title}", "", *findings.lines]
        Path(given.output).write_text("\n".join(lines) + "\n", encoding="utf-8")
    except (ConfigError, OSError, ValueError) as error:
        return fail(COMMAND, explain(error), 2)
    for findings in found:
        for line in findings.lines:
            if not line.startswith(("ok ", "note ")):
                say(line)
        say(findings.summary())
    say(f"the report is in {given.output}; read it before you send it to anybody")
    return max(findings.code for findings in found)


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = CommandParser(prog=COMMAND, description=ABOUT, epilog="See doc/operations.md.")
    made.add_config()
    made.add_argument("--proxy", metavar="URL", help="the server as browsers reach it")
    made.add_argument("--callback", metavar="URL", help="what an app gives as signalFinishURL: make a trial call")
    made.add_argument("--secret-file", metavar="FILE", help="a file with that app's backendSecret; - for stdin")
    made.add_argument("--ca-file", metavar="FILE", help="believe the authorities in this PEM file for --proxy")
    made.add_argument(
        "--output", default="incoming-report.txt", metavar="FILE", help="(default: incoming-report.txt, here)"
    )
    return made


def _examine(given: argparse.Namespace, environment: Mapping[str, str]) -> Iterator[Findings]:
    found, settings = check_config(config_options(given.config), environment)
    yield found
    if settings is None:
        return
    yield check_storage(settings)
    yield check_database(settings)
    if given.proxy:
        try:
            yield check_proxy(given.proxy, None, given.ca_file, settings)
        except ModuleNotFoundError as error:
            found = Findings(f"proxy {shown_url(given.proxy)}")
            found.fault(f"{error.name} is missing", "pip install 'incoming[client]'")
            yield found
    if given.callback:
        yield check_callback(given.callback, settings, read_secret("", given.secret_file))


def _machine(environment: Mapping[str, str]) -> Iterator[str]:
    yield f"# Incoming!! {incoming.__version__}, {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    yield ""
    yield f"Python {platform.python_version()} ({sys.implementation.name})"
    yield f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} CPUs"
    yield ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    for name in VARIABLES:
        if name in environment:
            yield f"{name} is set" if name == "INVOCATION_ID" else f"{name}={environment[name]}"
    for name in ("nginx", "haproxy", "caddy", "traefik", "docker"):
        if shutil.which(name):
            yield f"{name} is installed"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "is missing"
