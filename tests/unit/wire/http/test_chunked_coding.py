"""Chunk extensions and trailers are ignored; ambiguous lines are refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import BadRequest
from incoming.wire.http.chunked_coding import check_trailer, chunk_size


@pytest.mark.parametrize(
    ("line", "size"),
    [
        (b"5\r\n", b"5"),
        (b"0\r\n", b"0"),
        (b"1aF\r\n", b"1aF"),
        (b"5;a\r\n", b"5"),
        (b"5;a=b\r\n", b"5"),
        (b"5 ; a = b;c\r\n", b"5"),
        (b'5;a="b; \\"c\\"\t"\r\n', b"5"),
        (b"400;chunk-signature=" + b"0" * 64 + b"\r\n", b"400"),
        (b"5;a=\xff\r\n", b"5"),
        (b"5;\r\n", b"5"),
    ],
)
def test_extensions_are_ignored(line: bytes, size: bytes) -> None:
    assert chunk_size(line) == size


@pytest.mark.parametrize(
    "line",
    [
        b"\r\n",
        b";a\r\n",
        b"+5\r\n",
        b"-5\r\n",
        b"0x5\r\n",
        b"5_0\r\n",
        b" 5\r\n",
        b"5 \r\n",
        b"5 a\r\n",
        b"5,a\r\n",
        b"5;a\nb\r\n",
        b"5;a\rb\r\n",
        b"5;a\0\r\n",
        b"5\n",
        b"5\n\r\n",
        b"12345678901234567\r\n",
        "\u0665\r\n".encode(),
    ],
)
def test_malformed_size_lines_are_refused(line: bytes) -> None:
    with pytest.raises(BadRequest, match="chunk-size line"):
        chunk_size(line)


@pytest.mark.parametrize("line", [b"X-A: b\r\n", b"X-A:\r\n", b"Content-MD5:\tx\xff \r\n", b"content-length: 5\r\n"])
def test_trailers_are_discarded(line: bytes) -> None:
    check_trailer(line)


@pytest.mark.parametrize(
    "line",
    [
        b"X-A\r\n",
        b": b\r\n",
        b" folded: b\r\n",
        b"X A: b\r\n",
        b"X-A : b\r\n",
        b"X-A: b\nX: c\r\n",
        b"X-A: b\n",
        b"X: \0\r\n",
    ],
)
def test_malformed_trailers_are_refused(line: bytes) -> None:
    with pytest.raises(BadRequest, match="trailer line"):
        check_trailer(line)


@given(st.binary(max_size=60))
def test_an_accepted_line_has_no_further_line_end(line: bytes) -> None:
    for accept in (chunk_size, check_trailer):
        try:
            accept(line)
        except BadRequest:
            continue
        assert line.endswith(b"\r\n")
        assert not {0, 10, 13} & set(line[:-2])
