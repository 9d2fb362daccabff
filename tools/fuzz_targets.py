"""The targets of tools/fuzz.py: each parser of network input with its oracle, and valid inputs as a start.

A target returns when its input was accepted or refused as documented, and raises otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from incoming.core.errors import BadRange, BadRequest, ChecksumMismatch, MessageTooLarge
from incoming.wire import messages, resumable_upload, tus
from incoming.wire import websocket_frames as websocket
from incoming.wire.http import content_range

MAX_INPUT = 20_000
"""Bytes: a little above the longest control message."""

FRAMES = ["81 85 00000000 48656c6c6f", "02 83 01020304 414141 80 81 00000000 41 89 80 00000000", "88 82 00000000 03e8"]
"""As in RFC 6455, with masks of mostly zeros."""

RANGES = ["bytes 0-9/26", "bytes */26", "bytes */*", "bytes 5-*/9007199254740991", "bytes 3-/*", "BYTES 1-1/2"]

RESUMABLE = ["8\n?1\n0\n26", "3\n?0;a=1\n5\n", "\n?0\n9007199254740991\n0", '6\n?1;a="\\"";b=:YQ==:\n10;c=1.5\n20']
"""Interop version, Upload-Complete (or Upload-Incomplete), Upload-Offset and Upload-Length, a line each."""

TUS = [
    "26\n0\nfilename YS50eHQ=,filetype dGV4dA==\nsha1 E7X121m3do5RTtnrOi5XTG9Uq0A=\npartial",
    "9007199254740991\n007\nextra,name w7w=\ncrc32 m+Pgow==\nfinal;/a/0-5 b/5-7",
]
"""Upload-Length, Upload-Offset, Upload-Metadata, Upload-Checksum and Upload-Concat, a line each."""


def control(data: bytes) -> None:
    try:
        message = messages.parse_control(data.decode("utf-8", "replace"))
    except (BadRequest, MessageTooLarge):
        return
    if isinstance(message, messages.Hello):
        told = message.identity
        assert messages.SESSION.fullmatch(message.session)
        assert told.size is not None
        for number in (told.size, told.last_modified, message.epoch):
            assert number is None or (type(number) is int and 0 <= number <= messages.MAX_SIZE)
        for word in (told.name, told.fingerprint, told.media_type):
            assert word is None or word.encode("utf-8") is not None  # no lone surrogate is left
            assert word is None or len(word) <= messages.MAX_NAME
    elif isinstance(message, messages.Cancel):
        assert len(message.reason.encode("utf-8")) <= 4 * messages.MAX_REASON


def chunk(data: bytes) -> None:
    try:
        offset, content = messages.parse_chunk(data)
    except BadRequest:
        return
    assert 0 <= offset <= messages.MAX_SIZE
    assert bytes(content) == data[messages.CHUNK_HEADER.size :] != b""


def ranges(data: bytes) -> None:
    length = int.from_bytes(data[:2], "big")
    try:
        parsed = content_range.parse(data[2:].decode("latin-1")).close(length)
    except BadRange:
        return
    numbers = [number for number in (parsed.start, parsed.end, parsed.total) if number is not None]
    assert numbers == sorted(numbers)
    assert all(0 <= number <= messages.MAX_SIZE for number in numbers)
    assert parsed.length in (None, length)


def resumable(data: bytes) -> None:
    lines = [line.decode("latin-1") for line in data.split(b"\n")]
    names = (resumable_upload.VERSION_FIELD, "Upload-Complete", "Upload-Offset", "Upload-Length")
    fields = dict(zip(names, lines, strict=False))
    version = resumable_upload.version_of(fields)
    assert version.number in (None, *range(3, 11))
    fields[version.complete_field] = fields.get("Upload-Complete", "")
    told = resumable_upload.parse_complete(version, fields)
    assert resumable_upload.is_resumable_upload("PUT", fields) == (told is not None)
    if told is not None:
        assert fields[version.complete_field].strip().startswith(version.complete_value(complete=told))
    for read in (resumable_upload.append_offset, lambda headers: resumable_upload.parse_length(version, headers)):
        try:
            number = read(fields)
        except BadRequest:
            continue
        assert number is None or 0 <= number <= messages.MAX_SIZE


def tus_fields(data: bytes) -> None:
    lines = [line.decode("latin-1") for line in data.split(b"\n")]
    names = ("Upload-Length", "Upload-Offset", "Upload-Metadata", "Upload-Checksum", "Upload-Concat")
    fields = dict(zip(names, lines, strict=False))
    with suppress(BadRequest):
        length = tus.number(fields, "Upload-Length")
        assert length is None or 0 <= length <= messages.MAX_SIZE
    with suppress(BadRequest):
        assert 0 <= tus.offset_of(fields) <= messages.MAX_SIZE
    with suppress(BadRequest):
        told = tus.identity_of(fields, None)
        assert len(told.name or "") <= messages.MAX_NAME
        assert len(told.media_type or "") <= messages.MAX_MEDIA_TYPE
    with suppress(BadRequest, ChecksumMismatch):
        checksum = tus.checksum_of(fields)
        assert checksum is None or len(checksum.expected) == tus.DIGEST_SIZES[checksum.algorithm]
    with suppress(BadRequest):
        if (concat := tus.concat_of(fields)) is not None:
            assert all(start >= 0 <= end for start, end in concat.order("a"))


def frames(data: bytes) -> None:
    """The meaning does not depend on segmentation, which the first byte selects."""
    sent = data[1:]
    step = 1 + data[0] % 16 if data else 1
    limit, text_limit = 1000, 100
    told = _events([sent], limit, text_limit)
    assert told == _events([sent[start : start + step] for start in range(0, len(sent), step)], limit, text_limit)
    lengths = [len(value) for _, value in told if isinstance(value, str | bytes)]
    assert max(lengths, default=0) <= limit
    assert all(code in (1002, 1007, 1009) for kind, code in told if kind == "FrameError")


def _events(portions: list[bytes], limit: int, text_limit: int) -> list[tuple[str, object]]:
    """Return the events, with all data of a message together."""
    reader = websocket.FrameReader(limit, text_limit)
    told: list[tuple[str, object]] = []
    message = b""
    try:
        for portion in portions:
            for event in reader.feed(portion):
                if isinstance(event, websocket.Data):
                    message += event.data
                    if event.last:
                        told.append(("Data", message))
                        message = b""
                elif isinstance(event, websocket.Text):
                    assert len(event.text.encode()) <= text_limit
                    told.append(("Text", event.text))
                elif event is not None:
                    told.append((type(event).__name__, getattr(event, "payload", None)))
    except websocket.FrameError as error:
        told.append(("FrameError", error.code))
    return [*told, ("begun", message)]


def seeds(target: str) -> list[bytes]:
    """Valid inputs as a start."""
    vectors = json.loads((Path(__file__).resolve().parents[1] / "tests" / "vectors" / "messages.json").read_text())
    if target == "control":
        return [vector["text"].encode("utf-8", "surrogatepass") for vector in vectors["from_client"]]
    if target == "chunk":
        return [bytes.fromhex(vector["header"]) + b"x" for vector in vectors["chunk_headers"]]
    if target == "frames":
        return [bytes([step]) + bytes.fromhex(text) for text in FRAMES for step in (0, 3)]
    if target == "tus":
        return [text.encode() for text in TUS]
    if target == "resumable":
        return [text.encode() for text in RESUMABLE]
    return [length.to_bytes(2, "big") + text.encode() for text in RANGES for length in (0, 1, 10)]


TARGETS: dict[str, Callable[[bytes], None]] = {
    "control": control,
    "chunk": chunk,
    "ranges": ranges,
    "frames": frames,
    "resumable": resumable,
    "tus": tus_fields,
}
