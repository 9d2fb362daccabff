"""Which bytes are sent next. Pure: it knows no connection, no clock and no file.

Decides which part of what is missing goes out next, and what must go out once more after a loss. The first missing
bytes go first, so that what has arrived stays one range, or few.
"""

from __future__ import annotations

from dataclasses import dataclass

from incoming.core.extents import Extents, Range


@dataclass(slots=True)
class _Flight:
    """`times` a chunk was given out, first `since` then."""

    since: float
    times: int = 1


class Schedule:
    """The ranges of one file: arrived, in flight, and missing."""

    def __init__(self, size: int, alignment: int = 1) -> None:
        self.size = size
        self._alignment = alignment
        self._arrived = Extents()
        self._in_flight: dict[Range, _Flight] = {}

    @property
    def arrived(self) -> int:
        """Number of bytes that are safe."""
        return self._arrived.size

    @property
    def in_flight(self) -> int:
        """Number of bytes that were given out and are not acknowledged."""
        return sum(end - start for start, end in self._in_flight)

    @property
    def has_more(self) -> bool:
        """Whether there is something that was not given out."""
        return self.arrived + self.in_flight < self.size

    @property
    def is_complete(self) -> bool:
        return self._arrived.size >= self.size

    def welcome(self, arrived: Extents) -> None:
        """Take what has arrived from the server. That may be less than before, if a disk has lost some."""
        self._arrived = arrived.clip(self.size)

    def take(self, length: int, now: float) -> Range | None:
        """Return the next range to send, of at most `length` bytes; None when all is in flight or has arrived."""
        out = self._arrived | Extents(self._in_flight)
        gap = next(iter(out.missing(0, self.size)), None)
        if gap is None:
            return None
        start = gap[0]
        end = min(gap[1], start + length)
        if self._alignment > 1:
            end = min(end, start - start % self._alignment + self._alignment)
        self._in_flight[(start, end)] = _Flight(now)
        return start, end

    def take_again(self, length: int, mine: Extents, before: float) -> Range | None:
        """Return a range that was given out before then and has not got through, for a connection with nothing else
        to do. At most two connections send the same bytes, and none its own twice.
        """
        for chunk, flight in self._in_flight.items():
            is_small = chunk[1] - chunk[0] <= length
            if flight.times == 1 and flight.since < before and is_small and not mine.within(*chunk):
                flight.times += 1
                return chunk
        return None

    def acknowledged(self, chunk: Range) -> None:
        """Note an acknowledged range."""
        self._arrived = self._arrived.add(*chunk)
        self._in_flight.pop(chunk, None)

    def lost(self, chunk: Range) -> None:
        """Note that a connection has not delivered a range."""
        flight = self._in_flight.get(chunk)
        if flight is not None:
            flight.times -= 1
            if flight.times == 0:
                del self._in_flight[chunk]
