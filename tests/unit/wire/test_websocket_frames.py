"""The meaning of frames, byte by byte (RFC 6455 section 5), the limits, and independence of segmentation."""

import importlib.util
import os
import sys
from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.wire import websocket_frames, websocket_mask
from incoming.wire.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Close,
    Data,
    Event,
    FrameError,
    FrameReader,
    LongText,
    Ping,
    Pong,
    Text,
)
from tests.support.raw_websocket import frame

LIMIT = 70_000
TEXT_LIMIT = 100


def read(portions: Iterable[bytes], limit: int = LIMIT) -> tuple[list[Event], FrameError | None]:
    """Return the events, each binary message's bytes joined, and the final error."""
    reader = FrameReader(limit, TEXT_LIMIT)
    events: list[Event] = []
    try:
        for portion in portions:
            for event in reader.feed(portion):
                before = events[-1] if events else None
                if isinstance(event, Data) and isinstance(before, Data) and not before.last:
                    before.data += event.data
                    before.last = event.last
                elif event is not None:
                    events.append(event)
    except FrameError as error:
        return events, error
    return events, None


def means(sent: bytes, *events: Event) -> None:
    """Return the events, the same at once and in portions of any length."""
    for length in (1, 2, 3, 7, max(len(sent), 1)):
        portions = [sent[start : start + length] for start in range(0, len(sent), length)]
        assert read(portions) == (list(events), None)


def refused(sent: bytes, code: int, *before: Event) -> str:
    for length in (1, 5, len(sent)):
        told, error = read(sent[start : start + length] for start in range(0, len(sent), length))
        assert told == list(before)
        assert error is not None
        assert error.code == code
    assert len(error.message.encode()) <= 123, "it fits into a close frame"
    return error.message


# --- messages ---------------------------------------------------------------------------------------------------------


def test_text_is_returned_whole() -> None:
    means(frame(TEXT, "Grüße".encode()), Text("Grüße"))
    means(frame(TEXT) + frame(TEXT, b"b"), Text(""), Text("b"))


def test_text_in_fragments_may_be_cut_within_a_character() -> None:
    said = "ü€😀".encode()
    pieces = [frame(TEXT, said[:1], final=False)]
    pieces += [frame(CONTINUATION, said[at : at + 1], final=False) for at in range(1, len(said))]
    means(b"".join(pieces) + frame(CONTINUATION), Text("ü€😀"))


@pytest.mark.parametrize("length", [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT])
def test_binary_messages_of_every_length_encoding(length: int) -> None:
    data = os.urandom(length)
    assert read([frame(BINARY, data)]) == ([Data(data, True)], None)
    message = frame(BINARY, data)
    for cut in (1, 2, 3, 4, 9, 10, 13, 14, 15, 17):
        assert read([message[:cut], message[cut:]])[0][-1] == Data(data, True)


def test_binary_messages_are_returned_in_parts_as_they_arrive() -> None:
    reader = FrameReader(LIMIT, TEXT_LIMIT)
    message = frame(BINARY, b"abcdefgh")
    assert list(reader.feed(message[:9])) == [Data(b"abc", False)]
    assert list(reader.feed(message[9:13])) == [Data(b"defg", False)]
    assert list(reader.feed(b"")) == []
    assert list(reader.feed(message[13:])) == [Data(b"h", True)]


def test_the_end_of_a_message_is_reported_also_without_data() -> None:
    reader = FrameReader(LIMIT, TEXT_LIMIT)
    assert list(reader.feed(frame(BINARY, b"a", final=False))) == [Data(b"a", False)]
    assert list(reader.feed(frame(CONTINUATION))) == [Data(b"", True)]


def test_every_frame_yields_an_event_so_that_it_can_be_counted() -> None:
    reader = FrameReader(LIMIT, TEXT_LIMIT)
    empty = frame(CONTINUATION, final=False)
    assert list(reader.feed(frame(TEXT, final=False) + 3 * empty)) == [None] * 4


def test_control_frames_between_fragments() -> None:
    sent = (
        frame(BINARY, b"ab", final=False)
        + frame(PING, b"1")
        + frame(CONTINUATION, b"cd", final=False)
        + frame(PONG)
        + frame(CONTINUATION, b"ef")
        + frame(TEXT, b"g", final=False)
        + frame(PING, bytes(125))
        + frame(CONTINUATION, b"h")
    )
    told, error = read([sent])
    assert error is None
    binary = [Data(b"ab", False), Ping(b"1"), Data(b"cd", False), Pong(b""), Data(b"ef", True)]
    assert told == [*binary, Ping(bytes(125)), Text("gh")]


