"""The program: finds the command, starts the server's workers, and logs the facts that an operator needs at the start.

Exit codes: 0 success, or the end after SIGTERM or SIGINT; 1 failure; 2 usage or configuration error.
"""

from __future__ import annotations

import asyncio
import difflib
import ipaddress
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence

from tornado.netutil import bind_sockets

import incoming
from incoming.cli import check, completion, database, doctor, send, uploads
from incoming.cli.terminal import fail, open_streams, output_failed
from incoming.platform.processes import raise_descriptor_limit
from incoming.server import log_format
from incoming.server.heartbeats import Heartbeats
from incoming.server.sd_notify import ServiceManager
from incoming.server.supervisor import Supervisor, run_once
from incoming.server.worker import Worker
from incoming.settings.settings import ConfigError, Settings, ignored_variables, load_settings
from incoming.settings.value_types import Network
from incoming.storage.open import UnusableStorage, prepare

log = logging.getLogger(__name__)

BACKLOG = 1024
"""Connections that the kernel holds until a worker accepts them."""

_INSIDE = [
    ipaddress.ip_network(text)
    for text in (
        *("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"),
        *("::1/128", "fc00::/7", "fe80::/10"),
    )
]
"""What the internet does not route (RFC 6890)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or without one the server until shutdown, and return the exit code."""
    open_streams()
    arguments = sys.argv[1:] if arguments is None else arguments
    command = arguments[0] if arguments and not arguments[0].startswith("-") else ""
    if not command:
        return serve(arguments)
    if command not in COMMANDS:
        close = difflib.get_close_matches(command, COMMANDS, n=1)
        hint = f"did you mean {close[0]!r}" if close else f"commands are {', '.join(COMMANDS)}"
        return fail("incoming", f"command {command!r} is unknown; {hint}; --help lists all options", 2)
    code = COMMANDS[command](arguments[1:])
    # What was sent is sent, whether it can be printed or not.
    return code or int(output_failed() and command != "send")


def serve(arguments: Sequence[str]) -> int:
    """Run the server until shutdown, and return the exit code."""
    # The end of a terminal is not the end of the server; the serving process logs the signal.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = load_settings(arguments, os.environ)
        warnings = prepare(settings)
        sockets = _listen(settings)
    except (ConfigError, UnusableStorage) as error:
        return fail("incoming", str(error), 2)
    log_format.configure(settings.log_level, settings.log_format)
    raise_descriptor_limit()
    for variable in ignored_variables(os.environ):
        log.warning("%s is empty and ignored; the file's value or the default holds", variable)
    for line in warnings:
        log.warning("%s", line)
    for level, line in announcements(settings, sockets):
        log.log(level, "%s", line)
    try:
        return _serve(settings, sockets)
    except Exception:
        log.critical("internal server error; the server ends", exc_info=True)
        return 1


COMMANDS = {
    "serve": serve,
    "uploads": uploads.run,
    "database": database.run,
    "check": check.run,
    "doctor": doctor.run,
    "send": send.run,
    "completion": completion.run,
    "manual": completion.run_manual,
}


def _serve(settings: Settings, sockets: list[socket.socket]) -> int:
    manager = ServiceManager()
    if settings.workers == 1:
        try:
            return asyncio.run(Worker(settings, manager).serve(sockets))
        finally:
            _close(sockets)

    # Recovery runs once, before the first connection, in a process of its own: the parent must open no database.
    if code := run_once(lambda lifeline: asyncio.run(Worker(settings).recover())):
        _close(sockets)
        return code
    # From here on the kernel queues connections for the workers that start now.
    manager.ready()
    heartbeats = Heartbeats(manager.timeout) if manager.timeout is not None else None

    def serve(lifeline: int) -> int:
        return asyncio.run(Worker(settings, heartbeats).serve(sockets, lifeline))

    return Supervisor(
        settings.workers, serve, settings.drain_timeout, lambda: _close(sockets), manager, heartbeats
    ).run()


def _close(sockets: list[socket.socket]) -> None:
    for listening in sockets:
        listening.close()


def _listen(settings: Settings) -> list[socket.socket]:
    try:
        if settings.address == "::" and socket.has_dualstack_ipv6():
            # One socket for both kinds, as operators expect of "::"; IPv4 peers then appear as ::ffff:a.b.c.d.
            address = ("::", settings.port)
            both = socket.create_server(address, family=socket.AF_INET6, backlog=BACKLOG, dualstack_ipv6=True)
            both.setblocking(False)
            return [both]
        return bind_sockets(settings.port, settings.address, backlog=BACKLOG)
    except OSError as error:
        where = f"{settings.address} port {settings.port}"
        raise ConfigError(f"cannot listen at {where}: {error.strerror or error}") from error


# --- what is logged at the start --------------------------------------------------------------------------------------


def announcements(settings: Settings, sockets: Sequence[socket.socket]) -> Iterator[tuple[int, str]]:
    """Yield level and text of one log line for each fact that decides who can do what."""
    addresses = ", ".join(url(listening) for listening in sockets)
    workers = f"{settings.workers} worker{'s' if settings.workers > 1 else ''}"
    yield logging.INFO, f"Incoming!! {incoming.__version__} listens at {addresses} with {workers}"
    what = "uploads are" if settings.database else "uploads and database are"
    yield logging.INFO, f"{what} in {settings.storage_dir}, durability '{settings.durability}'"
    if settings.database:
        yield logging.INFO, "tickets are in the PostgreSQL database that 'database' names"
    for store in settings.object_stores:
        yield logging.INFO, f"object store {store}"
    networks = ", ".join(map(str, settings.backend_networks)) or "nobody"
    token = " with the Bearer token" if settings.backend_token else ""
    yield logging.INFO, f"backend functions may be called by {networks}{token}{_through_proxies(settings)}"
    wide = [str(network) for network in settings.backend_networks if not _is_inside(network)]
    if wide and not settings.backend_token and not all(_is_loopback(listening) for listening in sockets):
        yield (
            logging.WARNING,
            f"backend functions are open to the internet ({', '.join(wide)}) without a token; "
            "narrow backend_networks or set backend_token",
        )


def _through_proxies(settings: Settings) -> str:
    if not settings.trusted_proxies:
        return "; requests that came through a proxy may not"
    return f"; X-Forwarded-For is believed from {', '.join(map(str, settings.trusted_proxies))}"


def url(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if listening.family == socket.AF_INET6 else f"http://{host}:{port}"


def _is_inside(network: Network) -> bool:
    return any(network.version == inside.version and network.subnet_of(inside) for inside in _INSIDE)  # type: ignore[arg-type]


def _is_loopback(listening: socket.socket) -> bool:
    return ipaddress.ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback
