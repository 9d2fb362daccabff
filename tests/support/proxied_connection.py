"""One connection through the fault proxy: a client's socket, the server's that goes with it, and what befalls them."""

import asyncio
import contextlib
import socket
import struct

from tests.support.line_faults import TO_CLIENT, TO_SERVER, Counters, Direction, Faults

_HEAD_LIMIT = 64 * 1024
_GOODBYE = 1.0  # seconds for the other side to end as well
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds: close() sends RST


class ProxiedConnection:
    """Lives in `serve()`. All methods belong to the proxy's event loop."""

    def __init__(self, client: socket.socket, faults: Faults, counters: Counters, buffer: int) -> None:
        self._client = client
        self._server = socket.socket()
        self._server.setblocking(False)
        self._server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        for side in (self._client, self._server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._faults = faults
        self._counters = counters
        self._buffer = buffer
        self._life: asyncio.Task[None] | None = None
        self._ended = asyncio.Event()
        self._end_with_reset = False
        self._abandoned = False
        self._until_tripwire = 0
        self._last_activity = 0.0
        self._idle_timer: asyncio.TimerHandle | None = None

    async def serve(self, upstream: tuple[str, int]) -> None:
        """Forward until both sides have ended, or a fault ends it."""
        self._touch()
        self.watch_idleness()
        self._life = asyncio.create_task(self._live(upstream))
        end = asyncio.create_task(self._ended.wait())
        await asyncio.wait({self._life, end}, return_when=asyncio.FIRST_COMPLETED)
        if self._abandoned:
            await end
        self._life.cancel()
        end.cancel()
        _, pending = await asyncio.wait({self._life, end})
        assert not pending
        if self._ended.is_set() and not self._end_with_reset:
            await self._say_goodbye()
        self._close()
        if not self._life.cancelled():
            self._life.result()

    async def _say_goodbye(self) -> None:
        """Send FIN to both sides and take no notice of what they still say: closing with data unread would send RST."""
        drains = []
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):  # not connected yet, or not any more
                side.shutdown(socket.SHUT_WR)
                drains.append(asyncio.create_task(self._discard(side)))
        if drains:
            _, late = await asyncio.wait(drains, timeout=_GOODBYE)
            for drain in late:
                drain.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _discard(self, side: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while await loop.sock_recv(side, self._buffer):
                self._touch()

    def _close(self) -> None:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        for side in (self._client, self._server):
            if self._end_with_reset:
                side.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            side.close()

    async def _live(self, upstream: tuple[str, int]) -> None:
        loop = asyncio.get_running_loop()
        self.meet_tripwire()
        with contextlib.suppress(OSError):
            if self._faults.answer is not None:
                await self._answer(self._faults.answer)
                return
            head = await self._read_without_upgrade() if self._faults.strip_upgrade else b""
            if self._faults.source:
                self._server.bind((self._faults.source, 0))
            try:
                await loop.sock_connect(self._server, upstream)
            except OSError:
                self._counters.unreachable += 1
                self.end(with_reset=True)
                return
            await asyncio.gather(
                self._pump(self._client, self._server, TO_SERVER, head),
                self._pump(self._server, self._client, TO_CLIENT),
            )

    async def _pump(self, source: socket.socket, sink: socket.socket, direction: Direction, data: bytes = b"") -> None:
        """Forward until the source ends, then tell the sink; a side that breaks takes the other with it."""
        loop = asyncio.get_running_loop()
        throttle, flowing = self._faults.throttle[direction], self._faults.flowing[direction]
        try:
            while not self._ended.is_set():
                if not data:
                    data = await loop.sock_recv(source, throttle.portion(self._buffer))
                if not flowing.is_set():
                    self._counters.stalled += 1
                    await flowing.wait()
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                data = await self._forward(data, sink, direction)
        except OSError:
            self.end(with_reset=True)

    async def _forward(self, data: bytes, sink: socket.socket, direction: Direction) -> bytes:
        """Send as much of `data` as may go now, and return the rest."""
        throttle = self._faults.throttle[direction]
        count = throttle.portion(len(data))
        await throttle.pass_through(count)
        tripwire = self._faults.tripwire
        if tripwire is not None and tripwire.direction is direction:
            count = min(count, self._until_tripwire)
        await asyncio.get_running_loop().sock_sendall(sink, data[:count])
        self._touch()
        self._counters.add_bytes(direction, count)
        if tripwire is not None and tripwire is self._faults.tripwire and tripwire.direction is direction:
            self._until_tripwire -= count
            self._trip()
        return data[count:]

    # Faults

    def end(self, *, with_reset: bool) -> None:
        if not self._ended.is_set():
            self._end_with_reset = with_reset
            self._ended.set()

    def cut(self) -> None:
        if not self._ended.is_set():
            self._counters.cut += 1
            self.end(with_reset=False)

    def reset(self) -> None:
        if not self._ended.is_set():
            self._counters.reset += 1
            self.end(with_reset=True)

    def abandon(self) -> None:
        """Neither read nor write nor close from now on."""
        if not self._ended.is_set() and not self._abandoned and self._life is not None:
            self._counters.half_opened += 1
            self._abandoned = True
            self._life.cancel()

    def meet_tripwire(self) -> None:
        """Begin to count towards the tripwire that is set now."""
        if self._faults.tripwire is not None:
            self._until_tripwire = self._faults.tripwire.count
            self._trip()

    def _trip(self) -> None:
        tripwire = self._faults.tripwire
        if tripwire is None or self._until_tripwire > 0 or self._ended.is_set():
            return
        tripwire.times -= 1
        if tripwire.times == 0:
            self._faults.tripwire = None
        tripwire.fault(self)

    def _touch(self) -> None:
        self._last_activity = asyncio.get_running_loop().time()

    def watch_idleness(self) -> None:
        """Close when nothing went for `idle_limit` seconds; asks again when that could be the case."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        limit = self._faults.idle_limit
        if limit is None or self._ended.is_set() or self._abandoned:
            return
        loop = asyncio.get_running_loop()
        due = self._last_activity + limit
        if loop.time() >= due:
            self._counters.idle_closed += 1
            self.end(with_reset=False)
        else:
            self._idle_timer = loop.call_at(due, self.watch_idleness)

    # HTTP

    async def _read_head(self) -> bytes:
        """The first request's head, and what came with it."""
        loop = asyncio.get_running_loop()
        head = b""
        while b"\r\n\r\n" not in head and len(head) < _HEAD_LIMIT:
            data = await loop.sock_recv(self._client, self._buffer)
            if not data:
                break
            head += data
        self._touch()
        return head

    async def _answer(self, response: bytes) -> None:
        loop = asyncio.get_running_loop()
        if not await self._read_head():
            return
        await loop.sock_sendall(self._client, response)
        self._counters.answered += 1
        self._client.shutdown(socket.SHUT_WR)
        # Were the socket closed with a request body unread, the RST could overtake the answer (RFC 9112, 9.6).
        await self._discard(self._client)

    async def _read_without_upgrade(self) -> bytes:
        head, end, rest = (await self._read_head()).partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if any(line.lower().startswith(b"upgrade:") for line in lines):
            self._counters.upgrades_stripped += 1
            kept = [line for line in lines if not line.lower().startswith((b"upgrade:", b"connection:"))]
            head = b"\r\n".join([*kept, b"Connection: close"])
        return head + end + rest
