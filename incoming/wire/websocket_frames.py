"""Parse the WebSocket frames of a client (RFC 6455 section 5) from bytes in any portions.

Reads from no socket and knows nothing of chunks. Decides what violates RFC 6455, and returns binary messages in parts
as they arrive, so that none is held whole; text, which is short, is returned when it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from incoming.wire.websocket_mask import unmask

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

PROTOCOL_ERROR, BAD_TEXT, TOO_BIG = 1002, 1007, 1009
"""Close codes of section 7.4.1."""

LONGEST_HEADER = 14
MAX_CONTROL_PAYLOAD = 125
"""Bytes in a control frame (section 5.5)."""

_LENGTH_BYTES = {126: 2, 127: 8}
_NEEDS_LENGTH_BYTES = {0: 0, 2: 126, 8: 1 << 16}
"""The smallest length for each size of the length field, which must be the shortest possible (section 5.2)."""


class FrameError(Exception):
    """The peer violates RFC 6455 or a limit: the connection must be failed (section 7.1.7) with this close code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(slots=True)
class Text:
    """A whole text message."""

    text: str


@dataclass(slots=True)
class LongText:
    """A text message above its limit; its content is discarded."""


@dataclass(slots=True)
class Data:
    """The next bytes of a binary message; possibly empty."""

    data: bytes
    last: bool


@dataclass(slots=True)
class Ping:
    """A ping, to be answered by a pong with the same payload."""

    payload: bytes


@dataclass(slots=True)
class Pong:
    """A pong: an answer to a ping, or an unsolicited sign of life."""

    payload: bytes


@dataclass(slots=True)
class Close:
    """A close frame, the last one of a peer; its code, if it has one."""

    code: int | None


Event = Text | LongText | Data | Ping | Pong | Close


