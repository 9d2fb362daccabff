"""Measure one PUT over a long line through the proxies of conf/, with and without their settings for HTTP/2.

python bench/http2.py      # the table of doc/installation.md; needs root, nginx, HAProxy, curl and openssl
"""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from line import Ends, Line, stretched

ROOT = Path(__file__).resolve().parent.parent
LINE = Line(rate=200, rtt=100)
SIZE = 32 << 20
RUNS = 2
BACKEND = "http://127.0.0.1:4000/incoming/0.1/backend/new_upload"


@dataclass(frozen=True)
class Setting:
    """A configuration of conf/ without the lines that match `without`. In its own namespace its addresses are free."""

    name: str
    shipped: str
    without: str = ""

    def text(self, directory: Path) -> str:
        text = (ROOT / "conf" / self.shipped).read_text()
        text = re.sub(r"ssl_certificate  .*;", f"ssl_certificate {directory}/both.pem;", text)
        text = re.sub(r"ssl_certificate_key .*;", f"ssl_certificate_key {directory}/both.pem;", text)
        text = re.sub(r"crt [^ ]*", f"crt {directory}/both.pem", text)
        kept = [line for line in text.splitlines() if not self.without or not re.search(self.without, line)]
        return "\n".join(kept) + "\n"

    def command(self, directory: Path) -> list[str]:
        path = directory / self.shipped
        if self.shipped.endswith(".cfg"):
            path.write_text(self.text(directory))
            return ["haproxy", "-db", "-f", str(path)]
        temporary = "".join(
            f"{kind}_temp_path {directory};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        path.write_text(
            f"pid {directory}/pid; daemon off; user root; error_log {directory}/error.log; events {{}}"
            f"http {{ access_log off; {temporary}\n{self.text(directory)} }}"
        )
        return ["nginx", "-c", str(path), "-e", f"{directory}/error.log"]


SETTINGS = (
    Setting("nginx, HTTP/2, only `proxy_request_buffering off`", "nginx.conf", "_preread_size|body_buffer_size"),
    Setting("nginx, HTTP/2, as conf/nginx.conf sets it", "nginx.conf"),
    Setting("nginx, HTTP/1.1 (conf/nginx-central.conf)", "nginx-central.conf"),
    Setting("HAProxy, HTTP/2, without `tune.h2.initial-window-size`", "haproxy.cfg", r"tune\.h2"),
    Setting("HAProxy, HTTP/2, as conf/haproxy.cfg sets it", "haproxy.cfg"),
)


@contextlib.contextmanager
def running(ends: Ends, port: int, command: list[str]) -> Iterator[None]:
    """Run at the far end, from when it listens until the end of the block."""
    process = subprocess.Popen(ends.far_command(*command), stderr=subprocess.DEVNULL)
    try:
        while f":{port} " not in output(ends.far_command("ss", "-Hltn")):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} has ended")
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


def output(command: list[str]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def upload(ends: Ends, file: Path) -> tuple[str, float]:
    """Upload by curl, as one request; return the version of HTTP and MB/s."""
    form = urllib.parse.urlencode({"signalFinishURL": "http://127.0.0.1:9/"})
    ticket = output(ends.far_command("curl", "--silent", "--fail", "--data", form, BACKEND))
    url = f"https://{ends.far_address}/incoming/0.1/frontend/upload/{ticket}"
    told = "%{http_version} %{speed_upload}"
    curl = ["curl", "--silent", "--fail", "--insecure", "--http2", "-o", "/dev/null", "-w", told, "-T", str(file), url]
    version, speed = output(ends.near_command(*curl)).split()
    return version, float(speed) / 1e6


def make_certificate(directory: Path) -> None:
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=bench"
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "chain.pem"], cwd=directory, check=True, capture_output=True
    )
    parts = [(directory / name).read_bytes() for name in ("chain.pem", "key.pem")]
    (directory / "both.pem").write_bytes(b"".join(parts))


def main() -> int:
    with tempfile.TemporaryDirectory() as home, stretched(LINE) as ends:
        directory = Path(home)
        make_certificate(directory)
        file = directory / "file"
        file.write_bytes(bytes(SIZE))
        server = [
            sys.executable,
            str(ROOT / "incoming.py"),
            "--address",
            "127.0.0.1",
            "--storage-dir",
            f"{home}/storage",
        ]
        print(f"one request of {SIZE >> 20} MiB (curl), {LINE.name}\n\n| | HTTP | MB/s |\n|---|---|---|")
        with running(ends, 4000, server):
            for setting in SETTINGS:
                with running(ends, 443, setting.command(directory)):
                    done = [upload(ends, file) for _ in range(RUNS)]
                print(f"| {setting.name} | {done[0][0]} | {', '.join(f'{rate:.2f}' for _, rate in done)} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
