"""One upload from a real Chromium, timed in the page and verified at the server."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

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
CLIENTS = ("incoming-websocket", "incoming-http", "tus", "put")
CONNECTIONS = {"incoming-websocket": 16, "incoming-http": 4, "tus": 1, "put": 1}
"""How many connections each has for one file at most."""
PATIENCE = 600_000
"""Milliseconds that one upload may take before the run is given up."""


@dataclass(frozen=True)
class Upload:
    """One verified upload: `seconds` as the page saw it, `server_cpu` and `client_cpu` in seconds."""

    client: str
    bytes: int
    seconds: float
    server_cpu: float
    client_cpu: float

    @property
    def rate(self) -> float:
        """MB/s, decimal."""
        return self.bytes / self.seconds / 1e6


@contextlib.contextmanager
def chromium(prefix: Sequence[str] = ()) -> Iterator[Browser]:
    """A Chromium, inside a namespace when `prefix` is the command that enters it."""
    with tempfile.TemporaryDirectory() as directory, sync_playwright() as playwright:
        wrapper = Path(directory) / "chromium"
        wrapper.write_text(f'#!/bin/sh\nexec {" ".join(prefix)} {CHROMIUM} "$@"\n')
        wrapper.chmod(wrapper.stat().st_mode | stat.S_IXUSR)
        browser = playwright.chromium.launch(executable_path=str(wrapper), args=QUIET)
        try:
            yield browser
        finally:
            browser.close()


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def upload(browser: Browser, servers: Servers, client: str, source: Path, expected: str) -> Upload:
    """Uploads `source` once with a fresh page. Raises when what arrived is not what was sent."""
    told, server, name = _how(servers, client)
    context = browser.new_context()
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{servers.origin(servers.nginx_port)}/page.html")
    page.set_input_files("#file", str(source))
    pid = servers.pids[server]
    server_before, client_before = cost(pid), cost(os.getpid())
    seconds = float(page.evaluate("told => window.upload(told)", told))
    spent, used = cost(pid) - server_before, cost(os.getpid()) - client_before
    context.close()
    received = _received(servers, client, name)
    if digest(received) != expected:
        raise RuntimeError(f"{client}: the file that arrived is not the one that was sent")
    received.unlink()
    return Upload(client, source.stat().st_size, seconds, spent.cpu, used.cpu - spent.cpu)


def _how(servers: Servers, client: str) -> tuple[dict[str, str], str, str]:
    if client.startswith("incoming"):
        origin, ticket = servers.origin(servers.incoming_port), servers.ticket()
        told = {"way": "incoming", "library": f"{origin}/incoming/0.1/frontend/incoming.js", "ticket": ticket}
        told |= {"host": origin.partition("//")[2], "transport": client.partition("-")[2]}
        return told, "incoming", ticket
    if client == "tus":
        told = {"way": "tus", "library": "tus.min.js", "endpoint": f"{servers.origin(servers.tus_port)}/files/"}
        return told, "tus", ""
    return {"way": "put", "url": f"{servers.origin(servers.nginx_port)}/put/file"}, "nginx", "file"


def _received(servers: Servers, client: str, name: str) -> Path:
    if client == "tus":
        return max((servers.directory / "tus").glob("*[!.json]"), key=lambda path: path.stat().st_mtime)
    return servers.received("incoming" if name != "file" else "put", name)
