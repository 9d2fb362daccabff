"""What a callback says: its form fields, its headers and its signature.

Pure. Decides what an app is told; it does not know how the request is sent or what the app makes of it. If the ticket
has a secret, the call is signed (incoming.wire.callback_signature): an app that checks timestamp and signature needs to
trust neither the network nor the sender.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
import urllib.parse

from incoming.core.ticket import Callback, Ticket
from incoming.wire.callback_signature import signature
from incoming.wire.upload_metadata import as_object

FALLBACK_NAME = "upload"

_NEVER_IN_NAMES = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Unicode categories: control characters, surrogates, line and paragraph separators."""

_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def form(ticket: Ticket, callback: Callback, *, is_test: bool = False) -> bytes:
    """Return the body: application/x-www-form-urlencoded, UTF-8, with every field present but two: `metadata` is
    there if there is any, and `test` marks a trial call and is in no other one.
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
    return urllib.parse.urlencode(fields, errors="replace").encode("ascii")


def headers(
    ticket: Ticket, callback: Callback, body: bytes, timestamp: int, *, is_test: bool = False
) -> dict[str, str]:
    """Return the headers. `Incoming-Delivery` is the same for all attempts of one callback, `Incoming-Attempt` counts
    them from 1.
    """
    fields = {
        "Content-Type": "application/x-www-form-urlencoded",
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
