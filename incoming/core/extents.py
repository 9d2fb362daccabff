"""Extents: a set of byte offsets as sorted, disjoint, non-adjacent [start, end) ranges.

Immutable, so that a value can be passed to another thread or kept as a snapshot. Knows no files, chunks or
acknowledgements. Offsets are in bytes, `end` is exclusive.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator

Range = tuple[int, int]

MAX_SINGLE_INSERTS = 8
"""Ranges up to which adding them one by one, each a copy of two lists, is cheaper than sorting all."""


class Extents:
    """A set of byte offsets. All operations return a new value and are linear in the number of ranges at worst."""

    __slots__ = ("_ends", "_starts", "size")

    def __init__(self, ranges: Iterable[Range] = ()) -> None:
        """Take ranges in any order, overlapping or not; ignore empty ones. Raise ValueError on a negative start."""
        starts: list[int] = []
        ends: list[int] = []
        for start, end in sorted(ranges):
            if start < 0:
                raise ValueError(f"a range starts at {start}, below 0")
            if end <= start:
                continue
            if ends and start <= ends[-1]:
                ends[-1] = max(ends[-1], end)
            else:
                starts.append(start)
                ends.append(end)
        self._starts = starts
        self._ends = ends
        self.size = sum(ends) - sum(starts)

    def __iter__(self) -> Iterator[Range]:
        return iter(zip(self._starts, self._ends, strict=True))

    def __len__(self) -> int:
        """Return the number of ranges: the cost in memory and in status answers."""
        return len(self._starts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Extents) and self._starts == other._starts and self._ends == other._ends

    def __hash__(self) -> int:
        return hash((tuple(self._starts), tuple(self._ends)))

    def __repr__(self) -> str:
        return f"Extents({list(self)})"

    def __or__(self, other: Extents) -> Extents:
        if len(other) > MAX_SINGLE_INSERTS:
            return Extents([*self, *other])
        joined = self
        for start, end in other:
            joined = joined.add(start, end)
        return joined

    def __and__(self, other: Extents) -> Extents:
        return Extents(
            (max(start, low), min(end, high)) for start, end in self for low, high in other.within(start, end)
        )

    def add(self, start: int, end: int) -> Extents:
        """Return this set with [start, end) added. Extending the last range, the usual case, copies two lists."""
        if start < 0:
            raise ValueError(f"a range starts at {start}, below 0")
        if end <= start:
            return self
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        if first < last:
            if self._starts[first] <= start and end <= self._ends[first]:
                return self
            start = min(start, self._starts[first])
            end = max(end, self._ends[last - 1])
        grown = Extents()
        grown._starts = [*self._starts[:first], start, *self._starts[last:]]
        grown._ends = [*self._ends[:first], end, *self._ends[last:]]
        grown.size = self.size + (end - start) - sum(self._ends[first:last]) + sum(self._starts[first:last])
        return grown

    def without(self, start: int, end: int) -> Extents:
        """Return this set without [start, end)."""
        return Extents(part for low, high in self for part in ((low, min(high, start)), (max(low, end), high)))

    def within(self, start: int, end: int) -> list[Range]:
        """Return the parts of [start, end) that are in this set, in order."""
        if end <= start:
            return []
        first = bisect_right(self._ends, start)
        last = bisect_left(self._starts, end)
        return [(max(start, self._starts[i]), min(end, self._ends[i])) for i in range(first, last)]

    def missing(self, start: int, end: int) -> list[Range]:
        """Return the parts of [start, end) that are not in this set, in order."""
        gaps: list[Range] = []
        position = start
        for low, high in self.within(start, end):
            if position < low:
                gaps.append((position, low))
            position = high
        if position < end:
            gaps.append((position, end))
        return gaps

    def covers(self, start: int, end: int) -> bool:
        """Return whether every byte of [start, end) is in this set; true for an empty range."""
        if end <= start:
            return True
        first = bisect_right(self._ends, start)  # ranges that touch are one
        return first < len(self._starts) and self._starts[first] <= start and end <= self._ends[first]

    def clip(self, end: int) -> Extents:
        """Return the part of this set below `end`."""
        return Extents(self.within(0, end))

    @property
    def end(self) -> int:
        """Return the end of the last range; 0 when there is none."""
        return self._ends[-1] if self._ends else 0

    @property
    def prefix(self) -> int:
        """Return the length of the contiguous part that starts at 0."""
        return self._ends[0] if self._starts and self._starts[0] == 0 else 0
