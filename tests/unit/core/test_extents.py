"""Extents behave like a set of byte offsets under any sequence of operations."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.extents import MAX_SINGLE_INSERTS, Extents
from tests.unit.core.scaling import assert_linear

LAST = 60
bounds = st.integers(0, LAST)
ranges = st.tuples(bounds, bounds)
several = st.lists(ranges, max_size=2 * MAX_SINGLE_INSERTS)


def offsets(ranges_: object) -> set[int]:
    """The model: the set of bytes itself."""
    return {offset for start, end in ranges_ for offset in range(start, end)}  # type: ignore[attr-defined]


def assert_normal(extents: Extents) -> None:
    """Sorted, disjoint, not touching each other, none empty: one and only one form of a set."""
    listed = list(extents)
    assert all(start < end for start, end in listed)
    assert all(end < start for (_, end), (start, _) in pairwise(listed))
    assert len(extents) == len(listed)
    assert extents.size == len(offsets(listed))


@given(several)
def test_ranges_may_come_in_any_order(given_ranges: list[tuple[int, int]]) -> None:
    extents = Extents(given_ranges)
    assert_normal(extents)
    assert offsets(extents) == offsets(given_ranges)


@given(several)
def test_adding_one_by_one_equals_adding_at_once(given_ranges: list[tuple[int, int]]) -> None:
    grown = Extents()
    for start, end in given_ranges:
        before = grown
        grown = grown.add(start, end)
        assert offsets(grown) == offsets(before) | offsets([(start, end)])
        assert_normal(grown)
    assert grown == Extents(given_ranges)
    assert hash(grown) == hash(Extents(given_ranges))


@given(several, several)
def test_union_and_intersection(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    union, both = Extents(one) | Extents(other), Extents(one) & Extents(other)
    assert offsets(union) == offsets(one) | offsets(other)
    assert offsets(both) == offsets(one) & offsets(other)
    assert_normal(union)
    assert_normal(both)


@given(several, ranges)
def test_within_missing_and_covers_agree(given_ranges: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    extents, there, wanted = Extents(given_ranges), offsets(given_ranges), offsets([asked])
    assert offsets(extents.within(*asked)) == there & wanted
    assert offsets(extents.missing(*asked)) == wanted - there
    assert extents.covers(*asked) == (wanted <= there)
    parts = [*extents.within(*asked), *extents.missing(*asked)]
    assert all(start < end for start, end in parts)
    assert sum(end - start for start, end in parts) == len(wanted)


@given(several, bounds)
def test_clip_and_prefix(given_ranges: list[tuple[int, int]], end: int) -> None:
    extents, there = Extents(given_ranges), offsets(given_ranges)
    assert offsets(extents.clip(end)) == {offset for offset in there if offset < end}
    assert_normal(extents.clip(end))
    assert extents.prefix == next(offset for offset in range(LAST + 1) if offset not in there)


@given(several, several)
def test_equal_only_to_the_same_set(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    assert (Extents(one) == Extents(other)) == (offsets(one) == offsets(other))
    assert Extents(one) != offsets(one)


def test_extents_are_immutable() -> None:
    before = Extents([(0, 5)])
    assert before.add(5, 9) == Extents([(0, 9)])
    assert before == Extents([(0, 5)])


def test_adding_known_bytes_returns_the_same_value() -> None:
    extents = Extents([(0, 5), (7, 9)])
    assert extents.add(1, 4) is extents
    assert extents.add(7, 9) is extents
    assert extents.add(3, 3) is extents


def test_offsets_up_to_the_largest_file() -> None:
    end = 2**53 - 1
    assert Extents([(end - 1, end), (0, end - 1)]) == Extents([(0, end)])
    assert Extents([(0, end)]).size == end


@pytest.mark.parametrize("start", [-1, -(2**63)])
def test_a_negative_start_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="below 0"):
        Extents([(start, 5)])
    with pytest.raises(ValueError, match="below 0"):
        Extents().add(start, 5)


def test_the_repr_shows_the_ranges() -> None:
    assert repr(Extents([(3, 4), (0, 1)])) == "Extents([(0, 1), (3, 4)])"


def alternating(count: int) -> list[tuple[int, int]]:
    """Every other byte: as many ranges as there can be."""
    return [(2 * i, 2 * i + 1) for i in range(count)]


def test_many_ranges_take_linear_time() -> None:
    assert_linear(alternating, Extents, 10_000)
    assert_linear(alternating, lambda listed: Extents(listed[::2]) | Extents(listed[1::2]), 10_000)
    assert_linear(lambda count: Extents(alternating(count)), lambda extents: extents & extents, 10_000)
    assert_linear(lambda count: Extents(alternating(count)), lambda e: e.missing(0, 2 * len(e)), 10_000)
