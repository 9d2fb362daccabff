"""The upload tickets that an app has asked for. Decides whose callback is believed and how long a ticket is remembered.

They live in memory and are gone when the app ends: a real app keeps them in its database.
"""

import hmac
import threading
from collections import OrderedDict
from dataclasses import dataclass, field

# The Incoming!! server repeats a callback whose answer it did not get, for a day at most; a thousand later uploads
# are more than these apps will see in that time.
_CLOSED_TICKETS_REMEMBERED = 1000


@dataclass
class Ticket:
    """One upload: the server's id for it, our secret, and what we have told the server about it."""

    id: str
    secret: str
    filename: str = ""
    answer: str | None = None
    """The answer to the server's callback; None while there was none. Read and written under `lock`."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


class Tickets:
    """Tickets by id, for many threads at once."""

    def __init__(self, remembered: int = _CLOSED_TICKETS_REMEMBERED) -> None:
        self._lock = threading.Lock()
        self._open: dict[str, Ticket] = {}
        self._closed: OrderedDict[str, Ticket] = OrderedDict()
        self._remembered = remembered

    def add(self, ticket: Ticket) -> None:
        with self._lock:
            self._open[ticket.id] = ticket

    def find(self, upload_id: str) -> Ticket | None:
        """The ticket with that id, if it is open or was closed not long ago."""
        with self._lock:
            return self._open.get(upload_id) or self._closed.get(upload_id)

    def close(self, ticket: Ticket) -> None:
        """Nothing more is expected about it, except the same callback once more."""
        with self._lock:
            self._open.pop(ticket.id, None)
            self._closed[ticket.id] = ticket
            while len(self._closed) > self._remembered:
                self._closed.popitem(last=False)


def same_secret(ours: str, theirs: str) -> bool:
    """Compare in a time that does not tell how many characters were right."""
    return hmac.compare_digest(ours.encode(), theirs.encode())
