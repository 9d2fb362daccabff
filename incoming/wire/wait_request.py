"""The body of a request that waits for changes of several uploads (doc/protocol.md)."""

from __future__ import annotations

from dataclasses import dataclass

from incoming.core.errors import BadRequest
from incoming.wire.json_fields import integer_field, read_object, text_field

MAX_WAITING = 50
"""Uploads that one request may wait for."""

MAX_ID = 1024
MAX_SECONDS = 2**53 - 1


@dataclass(frozen=True, slots=True)
class WaitRequest:
    """Answer as soon as one of these uploads is in another state than the one that the client knows."""

    seen: dict[str, str]
    seconds: int


def parse_wait(text: str) -> WaitRequest:
    """Parse the body. Raise BadRequest for anything else, MessageTooLarge above MAX_CONTROL bytes."""
    message = read_object(text)
    uploads = message.get("uploads")
    if not isinstance(uploads, list) or not all(isinstance(upload, dict) for upload in uploads):
        raise BadRequest("'uploads' is missing or not a list of objects")
    if not 1 <= len(uploads) <= MAX_WAITING:
        raise BadRequest(f"'uploads' has {len(uploads)} members, 1 to {MAX_WAITING} are allowed")
    seen = {text_field(upload, "id", MAX_ID): text_field(upload, "state", MAX_ID) for upload in uploads}
    return WaitRequest(seen, integer_field(message, "wait", MAX_SECONDS) or 0)
