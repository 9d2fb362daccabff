"""Content-Range of a request and Range of its answer, with strict integers.

Decides what a well-formed `Content-Range: bytes ...` of a PUT is (RFC 9110 section 14.4, and the forms that resumable
clients add to it, doc/protocol.md) and which bytes a body of a known length then covers. Knows no handler and no file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from incoming.core.errors import BadRange
from incoming.wire.messages import MAX_SIZE

_NUMBER = "([0-9]{1,16})"
# Range units are case-insensitive (RFC 9110 section 14.1); the numbers are ASCII digits and nothing else.
_FORM = re.compile(rf"(?i:bytes) (?:\*|{_NUMBER}-(?:{_NUMBER}|\*)?)/(?:{_NUMBER}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class ContentRange:
    """`start` is None for a status query, `end` (exclusive) None if it follows from the body's length, `total` None
    while the client does not know the length of its file. All in bytes.
    """

    start: int | None
    end: int | None = None
    total: int | None = None

    @property
    def length(self) -> int | None:
        """Return the required length of the body in bytes, None when the range is open."""
        return None if self.start is None or self.end is None else self.end - self.start

    def close(self, body_length: int) -> ContentRange:
        """Return the range for a body of that length in bytes. Raises BadRange when the two disagree."""
        if self.start is None:
            if body_length:
                raise BadRange(f"a status query has an empty body, this one has {body_length} bytes")
            return self
        if self.length is not None and self.length != body_length:
            raise BadRange(f"the Content-Range has {self.length} bytes, the body {body_length}")
        closed = ContentRange(self.start, self.start + body_length, self.total)
        closed.check()
        return closed

    def check(self) -> None:
        """Raise BadRange when the range reaches beyond the file or beyond MAX_SIZE."""
        limit, whose = (MAX_SIZE, "the largest possible") if self.total is None else (self.total, "the")
        if self.end is not None and self.end > limit:
            raise BadRange(f"the Content-Range reaches byte {self.end - 1}, {whose} file has {limit}")
        if self.start is not None and self.start > limit:
            raise BadRange(f"the Content-Range starts at byte {self.start}, {whose} file has {limit}")


def parse(value: str) -> ContentRange:
    """Parse the value of a Content-Range header. Raises BadRange for anything but the documented forms."""
    match = _FORM.fullmatch(value.strip(" \t"))
    if match is None:
        raise BadRange("Content-Range is not of a form like 'bytes 0-1048575/5242880' or 'bytes */5242880'")
    start, end, total = (None if number is None else int(number) for number in match.groups())
    if max(start or 0, end or 0, total or 0) > MAX_SIZE:
        raise BadRange(f"a number in Content-Range is above {MAX_SIZE}")
    if start is not None and end is not None and end < start:
        raise BadRange(f"the Content-Range ends at {end}, before its start at {start}")
    parsed = ContentRange(start, None if end is None else end + 1, total)
    parsed.check()
    return parsed


def prefix_range(prefix: int) -> str | None:
    """Return the Range header of a 308 for the first `prefix` bytes, which are safe; None, that is no header, for 0."""
    return f"bytes=0-{prefix - 1}" if prefix else None
