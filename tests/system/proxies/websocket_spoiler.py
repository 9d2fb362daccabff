"""A proxy that forwards HTTP unchanged and damages WebSockets as middleboxes do."""

import contextlib
import re
import socket
import threading
from types import TracebackType
from typing import Literal

from tests.support.ports import free_port

Whim = Literal["pass", "silent", "cut", "swallow", "hang", "nameless"]
"""`silent`: the handshake succeeds, then nothing comes through. `cut`: it ends after the first few messages. `swallow`:
text comes through both ways, and no binary message does: somebody keeps them to look into them. `hang`: the handshake
is never answered. `nameless`: the sub-protocol is lost on the way to the server, and the answer names it all the same.
"""

SUBPROTOCOL = re.compile(rb"Sec-WebSocket-Protocol:[^\r]*\r\n", re.IGNORECASE)
A_FEW_MESSAGES = 300_000
"""Bytes from the browser."""


class BinarySieve:
    """Forward a browser's frames (RFC 6455 section 5.2) except for binary messages."""

    def __init__(self) -> None:
        self._waiting = b""
        self._left = 0
        """Bytes of the present frame that are still to come."""
        self._holds = False
        """Whether the present frame belongs to a binary message."""

    def sift(self, data: bytes) -> bytes:
        """Return the received bytes that are forwarded."""
        self._waiting += data
        passed = b""
        while self._waiting:
            if not self._left and not self._begin():
                break
            part, self._waiting = self._waiting[: self._left], self._waiting[self._left :]
            self._left -= len(part)
            passed += b"" if self._holds else part
        return passed

    def _begin(self) -> bool:
        """Return whether the next frame's header has arrived up to its length."""
        if len(self._waiting) < 2:
            return False
        opcode, short = self._waiting[0] & 15, self._waiting[1] & 127
        extra = {126: 2, 127: 8}.get(short, 0)
        if len(self._waiting) < 2 + extra:
            return False
        length = int.from_bytes(self._waiting[2 : 2 + extra], "big") if extra else short
        self._left = 2 + extra + 4 + length  # a browser's frames are masked
        if opcode != 0:
            self._holds = opcode == 2
        return True


class WebSocketSpoiler:
    """Listens on 127.0.0.1:`port`. `spoiled` counts the damaged WebSockets, `refused` the rejected requests."""

    def __init__(self, upstream_port: int) -> None:
        self.port = free_port()
        self.whim: Whim = "pass"
        self.spoiled = 0
        self.refused = 0
        self._takes_requests = True
        self._upstream = ("127.0.0.1", upstream_port)
        self._listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self._sockets: list[socket.socket] = []
        self._websockets: list[socket.socket] = []
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> "WebSocketSpoiler":
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._end(self._sockets)

    def spoil(self, whim: Whim) -> None:
        """Change the damage from now on; open WebSockets are cut."""
        self.whim = whim
        self._end(self._websockets)

    def take_requests(self, yes: bool) -> None:
        """Set whether plain HTTP gets through from now on; if not, open requests are cut."""
        self._takes_requests = yes
        if not yes:
            self._end([one for one in self._sockets if one not in self._websockets])

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError), socket.create_connection(self._upstream) as server:
            head = client.recv(65536)
            is_websocket = b"upload_ws" in head.partition(b"\r\n")[0]
            with self._lock:
                self._sockets += [client, server]
                self._websockets += [client, server] if is_websocket else []
            if not is_websocket and not self._takes_requests:
                self.refused += 1
                return
            whim = self.whim if is_websocket else "pass"
            if whim == "hang":
                self._count()
                while client.recv(65536):
                    pass
                return
            server.sendall(SUBPROTOCOL.sub(b"", head) if whim == "nameless" else head)
            back = threading.Thread(target=self._answer, args=(server, client, whim), daemon=True)
            back.start()
            if whim == "swallow":
                self._count()
                self._pump(client, server, None, BinarySieve())
            else:
                self._pump(client, server, A_FEW_MESSAGES if whim == "cut" else None)
            if whim == "cut":
                self._count()
                self._end([client, server])
            back.join()

    def _answer(self, server: socket.socket, client: socket.socket, whim: Whim) -> None:
        with contextlib.suppress(OSError):
            if whim == "silent":
                client.sendall(server.recv(65536).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
                self._count()
                while server.recv(65536):
                    pass
            else:
                if whim == "nameless":
                    self._count()
                    head, end, rest = server.recv(65536).partition(b"\r\n\r\n")
                    client.sendall(head + b"\r\nSec-WebSocket-Protocol: incoming.1" + end + rest)
                self._pump(server, client, None)
        self._end([client])

    @staticmethod
    def _pump(
        source: socket.socket, sink: socket.socket, limit: int | None, sieve: "BinarySieve | None" = None
    ) -> None:
        passed = 0
        while (limit is None or passed < limit) and (data := source.recv(65536)):
            sink.sendall(sieve.sift(data) if sieve else data)
            passed += len(data)
        if limit is None:
            sink.shutdown(socket.SHUT_WR)

    def _count(self) -> None:
        with self._lock:
            self.spoiled += 1

    def _end(self, sockets: list[socket.socket]) -> None:
        with self._lock:
            present = list(sockets)
        for one in present:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
