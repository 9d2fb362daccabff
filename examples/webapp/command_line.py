"""The examples' command line. Decides names and defaults of the options; refuses to know what they are good for."""

import functools
import logging
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

# `python incoming.py`, started in the root of the project, keeps its files here.
_STORAGE_OF_A_SERVER_STARTED_HERE = Path(__file__).resolve().parents[2] / "incoming-data"

# The options' names are written with underscores; --public-incoming-host means --public_incoming_host.
CONTEXT_SETTINGS = {
    "token_normalize_func": lambda name: name.replace("-", "_"),
    "help_option_names": ["--help", "-h"],
    "max_content_width": 100,
}


@dataclass(frozen=True)
class Settings:
    """Where the app listens, and how app, Incoming!! server and browser reach each other. Hosts are `name[:port]`."""

    public_incoming_host: str | None
    """None: the name by which the browser reached this app, with the port of `internal_incoming_host`."""
    internal_incoming_host: str
    public_app_host: str
    internal_app_host: str
    incoming_storage_dir: Path
    backend_token: str
    address: str
    port: int


_OPTIONS = [
    click.option(
        "--public_incoming_host",
        metavar="HOST[:PORT]",
        help="Incoming!! server as browsers reach it. [default: the host name in the browser's address bar, "
        "with the port of --internal_incoming_host; so http://localhost and a name in your network both work]",
    ),
    click.option(
        "--internal_incoming_host",
        metavar="HOST[:PORT]",
        default="localhost:4000",
        show_default=True,
        help="Incoming!! server as this app reaches it.",
    ),
    click.option(
        "--public_app_host",
        metavar="HOST[:PORT]",
        help="This app as browsers reach it; printed at start. [default: localhost:PORT]",
    ),
    click.option(
        "--internal_app_host",
        metavar="HOST[:PORT]",
        help="This app as the Incoming!! server reaches it. [default: localhost:PORT]",
    ),
    click.option(
        "--incoming_storage_dir",
        type=click.Path(path_type=Path),
        envvar="INCOMING_STORAGE_DIR",
        show_envvar=True,
        default=_STORAGE_OF_A_SERVER_STARTED_HERE,
        help="Storage directory of the Incoming!! server, as this app sees it. Files from anywhere else are "
        "refused. [default: incoming-data in the root of the project]",
    ),
    click.option(
        "--backend_token",
        envvar="INCOMING_BACKEND_TOKEN",
        show_envvar=True,
        default="",
        help="What the Incoming!! server has as backend_token, if it has one.",
    ),
    click.option("--address", default="0.0.0.0", show_default=True, help="Address to listen on."),
]


def app_options(default_port: int) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a Click command the options of a web app. It is called with `Settings` and with its own options."""
    port = click.option("--port", type=click.IntRange(1, 65535), default=default_port, show_default=True)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def with_settings(**given: Any) -> None:
            logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
            here = f"localhost:{given['port']}"
            given["public_app_host"] = given["public_app_host"] or here
            given["internal_app_host"] = given["internal_app_host"] or here
            command(Settings(**{field.name: given.pop(field.name) for field in fields(Settings)}), **given)

        decorated: Callable[..., None] = with_settings
        for option in reversed([*_OPTIONS, port]):
            decorated = option(decorated)
        return decorated

    return decorate
