"""What new_upload says of the file: its size, name, type and metadata, which later clients must agree with.

Decides which values an app may give and says what is wrong with the others, naming parameter and limit. It does not
know how the parameters came or what becomes of the ticket.
"""

from __future__ import annotations

import re

from incoming.core.errors import BadParameter, BadRequest
from incoming.core.file_types import is_wanted
from incoming.core.ticket import Identity, TicketOptions
from incoming.handlers.backend.parameters import Parameters
from incoming.wire import upload_metadata
from incoming.wire.messages import MAX_MEDIA_TYPE, MAX_NAME, MAX_SIZE
from incoming.wire.upload_metadata import UploadMetadata


def file_identity(given: Parameters, options: TicketOptions, server_max_size: int) -> Identity:
    """Return what the app knows of the file. Raises BadParameter, which names the parameter.

    `server_max_size` is in bytes, 0 for no limit.
    """
    metadata = _metadata(given)
    identity = Identity(
        name=_text(given, "fileName", MAX_NAME) or metadata.name,
        size=_size(given, options.max_size, server_max_size),
        media_type=_text(given, "mediaType", MAX_MEDIA_TYPE) or metadata.media_type,
        metadata=metadata.text,
    )
    name, media_type = identity.name, identity.media_type
    # With one of them alone a client may still tell the other.
    if options.allowed_types and name and media_type and not is_wanted(name, media_type, options.allowed_types):
        raise BadParameter(f"fileName and mediaType invalid: none of {', '.join(options.allowed_types)} matches them")
    return identity


def _text(given: Parameters, name: str, limit: int) -> str | None:
    text = given.get(name)
    if text is not None and len(text) > limit:
        raise BadParameter(f"{name} invalid: it has {len(text)} characters, the limit is {limit}")
    return text


def _size(given: Parameters, max_size: int, server_max_size: int) -> int | None:
    text = given.get("fileSize")
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,16}", text, re.ASCII) or int(text) > MAX_SIZE:
        raise BadParameter(f"fileSize invalid: it is not a number of bytes from 0 to {MAX_SIZE}")
    for name, limit in (("maxSize", max_size), ("the server's max_size", server_max_size)):
        if limit and int(text) > limit:
            raise BadParameter(f"fileSize invalid: {text} bytes are above {name}, which is {limit}")
    return int(text)


def _metadata(given: Parameters) -> UploadMetadata:
    if "metadata" not in given:
        return UploadMetadata()
    try:
        return upload_metadata.write(upload_metadata.from_json(given["metadata"]))
    except BadRequest as error:
        raise BadParameter(f"metadata invalid: {error.message}") from error
