"""Tickets and Handover against a real server: from a ticket to a file that was taken."""

import socket
import threading
from pathlib import Path

import pytest
import requests

from incoming.client import AsyncTickets, Handover, Tickets, Unreachable
from incoming.core.errors import CallbackTestFailed, Forbidden, UnknownId, WrongSecret, WrongState
from tests.conftest import StartServer
from tests.support.app_stub import Answer, AppStub, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.ports import free_port
from tests.support.waiting import wait_until


def send(server: IncomingServer, ticket: str, content: bytes) -> None:
    url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}?filename=a.txt"
    assert requests.put(url, data=content, timeout=30).status_code == 200


def state(server: IncomingServer, ticket: str) -> str:
    return str(requests.get(f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}", timeout=30).json()["state"])


def test_an_application_takes_a_file_after_an_unclear_answer(
    server: IncomingServer, app_stub: AppStub, tmp_path: Path
) -> None:
    """Its first answer gets lost after it has taken the file."""
    handover = Handover(server.storage_dir, "secret")
    taken: list[Path] = []

    def take(call: Callback) -> Answer:
        told = handover.verify(call.headers, call.body)
        if not told.is_test:
            taken.append(handover.take(told, tmp_path / told.id))
        return Answer(503, "lost") if len(taken) == 1 else Answer(200, "done")

    app_stub.default = take
    options = {"removeFileWhenFinished": False, "testCallback": True}
    ticket = Tickets(server.base_url).new_upload(app_stub.url, secret="secret", **options)
    send(server, ticket, b"content")
    wait_until(lambda: state(server, ticket) == "finished", "the upload to be finished")
    assert taken == [tmp_path / ticket] * 2
    assert taken[0].read_bytes() == b"content"


def test_the_servers_refusals_have_types(server: IncomingServer, app_stub: AppStub) -> None:
    tickets = Tickets(server.base_url)
    ticket = tickets.new_upload(app_stub.url, secret="secret")
    with pytest.raises(WrongSecret):
        tickets.cancel(ticket, secret="wrong")
    with pytest.raises(WrongState):
        tickets.finish(ticket, secret="secret")
    tickets.cancel(ticket, secret="secret")
    tickets.cancel(ticket, secret="secret")
    with pytest.raises(UnknownId):
        tickets.cancel("00000000-0000-4000-8000-000000000000")
    app_stub.default = Answer(403, "who are you?")
    with pytest.raises(CallbackTestFailed, match="who are you"):
        tickets.new_upload(app_stub.url, testCallback=True)


def test_the_token_is_needed(start_server: StartServer, app_stub: AppStub) -> None:
    server = start_server(env={"INCOMING_BACKEND_TOKEN": "a-token-of-32-characters-in-all--"})
    assert Tickets(server.base_url, token="a-token-of-32-characters-in-all--").new_upload(app_stub.url)
    with pytest.raises(Forbidden):
        Tickets(server.base_url, token="another-token-of-this-length").new_upload(app_stub.url)


def test_the_client_waits_for_a_server_that_restarts(server: IncomingServer, app_stub: AppStub) -> None:
    server.stop()
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        assert Tickets(server.base_url, retry_for=60).new_upload(app_stub.url)
    finally:
        starting.join()


def test_an_unreachable_server_is_an_error_of_its_own() -> None:
    with pytest.raises(Unreachable, match="Connection refused"):
        Tickets(f"http://127.0.0.1:{free_port()}", retry_for=0).cancel("x")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(Unreachable, match=r"nothing came for 0\.1 s"):
            Tickets(url, retry_for=0, timeout=0.1).cancel("x")


async def test_coroutines_do_not_block_their_loop(server: IncomingServer, app_stub: AppStub) -> None:
    tickets = AsyncTickets(server.base_url)
    ticket = await tickets.new_upload(app_stub.url, secret="secret", removeFileWhenFinished=False)
    await tickets.cancel(ticket, secret="secret")
    assert state(server, ticket) == "cancelled"
