"""Which tickets an operator's search text finds, the same for every database.

The text may stand in the id, the file's name, the app's address, the callback URL as it is shown, or the problem. ASCII
letters match in either case, all other characters as they are. A database first looks for `needle` in the texts that it
keeps, which finds too many, never too few; `mentions` decides.
"""

from __future__ import annotations

import json

from incoming.core.callback_url import shown_url
from incoming.core.ticket import Ticket

SEARCHED = 5000
"""Tickets of each state that one search looks at, those in which something happened last."""


def needle(text: str) -> str:
    """Return what is looked for in a ticket's row, whose texts are JSON, in lower case. It has ASCII only."""
    return json.dumps(text)[1:-1].lower()


def mentions(ticket: Ticket, text: str) -> bool:
    """Return whether the text stands in what operators see of the ticket."""
    options = ticket.options
    shown = (ticket.id, ticket.identity.name or "", options.requested_by, ticket.problem)
    wanted = _folded(text)
    return any(
        wanted in _folded(part) for part in (*shown, shown_url(options.signal_finish_url, options.backend_secret))
    )


def _folded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass").lower()  # of bytes, only ASCII letters change
