"""The server's messages equal those of the browser library: tests/vectors/messages.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from incoming.core.errors import TABLE, UploadError
from incoming.core.extents import Extents
from incoming.core.ticket import Identity, State, Ticket, TicketOptions
from incoming.wire import messages
from incoming.wire.messages import CHUNK_HEADER, Cancel, Hello, Limits, Pause, Ping, Pong, Sent, Sign

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "messages.json").read_text(encoding="utf-8"))


def ticket(**changes: Any) -> Ticket:
    return Ticket(id="t", options=TicketOptions("http://app/"), created_at=0, active_at=0, state_since=0, **changes)


def understood(fields: dict[str, Any]) -> messages.ClientMessage:
    match fields:
        case {"type": "hello"}:
            known = ("name", "size", "last_modified", "fingerprint", "media_type")
            identity = Identity(*(fields.get(name) for name in known))
            ahead = fields.get("ahead", False)
            return Hello(fields["session"], fields.get("epoch"), identity, fields.get("library", ""), ahead=ahead)
        case {"type": "pause"}:
            return Pause(fields.get("epoch"))
        case {"type": "cancel"}:
            return Cancel(fields["reason"])
        case {"type": "ping"}:
            return Ping(fields.get("limit", ""))
        case {"type": "sign"}:
            return Sign(tuple(fields["parts"]))
        case {"type": "sent"}:
            return Sent(tuple(fields["parts"]))
    return Pong()


def said(fields: dict[str, Any]) -> str:
    match fields:
        case {"type": "welcome"}:
            limits = ("chunk_min", "chunk_max", "window", "connections", "ping_interval", "max_rate")
            extents = Extents([(start, end) for start, end in fields["extents"]])
            told = ticket(
                epoch=fields["epoch"],
                state=State(fields["state"]),
                identity=Identity(size=fields["size"]),
                extents=extents,
                part_size=fields.get("alignment", 0),
            )
            received = [(start, end) for start, end in fields.get("received", [])]
            given = {name: fields[name] for name in limits}
            return messages.welcome(
                told, Limits(**given, version=fields.get("version", "")), received, direct=fields.get("direct", False)
            )
        case {"type": "ack"}:
            return messages.ack([(start, end) for start, end in fields["chunks"]])
        case {"type": "signed"}:
            return messages.signed([(part, url) for part, url in fields["urls"]], fields["expires_in"])
        case {"type": "unseen"}:
            return messages.unseen(fields["parts"])
        case {"type": "received"}:
            return messages.received(*(Extents((a, b) for a, b in fields[name]) for name in ("extents", "ranges")))
        case {"type": "state"}:
            return messages.state(
                ticket(state=State(fields["state"]), reason=fields["reason"], error_code=fields["code"] or 0)
            )
        case {"type": "path"}:
            return messages.path({name: value for name, value in fields.items() if name != "type"})
        case {"type": "error"}:
            return messages.error(problem(fields))
    return {"paused": messages.paused, "ping": messages.ping, "pong": messages.pong}[fields["type"]]()


def problem(fields: dict[str, Any]) -> UploadError:
    return TABLE[fields["code"]](fields["message"])


@pytest.mark.parametrize("vector", VECTORS["from_client"], ids=lambda vector: vector["why"])
def test_client_messages_of_the_vectors_are_parsed(vector: dict[str, Any]) -> None:
    assert messages.parse_control(vector["text"]) == understood(vector["fields"])


@pytest.mark.parametrize("vector", VECTORS["from_server"], ids=lambda vector: vector["why"])
def test_server_messages_equal_the_vectors(vector: dict[str, Any]) -> None:
    assert json.loads(said(vector["fields"])) == json.loads(vector["text"])


@pytest.mark.parametrize("vector", VECTORS["chunk_headers"], ids=lambda vector: str(vector["offset"]))
def test_chunk_headers_equal_the_vectors(vector: dict[str, Any]) -> None:
    header = bytes.fromhex(vector["header"])
    assert len(header) == CHUNK_HEADER.size
    offset, data = messages.parse_chunk(header + b"x")
    assert (offset, bytes(data)) == (vector["offset"], b"x")


def test_the_states_equal_the_vectors() -> None:
    assert VECTORS["states"] == [str(state) for state in State]
