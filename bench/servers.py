"""The compared servers, each with its defaults, in a namespace if there is one.

Each gives the file of a finished upload, which the benchmark verifies by SHA-256.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent
PEERS = BENCH / "peers"
TUSD_VERSION = "2.9.1"
TUSD = PEERS / "bin" / f"tusd-{TUSD_VERSION}" / "tusd"
"""Missing if it could not be built."""

UPPY = PEERS / "bin" / "uppy.js"
"""What a page loads of Uppy, bundled from `uppy.mjs`."""

APP = """
import asyncio, sys
class App(asyncio.Protocol):
    accepted = 0
    def connection_made(self, transport):
        self.transport, self.came = transport, b""
    def data_received(self, data):
        self.came += data
        head, found, body = self.came.partition(b"\\r\\n\\r\\n")
        lines = dict(line.lower().split(b": ", 1) for line in head.split(b"\\r\\n")[1:] if b": " in line)
        if not found or len(body) < int(lines.get(b"content-length", 0)):
            return
        self.came, answer = b"", b"done"
        if head.startswith(b"POST"):
            App.accepted += 1
        else:
            answer = str(App.accepted).encode()
        close = lines.get(b"connection") == b"close"
        told = b"Connection: close\\r\\n" if close else b""
        self.transport.write(b"HTTP/1.1 200 OK\\r\\n%sContent-Length: %d\\r\\n\\r\\n%s" % (told, len(answer), answer))
        if close:
            self.transport.close()
async def main():
    server = await asyncio.get_running_loop().create_server(App, sys.argv[1], int(sys.argv[2]))
    await server.serve_forever()
