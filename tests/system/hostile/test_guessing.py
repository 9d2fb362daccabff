"""Guessing reveals nothing: unknown, ended and foreign tickets have the same answer, at the same cost."""

import re
import uuid
from pathlib import Path

import pytest

from incoming.handlers import caller_access
from tests.support.incoming_server import IncomingServer
from tests.support.one_worker import OneWorker, one_worker
from tests.system.hostile.wire import Socket, ask, new_ticket, request, upload_path

# Upper case is not among them: the digits of a UUID may come in either (RFC 9562 section 4).
FORMS = {
    "a ticket's form": lambda ticket: str(uuid.uuid4()),
    "the next one": lambda ticket: ticket[:-1] + format((int(ticket[-1], 16) + 1) % 16, "x"),
    "without dashes": lambda ticket: ticket.replace("-", ""),
    "its beginning": lambda ticket: ticket[:35],
    "with more behind": lambda ticket: ticket + "0",
    "a pattern": lambda ticket: ticket[:8] + "%",
    "nothing like it": lambda ticket: "1",
}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_all_invalid_tickets_get_the_same_answer_over_http(hostile_server: IncomingServer, method: str) -> None:
    ticket = new_ticket(hostile_server)
    answers = set()
    for form in FORMS.values():
        status, head, body = ask(hostile_server, request(f"{method} {upload_path(form(ticket))}", body=b"x"))
        answers.add((status, re.sub(r"Date: [^\r]+", "", head), body))
    assert len(answers) == 1
    assert answers.pop()[0] == 404


def test_all_invalid_tickets_get_the_same_answer_over_a_websocket(hostile_server: IncomingServer) -> None:
    ticket = new_ticket(hostile_server)
    answers = []
    for form in FORMS.values():
        with Socket(hostile_server.port, form(ticket)) as socket:
            answers.append(socket.closing())
    assert answers == [answers[0]] * len(FORMS)
    assert answers[0][1] == 4200


def test_tickets_cannot_be_guessed(hostile_server: IncomingServer) -> None:
    tickets = [uuid.UUID(new_ticket(hostile_server)) for _ in range(20)]
    assert all(ticket.version == 4 for ticket in tickets)  # 122 bits of the system's randomness (RFC 9562)
    assert len({ticket.int >> 64 for ticket in tickets}) == len(tickets)


async def test_a_wrong_secret_takes_as_long_as_a_right_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One query and one comparison in constant time for every guess."""
    compared: list[tuple[bytes, bytes]] = []

    def compare_digest(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(caller_access.hmac, "compare_digest", compare_digest)
    async with one_worker(tmp_path / "storage") as worker:
        ticket = await worker.ticket(backendSecret="the right one")
        looked_up = count_look_ups(worker, monkeypatch)
        for guess in ("x", "the right on_", "the right one and more", ""):
            assert await worker.call("finish_upload", id=ticket, backendSecret=guess) == (
                403,
                "backendSecret not given or wrong",
            )
        assert len(compared) == len(looked_up) == 4
        assert (await worker.call("finish_upload", id=ticket, backendSecret="the right one"))[0] == 412
        assert len(compared) == 5


def count_look_ups(worker: OneWorker, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    looked_up: list[str] = []
    get = worker.services.tickets.get

    async def counted(ticket_id: str) -> object:
        looked_up.append(ticket_id)
        return await get(ticket_id)

    monkeypatch.setattr(worker.services.tickets, "get", counted)
    return looked_up