def test_a_pong_is_a_frame_without_mask() -> None:
    assert websocket_frames.pong(b"abc") == frame(PONG, b"abc", masked=False)
    assert websocket_frames.pong(bytes(125)) == frame(PONG, bytes(125), masked=False)


# --- the end ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1009, 1014, 3000, 4999])
def test_a_close_frame_has_a_code(code: int) -> None:
    means(frame(CLOSE, code.to_bytes(2)), Close(code))
    means(frame(CLOSE, code.to_bytes(2) + "gründlich".encode()) + frame(TEXT, b"\xff") + b"\xff\xff", Close(code))


def test_a_close_frame_may_have_no_code() -> None:
    means(frame(CLOSE) + frame(PING), Close(None))
    reader = FrameReader(LIMIT, TEXT_LIMIT)
    list(reader.feed(frame(CLOSE)))
    assert reader.closed


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535])
def test_a_close_frame_with_an_invalid_code_is_refused(code: int) -> None:
    refused(frame(CLOSE, code.to_bytes(2)), 1002)


def test_a_close_reason_that_is_not_utf8_is_refused() -> None:
    refused(frame(CLOSE, b"\x03"), 1002)
    refused(frame(CLOSE, b"\x03\xe8\xff"), 1007)


# --- breaches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        *((frame(opcode, b"x", reserved=bit), "reserved") for opcode in (TEXT, BINARY, PING) for bit in (1, 2, 4)),
        *((frame(opcode), "unknown opcode") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)),
        *((frame(opcode, b"x", masked=False), "not masked") for opcode in (TEXT, BINARY, CLOSE, PING)),
        *((frame(opcode, b"x", final=False), "control frame is fragmented") for opcode in (CLOSE, PING, PONG)),
        *((frame(opcode, bytes(126)), "more than 125 bytes") for opcode in (CLOSE, PING, PONG)),
        (frame(CONTINUATION, b"x"), "no message to continue"),
        (frame(CONTINUATION, b"x", final=False), "no message to continue"),
        (frame(TEXT, final=False) + frame(TEXT), "within another"),
        (frame(TEXT, final=False) + frame(BINARY), "within another"),
        (b"\x82\xfe\x00\x7d" + bytes(4 + 125), "fewest bytes"),
        (b"\x82\xff" + (65_535).to_bytes(8) + bytes(4), "fewest bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "frame",  # masks differ in each run
)
def test_violations_of_rfc_6455_are_refused(sent: bytes, why: str) -> None:
    assert why in refused(sent, 1002)
    refused(frame(TEXT, b"before") + sent, 1002, Text("before"))


def test_a_message_is_continued_only_until_its_end() -> None:
    whole = frame(TEXT, b"a", final=False) + frame(CONTINUATION, b"b")
    refused(whole + frame(CONTINUATION, b"c"), 1002, Text("ab"))


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
def test_text_that_is_not_utf8_is_refused(wrong: bytes) -> None:
    refused(frame(TEXT, b"a" + wrong), 1007)
    refused(frame(TEXT, b"a" + wrong[:1], final=False) + frame(CONTINUATION, wrong[1:]), 1007)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_a_message_that_is_too_large_is_refused_by_its_header() -> None:
    refused(b"\x82\xff" + (LIMIT + 1).to_bytes(8), 1009)
    refused(b"\x82\xff" + b"\xff" * 8, 1009)
    refused(b"\x81\xff" + (LIMIT + 1).to_bytes(8), 1009)


