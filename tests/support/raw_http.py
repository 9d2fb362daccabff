"""HTTP as bytes on a socket: what a well-behaved client would never send, and exactly what comes back."""

import asyncio
import json
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

PATIENCE = 20.0
"""Seconds that an answer may take."""


@dataclass(frozen=True)
class Answer:
    """A response. Names of headers are in lower case; of one given twice both values are in `headers`."""

    status: int
    reason: str
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RawConnection:
    """One TCP connection to 127.0.0.1."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.interim: list[Answer] = []
        """The interim answers (1xx, but not 101) before the last one."""

    @classmethod
    async def open(cls, port: int, receive_buffer: int = 0) -> "RawConnection":
        """With a `receive_buffer` the kernel takes no more than that, in bytes, ahead of who reads."""
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
        return cls(*await asyncio.open_connection(sock=connection))

    async def send(self, data: bytes) -> None:
        """Returns when the kernel has taken it, or the other side is gone."""
        self.writer.write(data)
        with suppress(ConnectionError):
            await self.writer.drain()

    async def answer(self) -> Answer:
        """The next final response; the interim ones before it are in `interim`."""
        self.interim.clear()
        async with asyncio.timeout(PATIENCE):
            while (head := await self.head()).status < 200 and head.status != 101:
                self.interim.append(head)
            body = await self.reader.readexactly(int(head.headers.get("content-length", "0")))
            return replace(head, body=body)

    async def head(self) -> Answer:
        """The status and headers of the next response, be it an interim one."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin1")
        first, *lines = head[:-4].split("\r\n")
        version, status, *reason = first.split(" ", 2)
        assert version == "HTTP/1.1", head
        headers: dict[str, str] = {}
        for line in lines:
            name, value = line.split(":", 1)
            name = name.strip().lower()
            headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
        return Answer(int(status), reason[0] if reason else "", headers, b"")

    async def ask(self, data: bytes) -> Answer:
        await self.send(data)
        return await self.answer()

    async def is_closed(self) -> bool:
        """Whether the other side closes, in whatever way, without a byte more."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def everything(self) -> bytes:
        """All that still comes before the other side closes."""
        received = b""
        with suppress(ConnectionError):
            async with asyncio.timeout(PATIENCE):
                while part := await self.reader.read(65536):
                    received += part
        return received

    def close(self) -> None:
        """Ends it properly, with a FIN."""
        self.writer.close()

    def reset(self) -> None:
        """Ends it with an RST: what is on its way is lost."""
        with suppress(OSError):  # it has ended already
            connection = self.writer.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def request(method: str, path: str, *headers: str, body: bytes = b"", length: int | None = None) -> bytes:
    """A request. Content-Length is `length`, by default that of the body; -1 leaves it out."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]
    if length is None:
        length = len(body)
    if length > 0 or (length == 0 and method in ("PUT", "POST")):
        lines.append(f"Content-Length: {length}")
    return "\r\n".join(lines).encode("latin1") + b"\r\n\r\n" + body


def chunked(*parts: bytes) -> bytes:
    """A whole body in the chunked coding (RFC 9112 section 7.1)."""
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (*parts, b""))
