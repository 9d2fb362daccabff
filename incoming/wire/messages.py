"""WebSocket messages and bytes: JSON control messages, the binary chunk header, and their limits.

Decides what a well-formed message of sub-protocol `incoming.1` is and refuses everything else with BadRequest. Does not
know when a message is permitted. doc/protocol.md describes the same for people; js/transport/messages.js mirrors it.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from incoming.core import identity
from incoming.core.errors import BadRequest, UploadError
from incoming.core.extents import Extents, Range
from incoming.core.ticket import Identity, State, Ticket
from incoming.wire import json_fields
from incoming.wire.json_fields import integer_field, read_object, text_field
from incoming.wire.upload_metadata import as_object

SUBPROTOCOL = "incoming.1"
MAX_CONTROL = json_fields.MAX_CONTROL
MAX_SIZE = 2**53 - 1
"""Largest file in bytes: the integers that a browser's Number represents exactly."""

MAX_NAME = identity.MAX_NAME
MAX_REASON = 1024
MAX_FINGERPRINT = 200
MAX_LIMIT = 16
MAX_LIBRARY = 64
MAX_MEDIA_TYPE = identity.MAX_MEDIA_TYPE
SESSION = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)

CHUNK_HEADER = struct.Struct(">BxxxxxxxQ")
"""Version (1), seven reserved bytes (0), offset in the file as an unsigned 64-bit big-endian integer: 16 bytes."""
CHUNK_VERSION = 1

MAX_PARTS = 100
"""Parts in one message: a signed URL has about 500 bytes."""

_NONE = Extents()


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of every connection: identifies the file and the uploader. `library` is what the client is
    made of, with its version, such as `incoming.js/1.2.3`; for operators only.
    """

    session: str
    epoch: int | None
    identity: Identity
    library: str = ""
    path: bool = False
    """Whether the client wants to know how the bytes fare."""
    ahead: bool = False
    """Whether a chunk follows before the client knows the welcome."""


@dataclass(frozen=True, slots=True)
class Pause:
    """The user pauses the upload; the client closes its connections after `paused`. Over HTTP it carries its epoch."""

    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Cancel:
    """The user cancels the upload."""

    reason: str


@dataclass(frozen=True, slots=True)
class Ping:
    """A request for a `pong`, by either side. A client adds what limits its upload, if it knows."""

    limit: str = ""


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a `ping`, by either side."""


@dataclass(frozen=True, slots=True)
class Sign:
    """A request for URLs with which the client sends these parts, numbered from 1 on, straight to the object store."""

    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Sent:
    """The object store may have these parts."""

    parts: tuple[int, ...]


ClientMessage = Sign | Sent | Hello | Pause | Cancel | Ping | Pong


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that the server announces to a client; sizes in bytes, times in seconds, rates in bytes a second. With
    them it says its version and its further names.
    """

    chunk_min: int
    chunk_max: int
    window: int
    connections: int
    ping_interval: float
    max_rate: int = 0
    version: str = ""
    hosts: tuple[str, ...] = ()


# --- from the client --------------------------------------------------------------------------------------------------


def parse_control(text: str) -> ClientMessage:
    """Parse one control message. Raises MessageTooLarge above MAX_CONTROL bytes and BadRequest for anything not in the
    protocol.
    """
    message = read_object(text)
    match message.get("type"):
        case "hello":
            return _hello(message)
        case "pause":
            return Pause(integer_field(message, "epoch", MAX_SIZE))
        case "sign":
            return Sign(_part_numbers(message))
        case "sent":
            return Sent(_part_numbers(message))
        case "cancel":
            return Cancel(text_field(message, "reason", MAX_REASON, default=""))
        case "ping":
            return Ping(text_field(message, "limit", MAX_LIMIT, default=""))
        case "pong":
            return Pong()
    raise BadRequest("unknown type of control message")


def _part_numbers(message: dict[str, Any]) -> tuple[int, ...]:
    numbers = message.get("parts")
    if not isinstance(numbers, list) or not 1 <= len(numbers) <= MAX_PARTS:
        raise BadRequest(f"'parts' is not a list of 1 to {MAX_PARTS} numbers")
    if any(type(number) is not int or not 1 <= number <= MAX_SIZE for number in numbers):
        raise BadRequest("a number of a part is not an integer from 1 on")
    return tuple(numbers)


def parse_chunk(message: bytes | memoryview) -> tuple[int, memoryview]:
    """Parse a binary message into the offset in the file and the bytes, not copied. Raises BadRequest."""
    if len(message) <= CHUNK_HEADER.size:
        raise BadRequest(
            f"a chunk message of {len(message)} bytes has no data after its {CHUNK_HEADER.size}-byte header"
        )
    version, offset = CHUNK_HEADER.unpack_from(message)
    if version != CHUNK_VERSION:
        raise BadRequest(f"chunk header version {version}, expected {CHUNK_VERSION}")
    if any(message[1:8]):
        raise BadRequest("a reserved byte of the chunk header is not 0")
    if offset > MAX_SIZE:
        raise BadRequest(f"chunk offset {offset} is above {MAX_SIZE}")
    return offset, memoryview(message)[CHUNK_HEADER.size :]


def _hello(message: dict[str, Any]) -> Hello:
    session = text_field(message, "session", 64)
    if not SESSION.fullmatch(session):
        raise BadRequest("'session' is 8 to 64 of A-Z a-z 0-9 _ -")
    size = integer_field(message, "size", MAX_SIZE)
    if size is None:
        raise BadRequest("'size' is missing")
    declared = Identity(
        name=text_field(message, "name", MAX_NAME),
        size=size,
        last_modified=integer_field(message, "last_modified", MAX_SIZE),
        fingerprint=text_field(message, "fingerprint", MAX_FINGERPRINT, default="") or None,
        media_type=text_field(message, "media_type", MAX_MEDIA_TYPE, default="") or None,
    )
    library = text_field(message, "library", MAX_LIBRARY, default="")
    epoch = integer_field(message, "epoch", MAX_SIZE)
    return Hello(
        session, epoch, declared, library, path=message.get("path") is True, ahead=message.get("ahead") is True
    )


# --- from the server --------------------------------------------------------------------------------------------------


def welcome(ticket: Ticket, limits: Limits, received: Iterable[Range] = (), *, direct: bool = False) -> str:
    """Encode the answer to hello: the state of the upload, what of it is received and not safe yet, and how to send.

    `direct` is whether the client may send whole parts straight to the object store.
    """
    return _encode(
        "welcome",
        epoch=ticket.epoch,
        state=ticket.state,
        size=ticket.size,
        extents=list(ticket.extents),
        chunk_min=limits.chunk_min,
        chunk_max=limits.chunk_max,
        window=limits.window,
        connections=limits.connections,
        ping_interval=limits.ping_interval,
        max_rate=limits.max_rate,
        **_alignment(ticket),
        **({"direct": True} if direct else {}),
        **({"received": ranges} if (ranges := list(received)) else {}),
        **({"version": limits.version} if limits.version else {}),
        **({"hosts": limits.hosts} if limits.hosts else {}),
    )


def _alignment(ticket: Ticket) -> dict[str, int]:
    """Return the field `alignment`: no chunk should cross a multiple of it. Empty if chunks may be anywhere."""
    return {"alignment": ticket.part_size} if ticket.part_size > 1 else {}


def ack(chunks: list[Range]) -> str:
    """Acknowledge these chunks, each by the [start, end) with which it was sent."""
    return _encode("ack", chunks=chunks)


def signed(urls: Iterable[tuple[int, str]], expires_in: float) -> str:
    """Encode URLs of parts by number, and the seconds in which a PUT to one must begin. Never to be logged."""
    return _encode("signed", urls=list(urls), expires_in=expires_in)


def unseen(parts: Iterable[int]) -> str:
    """Encode which of the parts in `sent` the object store does not have, or not as a whole."""
    return _encode("unseen", parts=list(parts))


def received(extents: Extents, ranges: Extents) -> str:
    """Encode what has arrived, and all that is received besides and not safe yet."""
    return _encode("received", extents=list(extents), ranges=list(ranges))


def state(ticket: Ticket) -> str:
    """Encode a new state, or a new reason of the same one. Final ones carry an error's code."""
    return _encode("state", **describe_state(ticket))


