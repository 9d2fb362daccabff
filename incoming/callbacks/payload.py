"""What a callback says: its body as a form or as JSON, its headers and its signature.

Pure. Decides what an app is sent; it does not know how the request is sent or how the app answers. If the ticket
has a secret, the call is signed (incoming.wire.callback_signature): an app that checks timestamp and signature needs to
trust neither the network nor the sender.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
import urllib.parse
from collections.abc import Mapping

from incoming.core.ticket import Callback, Ticket
from incoming.core.ticket_options import FORM, JSON
from incoming.wire.callback_signature import signature
from incoming.wire.upload_metadata import as_object

FALLBACK_NAME = "upload"
NO_DETAILS: Mapping[str, str] = {}

CONTENT_TYPES = {FORM: "application/x-www-form-urlencoded", JSON: "application/json"}

_NEVER_IN_NAMES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, surrogates, line and paragraph separators."""

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def content(
    ticket: Ticket, callback: Callback, *, is_test: bool = False, details: Mapping[str, str] = NO_DETAILS
) -> bytes:
    """Return the body in the format that the app asked for; CONTENT_TYPES has its media type. `details` are the further
    fields of an object.
    """
    written = json_object if ticket.options.signal_finish_format == JSON else form
    return written(ticket, callback, is_test=is_test, details=details)


def form(
    ticket: Ticket, callback: Callback, *, is_test: bool = False, details: Mapping[str, str] = NO_DETAILS
) -> bytes:
    """Return the body as application/x-www-form-urlencoded, UTF-8, with every field present but three: `metadata` and
    `digest` are there if there is any, and `test` marks a trial call and is in no other one.
    """
    secret = ticket.options.backend_secret
    fields = {
        "id": ticket.id,
        "backendSecret": secret,
        "secret": secret,
        "filename": b"" if callback.cancelled else os.fsencode(ticket.location.address),
        "filenameFromBrowser": safe_name(ticket.identity.name or ""),
        "cancelled": "yes" if callback.cancelled else "no",
        "cancelReason": ticket.reason if callback.cancelled else "",
    }
    if metadata := as_object(ticket.identity.metadata):
        fields["metadata"] = json.dumps(metadata)
    if ticket.digest:
        fields["digest"] = f"sha-256={ticket.digest}"
    if is_test:
        fields["test"] = "yes"
    return urllib.parse.urlencode({**fields, **details}, errors="replace").encode("ascii")


def json_object(
    ticket: Ticket, callback: Callback, *, is_test: bool = False, details: Mapping[str, str] = NO_DETAILS
) -> bytes:
    """Return the body as a JSON object (RFC 8259) in ASCII, with every field of a file always present: a parser that
    declares its fields needs no defaults.

    A byte of the path that is not UTF-8 is written as the surrogate that os.fsdecode makes of it.
    """
    fields = {
        "id": ticket.id,
        "backendSecret": ticket.options.backend_secret,
        "filename": "" if callback.cancelled else ticket.location.address,
        "filenameFromBrowser": safe_name(ticket.identity.name or ""),
        "cancelled": callback.cancelled,
        "cancelReason": ticket.reason.encode("utf-8", "replace").decode() if callback.cancelled else "",
        "metadata": as_object(ticket.identity.metadata),
        "digest": f"sha-256={ticket.digest}" if ticket.digest else None,
        "test": is_test,
        **details,
    }
    return json.dumps(fields).encode("ascii")


def headers(
    ticket: Ticket, callback: Callback, body: bytes, timestamp: int, *, is_test: bool = False
) -> dict[str, str]:
    """Return the headers. `Incoming-Delivery` is the same for all attempts of one callback, `Incoming-Attempt` counts
    them from 1.
    """
    fields = {
        "Content-Type": CONTENT_TYPES[ticket.options.signal_finish_format],
        "Accept-Encoding": "identity",
        "Incoming-Delivery": callback.id,
        "Incoming-Attempt": str(callback.attempts),
    }
    if is_test:
        fields["Incoming-Test"] = "yes"
    if ticket.options.traceparent:
        fields["traceparent"] = ticket.options.traceparent
        if ticket.options.tracestate:
            fields["tracestate"] = ticket.options.tracestate
    if ticket.options.backend_secret:
        fields["Incoming-Timestamp"] = str(timestamp)
        fields["Incoming-Signature"] = signature(ticket.options.backend_secret, timestamp, body)
    return fields


def safe_name(name: str) -> str:
    """Return the last component of a file name that a browser sent, safe to join to a directory's path.

    It has no separators of any system, no control characters, none that reverse the direction of text and so disguise
    an extension, and is neither `.` nor `..` nor empty.
    """
    last = re.split(r"[/\\]", name)[-1]
    kept = "".join(c for c in last if unicodedata.category(c) not in _NEVER_IN_NAMES and c not in _BIDI_CONTROLS)
    return FALLBACK_NAME if kept.strip() in ("", ".", "..") else kept
