"""Content-Range of a request, with strict integers; Range of its answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import BadRange
from incoming.wire.http.content_range import ContentRange, parse, prefix_range
from incoming.wire.messages import MAX_SIZE
from tests.unit.core.scaling import assert_linear


@pytest.mark.parametrize(
    ("value", "parsed"),
    [
        ("bytes 0-4/10", ContentRange(0, 5, 10)),
        ("bytes 5-9/10", ContentRange(5, 10, 10)),
        ("bytes 0-0/1", ContentRange(0, 1, 1)),
        ("bytes 5-9/*", ContentRange(5, 10, None)),
        ("bytes */10", ContentRange(None, None, 10)),
        ("bytes */0", ContentRange(None, None, 0)),
        ("bytes */*", ContentRange(None, None, None)),
        ("bytes 0-*/10", ContentRange(0, None, 10)),
        ("bytes 10-*/10", ContentRange(10, None, 10)),
        ("bytes 5-/10", ContentRange(5, None, 10)),
        ("bytes 5-*/*", ContentRange(5, None, None)),
        ("bytes 5-/*", ContentRange(5, None, None)),
        ("\tbytes 0-4/10 ", ContentRange(0, 5, 10)),
        ("Bytes 0-4/10", ContentRange(0, 5, 10)),  # RFC 9110 section 14.1: range units are case-insensitive
        (f"bytes {MAX_SIZE - 2}-{MAX_SIZE - 1}/{MAX_SIZE}", ContentRange(MAX_SIZE - 2, MAX_SIZE, MAX_SIZE)),
    ],
)
def test_documented_forms_are_parsed(value: str, parsed: ContentRange) -> None:
    assert parse(value) == parsed


@pytest.mark.parametrize(
    ("value", "said"),
    [
        *(
            (value, "not of a form")
            for value in (
                "", "bytes", "bytes ", "0-4/10", "bytes=0-4/10", "bytes: 0-4/10", "octets 0-4/10", "bytes  0-4/10",
                "bytes\t0-4/10", "bytes 0 - 4/10", "bytes 0-4 / 10", "bytes 0-4/10\n", "bytes 0-4/10, 5-9/10",
                "bytes 0-4,5-9/10", "bytes -5/10", "bytes -5-9/10", "bytes 0--4/10", "bytes 0-4/-1", "bytes +0-4/10",
                "bytes 0-+4/10", "bytes 0-4/+10", "bytes 0_0-4/10", "bytes 0-4/1_0", "bytes 0-4/1e3", "bytes 0-4/1.0",
                "bytes 0x0-4/10", "bytes 0-4/", "bytes 0-4", "bytes */", "bytes *", "bytes *-4/10", "bytes *-*/10",
                "bytes 0-4/**", "bytes ٠-٤/10", "bytes 0-4/１０", "bytes ²-4/10", "bytes 0-4/10\x00",  # noqa: RUF001
                "bytes 0-4/" + "9" * 17, "bytes " + "9" * 5000 + "-*/*", "bytes */" + "0" * 17,
            )
        ),
        (f"bytes 0-4/{MAX_SIZE + 1}", "above 9007199254740991"),
        (f"bytes */{MAX_SIZE + 1}", "above 9007199254740991"),
        ("bytes 9999999999999999-*/*", "above 9007199254740991"),
        (f"bytes 0-{MAX_SIZE}/*", "reaches byte 9007199254740991, the largest possible file has 9007199254740991"),
        ("bytes 5-4/10", "ends at 4, before its start at 5"),
        ("bytes 5-3/10", "ends at 3, before its start at 5"),
        ("bytes 5-3/*", "ends at 3, before its start at 5"),
        ("bytes 0-10/10", "reaches byte 10, the file has 10"),
        ("bytes 10-10/10", "reaches byte 10, the file has 10"),
        ("bytes 11-*/10", "starts at byte 11, the file has 10"),
        ("bytes 0-0/0", "reaches byte 0, the file has 0"),
    ],
)  # fmt: skip
def test_other_forms_are_refused(value: str, said: str) -> None:
    with pytest.raises(BadRange, match=said):
        parse(value)


@pytest.mark.parametrize(
    ("value", "body", "start", "end"),
    [
        ("bytes 0-4/10", 5, 0, 5),
        ("bytes 5-*/10", 5, 5, 10),
        ("bytes 5-*/10", 2, 5, 7),  # the rest may follow in another request
        ("bytes 5-/*", 3, 5, 8),
        ("bytes 5-*/10", 0, 5, 5),
        ("bytes */10", 0, None, None),
        ("bytes */*", 0, None, None),
    ],
)
def test_the_bodys_length_closes_an_open_range(value: str, body: int, start: int | None, end: int | None) -> None:
    closed = parse(value).close(body)
    assert (closed.start, closed.end, closed.total) == (start, end, parse(value).total)


@pytest.mark.parametrize(
    ("value", "body", "said"),
    [
        ("bytes 0-4/10", 4, "has 5 bytes, the body 4"),
        ("bytes 0-4/10", 6, "has 5 bytes, the body 6"),
        ("bytes 0-4/10", 0, "has 5 bytes, the body 0"),
        ("bytes 5-*/10", 6, "reaches byte 10, the file has 10"),
        (f"bytes {MAX_SIZE}-*/*", 1, "the largest possible file has 9007199254740991"),
        ("bytes */10", 1, "a status query has an empty body, this one has 1"),
        ("bytes */*", 10, "a status query has an empty body, this one has 10"),
    ],
)
def test_a_body_of_another_length_is_refused(value: str, body: int, said: str) -> None:
    with pytest.raises(BadRange, match=said):
        parse(value).close(body)


def test_the_length_of_a_range() -> None:
    assert [parse(value).length for value in ("bytes 2-4/10", "bytes 2-*/10", "bytes */10")] == [3, None, None]


numbers = st.integers(0, 2**54)
maybe = numbers | st.just("*")


@given(st.text(alphabet="bytes 0123456789-/*+_x", max_size=40) | st.text())
def test_any_text_is_a_range_or_refused(value: str) -> None:
    try:
        parsed = parse(value)
    except BadRange:
        return
    told = [number for number in (parsed.start, parsed.end, parsed.total) if number is not None]
    assert all(0 <= number <= MAX_SIZE for number in told)
    assert told == sorted(told)


@given(numbers, numbers | st.sampled_from(["", "*"]), maybe)
def test_a_range_is_accepted_exactly_when_it_is_within_the_file(start: int, end: int | str, total: int | str) -> None:
    length = MAX_SIZE if total == "*" else int(total)
    inside = length <= MAX_SIZE and (start <= end < length if isinstance(end, int) else start <= length)
    try:
        parsed = parse(f"bytes {start}-{end}/{total}")
    except BadRange:
        assert not inside
    else:
        assert inside
        assert parsed.start == start
        assert parsed.end == (end + 1 if isinstance(end, int) else None)
        assert parsed.total == (None if total == "*" else total)


def test_parsing_takes_linear_time() -> None:
    def refuse(value: str) -> None:
        with pytest.raises(BadRange):
            parse(value)

    assert_linear(lambda n: "bytes " + "1" * n, refuse, 100_000)
    assert_linear(lambda n: " " * n + "x", refuse, 100_000)


def test_the_range_of_the_answer_is_the_prefix() -> None:
    assert prefix_range(0) is None
    assert prefix_range(1) == "bytes=0-0"
    assert prefix_range(2**53 - 1) == "bytes=0-9007199254740990"
