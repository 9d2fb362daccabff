"""Parts that a real Chromium sends straight to a Ceph of one node: Incoming's library next to Uppy's plugin for S3.

Both send to the same gateway in the same run. Uppy's requests are signed in the page with the store's keys, so that no
server delays it; Incoming's URLs come from its server, whose CPU is measured. Every object is verified by SHA-256.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import browser
import objects
from cost import cost
from line import Ends

from tests.support.ceph_cluster import ACCESS_KEY, REGION, SECRET_KEY

OURS, UPPY = "incoming-direct", "uppy-s3"
CLIENTS = (OURS, UPPY)
LOOPBACK = "loopback"


@dataclass(frozen=True)
class Sent:
    """One verified upload: `seconds` as the page saw it, `server_cpu_per_gib` in CPU seconds of the upload server."""

    client: str
    line: str
    bytes: int
    seconds: float
    server_cpu_per_gib: float
    client_cpu_per_gib: float
    requests_per_gib: float

    @property
    def rate(self) -> float:
        """MB/s, decimal."""
        return self.bytes / self.seconds / 1e6


@contextlib.contextmanager
def running(directory: Path, ends: Ends | None = None) -> Iterator[tuple[objects.ObjectServers, Any]]:
    """Yield the servers and a browser, at the two ends of a line if there is one."""
    host, far, near = ("127.0.0.1", [], []) if ends is None else (
        ends.far_address, ends.far_command(), ends.near_command()
    )  # fmt: skip
    found = objects.servers(host, directory, far, rivals=False)
    page = found.servers.origin(found.servers.nginx_port)
    with found.running(), contextlib.ExitStack() as stack:
        found.servers.start_pages(stack)
        # The page signs with WebCrypto, which pages have on secure origins only.
        secure = f"--unsafely-treat-insecure-origin-as-secure={page}"
        yield found, stack.enter_context(browser.chromium(near, secure))


def upload(found: objects.ObjectServers, chromium: Any, client: str, line: str, source: Path, expected: str) -> Sent:
    """Upload `source` once with a fresh page. Raises if the object differs, or if it went another way."""
    servers, size = found.servers, source.stat().st_size
    context = chromium.new_context()
    page = context.new_page()
    page.goto(f"{servers.origin(servers.nginx_port)}/page.html")
    page.set_input_files("#file", str(source))
    told = _how(found, client)
    page.wait_for_timeout(browser.SETTLING)
    asked, server, ours = found.requests(), cost(servers.pids["incoming"]), cost(os.getpid())
    seconds = float(page.evaluate("told => window.upload(told)", {**told, "patience": browser.PATIENCE}))
    spent, used = cost(servers.pids["incoming"]) - server, cost(os.getpid()) - ours
    asked = found.requests() - asked
    if client == OURS and (way := page.evaluate("window.transports")) != ["direct"]:
        raise RuntimeError(f"{client}: the bytes were sent by {way}")
    context.close()
    objects.check(found, client, expected)
    per_gib = objects.GIB / size
    return Sent(client, line, size, seconds, spent.cpu * per_gib, (used.cpu - spent.cpu) * per_gib, asked * per_gib)


def _how(found: objects.ObjectServers, client: str) -> dict[str, Any]:
    servers = found.servers
    if client == UPPY:
        keys = {"accessKeyId": ACCESS_KEY, "secretAccessKey": SECRET_KEY}
        return {"way": "uppy_s3", "library": "uppy.js", "endpoint": f"{found.url}/{objects.BUCKET}", "keys": keys,
                "region": REGION}  # fmt: skip
    origin = servers.origin(servers.incoming_port)
    told = {"way": "incoming", "library": f"{origin}/incoming/0.1/frontend/incoming.js", "transport": "auto"}
    return {**told, "ticket": servers.ticket(destType="s3-sha256"), "host": origin.partition("//")[2]}
