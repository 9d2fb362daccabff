"""A raw client: bytes to a server, from any loopback address, and the answers."""

import contextlib
import json
import os
import re
import socket
import struct
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode

from incoming.wire.messages import CHUNK_HEADER, SUBPROTOCOL
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import BINARY, CLOSE, TEXT, frame

STRANGER = "127.0.0.2"
"""An address of this machine that is no backend's where `backend_networks` is 127.0.0.1 only."""

OPEN: set["Wire"] = set()
"""What a test leaves open; conftest.py closes it."""


class Wire:
    """One TCP connection; `received` has everything received."""

    def __init__(self, port: int, source: str = "127.0.0.1", timeout: float = 20.0) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))
        self.received = b""
        OPEN.add(self)

    def __enter__(self) -> "Wire":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        OPEN.discard(self)
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send; the server may have answered and closed before it has read everything."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def until_closed(self) -> bytes:
        """Return all bytes until the server closes the connection; TimeoutError if it does not."""
        with contextlib.suppress(ConnectionResetError):
            while chunk := self.socket.recv(65536):
                self.received += chunk
        return self.received

    def until(self, what: bytes) -> bytes:
        """Receive until `what` has arrived."""
        while what not in self.received:
            chunk = self.socket.recv(65536)
            assert chunk, f"closed after {self.received!r}"
            self.received += chunk
        return self.received

    @property
    def is_closed(self) -> bool:
        """Return whether the server has closed it, without waiting."""
        self.socket.setblocking(False)
        try:
            while chunk := self.socket.recv(65536):
                self.received += chunk
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True
        finally:
            self.socket.settimeout(20.0)
        return True


class Socket(Wire):
    """A WebSocket, as frames."""

    def __init__(self, port: int, ticket: str, source: str = "127.0.0.1") -> None:
        super().__init__(port, source)
        self.send(handshake(ticket))
        self.until(b"\r\n\r\n")
        head, _, self._rest = self.received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head

    def say(self, **message: Any) -> None:
        self.send(frame(TEXT, json.dumps(message).encode()))

    def hello(self, size: int = 5, **more: Any) -> dict[str, Any]:
        """Send hello; return the answer."""
        self.say(**{"type": "hello", "session": "hostile-session", "name": "a.bin", "size": size, **more})
        return self.hear()

    def chunk(self, offset: int, data: bytes) -> None:
        self.send(frame(BINARY, CHUNK_HEADER.pack(1, offset) + data))

    def hear(self) -> dict[str, Any]:
        """Return the next control message."""
        opcode, payload = self.frame()
        assert opcode == TEXT, (opcode, payload)
        message: dict[str, Any] = json.loads(payload)
        return message

    def closing(self) -> tuple[dict[str, Any] | None, int | None]:
        """Return the last control message and the close code, None for missing ones."""
        last: dict[str, Any] | None = None
        while True:
            try:
                opcode, payload = self.frame()
            except EOFError:
                return last, None
            if opcode == TEXT:
                last = json.loads(payload)
            elif opcode == CLOSE:
                return last, struct.unpack(">H", payload[:2])[0] if payload else None

    def frame(self) -> tuple[int, bytes]:
        """Return the next frame; EOFError when the connection has ended."""
        first, length = self._take(2)
        if length == 126:
            (length,) = struct.unpack(">H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack(">Q", self._take(8))
        return first & 15, self._take(length)

    def _take(self, count: int) -> bytes:
        while len(self._rest) < count:
            try:
                chunk = self.socket.recv(65536)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                raise EOFError
            self._rest += chunk
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken


def handshake(ticket: str, *headers: str) -> bytes:
    usual = ["Host: incoming", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13"]
    usual += ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Sec-WebSocket-Protocol: {SUBPROTOCOL}"]
    start = f"GET /incoming/frontend/upload_ws?ticket={quote(ticket)} HTTP/1.1"
    return "\r\n".join([start, *usual, *headers, "", ""]).encode("latin-1")


def request(start: str, *headers: str, body: bytes = b"", close: bool = True) -> bytes:
    """Return a request with the usual headers."""
    lines = [f"{start} HTTP/1.1", "Host: incoming", *headers, *(["Connection: close"] if close else [])]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def ask(server: IncomingServer, data: bytes, source: str = "127.0.0.1") -> tuple[int, str, bytes]:
    """Send one request on its own connection; return status, header and body of the last answer; status 0 for none."""
    with Wire(server.port, source) as wire:
        wire.send(data)
        received = wire.until_closed()
    answers = list(re.finditer(rb"HTTP/1\.1 ([0-9]{3}) ", received))
    if not answers:
        return 0, "", received
    head, _, body = received[answers[-1].start() :].partition(b"\r\n\r\n")
    return int(answers[-1][1]), head.decode("latin-1"), body


def new_ticket(server: IncomingServer, url: str = "http://127.0.0.1:9/done", **given: str) -> str:
    form = urlencode({"signalFinishURL": url, **given}).encode()
    kind = "Content-Type: application/x-www-form-urlencoded"
    status, _, body = ask(server, request("POST /incoming/backend/new_upload", kind, body=form))
    assert status == 200, body
    return body.decode()


def upload_path(ticket: str, **query: str) -> str:
    return f"/incoming/frontend/upload/{quote(ticket, safe='')}" + (f"?{urlencode(query)}" if query else "")


def status_of(server: IncomingServer, ticket: str) -> dict[str, Any]:
    status, _, body = ask(server, request(f"GET {upload_path(ticket)}"))
    assert status == 200, body
    known: dict[str, Any] = json.loads(body)
    return known


def rss(pid: int) -> int:
    """Return the resident memory of a process in bytes, from /proc/<pid>/statm."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