def reason_of(ticket: Ticket) -> str:
    """Return why an upload has ended, or what its user may know while the handover is retried."""
    callback = ticket.callback
    if ticket.state not in (State.ARRIVED, State.HANDING_OVER) or callback is None or not callback.last_error:
        return ticket.reason
    number, tries = ticket.id[:8], callback.attempts
    return (
        f"your file has arrived safely (number {number}); the site has trouble taking it and is tried again "
        f"(attempt {tries})"
    )


def describe_state(ticket: Ticket) -> dict[str, Any]:
    """Return the part of a ticket that describes the upload's outcome to a client."""
    return {"state": ticket.state, "reason": reason_of(ticket), "code": ticket.error_code or None}


def path(figures: Mapping[str, Any]) -> str:
    """Encode how the upload's bytes fare on their way, for the connection that they come over."""
    return _encode("path", **figures)


def paused() -> str:
    """Encode the answer to pause: acknowledged bytes are kept, and the longer idle limit applies."""
    return _encode("paused")


def error(problem: UploadError) -> str:
    """Encode an error, after which the connection is closed. With `retry` the client reconnects by itself."""
    return _encode("error", **describe_error(problem))


def describe_error(problem: UploadError) -> dict[str, Any]:
    """Return an error as JSON, the same over WebSocket and HTTP."""
    return {
        "code": problem.code,
        "name": problem.name,
        "message": problem.message,
        "retry": problem.retry,
        "retry_after": problem.retry_after,
    }


def ping() -> str:
    """Encode a request for a `pong`."""
    return _encode("ping")


def pong() -> str:
    """Encode the answer to a `ping`."""
    return _encode("pong")


def status(ticket: Ticket, limits: Limits | None = None, received: Extents = _NONE) -> dict[str, Any]:
    """Return the status of an upload, the JSON resource that GET answers. `received` is not safe yet."""
    answer: dict[str, Any] = {
        "id": ticket.id,
        "name": ticket.identity.name,
        "size": ticket.size,
        "arrived": ticket.extents.size,
        "extents": list(ticket.extents),
        "paused": ticket.paused,
        **describe_state(ticket),
    }
    if metadata := as_object(ticket.identity.metadata):
        answer["metadata"] = metadata
    if ticket.digest:
        answer["digest"] = f"sha-256={ticket.digest}"
    if received:
        answer["received"] = ticket.extents.size + received.size
    if limits is not None:
        answer |= {"chunk_min": limits.chunk_min, "chunk_max": limits.chunk_max, **_alignment(ticket)}
    return answer


def close_code(problem: UploadError) -> int:
    """Return the WebSocket close code for an error: 4000 + its code (RFC 6455 section 7.4.2 leaves 4000-4999 to
    applications).
    """
    return 4000 + problem.code


def _encode(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields}, separators=(",", ":"))


__all__ = ["Extents", "Limits", "State", "parse_chunk", "parse_control"]
