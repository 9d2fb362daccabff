"""The name that a client gives its file: `?filename=` or Content-Disposition (RFC 6266, with RFC 8187's filename*)."""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from incoming.core.errors import BadParameter
from incoming.wire.messages import MAX_NAME

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'\s*;\s*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))', re.DOTALL)
_EXTENDED = re.compile(r"(utf-8|iso-8859-1)'[^']*'(.*)", re.IGNORECASE | re.DOTALL)


def file_name(parameter: str | None, disposition: str) -> str | None:
    """Return the file's name, which is data and never a path; None when the client sends none. Raises BadParameter when
    too long.
    """
    name = parameter or _disposed(disposition)
    if name is not None and len(name) > MAX_NAME:
        raise BadParameter(f"the file's name has {len(name)} characters, the limit is {MAX_NAME}")
    return name or None


def _disposed(header: str) -> str | None:
    """filename* wins over filename (RFC 6266 section 4.3). Malformed parts are ignored."""
    kind = re.match(rf"\s*{_WORD}", header)
    position = kind.end() if kind else 0
    found: dict[str, str] = {}
    while match := _PARAMETER.match(header, position):
        position = match.end()
        key, quoted, token = match.groups()
        value = token if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
        found.setdefault(key.lower(), value)
    extended = _EXTENDED.fullmatch(found.get("filename*", ""))
    if extended is not None:
        return unquote_to_bytes(extended[2]).decode(extended[1].lower(), errors="replace")
    return _as_meant(found["filename"]) if "filename" in found else None


def _as_meant(value: str) -> str:
    """Header values are ISO 8859-1 by RFC 9110 section 5.5, and UTF-8 from most clients."""
    try:
        return value.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return value
