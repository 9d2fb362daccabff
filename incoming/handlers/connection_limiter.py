"""Admit connections to one worker: a number per client, a number of unidentified ones, and as descriptors allow.

A connection is unidentified until it has sent a ticket or is a backend's. Of too many unidentified ones the oldest is
closed, so that idle sockets keep no other client out. Knows addresses and sockets, but no requests.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import socket
from collections.abc import Sequence
from enum import Enum
from weakref import WeakKeyDictionary, WeakSet

from tornado.iostream import IOStream

from incoming.settings.settings import Settings
from incoming.settings.value_types import Network

log = logging.getLogger(__name__)

SITE_PREFIX = 64
"""Bits of an IPv6 address that identify a client, which has all addresses of its network (RFC 6177)."""

FEW_CLIENTS = 1000
"""Clients in the table above which those without a connection are removed."""


class Admission(Enum):
    """The decision about a new connection."""

    SERVED = "served"
    ESSENTIAL = "served only for health checks and backend functions"
    TOO_MANY = "refused, its client has too many"
    NO_DESCRIPTOR = "refused, descriptors are short"


class ConnectionLimiter:
    """The limiter of one worker. Connections from `exempt` networks count only for the descriptors."""

    def __init__(self, per_client: int, strangers: int, exempt: Sequence[Network]) -> None:
        self.per_client = per_client
        """The connections of one client."""
        self._most_strangers = strangers
        self._exempt = tuple(exempt)
        self._clients: dict[str, WeakSet[IOStream]] = {}
        self._strangers: WeakKeyDictionary[IOStream, None] = WeakKeyDictionary()
        self._tidy_at = FEW_CLIENTS
        self._descriptors: float = math.inf
        self._most_essential = 0
        self._essential: WeakKeyDictionary[IOStream, bool] = WeakKeyDictionary()
        """Essential connections, the oldest first, and whether their request has arrived."""

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimiter:
        """Return the limiter for these settings. Backends and proxies are exempt: they serve many clients."""
        exempt = (*settings.backend_networks, *settings.trusted_proxies)
        return cls(settings.connections_per_client, settings.max_strangers, exempt)

    def limit_descriptors(self, first_reserved: int, essential: int) -> None:
        """Reserve the descriptors from `first_reserved` on; `essential` connections of exempt networks may have one."""
        self._descriptors = first_reserved
        self._most_essential = essential

    def enter(self, stream: IOStream, address: str) -> Admission:
        """Decide about a new connection, and record it if it is admitted."""
        client = self._client(address)
        if client is not None:
            streams = self._clients.setdefault(client, WeakSet())
            if sum(not each.closed() for each in streams) >= self.per_client:
                log.warning("a client has %d connections, more are refused", self.per_client, extra={"client": client})
                return Admission.TOO_MANY
        if stream.socket.fileno() >= self._descriptors and not self._close_oldest_stranger():
            return self._beyond(stream, client)
        if client is not None:
            self._clients[client].add(stream)
            self._make_room_for_stranger()
            self._strangers[stream] = None
            self._tidy()
        return Admission.SERVED

    def is_essential(self, stream: IOStream | None) -> bool:
        """Return whether this connection was admitted for essential requests only."""
        return stream is not None and stream in self._essential

    def asks(self, stream: IOStream | None) -> None:
        """Record the request of an essential connection, which until then may be closed for another one."""
        if stream is not None and stream in self._essential:
            self._essential[stream] = True

    def _beyond(self, stream: IOStream, client: str | None) -> Admission:
        if client is not None or not self._has_essential_place():
            return Admission.NO_DESCRIPTOR
        self._essential[stream] = False
        return Admission.ESSENTIAL

    def _has_essential_place(self) -> bool:
        """Return whether there is a place; if necessary, close the oldest connection that has sent nothing."""
        present = [each for each in self._essential if not each.closed()]
        if len(present) < self._most_essential:
            return True
        silent = next((each for each in present if not self._essential[each] and _is_silent(each)), None)
        if silent is not None:
            silent.close()
        return silent is not None

    def mark_identified(self, stream: IOStream | None) -> None:
        """Count the connection as identified."""
        if stream is not None:
            self._strangers.pop(stream, None)

    def _client(self, address: str) -> str | None:
        """Return the client that a connection counts for; None for an exempt one."""
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            return None  # a Unix socket
        if isinstance(ip, ipaddress.IPv6Address):
            ip = ip.ipv4_mapped or ip
        if any(ip in network for network in self._exempt):
            return None
        return str(ip if ip.version == 4 else ipaddress.ip_network((int(ip), SITE_PREFIX), strict=False))

    def _make_room_for_stranger(self) -> None:
        if len(self._strangers) < self._most_strangers:
            return
        for stream in [stream for stream in self._strangers if stream.closed()]:
            del self._strangers[stream]
        while len(self._strangers) >= self._most_strangers:
            self._close_oldest_stranger()

    def _close_oldest_stranger(self) -> bool:
        """Close the oldest unidentified connection. Return False if there is none."""
        for stream in list(self._strangers):
            del self._strangers[stream]
            if not stream.closed():
                stream.close()
                return True
        return False

    def _tidy(self) -> None:
        if len(self._clients) > self._tidy_at:
            for client in [c for c, streams in self._clients.items() if all(each.closed() for each in streams)]:
                del self._clients[client]
            self._tidy_at = max(FEW_CLIENTS, 2 * len(self._clients))


def _is_silent(stream: IOStream) -> bool:
    """Return whether this connection has no data to read."""
    try:
        return not stream.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return True
