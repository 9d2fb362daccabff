"""Where parts begin and end: equal ones for a known size, growing ones for an unknown one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import StorageFailed
from incoming.storage.s3.parts.place import MAX_PARTS, MIB, Place, part_size_for


def place(part: int = 8 * MIB, *, grows: bool = False) -> Place:
    return Place("bucket", "key", "upload", part, grows, "mark")


@pytest.mark.parametrize(
    ("size", "least", "expected"),
    [
        (0, 8 * MIB, 8 * MIB),
        (9000 * 8 * MIB, 8 * MIB, 8 * MIB),
        (9000 * 8 * MIB + 1, 8 * MIB, 9 * MIB),
        (5 * 2**40, 8 * MIB, 583 * MIB),
        (9001 * 4096, 4096, MIB),
    ],
)
def test_parts_are_as_long_as_needed_for_nine_thousand(size: int, least: int, expected: int) -> None:
    assert part_size_for(size, least) == expected


@given(st.integers(1, 5 * 2**40))
def test_no_file_has_too_many_parts(size: int) -> None:
    assert place(part_size_for(size, 8 * MIB)).count(size) <= MAX_PARTS


def test_the_last_part_ends_with_the_file() -> None:
    known = place(10)
    assert [known.range_of(number, 25) for number in (1, 2, 3)] == [(0, 10), (10, 20), (20, 25)]
    assert known.range_of(3, None) == (20, 30)
    assert (known.count(25), known.count(30), known.count(31), known.count(0)) == (3, 3, 4, 0)


def test_parts_of_an_unknown_size_grow_after_a_thousand() -> None:
    grown = place(10, grows=True)
    assert [grown.range_of(n, None) for n in (1, 1000, 1001, 2000)] == [
        (0, 10), (9990, 10_000), (10_000, 10_020), (29_980, 30_000),
    ]  # fmt: skip
    assert grown.range_of(2001, None) == (30_000, 30_040)
    assert grown.range_of(1001, 10_005) == (10_000, 10_005)


@given(st.integers(0, 10**7), st.booleans())
def test_each_byte_is_in_the_part_that_is_named_for_it(offset: int, grows: bool) -> None:
    its = place(10, grows=grows)
    start, end = its.range_of(its.number_at(offset), None)
    assert start <= offset < end


def test_a_place_survives_the_ticket() -> None:
    assert Place.parse(place(grows=True).text) == place(grows=True)
    for text in ("", "[]", "{", '{"bucket": "b"}'):
        with pytest.raises(StorageFailed, match="damaged"):
            Place.parse(text)
