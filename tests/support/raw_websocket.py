"""A WebSocket as frames on a socket (RFC 6455): what browsers never send, and exactly what comes back."""

import asyncio
import json
import os
import struct
from typing import Any

from incoming.wire.messages import CHUNK_HEADER, SUBPROTOCOL
from tests.support.raw_http import PATIENCE, Answer, RawConnection

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def frame(opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, masked: bool = True) -> bytes:
    """One frame, by default as a client has to make it. `reserved` are the three RSV bits."""
    length = len(payload)
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    bit = 0x80 if masked else 0
    if length < 126:
        head += bytes([bit | length])
    elif length < 65536:
        head += struct.pack("!BH", bit | 126, length)
    else:
        head += struct.pack("!BQ", bit | 127, length)
    if not masked:
        return head + payload
    mask = os.urandom(4)
    whole = int.from_bytes(payload, "big") ^ int.from_bytes((mask * (length // 4 + 1))[:length], "big")
    return head + mask + whole.to_bytes(length, "big")


def text(message: object) -> bytes:
    """A control message in one frame; what is no bytes is made JSON."""
    return frame(TEXT, message if isinstance(message, bytes) else json.dumps(message).encode())


def chunk(offset: int, data: bytes) -> bytes:
    """A chunk in one frame."""
    return frame(BINARY, CHUNK_HEADER.pack(1, offset) + data)


def handshake(ticket_id: str, *headers: str, subprotocol: str | None = SUBPROTOCOL, path: str = "") -> bytes:
    lines = [
        f"GET {path or '/incoming/0.1/frontend/upload_ws'}?ticket={ticket_id} HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}",
        "Sec-WebSocket-Version: 13",
        *headers,
    ]
    if subprotocol is not None:
        lines.append(f"Sec-WebSocket-Protocol: {subprotocol}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class RawWebSocket:
    """One connection after its handshake, whose answer is `answer`."""

    def __init__(self, connection: RawConnection, answer: Answer) -> None:
        self.connection = connection
        self.answer = answer
        self.close_code: int | None = None

    @classmethod
    async def open(
        cls, port: int, ticket_id: str, *headers: str, subprotocol: str | None = SUBPROTOCOL, receive_buffer: int = 0
    ) -> "RawWebSocket":
        connection = await RawConnection.open(port, receive_buffer)
        answer = await connection.ask(handshake(ticket_id, *headers, subprotocol=subprotocol))
        assert answer.status == 101, answer
        return cls(connection, answer)

    @classmethod
    async def welcomed(cls, port: int, ticket_id: str, size: int = 100, **more: Any) -> "RawWebSocket":
        """After hello and welcome."""
        socket = await cls.open(port, ticket_id)
        await socket.send(hello(size, **more))
        welcome = await socket.hear("welcome")
        assert welcome["type"] == "welcome"
        return socket

    async def send(self, *frames: bytes) -> None:
        await self.connection.send(b"".join(frames))

    async def frame(self) -> tuple[int, bytes]:
        """The next frame: opcode and payload. Raises IncompleteReadError when the connection has ended."""
        reader = self.connection.reader
        async with asyncio.timeout(PATIENCE):
            first, length = await reader.readexactly(2)
            assert first & 0xF0 == 0x80, "whole frames without reserved bits"
            assert length < 0x80, "a server does not mask"
            if length == 126:
                (length,) = struct.unpack("!H", await reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await reader.readexactly(8))
            return first & 0x0F, await reader.readexactly(length)

    async def hear(self, *types: str) -> dict[str, Any]:
        """The next message, or the next of one of these types."""
        while True:
            opcode, payload = await self.frame()
            assert opcode == TEXT, (opcode, payload)
            message: dict[str, Any] = json.loads(payload)
            if not types or message["type"] in types:
                return message

    async def until_acked(self, *chunks: tuple[int, int]) -> None:
        """Each of them, as it was sent, in whatever order."""
        awaited = set(chunks)
        while awaited:
            awaited -= {(start, end) for start, end in (await self.hear("ack"))["chunks"]}

    async def end(self) -> tuple[list[dict[str, Any]], int | None]:
        """All messages that still come, and the close code; None when the connection just ended."""
        messages: list[dict[str, Any]] = []
        while True:
            try:
                opcode, payload = await self.frame()
            except (asyncio.IncompleteReadError, ConnectionError):
                return messages, None
            if opcode == CLOSE:
                code = struct.unpack("!H", payload[:2])[0] if payload else None
                await self.send(frame(CLOSE, payload))
                return messages, code
            if opcode == TEXT:
                messages.append(json.loads(payload))

    def close(self) -> None:
        self.connection.close()


def hello(size: int = 100, session: str = "session-1", **more: Any) -> bytes:
    """The usual first message."""
    return text({"type": "hello", "session": session, "name": "a.bin", "size": size, **more})


def error_of(messages: list[dict[str, Any]]) -> int:
    """The code of the error that is the last message."""
    assert messages[-1]["type"] == "error", messages
    return int(messages[-1]["code"])
