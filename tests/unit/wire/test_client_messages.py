"""The client's half of the protocol: the same bytes as the server and the browser library read and write."""

import json

import pytest

from incoming.core.errors import BadRequest
from incoming.core.identity import Identity
from incoming.wire import client_messages, messages
from incoming.wire.client_messages import Acknowledged, Bare, ErrorMessage, StateNews, Welcome
from tests.support.tools import ROOT

VECTORS = json.loads((ROOT / "tests" / "vectors" / "messages.json").read_text())


@pytest.mark.parametrize("vector", VECTORS["from_server"], ids=lambda vector: vector["why"])
def test_a_servers_message_is_read(vector: dict[str, object]) -> None:
    fields = vector["fields"]
    assert isinstance(fields, dict)
    message = client_messages.parse(str(vector["text"]))
    match message:
        case Welcome():
            ranges = [list(extent) for extent in message.extents]
            assert (message.epoch, message.state, ranges) == (fields["epoch"], fields["state"], fields["extents"])
            assert (message.alignment, message.max_rate) == (fields.get("alignment", 1), fields["max_rate"])
        case Acknowledged():
            assert [list(chunk) for chunk in message.chunks] == fields["chunks"]
        case StateNews():
            told = (message.state, message.reason, message.code)
            assert told == (fields["state"], fields["reason"], fields["code"])
        case ErrorMessage():
            assert {**message.described, **fields} == message.described
        case Bare():
            assert message.type == fields["type"]


@pytest.mark.parametrize("vector", VECTORS["from_client"], ids=lambda vector: vector["why"])
def test_a_clients_message_is_written(vector: dict[str, object]) -> None:
    fields = vector["fields"]
    assert isinstance(fields, dict)
    if "ahead" in fields:
        return  # only the browser library sends a chunk before the welcome
    if fields["type"] == "hello":
        names = ("name", "size", "last_modified", "fingerprint", "media_type")
        identity = Identity(**{name: fields.get(name) for name in names})
        text = client_messages.hello(fields["session"], fields.get("epoch"), identity, fields.get("library", ""))
    elif fields["type"] == "cancel":
        text = client_messages.cancel(fields["reason"])
    elif fields["type"] == "pong":
        text = client_messages.pong()
    else:
        return
    assert text == vector["text"]
    messages.parse_control(text)


def test_a_long_name_is_cut_off_and_not_refused() -> None:
    text = client_messages.hello("session-1", None, Identity(name="ä" * 2000, size=1, media_type="x" * 999))
    hello = messages.parse_control(text)
    assert isinstance(hello, messages.Hello)
    assert hello.identity.name == "ä" * 1024


def test_a_chunk_is_read_by_the_server() -> None:
    assert messages.parse_chunk(client_messages.chunk(2**40, b"data")) == (2**40, b"data")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "1",
        "{",
        '{"type":"welcome"}',
        '{"type":"ack","chunks":[1]}',
        '{"type":"error"}',
        '{"type":"state"}',
        b"\xff",
    ],
)
def test_what_is_no_message_is_refused(text: str | bytes) -> None:
    with pytest.raises(BadRequest):
        client_messages.parse(text)


def test_an_unknown_message_is_no_error() -> None:
    assert client_messages.parse('{"type":"weather","x":1}') == Bare("weather")
