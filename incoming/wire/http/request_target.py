"""The target of a request in absolute-form, `http://host/path?query` (RFC 9112 section 3.2.2).

Decides which authority and which path it names. Knows nothing of the URLs that exist.
"""

from __future__ import annotations

import re

# Without user information, which is an error in a request (RFC 9110 section 4.2.4).
_ABSOLUTE = re.compile(r"(?i:https?)://([^/?#@]+)(/[^?#]*)?(\?[^#]*)?")


def split_absolute(target: str) -> tuple[str, str] | None:
    """Return the authority and the origin-form (path and query); None for a target of another form."""
    match = _ABSOLUTE.fullmatch(target)
    if match is None:
        return None
    authority, path, query = match.groups()
    return authority, (path or "/") + (query or "")
