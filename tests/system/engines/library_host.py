"""A web server that has the library's files and does not always give one of them: the module that sends files."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.support.tools import ROOT

DIST = ROOT / "incoming" / "js" / "dist"
MODULE = "incoming-transfer.mjs"
SCRIPT = """addEventListener("load", async () => { globalThis.incoming = await import("URL"); });"""
"""Gives a page the module in a global. After the `load` event, which otherwise waits for MODULE in some browsers."""


class LibraryHost:
    """Serves dist/, and /library.js; the first `attempts` to load MODULE meet `fault`.

    Faults: "dropped" (the connection ends without an answer), "cut" (in the middle of the body), "silent" (nothing is
    answered until the end), or a status of HTTP. The URL of an attempt has its number, so that a request that a browser
    repeats by itself does not count.
    """

    def __init__(self, fault: str = "", attempts: int = 0) -> None:
        self.fault = fault
        self.attempts = attempts
        self.met: list[int] = []
        """The attempts that met the fault, one entry for each request."""
        self.served: list[int] = []
        """Those that got the module."""
        self.ended = threading.Event()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="library", daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], library: LibraryHost) -> None:
        self.library = library
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser may leave at any time."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        library, url = self.server.library, urlsplit(self.path)
        name = Path(url.path).name
        if name == "library.js":
            return self._send(200, SCRIPT.replace("URL", f"http://{library.host}/incoming.mjs").encode())
        content = (DIST / name).read_bytes()
        if name != MODULE:
            return self._send(200, content)
        attempt = int(parse_qs(url.query).get("attempt", ["1"])[0])
        if attempt > library.attempts:
            library.served.append(attempt)
            return self._send(200, content)
        library.met.append(attempt)
        match library.fault:
            case "dropped":
                self.close_connection = True
            case "cut":
                self._send(200, content, cut=len(content) // 2)
            case "silent":
                library.ended.wait()
            case status:
                self._send(int(status), b"out of order")
        return None

    def _send(self, status: int, content: bytes, cut: int | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/javascript")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content[:cut])

    def log_message(self, *args: object) -> None:
        """Nothing: what was asked for is in `met` and `served`."""
