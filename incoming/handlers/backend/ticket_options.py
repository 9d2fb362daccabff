"""What the parameters of new_upload mean: from text to TicketOptions.

Decides which values an app may give and says what is wrong with the others, naming parameter and limit. It does not
know how the parameters came or what becomes of the ticket.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from incoming.core.errors import BadParameter
from incoming.core.ticket import TicketOptions
from incoming.core.ticket_options import FORM, FORMATS
from incoming.handlers.backend.destination import FILES_ONLY, Destinations
from incoming.handlers.backend.parameter_rules import OLD_SECRET, OLDEST_SECRET, SECRET
from incoming.handlers.backend.parameters import Parameters
from incoming.settings.value_types import parse_origins, parse_size, size_text, split_list, truth
from incoming.wire.messages import MAX_SIZE

MAX_URL = 4096
MAX_SECRET = 4096
MAX_ITEMS = 100
"""Entries of allowedOrigins or allowedTypes; no app has named more than a few dozen."""
MAX_COUNT = 100
"""Tickets of one call. They are created in one transaction, during which no other upload's progress is committed."""

_HOST = re.compile(r"[a-z0-9._-]{1,253}|[0-9a-f:.]{2,45}", re.ASCII)
_TYPE = re.compile(
    r"\.[a-z0-9][a-z0-9.+_-]{0,63}|[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/(\*|[a-z0-9][a-z0-9!#$&^_.+-]{0,126})"
)

T = TypeVar("T")


def ticket_options(given: Parameters, requested_by: str, destinations: Destinations = FILES_ONLY) -> TicketOptions:
    """Return what the app asks for. Raises BadParameter, which names the parameter."""
    secret, is_old = _secret_of_new_upload(given)
    dest_type = _read(given, "destType", destinations.names[0], destinations.dest_type)
    return TicketOptions(
        signal_finish_url=_read(given, "signalFinishURL", None, callback_url),
        backend_secret=secret,
        secret_optional=is_old,
        remove_file_when_finished=_read(given, "removeFileWhenFinished", True, truth),
        dest_type=dest_type,
        dest_key=_read(given, "destKey", "", partial(destinations.key, dest_type)),
        max_size=_read(given, "maxSize", 0, _size),
        max_rate=_read(given, "maxRate", 0, _size),
        allowed_origins=_read(given, "allowedOrigins", (), _origins),
        allowed_types=_read(given, "allowedTypes", (), _types),
        requested_by=requested_by,
        digest=_read(given, "digest", "", _digest),
        signal_finish_format=_read(given, "signalFinishFormat", FORM, _format),
        direct=_read(given, "direct", True, truth),
    )


def wants_test(given: Parameters) -> bool:
    """Return whether the app asks for a trial call. Raises BadParameter."""
    return _read(given, "testCallback", False, truth)


def ticket_count(given: Parameters) -> int | None:
    """Return how many tickets the app asks for, None if it does not say. Raises BadParameter."""
    return _count(given["count"]) if "count" in given else None


def secret(given: Parameters) -> str:
    """Return the secret of a call about an upload, by any of its names; the newest that is not empty."""
    return given.get(SECRET) or given.get(OLD_SECRET) or given.get(OLDEST_SECRET) or ""


def callback_url(text: str) -> str:
    """Return an absolute http or https URL that every client reads the same way (RFC 3986). Raises ValueError."""
    if not text:
        raise ValueError("it is empty")
    if len(text) > MAX_URL:
        raise ValueError(f"it has {len(text)} characters, the limit is {MAX_URL}")
    if not re.fullmatch(r"[!-~]+", text) or set(text) & set('\\"<>^`{|}'):
        raise ValueError("it has spaces or other characters that must be percent-encoded")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("it must be absolute and begin with http:// or https://")
    if "@" in parts.netloc:
        raise ValueError("it must not contain a user name or a password")
    if not parts.hostname or not _HOST.fullmatch(parts.hostname):
        raise ValueError("it has no valid host")
    if parts.port == 0:
        raise ValueError("port 0 cannot be called")
    if "#" in text:
        raise ValueError("it must not have a fragment (#)")
    return text


def _read(given: Parameters, name: str, default: T | None, parse: Callable[[str], T]) -> T:
    """Return a parameter's value, or the default if it is absent; None as the default means that it is required."""
    if name not in given:
        if default is None:
            raise BadParameter(f"{name} invalid: it is not given")
        return default
    try:
        return parse(given[name])
    except ValueError as error:
        raise BadParameter(f"{name} invalid: {error}") from error


def _secret_of_new_upload(given: Parameters) -> tuple[str, bool]:
    """Return the secret, and whether only its older name was used: such apps call finish_upload without it."""
    new, old = given.get(SECRET, ""), given.get(OLD_SECRET, "")
    if new and old and new != old:
        raise BadParameter(f"{SECRET} and {OLD_SECRET} are two names of one secret, but they differ")
    for name in (SECRET, OLD_SECRET):
        if (length := len(given.get(name, ""))) > MAX_SECRET:
            raise BadParameter(f"{name} invalid: it has {length} characters, the limit is {MAX_SECRET}")
    return new or old, bool(old) and not new


def _count(text: str) -> int:
    if not re.fullmatch("[0-9]{1,9}", text, re.ASCII) or not 1 <= int(text) <= MAX_COUNT:
        raise BadParameter(f"count invalid: it is not a number from 1 to {MAX_COUNT}")
    return int(text)


def _format(text: str) -> str:
    if text not in FORMATS:
        raise ValueError("it is neither 'form' nor 'json'")
    return text


def _digest(text: str) -> str:
    if not re.fullmatch("sha-256(=[0-9a-f]{64})?", text.lower(), re.ASCII):
        raise ValueError("it is neither 'sha-256' nor 'sha-256=' with 64 hexadecimal digits")
    return text.lower()


def _size(text: str) -> int:
    size = parse_size(text)
    if size > MAX_SIZE:
        raise ValueError(f"the limit is {size_text(MAX_SIZE)}")
    return size


def _origins(text: str) -> tuple[str, ...]:
    return _few(parse_origins(text))


def _types(text: str) -> tuple[str, ...]:
    types = _few(tuple(item.lower() for item in split_list(text)))
    for item in types:
        if not _TYPE.fullmatch(item):
            raise ValueError("each entry is an extension such as .pdf or a MIME type such as image/*")
    return types


def _few(items: tuple[str, ...]) -> tuple[str, ...]:
    if not items:
        raise ValueError("it has no entries; leave it out to allow any")
    if len(items) > MAX_ITEMS:
        raise ValueError(f"it has {len(items)} entries, the limit is {MAX_ITEMS}")
    return items
