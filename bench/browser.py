"""One upload from a real Chromium, timed in the page and verified at the server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cost import cost
from playwright.sync_api import Browser, sync_playwright
from servers import Servers

CHROMIUM = "/usr/bin/chromium"
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
CLIENTS = {
    "incoming-websocket": "incoming",
    "incoming-http": "incoming",
    "incoming-http-hosts": "incoming-hosts",
    "incoming-tus": "incoming",
    "incoming-tus-4": "incoming",
    "tus": "tus",
    "tusd": "tusd",
    "put": "nginx",
}
"""The server of each client."""
CONNECTIONS = {
    "incoming-websocket": 16,
    "incoming-http": 4,
    "incoming-http-hosts": 16,
    "incoming-tus": 1,
    "incoming-tus-4": 4,
    "tus": 1,
    "tusd": 1,
    "put": 1,
    "incoming-direct": 6,
    "uppy-s3": 1,
}
"""Most connections of each client for one file."""
SETTLING = 1_500
"""Milliseconds from the loading of a page to its upload, in which Chromium starts a spare process for the next page, at
half a second of a core.
"""
PATIENCE = 3_600_000
"""Milliseconds after which an upload is abandoned: a single connection needs 36 minutes for 256 MiB on the worst of the
lines.
"""


@dataclass(frozen=True)
class Upload:
    """One verified upload: `seconds` as the page saw it, `server_cpu` and `client_cpu` in seconds; when it `ended`, by
    the monotonic clock.
    """

    client: str
    bytes: int
    seconds: float
    server_cpu: float
    client_cpu: float
    ended: float

    @property
    def rate(self) -> float:
        """MB/s, decimal."""
        return self.bytes / self.seconds / 1e6


@contextlib.contextmanager
def chromium(prefix: Sequence[str] = (), *more: str) -> Iterator[Browser]:
    """A Chromium, inside a namespace when `prefix` is the command that enters it; `more` are its options."""
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        wrapper = Path(directory) / "chromium"
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(prefix)} {CHROMIUM} "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        browser = playwright.chromium.launch(executable_path=str(wrapper), args=[*QUIET, *more])
        try:
            yield browser
        finally:
            browser.close()


def clients(servers: Servers) -> list[str]:
    """Return the clients whose server runs."""
    return [client for client, server in CLIENTS.items() if server in servers.pids]


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(browser: Browser, servers: Servers, client: str, source: Path, expected: str) -> Upload:
    """Upload `source` once with a fresh page. Raises if the file that arrived differs."""
    told, name = _how(servers, client)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{servers.origin(servers.nginx_port)}/page.html")
    page.set_input_files("#file", str(source))
    page.wait_for_timeout(SETTLING)
    pid = servers.pids[CLIENTS[client]]
    server_before, client_before = cost(pid), cost(os.getpid())
    seconds = float(page.evaluate("told => window.upload(told)", {**told, "patience": PATIENCE}))
    ended = time.monotonic()
    spent, used = cost(pid) - server_before, cost(os.getpid()) - client_before
    context.close()
    received = _received(servers, client, name)
    if digest(received) != expected:
        raise RuntimeError(f"{client}: the file that arrived is not the one that was sent")
    received.unlink()
    return Upload(client, source.stat().st_size, seconds, spent.cpu, used.cpu - spent.cpu, ended)


def _how(servers: Servers, client: str) -> tuple[dict[str, Any], str]:
    """Return the parameters of the page, and the name of the file at the server, if known before."""
    if client.startswith("incoming-tus"):
        ticket = servers.ticket()
        endpoint = f"{servers.origin(servers.incoming_port)}/incoming/0.1/frontend/tus/{ticket}"
        return {"way": "tus", "library": "tus.min.js", "endpoint": endpoint, "parts": CONNECTIONS[client]}, ticket
    if client.startswith("incoming"):
        port = servers.hosts_port if client.endswith("hosts") else servers.incoming_port
        origin, ticket = servers.origin(port), servers.ticket(port)
        told = {"way": "incoming", "library": f"{origin}/incoming/0.1/frontend/incoming.js", "ticket": ticket}
        told |= {"host": origin.partition("//")[2], "transport": client.split("-")[1]}
        return told, ticket
    if client in ("tus", "tusd"):
        origin = servers.origin(servers.tus_port if client == "tus" else servers.tusd_port)
        return {"way": "tus", "library": "tus.min.js", "endpoint": f"{origin}/files/", "parts": 1}, ""
    return {"way": "put", "url": f"{servers.origin(servers.nginx_port)}/put/file"}, "file"


def _received(servers: Servers, client: str, name: str) -> Path:
    if client in ("tus", "tusd"):  # their data about a file is beside it, with a suffix
        files = (path for path in (servers.directory / client).iterdir() if not path.suffix)
        return max(files, key=lambda path: path.stat().st_mtime)
    return servers.received("put" if name == "file" else CLIENTS[client], name)
