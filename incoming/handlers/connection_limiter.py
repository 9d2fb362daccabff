"""Who may be connected to one worker at all: so many connections of one client, and so many that nobody knows yet.

A connection is a stranger until it has shown a ticket or is a backend's. Of too many strangers the one that has stood
there longest goes, so that whoever holds sockets open without a word never keeps out who has something to send. Knows
addresses and sockets, and nothing of requests.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from weakref import WeakKeyDictionary, WeakSet

from tornado.iostream import IOStream

from incoming.settings.settings import Settings
from incoming.settings.value_types import Network

log = logging.getLogger(__name__)

SITE_PREFIX = 64
"""Bits of an IPv6 address that stand for one client: whoever has one has all addresses of its network (RFC 6177)."""

FEW_CLIENTS = 1000
"""Addresses that are remembered before those without a connection are looked for."""


class ConnectionLimiter:
    """One worker's. Connections from `exempt` networks are not counted."""

    def __init__(self, per_client: int, strangers: int, exempt: Sequence[Network]) -> None:
        self.per_client = per_client
        """Connections that one client may have."""
        self._most_strangers = strangers
        self._exempt = tuple(exempt)
        self._clients: dict[str, WeakSet[IOStream]] = {}
        self._strangers: WeakKeyDictionary[IOStream, None] = WeakKeyDictionary()
        self._tidy_at = FEW_CLIENTS

    @classmethod
    def of(cls, settings: Settings) -> ConnectionLimiter:
        """Backends and proxies stand for many clients."""
        exempt = (*settings.backend_networks, *settings.trusted_proxies)
        return cls(settings.connections_per_client, settings.max_strangers, exempt)

    def enter(self, stream: IOStream, address: str) -> bool:
        """A connection has come. False if its client has as many as it may."""
        client = self._client(address)
        if client is None:
            return True
        streams = self._clients.setdefault(client, WeakSet())
        if sum(not each.closed() for each in streams) >= self.per_client:
            log.warning("a client has %d connections, more are refused", self.per_client, extra={"client": client})
            return False
        streams.add(stream)
        self._make_room_for_stranger()
        self._strangers[stream] = None
        self._tidy()
        return True

    def know(self, stream: IOStream | None) -> None:
        """It is no stranger any more."""
        if stream is not None:
            self._strangers.pop(stream, None)

    def _client(self, address: str) -> str | None:
        """Whom connections are counted for; None for whom they are not."""
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
            longest = next(iter(self._strangers))
            del self._strangers[longest]
            longest.close()

    def _tidy(self) -> None:
        if len(self._clients) > self._tidy_at:
            for client in [c for c, streams in self._clients.items() if all(each.closed() for each in streams)]:
                del self._clients[client]
            self._tidy_at = max(FEW_CLIENTS, 2 * len(self._clients))