class FrameReader:
    """One connection's frames. No message may have more than `limit` bytes, no text more than `text_limit`."""

    def __init__(self, limit: int, text_limit: int) -> None:
        self.closed = False
        """Set by a Close: data after it is ignored (section 5.5.1)."""
        self._limit = limit
        self._text_limit = text_limit
        self._head = bytearray()
        """The received part of an incomplete header."""
        self._left: int | None = None
        """Bytes of the payload that are still missing; None between frames. The next four are this frame's."""
        self._final = False
        self._opcode = CONTINUATION
        self._mask = b""
        self._control = bytearray()
        self._message: int | None = None
        """The opcode of the current message."""
        self._size = 0
        self._text = bytearray()

    @property
    def left(self) -> int:
        """Return the missing bytes of the current frame."""
        return self._left or 0

    def feed(self, data: bytes | memoryview) -> Iterator[Event | None]:
        """Yield the events in the next bytes; at least one for every frame that ends, so that frames can be counted:
        None if it has no meaning yet. `data` must not change meanwhile. After a FrameError nothing can be fed.
        """
        with memoryview(data) as view:
            position = 0
            while not self.closed:
                if self._left is None:
                    position = self._begin(view, position)
                    if self._left is None:
                        return
                with view[position : position + self._left] as piece:
                    if not piece and self._left:
                        return
                    payload = unmask(piece, self._mask)
                position += len(payload)
                self._left -= len(payload)
                turn = len(payload) % 4
                self._mask = self._mask[turn:] + self._mask[:turn]
                yield self._take(payload)

    # --- headers ------------------------------------------------------------------------------------------------------

    def _begin(self, view: memoryview, position: int) -> int:
        """Parse a frame's header and return where it ends. Refuse it as early as possible."""
        head = self._head
        before = len(head)
        head += view[position : position + LONGEST_HEADER - before]
        if len(head) < 2:
            return len(view)
        self._check_kind(head[0], head[1])
        more = _LENGTH_BYTES.get(head[1] & 0x7F, 0)
        if len(head) < 2 + more:
            return len(view)
        length = int.from_bytes(head[2 : 2 + more]) if more else head[1] & 0x7F
        self._check_length(head[0] & 0x0F, length, more)
        end = 2 + more + 4
        if len(head) < end:
            return len(view)
        self._final = bool(head[0] & 0x80)
        self._opcode = head[0] & 0x0F
        self._mask = bytes(head[end - 4 : end])
        self._left = length
        head.clear()
        if self._opcode in (TEXT, BINARY):
            self._message = self._opcode
            self._size = 0
        if self._opcode < CLOSE:
            self._size += length
        return position + end - before

    def _check_kind(self, first: int, second: int) -> None:
        """Check the first two bytes of a header (section 5.2)."""
        opcode = first & 0x0F
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "a reserved bit is set")
        if not second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "a client's frame is not masked")
        if opcode in (CLOSE, PING, PONG):
            if not first & 0x80:
                raise FrameError(PROTOCOL_ERROR, "a control frame is fragmented")
            if second & 0x7F > MAX_CONTROL_PAYLOAD:
                raise FrameError(PROTOCOL_ERROR, f"a control frame has more than {MAX_CONTROL_PAYLOAD} bytes")
        elif opcode == CONTINUATION:
            if self._message is None:
                raise FrameError(PROTOCOL_ERROR, "there is no message to continue")
        elif opcode not in (TEXT, BINARY):
            raise FrameError(PROTOCOL_ERROR, f"unknown opcode {opcode}")
        elif self._message is not None:
            raise FrameError(PROTOCOL_ERROR, "a message begins within another")

    def _check_length(self, opcode: int, length: int, sent_in: int) -> None:
        if length < _NEEDS_LENGTH_BYTES[sent_in]:
            raise FrameError(PROTOCOL_ERROR, "a length is not encoded in the fewest bytes")
        before = self._size if opcode == CONTINUATION else 0
        if before + length > self._limit and opcode < CLOSE:
            raise FrameError(TOO_BIG, f"a message has more than {self._limit} bytes")

    # --- payloads -----------------------------------------------------------------------------------------------------

    def _take(self, payload: bytes) -> Event | None:
        """Handle the next bytes of the frame, which `_left` counts already."""
        ended = not self._left
        if ended:
            self._left = None
        if self._opcode >= CLOSE:
            self._control += payload
            return self._end_control() if ended else None
        kind = self._message
        last = ended and self._final
        if last:
            self._message = None
        return Data(payload, last) if kind == BINARY else self._take_text(payload, last)

    def _take_text(self, payload: bytes, last: bool) -> Event | None:
        told = len(self._text) > self._text_limit
        if not told:
            self._text += payload
        is_long = len(self._text) > self._text_limit
        text = self._text
        if last:
            self._text = bytearray()
        if is_long:
            return None if told else LongText()
        return Text(_decoded(text)) if last else None

    def _end_control(self) -> Event:
        payload = bytes(self._control)
        self._control.clear()
        if self._opcode == PING:
            return Ping(payload)
        if self._opcode == PONG:
            return Pong(payload)
        code = _close_code(payload)
        self.closed = True
        return Close(code)


def pong(payload: bytes) -> bytes:
    """Return a server's answer to a ping, as a frame (section 5.5.3)."""
    return bytes([0x80 | PONG, len(payload)]) + payload


def _close_code(payload: bytes) -> int | None:
    """Return the code of a close frame (sections 5.5.1 and 7.4); the reason after it must be valid text."""
    if not payload:
        return None
    code = int.from_bytes(payload[:2])
    if len(payload) == 1 or not (code in range(1000, 1015) or code in range(3000, 5000)) or code in (1004, 1005, 1006):
        raise FrameError(PROTOCOL_ERROR, "a close frame has no valid code")
    _decoded(payload[2:])
    return code


def _decoded(text: bytes | bytearray) -> str:
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FrameError(BAD_TEXT, "a text is not UTF-8") from error
