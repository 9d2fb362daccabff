"""The name that a client gives its file: `?filename=` or Content-Disposition (RFC 6266, with RFC 8187's filename*)."""

from __future__ import annotations

import re
from urllib.parse import unquote

from tornado.httputil import HTTPHeaders

from incoming.core.errors import BadParameter
from incoming.core.messages import MAX_NAME

_EXTENDED = re.compile(r"filename\*\s*=\s*utf-8'[^']*'([^;\s]+)", re.IGNORECASE)
_QUOTED = re.compile(r'filename\s*=\s*"((?:[^"\\]|\\.)*)"', re.IGNORECASE)
_TOKEN = re.compile(r"filename\s*=\s*([^;\s\"]+)", re.IGNORECASE)


def file_name(parameter: str | None, headers: HTTPHeaders) -> str | None:
    """The file's name as data, never as a path; None when the client gives none. Raises BadParameter when too long."""
    name = parameter if parameter is not None else _disposed(headers.get("Content-Disposition", ""))
    if name is not None and len(name) > MAX_NAME:
        raise BadParameter(f"the file's name has {len(name)} characters, the limit is {MAX_NAME}")
    return name or None


def _disposed(header: str) -> str | None:
    """filename* wins over filename (RFC 6266 section 4.3)."""
    if match := _EXTENDED.search(header):
        return unquote(match[1], errors="replace")
    if match := _QUOTED.search(header):
        return re.sub(r"\\(.)", r"\1", match[1])
    if match := _TOKEN.search(header):
        return match[1]
    return None
