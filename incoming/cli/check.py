"""`incoming check config|storage|store|database|proxy|callback`: what is wrong around the server.

Decides the command line. Exit codes: 0 nothing to change, 1 something to change, 2 usage error. What is wrong is
decided in incoming.cli.checks, a module a check.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from incoming.cli.checks import callback
from incoming.cli.checks.config import check_config
from incoming.cli.checks.database import check_database
from incoming.cli.checks.findings import Findings
from incoming.cli.checks.object_store import check_store
from incoming.cli.checks.storage import check_storage
from incoming.cli.send import MISSING, believing
from incoming.cli.terminal import CommandParser, explain, fail, say
from incoming.client.upload.address import server_url
from incoming.server import log_format
from incoming.settings.settings import ConfigError, Settings, load_settings
from incoming.settings.value_types import parse_origins
from incoming.storage.open import UnusableStorage

COMMAND = "incoming check"
ABOUT = (
    "Look for mistakes around the server, and say what to change. Exit codes: 0 nothing to change, 1 something to "
    "change, 2 usage error."
)


def run(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> int:
    """Run a check and return the exit code. SystemExit(2) for a usage error, SystemExit(0) after --help."""
    given = parser().parse_args(arguments)
    if given.check == "config":
        found, _ = check_config(config_options(given.config), environment)
        return report(found)
    log_format.configure("warning", "text")
    try:
        settings = load_settings(config_options(given.config), environment)
        return int(_CHECKS[given.check](given, settings))
    except ModuleNotFoundError as error:
        return fail(COMMAND, f"{MISSING} ({error.name} is missing)", 2)
    except (ConfigError, UnusableStorage, OSError, ValueError) as error:
        return fail(COMMAND, explain(error), 2)


def parser() -> argparse.ArgumentParser:
    """Return the parser of the checks."""
    made = CommandParser(prog=COMMAND, description=ABOUT, epilog="See doc/operations.md.")
    checks = made.add_subparsers(dest="check", required=True, parser_class=CommandParser)
    about = "whether the configuration can be used, and what in it is dangerous"
    checks.add_parser("config", help=about, description=about)
    about = "whether the storage directory can keep uploads, how fast, and for how long"
    storage = checks.add_parser("storage", help=about, description=about)
    storage.add_argument("--taken-to", type=Path, metavar="DIR", help="where an app on this machine puts files")
    storage.add_argument(
        "--seen-at", type=Path, metavar="DIR", help="where an app on this machine sees the storage directory"
    )
    about = "what an object store of the configuration can and cannot do"
    store = checks.add_parser("store", help=about, description=about)
    store.add_argument("name", metavar="NAME", help="its name in object_stores")
    store.add_argument(
        "--origin",
        metavar="URL",
        action="append",
        default=[],
        help="try whether pages of this web origin may PUT parts; repeatable (default: allowed_origins, with direct)",
    )
    about = "whether the ticket database may lose commits, or is slow"
    checks.add_parser("database", help=about, description=about)
    about = "whether a proxy in front of the server lets uploads through, and keeps strangers out; run it on the server"
    proxy = checks.add_parser("proxy", help=about, description=about)
    proxy.add_argument("url", metavar="URL", help="the server as browsers reach it: https://uploads.example.org")
    proxy.add_argument("--server", metavar="URL", help="the server as this machine reaches it (default: its port here)")
    proxy.add_argument("--ca-file", metavar="FILE", help="believe the authorities in this PEM file instead")
    tried = checks.add_parser("callback", help="whether an app's callback works", description=callback.ABOUT)
    callback.add_options(tried)
    made.add_config()
    return made


def config_options(file: str | None) -> list[str]:
    """Return the server's options that name its configuration file."""
    return ["--config", file] if file else []


def report(found: Findings) -> int:
    """Print findings, and return the exit code."""
    for line in (*found.lines, found.summary()):
        say(line)
    return found.code


def check_proxy(url: str, server: str | None, ca_file: str | None, settings: Settings) -> Findings:
    """Return what was found of a proxy. Raises ValueError, OSError, ModuleNotFoundError."""
    from incoming.cli.checks.proxy import ProxyCheck

    tls = believing(ca_file)
    direct = server_url(server or f"http://127.0.0.1:{settings.port}")
    return asyncio.run(ProxyCheck(server_url(url), direct, settings.backend_token, tls).run())


def _storage(given: argparse.Namespace, settings: Settings) -> int:
    for option, directory in (("--taken-to", given.taken_to), ("--seen-at", given.seen_at)):
        if directory is not None and not directory.is_dir():
            raise ValueError(f"{option} {directory}: there is no such directory")
    return report(check_storage(settings, given.taken_to, given.seen_at))


def _store(given: argparse.Namespace, settings: Settings) -> int:
    return report(check_store(settings, given.name, parse_origins(",".join(given.origin))))


def _proxy(given: argparse.Namespace, settings: Settings) -> int:
    return report(check_proxy(given.url, given.server, given.ca_file, settings))


def _database(given: argparse.Namespace, settings: Settings) -> int:
    return report(check_database(settings))


_CHECKS = {
    "storage": _storage,
    "store": _store,
    "database": _database,
    "proxy": _proxy,
    "callback": callback.run,
}
