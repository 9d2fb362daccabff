"""Host names to addresses for callbacks, such that no name's trouble holds up another one.

Decides how many look-ups run at once and how long a result is used again. A look-up blocks a thread for up to half a
minute when the name server does not answer, and cannot be cancelled. So each has a thread of its own, which does not
hold up the end of the process; numeric addresses need none; a name that is known is answered from memory when its name
server hangs; and names whose last look-up failed share a part of the threads only. It does not know which addresses may
be called.
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Any

Addresses = list[tuple[int, Any]]
"""Family and socket address, as Tornado's resolvers return them."""

MAX_LOOKUPS = 64
"""Look-ups, and therefore threads, at the same time."""

MAX_FAILING_LOOKUPS = 16
"""Those of them that may be for names whose last look-up failed or was slow."""

LOOKUP_TIMEOUT = 5.0
"""Seconds after which the caller has given up (CONNECT_TIMEOUT): such a name counts as failing."""

CACHE_SECONDS = 10.0
"""Seconds for which a result is used without asking again."""

USABLE = 600.0
"""Seconds for which a result is used if asking again brings nothing: an address that has changed meanwhile costs an
attempt, a name server that is away costs nothing.
"""

REFRESH_TIMEOUT = 1.0
"""Seconds that the caller of a known name waits for a new result."""

MAX_CACHED = 1024
"""Names."""

Key = tuple[str, int, int]


GetAddrInfo = Callable[..., list[Any]]
"""`socket.getaddrinfo`, called on a thread."""


@dataclass(slots=True)
class _Known:
    """What the last look-up of a name brought, and when; `addresses` is empty if it failed."""

    addresses: Addresses
    at: float
    failing: bool


class _Lookup:
    """One look-up under way. Nobody waits for it any more when `callers` is 0."""

    def __init__(self, task: asyncio.Task[Addresses]) -> None:
        self.task = task
        self.callers = 0


class NameLookup:
    """The look-ups of one worker. `clock` counts seconds from any moment."""

    def __init__(
        self,
        getaddrinfo: GetAddrInfo = socket.getaddrinfo,
        clock: Callable[[], float] = time.monotonic,
        patience: float = REFRESH_TIMEOUT,
    ) -> None:
        self._getaddrinfo = getaddrinfo
        self._clock = clock
        self._patience = patience
        self._known: OrderedDict[Key, _Known] = OrderedDict()
        self._running: dict[Key, _Lookup] = {}
        self._slots = asyncio.Semaphore(MAX_LOOKUPS)
        self._failing_slots = asyncio.Semaphore(MAX_FAILING_LOOKUPS)

    async def resolve(self, host: str, port: int, family: int = socket.AF_UNSPEC) -> Addresses:
        """Return the addresses of a host. Raises OSError, or ValueError for what cannot be a host name."""
        numeric = _numeric(host, port, family)
        if numeric:
            return numeric
        key = (host.lower(), port, int(family))
        known = self._known.get(key)
        age = self._clock() - known.at if known is not None else USABLE
        usable = known.addresses if known is not None and age < USABLE else []
        if usable and age < CACHE_SECONDS:
            return usable
        return await self._ask(key, usable)

    async def _ask(self, key: Key, usable: Addresses) -> Addresses:
        lookup = self._running.get(key) or self._start(key)
        lookup.callers += 1
        try:
            async with asyncio.timeout(self._patience if usable else None):
                return await asyncio.shield(lookup.task)
        except TimeoutError:
            if not usable:
                raise
            return usable
        except socket.gaierror as error:
            if usable and error.errno != socket.EAI_NONAME:
                return usable
            raise
        finally:
            lookup.callers -= 1

    def _start(self, key: Key) -> _Lookup:
        # Looking a name up once for all who wait for it bounds what one name can take.
        lookup = self._running[key] = _Lookup(asyncio.get_running_loop().create_task(self._run(key)))
        lookup.task.add_done_callback(lambda task: self._ended(key, task))
        return lookup

    def _ended(self, key: Key, task: asyncio.Task[Addresses]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # the callers have it, and perhaps nobody waits any more

    async def _run(self, key: Key) -> Addresses:
        known = self._known.get(key)
        async with AsyncExitStack() as slots:
            if known is not None and known.failing:
                await slots.enter_async_context(self._failing_slots)
            await slots.enter_async_context(self._slots)
            if not self._running[key].callers:
                raise TimeoutError("no look-up in time")
            began = self._clock()
            try:
                addresses = await self._on_thread(key)
            except (OSError, ValueError) as error:
                # The name server may be away: what was known stays known.
                gone = known is None or (isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME)
                addresses, at = ([], None) if gone or known is None else (known.addresses, known.at)
                self._remember(key, addresses, at, failing=True)
                raise
            self._remember(key, addresses, None, failing=self._clock() - began >= LOOKUP_TIMEOUT)
            return addresses

    async def _on_thread(self, key: Key) -> Addresses:
        loop = asyncio.get_running_loop()
        result: asyncio.Future[list[Any]] = loop.create_future()

        def deliver(set_result: Callable[[Any], None], value: Any) -> None:
            if not result.done():
                set_result(value)

        def look_up() -> None:
            host, port, family = key
            try:
                outcome = (result.set_result, self._getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM))
            except Exception as error:
                outcome = (result.set_exception, error)  # type: ignore[assignment]
            with suppress(RuntimeError):  # the loop is closed: the process ends
                loop.call_soon_threadsafe(deliver, *outcome)

        threading.Thread(target=look_up, name=f"look-up {key[0][:40]}", daemon=True).start()
        return _addresses(await result)

    def _remember(self, key: Key, addresses: Addresses, at: float | None, *, failing: bool) -> None:
        self._known[key] = _Known(addresses, self._clock() if at is None else at, failing)
        self._known.move_to_end(key)
        if len(self._known) > MAX_CACHED:
            self._known.popitem(last=False)


def _numeric(host: str, port: int, family: int) -> Addresses:
    """Return the address that `host` is a numeric notation of, in any that the system knows; empty if it is a name."""
    try:
        return _addresses(
            socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        )
    except socket.gaierror:
        return []


def _addresses(found: list[Any]) -> Addresses:
    return [(family, address) for family, _, _, _, address in found]
