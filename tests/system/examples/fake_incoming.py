"""An Incoming!! server that gives out tickets, keeps a record, and plays the handover of a file when a test says so."""

import threading
import time
import urllib.parse
import uuid
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

import requests

from incoming.wire.callback_signature import signature

_LIBRARY = Path(__file__).with_name("fake_incoming.js")


@dataclass(frozen=True)
class Call:
    """One call of a backend function."""

    function: str
    parameters: dict[str, str]
    headers: dict[str, str] = field(default_factory=dict)


class FakeIncoming:
    """Listens on 127.0.0.1. `failures` are the (status, text) of the next calls, before all is well again."""

    def __init__(self, storage_dir: Path) -> None:
        self.storage_dir = storage_dir
        self.storage_dir.mkdir()
        self.calls: list[Call] = []
        self.failures: list[tuple[int, str]] = []
        self.library: str | None = _LIBRARY.read_text()
        """The text of incoming.js; None: there is none to be had."""
        self._tickets: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def port(self) -> int:
        return self._server.server_port

    def __enter__(self) -> "FakeIncoming":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def answer(self, call: Call) -> tuple[int, str]:
        """What a backend function answers. Called by the server's threads."""
        with self._lock:
            self.calls.append(call)
            if self.failures:
                return self.failures.pop(0)
            if call.function != "new_upload":
                return 200, "ok"
            ticket = str(uuid.uuid4())
            self._tickets[ticket] = call.parameters
            return 200, ticket

    def calls_of(self, function: str) -> list[Call]:
        with self._lock:
            return [call for call in self.calls if call.function == function]

    def last_ticket(self) -> str:
        return list(self._tickets)[-1]

    def file_of(self, ticket: str) -> Path:
        """Where the server keeps the file of a ticket."""
        return self.storage_dir.resolve() / ticket[:2] / ticket

    def store(self, ticket: str, content: bytes) -> Path:
        """The file has arrived."""
        path = self.file_of(ticket)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def call_back(self, ticket: str, *, url: str | None = None, **changed: str) -> requests.Response:
        """Call the app as the server does when the file has arrived; `changed` fields are a forger's work, who signs
        with the secret that he has.
        """
        asked = self._tickets[ticket]
        fields = {
            "id": ticket,
            "backendSecret": asked["backendSecret"],
            "secret": asked["backendSecret"],
            "filename": str(self.file_of(ticket)),
            "filenameFromBrowser": "file.txt",
            "cancelled": "no",
            "cancelReason": "",
        }
        return signed_call(url or asked["signalFinishURL"], fields | changed)

    def hand_over(self, ticket: str, content: bytes, name: str = "file.txt") -> requests.Response:
        """Store the file and call the app."""
        self.store(ticket, content)
        return self.call_back(ticket, filenameFromBrowser=name)


def signed_call(url: str, fields: dict[str, str]) -> requests.Response:
    """Post a callback, signed as the server does with the secret in it."""
    body = urllib.parse.urlencode(fields).encode()
    return requests.post(url, data=body, headers=signed_headers(fields, body), timeout=30)


def signed_headers(fields: dict[str, str], body: bytes) -> dict[str, str]:
    """Return the headers of a callback with this body."""
    now = int(time.time())
    return {
        "Content-Type": "application/x-www-form-urlencoded",
        "Incoming-Timestamp": str(now),
        "Incoming-Signature": signature(fields["backendSecret"], now, body),
    }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], fake: FakeIncoming) -> None:
        self.fake = fake
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        prefix, _, function = self.path.rpartition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        parameters = dict(urllib.parse.parse_qsl(body, keep_blank_values=True))
        if prefix != "/incoming/0.1/backend":
            self._send(404, "text/plain", "no such function")
        else:
            status, text = self.server.fake.answer(Call(function, parameters, headers))
            self._send(status, "text/plain", text)

    def do_GET(self) -> None:
        library = self.server.fake.library
        if self.path == "/incoming/0.1/frontend/incoming.js" and library is not None:
            self._send(200, "text/javascript", library)
        else:
            self._send(404, "text/plain", "not found")

    def _send(self, status: int, content_type: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{content_type}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Nothing: what came is in `calls`."""