def test_fragments_above_the_limit_together_are_refused() -> None:
    halves = [frame(BINARY, bytes(LIMIT // 2), final=False), frame(CONTINUATION, bytes(LIMIT // 2))]
    assert read(halves) == ([Data(bytes(LIMIT), True)], None)
    begun = halves[0] + frame(CONTINUATION, bytes(LIMIT // 2), final=False)
    assert read([begun, frame(CONTINUATION)]) == ([Data(bytes(LIMIT), True)], None)
    told, error = read([begun, frame(PING, b"x"), frame(CONTINUATION, b"x")])
    assert told == [Data(bytes(LIMIT), False), Ping(b"x")]
    assert error is not None
    assert error.code == 1009


def test_the_limit_applies_to_each_message() -> None:
    told, error = read([frame(BINARY, bytes(LIMIT)) * 3])
    assert (len(told), error) == (3, None)


def test_text_above_its_limit_is_reported_once_and_discarded() -> None:
    means(frame(TEXT, b"x" * TEXT_LIMIT), Text("x" * TEXT_LIMIT))
    means(frame(TEXT, b"x" * (TEXT_LIMIT + 1)) + frame(TEXT, b"y"), LongText(), Text("y"))
    reader = FrameReader(LIMIT, TEXT_LIMIT)
    told = list(reader.feed(frame(TEXT, b"x" * 60, final=False) + frame(CONTINUATION, b"x" * 60, final=False)))
    assert told == [None, LongText()]
    for _ in range(1000):
        assert list(reader.feed(frame(CONTINUATION, b"\xff" * 60, final=False))) == [None]
    assert len(reader._text) < 200
    assert list(reader.feed(frame(CONTINUATION) + frame(TEXT, b"y"))) == [None, Text("y")]


# --- any segmentation -------------------------------------------------------------------------------------------------

payloads = st.binary(max_size=300)
control = st.builds(frame, st.sampled_from((PING, PONG)), st.binary(max_size=125))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """A message in fragments, with control frames in between."""
    opcode = draw(st.sampled_from((TEXT, BINARY)))
    data = draw(st.text(max_size=120)).encode() if opcode == TEXT else draw(payloads)
    cuts = sorted(draw(st.lists(st.integers(0, len(data)), max_size=4)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    sent = b""
    for number, piece in enumerate(pieces):
        sent += frame(CONTINUATION if number else opcode, piece, final=number == len(pieces) - 1)
        sent += draw(st.one_of(st.just(b""), control))
    return sent


nonsense = st.one_of(
    st.binary(min_size=1, max_size=20),
    st.builds(
        frame,
        st.integers(0, 15),
        st.binary(max_size=130),
        final=st.booleans(),
        reserved=st.sampled_from((0, 0, 0, 1, 4)),
        masked=st.sampled_from((True, True, False)),
    ),
)
conversations = st.lists(st.one_of(messages(), messages(), control, nonsense), max_size=8).map(b"".join)


@given(sent=conversations, cuts=st.lists(st.integers(0, 3000), max_size=30), limit=st.sampled_from((200, LIMIT)))
def test_segmentation_changes_nothing(sent: bytes, cuts: Sequence[int], limit: int) -> None:
    ends = sorted({cut for cut in cuts if cut < len(sent)})
    portions = [sent[start:end] for start, end in zip([0, *ends], [*ends, len(sent)], strict=True)]
    told, error = read([sent], limit)
    again, same = read(portions, limit)
    assert again == told
    assert (error and (error.code, error.message)) == (same and (same.code, same.message))
    if error is not None:
        assert error.code in (1002, 1007, 1009)


@given(mask=st.binary(min_size=4, max_size=4), data=payloads, start=st.integers(0, 3))
def test_masks_are_removed(mask: bytes, data: bytes, start: int) -> None:
    """By any installed implementation, from the middle of a reused buffer."""
    room = bytearray(bytes(start) + data + b"behind")
    expected = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
    for unmask in (websocket_mask.unmask, websocket_mask.by_tornado, websocket_mask.by_python):
        with memoryview(room) as view, view[start : start + len(data)] as piece:
            assert unmask(piece, mask) == expected
    assert room == bytes(start) + data + b"behind"
    room.clear()


@pytest.mark.parametrize(
    ("missing", "chosen"),
    [
        ([], "apply_mask"),
        (["websockets.speedups"], "by_tornado"),
        (["websockets.speedups", "tornado.speedups"], "by_python"),
    ],
    ids=["fast", "tornado", "python"],
)
def test_the_fastest_installed_mask_is_used(monkeypatch: pytest.MonkeyPatch, missing: list[str], chosen: str) -> None:
    for name in missing:
        monkeypatch.setitem(sys.modules, name, None)
    spec = importlib.util.spec_from_file_location("masks_again", websocket_mask.__file__)
    assert spec is not None
    assert spec.loader is not None
    again = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(again)
    assert again.unmask.__name__ == chosen
    with memoryview(b"\x01\x02\x03\x04\x05") as data:
        assert again.unmask(data, b"\x00\x01\xfe\xff") == b"\x01\x03\xfd\xfb\x05"
