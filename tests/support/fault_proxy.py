"""A TCP proxy that misbehaves on command, between a client and the server under test.

It knows nothing of HTTP and WebSocket but two things that real proxies do to them: it can answer in the server's place,
and it can swallow the Upgrade header. Every fault is counted, so that a test can assert that it was really hit.
"""

import asyncio
import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from types import TracebackType
from typing import Any, TypeVar

from tests.support.line_faults import BOTH, TO_CLIENT, TO_SERVER, Counters, Direction, Faults, Tripwire
from tests.support.ports import free_port
from tests.support.proxied_connection import ProxiedConnection
from tests.support.waiting import wait_until

__all__ = ["BOTH", "TO_CLIENT", "TO_SERVER", "Counters", "Direction", "FaultProxy"]

T = TypeVar("T")


class FaultProxy:
    """Listens on 127.0.0.1:`port` and forwards to 127.0.0.1:`upstream_port`, from `start()` to `stop()`.

    All controls may be called from any thread, and have taken effect when they return.
    `buffer` bounds, in bytes, what the kernel takes from either side ahead of what is forwarded.
    """

    def __init__(self, upstream_port: int, port: int | None = None, buffer: int = 64 * 1024) -> None:
        self.port = port or free_port()
        self._upstreams = itertools.cycle([upstream_port])
        self._buffer = buffer
        self._counters = Counters()
        self._faults = Faults()
        self._connections: set[ProxiedConnection] = set()
        self._served: list[asyncio.Task[None]] = []
        self._listening: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def host(self) -> str:
        """What `incoming.set_server_hostname` wants."""
        return f"127.0.0.1:{self.port}"

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def counters(self) -> Counters:
        """A copy, taken now."""
        return self._do(lambda: replace(self._counters))

    @property
    def open_connections(self) -> int:
        return self._do(lambda: len(self._connections))

    def wait_for(self, condition: Callable[[Counters], object], what: str, timeout: float = 20.0) -> Counters:
        """Wait until `condition(counters)` is true."""
        try:
            wait_until(lambda: condition(self.counters), what, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}; counted: {self.counters}") from None
        return self.counters

    # The proxy's life

    def start(self) -> "FaultProxy":
        assert self._loop is None, "already started"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._thread.start()
        self.accept()
        return self

    def stop(self) -> None:
        """Reset every connection and go away; `counters` stays readable. Raises what went wrong in the proxy itself."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        try:
            self.refuse()
            self._each(lambda connection: connection.end(with_reset=True))
            self._run(self._all_served())
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()
            self._loop = self._thread = None

    def __enter__(self) -> "FaultProxy":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def forward_to(self, *upstream_ports: int) -> None:
        """From now on new connections go to these servers in turn, as when a proxy's configuration is changed."""
        self._do(lambda: setattr(self, "_upstreams", itertools.cycle(upstream_ports)))

    # Faults of the line

    def limit(self, bytes_per_second: float | None, *directions: Direction) -> None:
        """All connections together get no more than this in each of `directions` (default: both); None = no limit."""
        self._at(directions, lambda direction: self._faults.throttle[direction].set_rate(bytes_per_second))

    def stall(self, *directions: Direction) -> None:
        """Forward nothing in `directions` (default: both) until `resume()`. Connections stay open."""
        self._at(directions, lambda direction: self._faults.flowing[direction].clear())

    def resume(self, *directions: Direction) -> None:
        self._at(directions, lambda direction: self._faults.flowing[direction].set())

    def half_open(self) -> int:
        """Abandon the present connections: neither side hears of the other again, neither by data nor by an end.

        New connections work. Returns how many were abandoned.
        """
        return self._each(ProxiedConnection.abandon)

    def move(self, source: str) -> None:
        """From now on new connections come to the server from this address of the loopback network, e.g. 127.0.0.2."""
        self._set("source", source)

    # Faults of connections

    def cut(self) -> int:
        """Close the present connections in the proper way (FIN to both sides); returns how many."""
        return self._each(ProxiedConnection.cut)

    def reset(self) -> int:
        """Close the present connections with RST to both sides; returns how many."""
        return self._each(ProxiedConnection.reset)

    def cut_after(self, count: int, direction: Direction = TO_SERVER, times: int = 1) -> None:
        """Cut a connection, present or new, once `count` more bytes went over it in `direction`; not a byte more goes.

        This happens to the first `times` connections that come so far. With 0, to present ones now, to new ones at
        once. It replaces what `cut_after` or `reset_after` set before.
        """
        self._arm(Tripwire(count, direction, times, ProxiedConnection.cut))

    def reset_after(self, count: int, direction: Direction = TO_SERVER, times: int = 1) -> None:
        """Like `cut_after`, with RST, which may overtake the last bytes."""
        self._arm(Tripwire(count, direction, times, ProxiedConnection.reset))

    def close_idle(self, seconds: float | None) -> None:
        """From now on close connections over which nothing went for so long, as proxies do; None = never."""
        self._set("idle_limit", seconds)
        self._each(ProxiedConnection.watch_idleness)

    def refuse(self) -> None:
        """Refuse new connections as a machine does on which nobody listens. This alone cannot be counted."""
        self._do(self._close_listener)

    def accept(self) -> None:
        """The end of `refuse()`."""
        self._do(self._open_listener)

    # Faults of HTTP proxies

    def answer(self, status: int | None, body: str = "") -> None:
        """Answer the first request of every new connection with `status`, e.g. 502, and close; None = forward again."""
        self._set("answer", None if status is None else _response(status, body))

    def strip_upgrade(self, strip: bool = True) -> None:
        """Forward the first request of every new connection without its Upgrade header."""
        self._set("strip_upgrade", strip)

    # Into the proxy's thread

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        assert self._loop is not None, "not started"
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=30)

    def _do(self, action: Callable[[], T]) -> T:
        async def in_thread() -> T:
            return action()

        return action() if self._loop is None else self._run(in_thread())

    def _set(self, fault: str, value: object) -> None:
        self._do(lambda: setattr(self._faults, fault, value))

    def _at(self, directions: tuple[Direction, ...], action: Callable[[Direction], None]) -> None:
        def to_all() -> None:
            for direction in directions or BOTH:
                action(direction)

        self._do(to_all)

    def _each(self, action: Callable[[ProxiedConnection], object]) -> int:
        def to_all() -> int:
            present = list(self._connections)
            for connection in present:
                action(connection)
            return len(present)

        return self._do(to_all)

    def _arm(self, tripwire: Tripwire) -> None:
        def arm() -> None:
            self._faults.tripwire = tripwire
            for connection in list(self._connections):
                connection.meet_tripwire()

        self._do(arm)

    # In the proxy's thread

    def _open_listener(self) -> None:
        if self._listening is not None:
            return
        self._listening = socket.socket()
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Set before listen(): accepted sockets inherit it, and it bounds the window that clients are offered.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
        self._listening.bind(("127.0.0.1", self.port))
        self._listening.listen(128)
        self._listening.setblocking(False)
        # No task waits in accept(): one that is cancelled loses the socket that it has just been given.
        asyncio.get_running_loop().add_reader(self._listening, self._accept, self._listening)

    def _close_listener(self) -> None:
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def _accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionAbortedError):  # it has gone before it was its turn
            client, _ = listening.accept()
            client.setblocking(False)
            self._counters.accepted += 1
            connection = ProxiedConnection(client, self._faults, self._counters, self._buffer)
            self._connections.add(connection)
            self._served.append(asyncio.create_task(self._serve(connection)))

    async def _serve(self, connection: ProxiedConnection) -> None:
        try:
            await connection.serve(("127.0.0.1", next(self._upstreams)))
        finally:
            self._connections.discard(connection)

    async def _all_served(self) -> None:
        await asyncio.gather(*self._served)


def _response(status: int, body: str) -> bytes:
    content = body.encode()
    head = f"HTTP/1.1 {status} Proxy\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\nConnection: close"
    return head.encode() + b"\r\n\r\n" + content
