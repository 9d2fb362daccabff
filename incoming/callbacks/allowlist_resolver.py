"""Where callbacks may go: the operator's lists of hosts and networks, applied when the connection is made.

A URL is checked by the very code that is about to connect, on the host as the HTTP client understood it and on the
addresses that are then connected to. So neither another spelling of an address nor a name that resolves differently the
second time gets around the lists. How names are looked up is name_lookup.py's; it does not know what is sent there.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection

from tornado.netutil import Resolver

from incoming.callbacks.name_lookup import Addresses, NameLookup
from incoming.settings.value_types import Network


class CallbackForbidden(Exception):
    """The operator's lists do not allow this callback. The uploading browser gets the message, too."""


class AllowlistResolver(Resolver):
    """Resolve a callback's host and let through what is allowed. An empty list allows everything; of two lists, both
    must agree.

    `hosts` has names or addresses as they stand in the URL, in lower case, each with or without `:port`.
    """

    def initialize(
        self, hosts: Collection[str] = (), networks: Collection[Network] = (), lookup: NameLookup | None = None
    ) -> None:
        self._hosts = frozenset(hosts)
        self._networks = tuple(networks)
        self._lookup = lookup or NameLookup()

    async def resolve(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> Addresses:
        """Return the addresses of `host` that may be connected to. Raises CallbackForbidden if there are none, OSError
        if the name cannot be resolved.
        """
        if not self._permits_host(host, port):
            raise CallbackForbidden("the application's host is not among those that this server may call")
        addresses = await self._lookup.resolve(host, port, family)
        if not self._networks:
            return addresses
        allowed = [(kind, address) for kind, address in addresses if self._allows(address[0])]
        if not allowed:
            raise CallbackForbidden("the application's address is not in the networks that this server may call")
        return allowed

    def permits(self, host: str, port: int, address: str) -> bool:
        """Return whether a connection that leads to this host and address may be used."""
        return self._permits_host(host, port) and (not self._networks or self._allows(address))

    def _permits_host(self, host: str, port: int) -> bool:
        name = host.lower().rstrip(".")
        return not self._hosts or name in self._hosts or f"{name}:{port}" in self._hosts

    def _allows(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return any(address in network for network in self._networks)