asyncio.run(main())
"""
"""Accepts every file, over kept connections if the client keeps them; GET tells how many."""

NGINX = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 1024; }}
http {{
    include /etc/nginx/mime.types; access_log off; client_max_body_size 0;
    client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi; uwsgi_temp_path {directory}/uwsgi; scgi_temp_path {directory}/scgi;
    server {{
        listen {host}:{port};
        location / {{ root {pages}; }}
        location = /tickets {{
            proxy_pass {tickets}; proxy_pass_request_headers off; proxy_http_version 1.1;
        }}
        location /put/ {{ alias {directory}/put/; dav_methods PUT; create_full_put_path on; }}
        location /buffered/ {{
            alias {directory}/put/; dav_methods PUT; create_full_put_path on; client_body_buffer_size 1m;
        }}
    }}
}}
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


@dataclass
class Servers:
    """All servers at the far end: Incoming with an app, nginx with the page and DAV PUT, @tus/server, and tusd if it
    was built. `pids` has those that run, by name.
    """

    host: str
    directory: Path
    prefix: Sequence[str] = ()
    workers: int = 1
    fast: bool = True
    """Whether Incoming may use its extra `fast`."""
    hosts: Sequence[str] = ()
    """Further addresses of this end. With some another Incoming runs, which tells pages to use them as well."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Further variables for Incoming."""
    pids: dict[str, int] = field(default_factory=dict)
    incoming_port: int = field(default_factory=free_port)
    hosts_port: int = field(default_factory=free_port)
    app_port: int = field(default_factory=free_port)
    nginx_port: int = field(default_factory=free_port)
    tus_port: int = field(default_factory=free_port)
    tusd_port: int = field(default_factory=free_port)

    def origin(self, port: int) -> str:
        return f"http://{self.host}:{port}"

    def ticket(self, port: int | None = None, **more: str) -> str:
        """Return a ticket of an Incoming server, requested from an address that may call the backend functions."""
        command = [*self.prefix, sys.executable, "-c", _POST, self._new_upload(port, **more)]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def ticket_here(self, **more: str) -> str:
        """Return a ticket as `ticket` does, but sooner, without a namespace in between."""
        with urllib.request.urlopen(urllib.request.Request(self._new_upload(**more), method="POST")) as answer:
            return answer.read().decode()

    def _new_upload(self, port: int | None = None, **more: str) -> str:
        origin = self.origin(port or self.incoming_port)
        return f"{origin}/incoming/0.1/backend/new_upload?{self.ticket_request(**more)}"

    def ticket_request(self, **more: str) -> str:
        """Return the parameters for tickets whose file stays, so that it can be compared."""
        told = {"signalFinishURL": f"{self.origin(self.app_port)}/finished", "removeFileWhenFinished": "false", **more}
        return urllib.parse.urlencode(told)

    def handed_over(self) -> int:
        """Return how many callbacks the app has accepted."""
        with urllib.request.urlopen(self.origin(self.app_port)) as answer:
            return int(answer.read())

    def received(self, server: str, name: str) -> Path:
        """Return the path of an upload at that server."""
        if server.startswith("incoming"):
            return self.directory / server / name[:2] / name
        return self.directory / server / name

    @contextlib.contextmanager
    def running(self) -> Iterator[Servers]:
        with contextlib.ExitStack() as stack:
            self._start_product(stack)
            self.start_pages(stack)
            (self.directory / "tus").mkdir()
            tus = ["node", str(PEERS / "tus_server.mjs"), self.host, str(self.tus_port)]
            self.start(stack, "tus", self.tus_port, [*tus, str(self.directory / "tus")])
            if TUSD.exists():
                tusd = [str(TUSD), "-host", self.host, "-port", str(self.tusd_port), "-verbose=false"]
                self.start(stack, "tusd", self.tusd_port, [*tusd, "-upload-dir", str(self.directory / "tusd")])
            yield self

    @contextlib.contextmanager
    def product(self) -> Iterator[Servers]:
        """Start Incoming and its app, without the rivals."""
        with contextlib.ExitStack() as stack:
            self._start_product(stack)
            yield self

    def _start_product(self, stack: contextlib.ExitStack) -> None:
        self.start(stack, "app", self.app_port, [sys.executable, "-c", APP, self.host, str(self.app_port)])
        self._start_incoming(stack, "incoming", self.incoming_port, "--address", self.host)
        if self.hosts:
            names = ",".join(f"{host}:{self.hosts_port}" for host in self.hosts)
            every = ("--address", "0.0.0.0", "--frontend-hosts", names)
            self._start_incoming(stack, "incoming-hosts", self.hosts_port, *every)

    def _start_incoming(self, stack: contextlib.ExitStack, name: str, port: int, *options: str) -> None:
        command = [sys.executable, str(ROOT / "incoming.py"), "--port", str(port), *options]
        command += ["--storage-dir", str(self.directory / name)]
        command += ["--workers", str(self.workers), "--backend-networks", f"{self.host}/32,127.0.0.0/8"]
        without_fast = {} if self.fast else self._without_fast()
        self.start(stack, name, port, command, {**self.environment, **without_fast})

    def _without_fast(self) -> dict[str, str]:
        """Return an environment in which Python cannot import the extra's package."""
        hidden = self.directory / "hidden"
        hidden.mkdir()
        (hidden / "websockets.py").write_text("raise ImportError\n")
        return {"PYTHONPATH": str(hidden)}

    def start_pages(self, stack: contextlib.ExitStack, *, rivals: bool = True) -> None:
        """Start nginx, which has the page that clients are run in, and the libraries of the rivals."""
        self.start(stack, "nginx", self.nginx_port, self._nginx(rivals))

    def _nginx(self, rivals: bool) -> list[str]:
        pages = self.directory / "pages"
        pages.mkdir()
        (self.directory / "put").mkdir()
        shutil.copy(BENCH / "page.html", pages)
        for library in (PEERS / "node_modules" / "tus-js-client" / "dist" / "tus.min.js", UPPY) if rivals else ():
            shutil.copy(library, pages)
        (pages / "empty").touch()
        configuration = self.directory / "nginx.conf"
        tickets = self._new_upload(count=str(BATCH))
        text = NGINX.format(
            directory=self.directory, host=self.host, port=self.nginx_port, pages=pages, tickets=tickets
        )
        configuration.write_text("user root;\n" + text)
        return [shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx", "-c", str(configuration)]

    def start(
        self,
        stack: contextlib.ExitStack,
        name: str,
        port: int,
        command: list[str],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Start a process and return when it listens on `port`; it ends with `stack`."""
        log = (self.directory / f"{name}.log").open("wb")
        stack.callback(log.close)
        process = subprocess.Popen([*self.prefix, *command], stdout=log, stderr=log, env={**os.environ, **environment})
        stack.callback(_stop, process)
        self.pids[name] = process.pid
        probe = [*self.prefix, sys.executable, "-c", _PROBE, self.host, str(port)]
        if subprocess.run(probe, check=False).returncode:
            raise RuntimeError(f"{name} does not listen: {(self.directory / f'{name}.log').read_text()[-2000:]}")


BATCH = 100
"""Tickets that a page gets with one request."""

_POST = "import sys, urllib.request as u; print(u.urlopen(u.Request(sys.argv[1], method='POST')).read().decode())"
_PROBE = """
import socket, sys, time
for _ in range(200):
    try:
        socket.create_connection((sys.argv[1], int(sys.argv[2])), 1).close()
        break
    except OSError:
        time.sleep(0.05)
else:
    sys.exit(1)
"""


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
