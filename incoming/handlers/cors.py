"""Which web pages may upload: the decision about origins, for WebSockets and HTTP.

The ticket is the capability and there are no cookies, so any origin is allowed by default; the server's
`allowed_origins` and the ticket's restrict that. A request without an Origin header is not a page's and is not
restricted (RFC 6454 section 7.3, Fetch standard section 3.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from tornado.httputil import HTTPHeaders

EXPOSED = (
    "Range, Location, Retry-After, Allow, Upload-Offset, Upload-Length, Upload-Defer-Length, Upload-Metadata, "
    "Upload-Expires, Upload-Concat, Upload-Complete, Upload-Incomplete, Upload-Limit, Upload-Draft-Interop-Version, "
    "Tus-Resumable, Tus-Version, Tus-Extension, Tus-Max-Size, Tus-Checksum-Algorithm"
)
MAX_AGE = 24 * 3600
"""Seconds that a browser may cache a preflight; Chromium's limit is two hours."""


def allowed(origin: str | None, *lists: Sequence[str]) -> bool:
    """Return whether every list that is not empty contains this origin, in the serialised form `scheme://host[:port]`."""
    if origin is None:
        return True
    return all(not names or origin.lower() in names for names in lists)


def cors(headers: HTTPHeaders, methods: Sequence[str]) -> dict[str, str]:
    """Return the CORS headers of an answer to an allowed origin; a preflight gets the longer set with the resource's
    methods (Fetch standard, section 3.2).
    """
    origin = headers.get("Origin")
    if origin is None:
        return {}
    answer = {"Access-Control-Allow-Origin": origin, "Vary": "Origin", "Access-Control-Expose-Headers": EXPOSED}
    # The page may read which protocol its requests have (Resource Timing, section 4.5).
    answer["Timing-Allow-Origin"] = origin
    if "Access-Control-Request-Method" in headers:
        answer["Access-Control-Allow-Methods"] = ", ".join(methods)
        answer["Access-Control-Allow-Headers"] = headers.get("Access-Control-Request-Headers", "*")
        answer["Access-Control-Max-Age"] = str(MAX_AGE)
    return answer
