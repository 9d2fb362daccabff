"""The client's half of sub-protocol `incoming.1`: what a client sends, and how it reads what a server sends.

Decides what a well-formed message of a server is and refuses everything else with BadRequest; unknown fields and types
are ignored. tests/vectors/messages.json holds this half, the server's and the browser library's to the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from incoming.core.errors import BadRequest
from incoming.core.extents import Range
from incoming.core.identity import Identity
from incoming.wire.messages import CHUNK_HEADER, CHUNK_VERSION, MAX_MEDIA_TYPE, MAX_NAME, MAX_REASON

FINAL_STATES = frozenset({"finished", "cancelled", "failed"})
SENDING_STATES = frozenset({"new", "uploading"})


@dataclass(frozen=True, slots=True)
class Welcome:
    """Where the upload stands, and how to send. Sizes in bytes, times in seconds, `max_rate` in bytes a second."""

    epoch: int
    state: str
    size: int | None
    extents: tuple[Range, ...]
    chunk_min: int
    chunk_max: int
    window: int
    connections: int
    ping_interval: float
    max_rate: int = 0
    alignment: int = 1


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """These chunks are safe."""

    chunks: tuple[Range, ...]


@dataclass(frozen=True, slots=True)
class StateNews:
    """The state of the upload, with the reason for people and, if it has failed, an error's code."""

    state: str
    reason: str
    code: int | None

    @property
    def is_final(self) -> bool:
        """Whether nothing follows."""
        return self.state in FINAL_STATES


@dataclass(frozen=True, slots=True)
class ErrorMessage:
    """What went wrong, as JSON has it; the connection ends with it."""

    described: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bare:
    """A message without fields: `paused`, `ping`, `pong`; or one that this version does not know."""

    type: str


ServerMessage = Welcome | Acknowledged | StateNews | ErrorMessage | Bare


def hello(session: str, epoch: int | None, identity: Identity, library: str = "") -> str:
    """Return the first message of every connection. Name and type are cut off where the server's limit is."""
    fields: dict[str, Any] = {"type": "hello", "session": session}
    if epoch is not None:
        fields["epoch"] = epoch
    fields |= {"name": (identity.name or "")[:MAX_NAME], "size": identity.size}
    if identity.last_modified is not None:
        fields["last_modified"] = identity.last_modified
    if identity.fingerprint is not None:
        fields["fingerprint"] = identity.fingerprint
    if identity.media_type is not None:
        fields["media_type"] = identity.media_type[:MAX_MEDIA_TYPE]
    if library:
        fields["library"] = library
    return _encode(fields)


def cancel(reason: str) -> str:
    """Return the message that cancels the upload."""
    return _encode({"type": "cancel", "reason": reason[:MAX_REASON]})


def pong() -> str:
    """Return the answer to a ping."""
    return _encode({"type": "pong"})


def chunk(offset: int, data: bytes) -> bytes:
    """Return a binary message with the bytes of the file from `offset` on."""
    return CHUNK_HEADER.pack(CHUNK_VERSION, offset) + data


def parse(text: str | bytes) -> ServerMessage:
    """Read a message of a server. Raises BadRequest."""
    try:
        message = json.loads(text)
        return _parsed(message)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BadRequest("the server sent no message of the protocol") from error


def state_of(status: dict[str, Any]) -> StateNews:
    """Return the state in a status, or in a message. Raises KeyError."""
    code = status.get("code")
    return StateNews(str(status["state"]), str(status.get("reason") or ""), code if isinstance(code, int) else None)


def _parsed(message: dict[str, Any]) -> ServerMessage:
    match message.get("type"):
        case "welcome":
            return _welcome(message)
        case "ack":
            return Acknowledged(_ranges(message["chunks"]))
        case "state":
            return state_of(message)
        case "error":
            return ErrorMessage({**message, "code": int(message["code"])})
        case kind:
            return Bare(str(kind))


def _welcome(message: dict[str, Any]) -> Welcome:
    size = message["size"]
    return Welcome(
        epoch=int(message["epoch"]),
        state=str(message["state"]),
        size=None if size is None else int(size),
        extents=_ranges(message["extents"]),
        chunk_min=max(1, int(message["chunk_min"])),
        chunk_max=max(1, int(message["chunk_max"])),
        window=max(1, int(message["window"])),
        connections=max(1, int(message["connections"])),
        ping_interval=float(message["ping_interval"]),
        max_rate=int(message.get("max_rate") or 0),
        alignment=max(1, int(message.get("alignment") or 1)),
    )


def _ranges(pairs: list[list[int]]) -> tuple[Range, ...]:
    return tuple((int(start), int(end)) for start, end in pairs)


def _encode(fields: dict[str, Any]) -> str:
    return json.dumps(fields, separators=(",", ":"))
