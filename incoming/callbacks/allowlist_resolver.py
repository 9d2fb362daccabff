"""Where callbacks may go: the operator's lists of hosts and networks, applied when the connection is made.

A URL is checked by the very code that is about to connect, on the host as the HTTP client understood it and on the
addresses that are then connected to. So neither another spelling of an address nor a name that resolves differently the
second time gets around the lists. It does not know what is sent there.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Collection
from typing import Any

from tornado.netutil import DefaultLoopResolver

from incoming.settings.value_types import Network

Addresses = list[tuple[int, Any]]


class CallbackForbidden(Exception):
    """The operator's lists do not allow this callback; the message is for the uploading browser as well."""


class AllowlistResolver(DefaultLoopResolver):
    """Resolves a callback's host and lets through what is allowed. An empty list allows everything; of two lists, both
    must agree.

    `hosts` has names or addresses as they stand in the URL, in lower case, each with or without `:port`.
    """

    def initialize(self, hosts: Collection[str] = (), networks: Collection[Network] = ()) -> None:
        super().initialize()
        self._hosts = frozenset(hosts)
        self._networks = tuple(networks)
        self._under_way: dict[tuple[str, int, int], asyncio.Task[Addresses]] = {}

    async def resolve(self, host: str, port: int, family: socket.AddressFamily = socket.AF_UNSPEC) -> Addresses:
        """The addresses of `host` that may be connected to. Raises CallbackForbidden when there are none."""
        name = host.lower().rstrip(".")
        if self._hosts and name not in self._hosts and f"{name}:{port}" not in self._hosts:
            raise CallbackForbidden("the application's host is not among those that this server may call")
        addresses = await self._look_up(host, port, family)
        if not self._networks:
            return addresses
        allowed = [(kind, address) for kind, address in addresses if self._allows(address[0])]
        if not allowed:
            raise CallbackForbidden("the application's address is not in the networks that this server may call")
        return allowed

    async def _look_up(self, host: str, port: int, family: socket.AddressFamily) -> Addresses:
        # Look-ups share a small pool of threads. Asking once for all who wait for the same name keeps a name server
        # that does not answer from taking all of them.
        key = (host, port, int(family))
        task = self._under_way.get(key)
        if task is None:
            task = asyncio.get_running_loop().create_task(super().resolve(host, port, family))
            self._under_way[key] = task
            task.add_done_callback(lambda done: self._ended(key, done))
        return await asyncio.shield(task)

    def _ended(self, key: tuple[str, int, int], task: asyncio.Task[Addresses]) -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # whoever waited has it, and perhaps nobody waits any more

    def _allows(self, text: str) -> bool:
        address = ipaddress.ip_address(text)
        if isinstance(address, ipaddress.IPv6Address):
            address = address.ipv4_mapped or address
        return any(address in network for network in self._networks)
