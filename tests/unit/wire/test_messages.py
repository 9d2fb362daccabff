"""Well-formed messages are parsed; everything else is a documented error, never another exception."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from incoming.core.errors import TABLE, BadRequest, HandoverFailed, MessageTooLarge, StorageFull, TakenOver, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import Callback, Identity, State
from incoming.wire import messages
from incoming.wire.messages import (
    CHUNK_HEADER,
    MAX_CONTROL,
    MAX_NAME,
    MAX_SIZE,
    Cancel,
    Hello,
    Limits,
    Pause,
    Ping,
    Pong,
    parse_chunk,
    parse_control,
)
from tests.unit.core.scaling import assert_linear
from tests.unit.core.test_ticket import ticket

HELLO = {"type": "hello", "session": "abcd1234", "name": "a.bin", "size": 5}


def hello(**changes: object) -> str:
    """Return a hello with some keys changed, and those that are `...` omitted."""
    return json.dumps({key: value for key, value in {**HELLO, **changes}.items() if value is not ...})


# --- well-formed ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (hello(), Hello("abcd1234", None, Identity("a.bin", 5))),
        (hello(epoch=3, last_modified=17, fingerprint="f"), Hello("abcd1234", 3, Identity("a.bin", 5, 17, "f"))),
        (hello(media_type="image/png"), Hello("abcd1234", None, Identity("a.bin", 5, media_type="image/png"))),
        (hello(media_type=""), Hello("abcd1234", None, Identity("a.bin", 5))),
        (hello(epoch=None, last_modified=None, fingerprint=""), Hello("abcd1234", None, Identity("a.bin", 5))),
        (hello(size=0, name=""), Hello("abcd1234", None, Identity("", 0))),
        (hello(size=MAX_SIZE, name="n" * MAX_NAME), Hello("abcd1234", None, Identity("n" * MAX_NAME, MAX_SIZE))),
        (hello(name="\ud800x"), Hello("abcd1234", None, Identity("�x", 5))),
        (hello(name="😀\u202e<img>"), Hello("abcd1234", None, Identity("😀\u202e<img>", 5))),
        (hello(library="app/1.0"), Hello("abcd1234", None, Identity("a.bin", 5), "app/1.0")),
        (hello(future="ignored"), Hello("abcd1234", None, Identity("a.bin", 5))),
        ('{"type":"pause"}', Pause()),
        ('{"type":"pause","epoch":2}', Pause(2)),
        ('{"type":"cancel"}', Cancel("")),
        ('{"type":"cancel","reason":"no more"}', Cancel("no more")),
        (' {"type": "ping"}\n', Ping()),
        ('{"type":"pong"}', Pong()),
    ],
)
def test_control_messages_are_parsed(text: str, message: object) -> None:
    assert parse_control(text) == message


def test_chunks_are_parsed() -> None:
    offset, data = parse_chunk(CHUNK_HEADER.pack(1, 2**40) + b"abc")
    assert (offset, bytes(data)) == (2**40, b"abc")


def test_a_chunk_is_not_copied() -> None:
    message = CHUNK_HEADER.pack(1, 0) + b"abc"
    assert parse_chunk(message)[1].obj is message


# --- malformed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("\x00", "not valid JSON"),
        ('{"type":"ping"}x', "not valid JSON"),
        ('{"type":"ping","type":"ping"}', "not valid JSON"),
        ('{"type":"ping","x":NaN}', "not valid JSON"),
        ('{"type":"ping","x":-Infinity}', "not valid JSON"),
        ("[" * 8000, "not valid JSON"),
        ('{"type":"ping","x":' + "9" * 5000 + "}", "not valid JSON"),
        ("null", "JSON object"),
        ('["ping"]', "JSON object"),
        ('"ping"', "JSON object"),
        ("{}", "unknown type"),
        ('{"type":"Ping"}', "unknown type"),
        ('{"type":["ping"]}', "unknown type"),
        ('{"type":null}', "unknown type"),
        ('{"type":"pause","epoch":-1}', "'epoch' is not an integer from 0 to 9007199254740991"),
        ('{"type":"cancel","reason":5}', "'reason' is missing or not a string"),
        ('{"type":"cancel","reason":null}', "'reason' is missing or not a string"),
        (json.dumps({"type": "cancel", "reason": "r" * 1025}), "1025 characters, the limit is 1024"),
        (hello(session=...), "'session' is missing"),
        (hello(session="short"), "8 to 64"),
        (hello(session="a b c d e f"), "8 to 64"),
        (hello(session="abcd1234\n"), "8 to 64"),
        (hello(session="٠١٢٣٤٥٦٧"), "8 to 64"),
        (hello(session="s" * 65), "the limit is 64"),
        (hello(name=...), "'name' is missing"),
        (hello(name="n" * (MAX_NAME + 1)), "the limit is 1024"),
        (hello(size=...), "'size' is missing"),
        (hello(size=None), "'size' is missing"),
        *((hello(size=size), "'size' is not an integer") for size in (-1, MAX_SIZE + 1, 2**63, True, 1.0, 1e3, "5")),
        (hello(epoch="1"), "'epoch' is not an integer"),
        (hello(last_modified=1.5), "'last_modified' is not an integer"),
        (hello(fingerprint=7), "'fingerprint' is missing or not a string"),
        (hello(fingerprint="f" * 201), "the limit is 200"),
        (hello(media_type="m" * 256), "the limit is 255"),
        (hello(library="x" * 65), "the limit is 64"),
        (hello(library=1), "'library' is missing or not a string"),
        (hello(media_type=["image/png"]), "'media_type' is missing or not a string"),
    ],
)
def test_malformed_control_messages_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse_control(text)


@pytest.mark.parametrize("text", ["x" * (MAX_CONTROL + 1), "é" * (MAX_CONTROL // 2 + 1)])
def test_a_control_message_above_the_limit_is_refused(text: str) -> None:
    with pytest.raises(MessageTooLarge, match="at most 16384 bytes"):
        parse_control(text)


def test_a_control_message_of_the_limit_is_accepted() -> None:
    assert parse_control('{"type":"ping"}'.ljust(MAX_CONTROL)) == Ping()


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"", "0 bytes has no data"),
        (CHUNK_HEADER.pack(1, 0)[:-1], "15 bytes has no data"),
        (CHUNK_HEADER.pack(1, 0), "16 bytes has no data"),
        (CHUNK_HEADER.pack(0, 0) + b"x", "version 0, expected 1"),
        (CHUNK_HEADER.pack(2, 0) + b"x", "version 2, expected 1"),
        *((bytes([1, *(i == j for j in range(7))]) + bytes(8) + b"x", "reserved byte") for i in range(7)),
        (CHUNK_HEADER.pack(1, MAX_SIZE + 1) + b"x", "above 9007199254740991"),
        (CHUNK_HEADER.pack(1, 2**64 - 1) + b"x", "above 9007199254740991"),
    ],
)
def test_malformed_chunks_are_refused(message: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said):
        parse_chunk(message)


# --- anything ---------------------------------------------------------------------------------------------------------

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
keys = st.sampled_from(
    ["type", "session", "epoch", "name", "size", "last_modified", "fingerprint", "media_type", "reason"]
)
kinds = st.fixed_dictionaries({"type": st.sampled_from(["hello", "pause", "cancel", "ping", "pong"])})
nearly = st.builds(lambda base, kind, other: json.dumps({**base, **kind, **other}),
                   st.sampled_from([HELLO, {}]), kinds, st.dictionaries(keys, json_values))  # fmt: skip


def value_or_documented_error(parse: Callable[[], object]) -> None:
    try:
        value = parse()
    except (BadRequest, MessageTooLarge):
        return
    assert value is not None


@given(st.text() | nearly | json_values.map(json.dumps))
def test_any_text_is_a_message_or_refused(text: str) -> None:
    value_or_documented_error(lambda: parse_control(text))


@given(nearly)
def test_accepted_messages_are_within_limits(text: str) -> None:
    try:
        message = parse_control(text)
    except UploadError:
        return
    if isinstance(message, Hello):
        identity = message.identity
        numbers = (identity.size, identity.last_modified, message.epoch)
        assert all(type(number) is int and 0 <= number <= MAX_SIZE for number in numbers if number is not None)
        assert 8 <= len(message.session) <= 64
        for word in (identity.name, identity.fingerprint, identity.media_type):
            assert word is None or len(word.encode()) <= 4 * MAX_NAME  # strict UTF-8: no lone surrogate is left


@given(st.binary(max_size=40) | st.builds(lambda rest: b"\x01" + bytes(7) + rest, st.binary(max_size=12)))
def test_any_bytes_are_a_chunk_or_refused(message: bytes) -> None:
    value_or_documented_error(lambda: parse_chunk(message))


def test_parsing_takes_linear_time() -> None:
    filler = '{"type":"ping","x":[' + "1," * 7000
    assert_linear(lambda n: [(filler[: 20 + 2 * n] + "1]}")] * 50, lambda texts: [*map(parse_control, texts)], 800)


# --- from the server --------------------------------------------------------------------------------------------------

LIMITS = Limits(chunk_min=1, chunk_max=8, window=64, connections=2, ping_interval=20.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (messages.ack([(0, 5), (9, 12)]), {"type": "ack", "chunks": [[0, 5], [9, 12]]}),
        (messages.paused(), {"type": "paused"}),
        (messages.ping(), {"type": "ping"}),
        (messages.pong(), {"type": "pong"}),
        (
            messages.state(ticket(State.FAILED, reason="404 \n<b>", error_code=HandoverFailed.code)),
            {"type": "state", "state": "failed", "reason": "404 \n<b>", "code": 303},
        ),
        (
            messages.state(ticket(State.FINISHED)),
            {"type": "state", "state": "finished", "reason": "", "code": None},
        ),
        (
            messages.error(StorageFull("no space")),
            {"type": "error", "code": 501, "name": "storage_full", "message": "no space", "retry": True,
             "retry_after": 10},
        ),
        (
            messages.welcome(ticket(epoch=4, extents=Extents([(0, 3), (5, 6)]), identity=Identity("a", 9)), LIMITS),
            {"type": "welcome", "epoch": 4, "state": "uploading", "size": 9, "extents": [[0, 3], [5, 6]],
             "chunk_min": 1, "chunk_max": 8, "window": 64, "connections": 2, "ping_interval": 20.0, "max_rate": 0},
        ),
    ],
)  # fmt: skip
def test_server_messages_are_encoded_as_documented(text: str, message: object) -> None:
    assert json.loads(text) == message


def test_the_reason_of_a_retried_handover_says_that_the_file_is_safe() -> None:
    owed = Callback("d", cancelled=False, since=0, due_at=0, attempts=3, last_error="it answered 404 at 10.0.0.7")
    known = replace(ticket(State.HANDING_OVER), id="1b2c3d4e-0000", callback=owed)
    wanted = (
        "your file has arrived safely (number 1b2c3d4e); the site has trouble taking it and is tried again (attempt 3)"
    )
    assert json.loads(messages.state(known))["reason"] == wanted
    assert messages.status(known)["reason"] == wanted
    for other in (
        replace(known, callback=replace(owed, last_error="")),
        replace(known, state=State.CANCELLED, reason=""),
        replace(known, callback=None),
    ):
        assert messages.status(other)["reason"] == ""


def test_the_status_has_the_documented_fields() -> None:
    known = ticket(paused=True, extents=Extents([(0, 3), (5, 6)]), identity=Identity("a", 9))
    status = messages.status(known)
    assert json.loads(json.dumps(status)) == {
        "id": "t", "name": "a", "size": 9, "arrived": 4, "extents": [[0, 3], [5, 6]], "paused": True,
        "state": "uploading", "reason": "", "code": None,
    }  # fmt: skip
    assert messages.status(known, LIMITS) == {**status, "chunk_min": 1, "chunk_max": 8}


def test_close_codes_are_in_the_private_range() -> None:
    assert messages.close_code(TakenOver("")) == 4204
    assert all(4000 <= messages.close_code(error("")) <= 4999 for error in TABLE.values())
