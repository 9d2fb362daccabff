"""What may be shown of an app's callback URL, and which app it belongs to.

Decides that a query, a user name, a password and the ticket's secret never leave the ticket: logs and pages show
scheme, host, port and path. It does not decide whether a URL may be called.
"""

from __future__ import annotations

import json
from urllib.parse import quote, quote_plus, urlsplit

MAX_SHOWN = 300
"""Characters of a URL that a log line or a page shows."""

MASK = "***"
SHORTEST_SECRET = 4
"""Characters. A shorter secret protects nothing and would match parts of words."""


def app_host(url: str) -> str:
    """Return host:port of a URL, which tells one app from another; empty if the URL has none."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
    except ValueError:
        return ""
    return f"{parts.hostname}:{port}" if parts.hostname else ""


def masked(text: str, secret: str) -> str:
    """Return the text without the secret, however a form, a URL or JSON spells it."""
    if len(secret) < SHORTEST_SECRET:
        return text
    spellings = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret), json.dumps(secret)[1:-1]}
    for spelling in sorted(spellings, key=len, reverse=True):
        text = text.replace(spelling, MASK)
    return text


def shown_url(url: str, secret: str = "") -> str:
    """Return scheme, host, port and path of a URL, with `secret` masked; empty if the URL has no host."""
    if not app_host(url):
        return ""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    port = f":{parts.port}" if parts.port else ""
    shown = f"{parts.scheme}://{host}{port}{masked(parts.path or '/', secret)}"
    return shown if len(shown) <= MAX_SHOWN else shown[:MAX_SHOWN] + "…"
