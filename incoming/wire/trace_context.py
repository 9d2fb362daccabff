"""W3C Trace Context (Recommendation, 23 November 2021): which `traceparent` and `tracestate` are passed on.

The server makes no spans. It stores the caller's fields with the ticket and sends them with the callback, unchanged, so
that an app's request for a ticket and the callback are in one trace (section 4.3, forwarding without modification).
"""

from __future__ import annotations

import re

MAX_STATE = 512
"""Characters of `tracestate` that must be passed on (section 3.3.1.5); a longer one is dropped."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[ -~]*)?", re.ASCII)
_STATE = re.compile(r"[ -~\t]+", re.ASCII)


def trace_context(traceparent: str, tracestate: str) -> tuple[str, str]:
    """Return both fields as they are passed on; two empty texts if `traceparent` is invalid (section 3.2.2.3).

    Of a later version than 00 the fields of version 00 are passed on, as that version (section 3.2.4).
    """
    match = _PARENT.fullmatch(traceparent.strip(" \t"))
    if match is None:
        return "", ""
    version, trace_id, parent_id, flags, more = match.groups()
    if version == "ff" or (version == "00" and more) or not trace_id.strip("0") or not parent_id.strip("0"):
        return "", ""
    state = tracestate.strip(" \t")
    if len(state) > MAX_STATE or not _STATE.fullmatch(state):
        state = ""
    return f"00-{trace_id}-{parent_id}-{flags}", state
