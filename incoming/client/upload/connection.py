"""The Protocol of a connection to a server, over a WebSocket or HTTP."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from incoming import __version__
from incoming.client.errors import Unreachable
from incoming.core.identity import Identity
from incoming.wire.client_messages import Acknowledged, StateNews, Welcome

LIBRARY = f"incoming.client/{__version__}"
"""What servers are told of this client."""


class ConnectionLost(Unreachable):
    """The connection has ended, or brings nothing any more. Another one may do better."""


class WebSocketUnusable(ConnectionLost):
    """Something on the way lets no WebSocket through, or spoils it."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What every connection of an upload says first."""

    session: str
    epoch: int | None
    identity: Identity


class Connection(Protocol):
    """One connection, after its welcome. Every function raises ConnectionLost, and UploadError for what the server
    says.
    """

    kind: str
    """`websocket` or `http`."""

    ahead: int
    """Chunks that may be on their way at a time."""

    welcome: Welcome

    async def send(self, offset: int, data: bytes) -> None:
        """Send bytes of the file; returns when more can be given out."""

    async def receive(self) -> Acknowledged | StateNews:
        """Return the next news."""

    async def close(self) -> None:
        """Close it. Raises nothing."""
