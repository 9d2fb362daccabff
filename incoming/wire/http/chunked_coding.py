"""Chunk extensions and trailers of the chunked transfer coding (RFC 9112 section 7.1).

Decides which lines between the chunks are well-formed, and refuses a lone CR or LF in them, which other programs accept
as the end of a line. Knows neither streams nor the chunks' data.
"""

from __future__ import annotations

import re

from incoming.core.errors import BadRequest

MAX_SIZE_LINE = 1024
"""Bytes of a chunk-size line with its extensions and CRLF. The longest ones in use, signatures, have about 150."""

MAX_TRAILERS = 16 * 1024
"""Bytes of all trailer lines of a body."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?\r\n")
_TRAILER_LINE = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[\t\x20-\x7e\x80-\xff]*\r\n")


def chunk_size(line: bytes) -> bytes:
    """Return the hexadecimal size of a chunk-size line; extensions are ignored (section 7.1.1). Raise BadRequest."""
    match = _SIZE_LINE.fullmatch(line)
    if match is None:
        raise BadRequest("a chunk-size line of the body is malformed (RFC 9112 section 7.1)")
    return match[1]


def check_trailer(line: bytes) -> None:
    """Raise BadRequest for a trailer line that is not a field line. Its content is discarded (section 7.1.2)."""
    if _TRAILER_LINE.fullmatch(line) is None:
        raise BadRequest("a trailer line of the body is malformed (RFC 9112 section 7.1.2)")
