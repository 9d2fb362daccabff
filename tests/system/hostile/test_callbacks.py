"""Callbacks of a real server whose operator allows one network only: no other address is ever called."""

import json
import re
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.app_stub import Answer, AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.waiting import wait_until
from tests.system.hostile.wire import ask, new_ticket, request, status_of, upload_path

REFUSED_AT_ONCE = [
    "http://user@127.0.0.1:{port}/",
    "http://allowed.example@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/#@allowed.example/",
    "http://127.0.0.1:{port}\\@allowed.example/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_POST",
    "//127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nX-Injected: 1",
    "http://127.0.0.1 :{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://[fe80::1%25lo]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://127。0。0。1:{port}/",
    "http://ⓛocalhost:{port}/",
    "http://l\u043ecalhost:{port}/",
    "http://127.0.0.1%2f@allowed.example:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://127.0.0.1:0/",
    "http://127.0.0.1:{port}0000/",
    "http://127.0.0.1:+{port}/",
]

REFUSED_WHEN_CALLED = [
    "http://127.0.0.1:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://127.1:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.1:{port}/",
    "http://2130706433:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://127.0.0.99:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[0:0:0:0:0:ffff:127.0.0.1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]:{port}/",
    "http://[2002:7f00:1::]:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[::ffff:169.254.169.254]/latest/meta-data/",
    "http://10.0.0.1/",
]


NAMES = ["http://localhost.:{port}/", "http://127.0.0.1.:{port}/", "http://xn--lcalhost-54a:{port}/"]
"""Addresses on some systems, and on others names that nobody knows: then the call is tried again later."""


@pytest.fixture(scope="module")
def options() -> tuple[str, ...]:
    return ("--callback-networks", "192.0.2.0/24", "--handover-refusal-time", "0")


@pytest.fixture
def inside() -> Iterator[AppStub]:
    """An internal application that must not be reached."""
    with AppStub() as app:
        yield app
        assert app.callbacks == []


def new_upload(server: IncomingServer, url: str) -> tuple[int, str]:
    kind = "Content-Type: application/json"
    body = json.dumps({"signalFinishURL": url}).encode()
    status, _, answer = ask(server, request("POST /incoming/backend/new_upload", kind, body=body))
    return status, answer.decode()


@pytest.mark.parametrize("url", REFUSED_AT_ONCE)
def test_an_unsuitable_callback_url_gets_no_ticket(hostile_server: IncomingServer, inside: AppStub, url: str) -> None:
    status, answer = new_upload(hostile_server, url.format(port=inside.port))
    assert status == 400
    assert answer.startswith("signalFinishURL invalid: ")


def test_every_spelling_of_an_internal_address_is_refused(hostile_server: IncomingServer, inside: AppStub) -> None:
    urls = [url.format(port=inside.port) for url in REFUSED_WHEN_CALLED]
    tickets = {url: new_ticket(hostile_server, url) for url in urls}
    for ticket in tickets.values():
        assert ask(hostile_server, request(f"PUT {upload_path(ticket)}", body=b"x"))[0] == 200
    for url, ticket in tickets.items():
        wait_until(lambda ticket=ticket: status_of(hostile_server, ticket)["state"] == "failed", f"{url} being refused")
        told = status_of(hostile_server, ticket)
        assert told["code"] == 303
        assert "this server may call" in told["reason"]


def test_names_that_resemble_internal_addresses_are_refused(hostile_server: IncomingServer, inside: AppStub) -> None:
    tickets = [new_ticket(hostile_server, url.format(port=inside.port)) for url in NAMES]
    for ticket in tickets:
        assert ask(hostile_server, request(f"PUT {upload_path(ticket)}", body=b"x"))[0] == 200
    for ticket in tickets:
        told = re.compile(rf"upload {ticket[:8]}….*(callback attempt 1: |handover failed: )")
        wait_until(lambda told=told: told.search(hostile_server.log), "the first attempt to end")


REDIRECTS = (301, 302, 303, 307, 308)


@pytest.fixture(scope="module")
def redirecting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IncomingServer, dict[int, AppStub]]]:
    """A server with allowed apps that redirect, each by another status, to a forbidden one."""
    with ExitStack() as stack:
        inside = stack.enter_context(AppStub())
        answers = {status: Answer(status, "", {"Location": inside.url}) for status in REDIRECTS}
        apps = {status: stack.enter_context(AppStub(default=answer)) for status, answer in answers.items()}
        allowed = ",".join(f"127.0.0.1:{app.port}" for app in apps.values())
        options = ("--workers", "1", "--handover-refusal-time", "0", "--callback-hosts", allowed)
        server = stack.enter_context(IncomingServer(tmp_path_factory.mktemp("redirects") / "storage", *options))
        yield server, apps
        assert server.stop() == 0
        server.assert_quiet()
        assert inside.callbacks == []


@pytest.mark.parametrize("status", REDIRECTS)
def test_a_redirect_is_not_followed(redirecting: tuple[IncomingServer, dict[int, AppStub]], status: int) -> None:
    """Neither to a forbidden host nor to the same one; the callback is retried, then it is a refusal."""
    server, apps = redirecting
    ticket = new_ticket(server, apps[status].url)
    assert ask(server, request(f"PUT {upload_path(ticket)}", body=b"x"))[0] == 200
    wait_until(lambda: status_of(server, ticket)["state"] == "failed", "the redirect being refused")
    assert f"it answered {status}" in status_of(server, ticket)["reason"]
    assert len(apps[status].callbacks) == 1
