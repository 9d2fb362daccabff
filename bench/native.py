"""A client with minimal cost, so that the server is measured: raw sockets, prepared bytes.

WebSocket frames are masked with zeros, which a server has to undo like any other mask. With `frame`, messages are cut
into frames of that length like Chromium's.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import socket
import struct
import threading
import urllib.parse
from dataclasses import dataclass

CHROMIUM_FRAME = 131_000
CHUNK_HEADER = struct.Struct(">BxxxxxxxQ")


@dataclass
class WebSocketClient:
    """One connection that sends `data` in messages of `chunk` bytes, at most `ahead` bytes before their acks."""

    host: str
    port: int
    ticket: str
    chunk: int = 1 << 20
    frame: int = CHROMIUM_FRAME
    ahead: int = 16 << 20

    def upload(self, data: memoryview, start: int, end: int, size: int, session: str) -> None:
        """Send [start, end) of a file of `size` bytes, which repeats `data`; return when all of it is acknowledged."""
        self._socket = socket.create_connection((self.host, self.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input = self._socket.makefile("rb")
        self._handshake()
        self._send(1, json.dumps({"type": "hello", "session": session, "name": "bench", "size": size}).encode())
        self._acked = 0
        self._room = threading.Condition()
        reader = threading.Thread(target=self._read, args=(end - start,), daemon=True)
        reader.start()
        for offset in range(start, end, self.chunk):
            length = min(self.chunk, end - offset)
            enough = offset - start - self.ahead
            with self._room:
                while self._acked < enough:
                    self._room.wait()
            at = offset % (len(data) - self.chunk + 1) if len(data) < size else offset
            self._send(2, CHUNK_HEADER.pack(1, offset), data[at : at + length])
        reader.join()
        self._socket.close()

    def _handshake(self) -> None:
        self._socket.sendall(handshake(f"{self.host}:{self.port}", self.ticket))
        while self._input.readline() not in (b"\r\n", b""):
            pass

    def _send(self, opcode: int, *parts: bytes | memoryview) -> None:
        total = sum(len(part) for part in parts)
        position = 0
        queue = [memoryview(part) for part in parts]
        while position < total or position == 0:
            length = min(self.frame or total, total - position)
            first = (0x80 if position + length == total else 0) | (opcode if position == 0 else 0)
            head = frame_head(first, length)
            out = [memoryview(head + bytes(4))]
            wanted = length
            while wanted:
                part = queue[0][:wanted]
                out.append(part)
                queue[0] = queue[0][len(part) :]
                wanted -= len(part)
                if not queue[0]:
                    queue.pop(0)
            self._send_all(out)
            position += length

    def _send_all(self, out: list[memoryview]) -> None:
        while out:
            sent = self._socket.sendmsg(out)
            while out and sent >= len(out[0]):
                sent -= len(out.pop(0))
            if sent:
                out[0] = out[0][sent:]

    def _read(self, wanted: int) -> None:
        """Wait until all is acknowledged and the file has its final name."""
        arrived = False
        while self._acked < wanted or not arrived:
            head = self._input.read(2)
            length = head[1] & 0x7F
            if length == 126:
                length = struct.unpack(">H", self._input.read(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self._input.read(8))[0]
            message = json.loads(self._input.read(length))
            if message["type"] == "error":
                raise RuntimeError(message["message"])
            arrived = arrived or message.get("state") in ("arrived", "handing_over", "finished")
            if message["type"] == "ack":
                with self._room:
                    self._acked += sum(end - start for start, end in message["chunks"])
                    self._room.notify()


def handshake(host: str, ticket: str, *more: str) -> bytes:
    """Return the request that opens an upload's WebSocket (RFC 6455 section 4.1), with `more` lines of its header."""
    query = urllib.parse.urlencode({"ticket": ticket})
    lines = (
        f"GET /incoming/0.1/frontend/upload_ws?{query} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Protocol: incoming.1",
        *more,
    )
    return "\r\n".join((*lines, "", "")).encode()


def frame_head(first: int, length: int) -> bytes:
    """Return a frame header (RFC 6455 section 5.2), with the mask bit."""
    if length > 65535:
        return struct.pack(">BBQ", first, 0x80 | 127, length)
    if length > 125:
        return struct.pack(">BBH", first, 0x80 | 126, length)
    return struct.pack("BB", first, 0x80 | length)


def put(host: str, port: int, path: str, data: memoryview, size: int) -> int:
    """Send one PUT of a file of `size` bytes, which repeats `data`; return the status."""
    connection = http.client.HTTPConnection(host, port, blocksize=1 << 20)
    connection.putrequest("PUT", path)
    connection.putheader("Content-Length", str(size))
    connection.endheaders()
    for start in range(0, size, 1 << 20):
        connection.sock.sendall(data[start : start + (1 << 20)])
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def tus(host: str, port: int, endpoint: str, data: memoryview, size: int) -> str:
    """Send one creation and one PATCH of the tus protocol 1.0; return the upload's name."""
    connection = http.client.HTTPConnection(host, port)
    connection.request("POST", endpoint, headers={"Tus-Resumable": "1.0.0", "Upload-Length": str(size)})
    answer = connection.getresponse()
    answer.read()
    path = urllib.parse.urlsplit(urllib.parse.urljoin(endpoint, answer.headers["Location"])).path
    connection.putrequest("PATCH", path)
    for name, value in {
        "Tus-Resumable": "1.0.0",
        "Upload-Offset": "0",
        "Content-Type": "application/offset+octet-stream",
        "Content-Length": str(size),
    }.items():
        connection.putheader(name, value)
    connection.endheaders()
    for start in range(0, size, 1 << 20):
        connection.sock.sendall(data[start : start + (1 << 20)])
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return path.rpartition("/")[2]
