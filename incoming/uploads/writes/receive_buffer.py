"""Where the bytes of one connection gather until there are enough of them to be worth a write.

They can be received into it, so that nothing is copied between the socket and the file. Decides how much room is held
for what is to come, and when memory is used again. Knows nothing of offsets, requests and chunks.
"""

from __future__ import annotations

from incoming.storage.byte_store import Buffer

SMALLEST_BUFFER = 16 * 1024

LARGEST_BUFFER = 1024 * 1024
"""Bytes that gather at most: to hand them to another thread costs about as much as to copy half of them."""

MAX_POOLED = 20
"""Largest buffers that a worker keeps for the next bytes; one fast connection may have 16 of them under way. New memory
has to be cleared by the kernel, page by page, and by Python: a sixth of what a PUT costs.
"""


class BufferPool:
    """One worker's large ones. Each is used again as soon as nobody looks at it any more, wherever it was handed to."""

    def __init__(self) -> None:
        self._known: list[bytearray] = []
        """The last ones used first: what the processor's caches may still hold."""

    def get(self) -> bytearray:
        """LARGEST bytes of any content."""
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
        """Gives their memory back; those that somebody looks at are his own then."""
        self._known.clear()


def _is_unused(buffer: bytearray) -> bool:
    """Python lets nobody change the length of a buffer that a memoryview looks at."""
    try:
        buffer.append(0)
    except BufferError:
        return False
    buffer.pop()
    return True


class ReceiveBuffer:
    """One connection's."""

    def __init__(self, buffers: BufferPool) -> None:
        self._buffers = buffers
        self._size = SMALLEST_BUFFER
        """What the next buffer is to have."""
        self._lent = False
        """Whether bytes may come into what `room` gave."""
        self._renew()

    def _renew(self) -> None:
        self._buffer = bytearray()
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        """Between them is what has gathered."""

    @property
    def length(self) -> int:
        """Bytes that have gathered."""
        return self._end - self._start

    @property
    def full(self) -> bool:
        return 0 < self._end == len(self._buffer)

    def room(self, most: int) -> memoryview:
        """Where the next bytes may be received, at most so many; not empty. How many came is told to `fill`.

        It stays where it is whatever is taken meanwhile.
        """
        if not self._buffer:
            self._buffer = self._buffers.get() if self._size == LARGEST_BUFFER else bytearray(self._size)
            self._view = memoryview(self._buffer)
        self._lent = True
        return self._view[self._end : self._end + most]

    def holds(self, data: Buffer) -> bool:
        """Whether `data` was received into it, and `fill` is all that is to be done."""
        return isinstance(data, memoryview) and data.obj is self._buffer

    def fill(self, count: int) -> None:
        """So many bytes have been received into what `room` gave."""
        self._end += count
        self._lent = False

    def pour(self, data: Buffer) -> int:
        """Copies what was received elsewhere, as much of it as there is room for, and returns how much that was."""
        with self.room(len(data)) as room, memoryview(data)[: len(room)] as part:
            room[:] = part
            self.fill(len(part))
            return len(part)

    def take(self) -> Buffer:
        """What has gathered, for somebody who keeps it as long as he likes; the receive_buffer is empty then.

        If it is less than half of the buffer it is copied, so that nobody keeps more than twice of what he knows of.
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
            # An earlier part of this buffer may be with others.
            if is_first and data is not part and self._size == size:
                self._start = self._end = 0
            else:
                self._renew()
        return data
