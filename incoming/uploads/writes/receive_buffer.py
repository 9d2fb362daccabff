"""Receive buffers: gather the bytes of one connection until a write is worth it.

The socket receives into the buffer, so that nothing is copied between socket and file. Decides how large a buffer is
and when its memory is reused. Knows nothing of offsets, requests and chunks.
"""

from __future__ import annotations

from incoming.storage.byte_store import Buffer

SMALLEST_BUFFER = 16 * 1024

LARGEST_BUFFER = 1024 * 1024
"""Bytes in one buffer at most. Handing it to another thread costs about as much as copying half of it."""

MAX_POOLED = 20
"""Large buffers in the pool of a worker. One fast connection may use 16. New memory is cleared by the kernel, page by
page, and by Python, which costs a sixth of a PUT.
"""


class BufferPool:
    """Large buffers of one worker. Each is reused as soon as no memoryview of it is left."""

    def __init__(self) -> None:
        self._known: list[bytearray] = []
        """Most recently used first: they may still be in the processor's caches."""

    def get(self) -> bytearray:
        """Return a buffer of LARGEST_BUFFER bytes of any content."""
        for position, buffer in enumerate(self._known):
            if _is_unused(buffer):
                del self._known[position]
                break
        else:
            buffer = bytearray(LARGEST_BUFFER + 1)
            buffer.pop()  # now a byte can come and go without the buffer being moved
        if len(self._known) < MAX_POOLED:
            self._known.insert(0, buffer)
        return buffer

    def forget(self) -> None:
        """Empty the pool; buffers with live memoryviews stay with their holders."""
        self._known.clear()


def _is_unused(buffer: bytearray) -> bool:
    """Return whether no memoryview of it is left: Python refuses to resize a buffer that has one."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True


class ReceiveBuffer:
    """Receive buffer of one connection."""

    def __init__(self, buffers: BufferPool) -> None:
        self._buffers = buffers
        self._size = SMALLEST_BUFFER
        """Size of the next buffer."""
        self._lent = False
        """Whether bytes may be received into the result of `room`."""
        self._renew()

    def _renew(self) -> None:
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        """The bounds of the bytes that were received and not taken."""

    def shrink(self) -> None:
        """Free the memory, if nothing has gathered: the next bytes get new one."""
        if not (self.length or self._lent):
            self._renew()

    @property
    def length(self) -> int:
        """Bytes that were received and not taken."""
        return self._end - self._start

    @property
    def full(self) -> bool:
        return 0 < self._end == len(self._buffer)

    def room(self, most: int) -> memoryview:
        """Return where the next bytes may be received: at least one, at most `most`. Call `fill` with their number.

        It stays valid when bytes are taken meanwhile.
        """
        if not self._buffer:
            self._buffer = self._buffers.get() if self._size == LARGEST_BUFFER else bytearray(self._size)
            self._view = memoryview(self._buffer)
        self._lent = True
        return self._view[self._end : self._end + most]

    def holds(self, data: Buffer) -> bool:
        """Return whether `data` was received into this buffer, so that only `fill` must be called."""
        return isinstance(data, memoryview) and data.obj is self._buffer

    def fill(self, count: int) -> None:
        """Note that `count` bytes were received into the result of `room`."""
        self._end += count
        self._lent = False

    def pour(self, data: Buffer) -> int:
        """Copy bytes that were received elsewhere, as many as fit; return their number."""
        with self.room(len(data)) as room, memoryview(data)[: len(room)] as part:
            room[:] = part
            self.fill(len(part))
            return len(part)

    def take(self) -> Buffer:
        """Return the gathered bytes, which the caller may keep, and empty the receive buffer.

        Less than half of a buffer is copied, so that the caller holds at most twice the memory of its bytes.
        """
        size, length = len(self._buffer), self.length
        is_first = self._start == 0
        part = self._view[self._start : self._end]
        data: Buffer = part if 2 * length >= size else bytes(part)
        self._start = self._end
        if length == size:
            self._size = min(4 * size, LARGEST_BUFFER)
        elif length < size // 16:
            self._size = max(size // 4, SMALLEST_BUFFER)
        if self._end == size:
            self._renew()
        elif not self._lent:
            # An earlier part of this buffer may still be in use.
            if is_first and data is not part and self._size == size:
                self._start = self._end = 0
            else:
                self._renew()
        return data
