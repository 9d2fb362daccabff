"""An app's HTTP response as text: decoding, decompression, and what of it fits into one line.

Decides which bytes are read as which text, and that everything is bounded. What the text means is answer.py's decision.
"""

from __future__ import annotations

import codecs
import html
import json
import re
import unicodedata
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from incoming.core.callback_url import masked

MAX_BODY = 8192
"""Bytes of a body, also of a decompressed one, that are read. `done` and `wait` are four; Django's page for developers
names the error in the sixth thousand.
"""

MAX_QUOTE = 200
"""Characters of the app's response that a message quotes."""

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CHARSETS = frozenset({"utf-16", "utf-16le", "utf-16be", "utf-32", "iso-8859-1", "windows-1252"})
"""Charset parameters that are honoured; every other one is read as UTF-8, of which ASCII is a part."""

_EDGES = "\ufeff\u200b\u2060\0"
"""Invisible characters that may surround a word, besides white space: byte order marks, zero-width spaces, NUL."""

_PAGE = re.compile(r"<(!doctype|!--|\?xml|(html|head|body|title|center|div|p|h[1-6])\b)", re.IGNORECASE)
_MARKUP = re.compile(r"<(script|style|title|head)\b.*?(</\1>|\Z)|<[^>]*>?", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Response:
    """One complete response. `body` has at most MAX_BODY bytes of the `length` that came; header names in any case.

    `secret` is what the app was sent and may repeat; it is not shown.
    """

    status: int
    phrase: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int = 0
    secret: str = ""

    def header(self, name: str) -> str:
        """Return a header's value, empty if it is absent."""
        wanted = name.lower()
        return next((value for key, value in self.headers.items() if key.lower() == wanted), "")

    @cached_property
    def _content(self) -> bytes | None:
        """The body without its content coding, None if it cannot be read."""
        coding = self.header("Content-Encoding").strip().lower()
        if coding in ("", "identity"):
            return self.body
        if coding not in ("gzip", "x-gzip", "deflate"):
            return None
        for window in (zlib.MAX_WBITS | 32, -zlib.MAX_WBITS):  # gzip and zlib by their headers; deflate without one
            decompressor = zlib.decompressobj(window)
            try:
                content = decompressor.decompress(self.body, MAX_BODY + 1)
            except zlib.error:
                continue
            return content if decompressor.eof or len(content) > MAX_BODY else None
        return None

    @property
    def is_readable(self) -> bool:
        """Whether the body came in a content coding that is known here, and undamaged."""
        return self._content is not None

    @property
    def is_whole(self) -> bool:
        """Whether all of the body could be read and is no longer than MAX_BODY."""
        return self.length <= MAX_BODY and self._content is not None and len(self._content) <= MAX_BODY

    @cached_property
    def text(self) -> str:
        """The body as text. A byte order mark wins over the header's charset."""
        content = (self._content or b"")[:MAX_BODY]
        for mark, encoding in _BOMS:
            if content.startswith(mark):
                return content[len(mark) :].decode(encoding, "replace")
        declared = re.search(r"charset=[\"']?([\w-]+)", self.header("Content-Type"), re.ASCII | re.IGNORECASE)
        charset = declared[1].lower() if declared else ""
        return content.decode(charset if charset in _CHARSETS else "utf-8", "replace")

    @property
    def word(self) -> str:
        """The text without white space and invisible characters around it."""
        before, text = None, self.text
        while text != before:
            before, text = text, text.strip().strip(_EDGES)
        return text

    @property
    def is_html(self) -> bool:
        """Whether it is a page: proxies and frameworks answer with pages, apps answer callbacks with words."""
        return "html" in self.header("Content-Type").lower() or bool(_PAGE.match(self.word))

    @cached_property
    def json(self) -> Any:
        """The text as JSON, None if it is none."""
        try:
            return json.loads(self.word)
        except (ValueError, RecursionError):
            return None

    @property
    def line(self) -> str:
        """The text in one line, without markup."""
        text = html.unescape(_MARKUP.sub(" ", self.text)) if self.is_html else self.word
        return one_line(masked(text, self.secret))

    @property
    def status_line(self) -> str:
        """Return status and phrase in one line."""
        return one_line(f"{self.status} {self.phrase}")


def one_line(text: str) -> str:
    """Return text from outside, fit for a log line and a message: one line, not long, invisible characters escaped."""
    line = "".join(map(_visible, " ".join(text.split())))
    return line if len(line) <= MAX_QUOTE else line[:MAX_QUOTE] + "…"


def _visible(character: str) -> str:
    if character == " " or unicodedata.category(character)[0] not in "CZ":
        return character
    return character.encode("unicode_escape").decode("ascii")
