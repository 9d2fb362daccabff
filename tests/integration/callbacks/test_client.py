"""One POST to an app: its fields, its signature, and what the app's answer means."""

import asyncio
import hashlib
import hmac
import json
import logging
import os
import socket
import ssl
import struct
import subprocess
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tornado import netutil

from incoming.callbacks.answer import Answer, Verdict
from incoming.callbacks.client import CallbackClient
from incoming.callbacks.name_lookup import NameLookup
from incoming.callbacks.payload import form, safe_name
from incoming.core.ticket import Callback, Identity, Location, State, Ticket, TicketOptions
from incoming.settings.settings import Settings
from incoming.wire import upload_metadata
from incoming.wire.callback_signature import signature
from tests.support.app_stub import DROP, AppStub
from tests.support.app_stub import Answer as Says
from tests.support.ports import free_port
from tests.support.tools import require_tool

TICKET = Ticket(
    id="5e0c3c0e-7a3f-4c1e-9d0b-0123456789ab",
    options=TicketOptions(signal_finish_url="http://127.0.0.1:9/"),
    created_at=0,
    active_at=0,
    state_since=0,
    state=State.HANDING_OVER,
    identity=Identity(name="a file.txt", size=7),
    location=Location("file", "/srv/incoming/5e/5e0c3c0e-7a3f-4c1e-9d0b-0123456789ab"),
)
ARRIVED = Callback("delivery-1", cancelled=False, since=0, due_at=0, attempts=1)
CANCELLED = replace(ARRIVED, cancelled=True)


def ticket_for(url: str, **options: object) -> Ticket:
    return replace(TICKET, options=TicketOptions(signal_finish_url=url, **options))  # type: ignore[arg-type]


async def post(ticket: Ticket, callback: Callback = ARRIVED, **settings: object) -> Answer:
    """The answer; the advice has tests of its own."""
    caller = CallbackClient(Settings(**settings), lambda: 1_800_000_000.25)  # type: ignore[arg-type]
    try:
        return replace(await caller.post(ticket, callback), advice=None)
    finally:
        caller.close()


# --- what is said -----------------------------------------------------------------------------------------------------


@pytest.mark.promise(45, 47, 48, 49, 50, 51, 52, 53, 54, 55)
async def test_all_fields_are_form_values_of_a_post(app_stub: AppStub) -> None:
    url = f"http://127.0.0.1:{app_stub.port}/any/name/the-app/likes"
    await post(ticket_for(url, backend_secret="s3 cr€t"))
    [call] = app_stub.callbacks
    assert (call.method, call.path) == ("POST", "/any/name/the-app/likes")
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert call.params == {
        "id": TICKET.id,
        "backendSecret": "s3 cr€t",
        "secret": "s3 cr€t",
        "filename": TICKET.location.address,
        "filenameFromBrowser": "a file.txt",
        "cancelled": "no",
        "cancelReason": "",
    }


async def test_all_fields_are_an_object_of_json_on_request(app_stub: AppStub) -> None:
    ticket = ticket_for(app_stub.url, backend_secret="s3 cr€t", signal_finish_format="json")
    await post(ticket)
    await post(replace(ticket, reason="half a \ud83d pair"), CANCELLED)
    metadata = upload_metadata.write({"note": "größe"}).text
    await post(replace(ticket, identity=replace(ticket.identity, metadata=metadata), digest="0" * 64))
    [call, cancelled, more] = app_stub.callbacks
    assert call.headers["content-type"] == "application/json"
    assert call.headers["incoming-signature"] == signature("s3 cr€t", 1_800_000_000, call.body)
    fields = {
        "id": TICKET.id,
        "backendSecret": "s3 cr€t",
        "filename": TICKET.location.address,
        "filenameFromBrowser": "a file.txt",
        "cancelled": False,
        "cancelReason": "",
        "metadata": {},
        "digest": None,
        "test": False,
    }
    assert json.loads(call.body) == fields
    reason = "half a ? pair"
    assert json.loads(cancelled.body) == {**fields, "filename": "", "cancelled": True, "cancelReason": reason}
    assert json.loads(more.body) == {**fields, "metadata": {"note": "größe"}, "digest": f"sha-256={'0' * 64}"}


@pytest.mark.promise(46, 53, 54)
async def test_cancellation_has_the_same_fields(app_stub: AppStub) -> None:
    await post(replace(ticket_for(app_stub.url), reason="no time\tleft"), CANCELLED)
    [call] = app_stub.callbacks
    assert call.params == {
        "id": TICKET.id,
        "backendSecret": "",
        "secret": "",
        "filename": "",
        "filenameFromBrowser": "a file.txt",
        "cancelled": "yes",
        "cancelReason": "no time\tleft",
    }


async def test_metadata_comes_as_an_object_of_strings_if_there_is_any(app_stub: AppStub) -> None:
    metadata = {"folder": "7", "note": "größe"}
    known = ticket_for(app_stub.url)
    await post(replace(known, identity=replace(known.identity, metadata=upload_metadata.write(metadata).text)))
    [call] = app_stub.callbacks
    assert json.loads(call.params["metadata"]) == metadata


async def test_the_urls_own_query_stays(app_stub: AppStub) -> None:
    await post(ticket_for(app_stub.url + "?tenant=7&x=a%20b#part"))
    [call] = app_stub.callbacks
    assert call.query == {"tenant": "7", "x": "a b"}
    assert "id" in urllib.parse.parse_qs(call.body.decode())


async def test_a_url_without_path_gets_the_root(app_stub: AppStub) -> None:
    assert (await post(ticket_for(f"http://127.0.0.1:{app_stub.port}?x=1"))).verdict == Verdict.DONE
    assert app_stub.callbacks[0].path == "/"


async def test_credentials_in_the_url_are_sent_as_such(app_stub: AppStub) -> None:
    assert (await post(ticket_for(app_stub.url.replace("127.", "me:pass@127.")))).verdict == Verdict.DONE
    assert app_stub.callbacks[0].headers["authorization"] == "Basic bWU6cGFzcw=="


async def test_the_trace_of_the_ticket_is_handed_on(app_stub: AppStub) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await post(ticket_for(app_stub.url, traceparent=parent, tracestate="a=b"))
    await post(ticket_for(app_stub.url, traceparent=parent))
    await post(ticket_for(app_stub.url))
    seen = [[call.headers.get(name) for name in ("traceparent", "tracestate")] for call in app_stub.callbacks]
    assert seen == [[parent, "a=b"], [parent, None], [None, None]]


async def test_a_delivery_has_an_id_and_counts_its_attempts(app_stub: AppStub) -> None:
    await post(ticket_for(app_stub.url), replace(ARRIVED, attempts=3))
    headers = app_stub.callbacks[0].headers
    assert (headers["incoming-delivery"], headers["incoming-attempt"]) == ("delivery-1", "3")


async def test_an_app_can_verify_the_signature(app_stub: AppStub) -> None:
    await post(ticket_for(app_stub.url, backend_secret="geheim ü"))
    [call] = app_stub.callbacks
    timestamp = call.headers["incoming-timestamp"]
    expected = hmac.new("geheim ü".encode(), timestamp.encode() + b"." + call.body, hashlib.sha256).hexdigest()
    assert timestamp == "1800000000"
    assert call.headers["incoming-signature"] == f"sha256={expected}"


@pytest.mark.promise(49)
async def test_without_a_secret_nothing_is_signed(app_stub: AppStub) -> None:
    await post(ticket_for(app_stub.url))
    assert not {"incoming-signature", "incoming-timestamp"} & set(app_stub.callbacks[0].headers)


def test_signature_is_the_documented_one() -> None:
    # Computed with: printf '1700000000.id=1&cancelled=no' | openssl dgst -sha256 -hmac key
    assert signature("key", 1700000000, b"id=1&cancelled=no") == "sha256=" + (
        "d395f753c06642e92e142de79ef230ee19da1ac29a9b214d58e8958357e02bbe"
    )


def test_a_path_of_any_bytes_survives() -> None:
    body = form(replace(TICKET, location=Location("file", os.fsdecode(b"/srv/\xff\xe9/x"))), ARRIVED)
    assert urllib.parse.parse_qs(body.decode(), encoding="latin-1")["filename"] == ["/srv/\xff\xe9/x"]


@pytest.mark.parametrize(
    ("told", "handed_over"),
    [
        ("report.pdf", "report.pdf"),
        (" two  words .txt", " two  words .txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("C:\\Users\\me\\x.doc", "x.doc"),
        ("\\\\host\\share\\y", "y"),
        ("a\0b\x1b[31m\r\nc\x7f\x85", "ab[31mc"),
        ("line\u2028separator", "lineseparator"),
        ("photo\u202egpj.exe", "photogpj.exe"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("Привет 👩\u200d🚀.bin", "Привет 👩\u200d🚀.bin"),
        ("\ud800x", "x"),
        (".hidden", ".hidden"),
        ("...", "..."),
        ("", "upload"),
        (".", "upload"),
        ("..", "upload"),
        ("a/..", "upload"),
        ("dir/", "upload"),
        ("\0", "upload"),
        (" . ", "upload"),
        ("x" * 1024, "x" * 1024),
    ],
)
@pytest.mark.promise(52)
def test_browser_file_name_is_a_bare_and_harmless_name(told: str, handed_over: str) -> None:
    assert safe_name(told) == handed_over


# --- what the answer means --------------------------------------------------------------------------------------------


@pytest.mark.promise(56, 57, 64)
@pytest.mark.parametrize(
    ("says", "answer"),
    [
        (Says(200, "done\n"), Answer(Verdict.DONE)),
        (Says(200, "\r\n wait "), Answer(Verdict.WAIT)),
        (Says(418, "wrong secret"), Answer(Verdict.REFUSED, "it answered 418 I'm a Teapot: wrong secret")),
        (Says(200, "refuse: too large"), Answer(Verdict.REFUSED, "too large")),
    ],
)
async def test_the_apps_answer_is_returned(app_stub: AppStub, says: Says, answer: Answer) -> None:
    app_stub.default = says
    assert await post(ticket_for(app_stub.url)) == answer
    assert len(app_stub.callbacks) == 1
    assert app_stub.callbacks[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("callback", [ARRIVED, CANCELLED])
async def test_not_now_answers_are_retried(app_stub: AppStub, status: int, callback: Callback) -> None:
    app_stub.default = Says(status, "done")
    answer = await post(ticket_for(app_stub.url), callback)
    assert answer.verdict == Verdict.AGAIN
    assert str(status) in answer.reason
    assert answer.answered
    assert answer.retry_after is None


@pytest.mark.promise(58)
@pytest.mark.parametrize("says", [Says(200, ""), Says(200, "done"), Says(200, "?"), Says(404, "gone"), Says(302, "")])
async def test_the_answer_to_a_cancellation_does_not_matter(app_stub: AppStub, says: Says) -> None:
    app_stub.default = says
    assert await post(ticket_for(app_stub.url), CANCELLED) == Answer(Verdict.DONE)


async def test_redirects_are_not_followed(app_stub: AppStub) -> None:
    with AppStub() as inside:
        app_stub.default = Says(307, "", {"Location": inside.url})
        assert (await post(ticket_for(app_stub.url))).verdict == Verdict.UNCLEAR
        assert inside.callbacks == []


# --- no answer --------------------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_retried() -> None:
    answer = await post(ticket_for(f"http://127.0.0.1:{free_port()}/"))
    assert answer == Answer(Verdict.AGAIN, "Connection refused", answered=False)


async def test_an_unknown_host_is_retried() -> None:
    def nobody_knows(*args: object, **kwargs: object) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    caller = CallbackClient(Settings(), lookup=NameLookup(nobody_knows))
    answer = await caller.post(ticket_for("http://app.example/"), ARRIVED)
    caller.close()
    assert answer.advice is not None
    assert "correct the host" in answer.advice.cure
    assert replace(answer, advice=None) == Answer(Verdict.AGAIN, "Name or service not known", answered=False)


async def test_a_connection_closed_without_an_answer_is_retried(app_stub: AppStub) -> None:
    app_stub.default = DROP
    answer = await post(ticket_for(app_stub.url))
    assert answer == Answer(Verdict.AGAIN, "the connection was closed without an answer", answered=False)


async def test_an_app_that_hangs_is_retried(app_stub: AppStub) -> None:
    app_stub.hold()
    answer = await post(ticket_for(app_stub.url), handover_timeout=0.2)
    assert answer == Answer(Verdict.AGAIN, "no answer within 0.2 s", answered=False)


@pytest.mark.parametrize(
    "url", ["/relative", "ftp://127.0.0.1/x", "http://", "http://127.0.0.1:port/", "http://[::1/", "file:///etc/passwd"]
)
async def test_unusable_url_is_refused_at_once(url: str) -> None:
    answer = await post(ticket_for(url))
    assert answer == Answer(Verdict.REFUSED, "the URL to call is not usable")


async def test_proxy_variables_of_the_environment_are_not_used(
    app_stub: AppStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    assert (await post(ticket_for(app_stub.url))).verdict == Verdict.DONE


# --- raw bytes --------------------------------------------------------------------------------------------------------


def read_request(connection: socket.socket) -> None:
    """All of it: whoever closes a connection with unread bytes destroys his own answer."""
    request = b""
    while b"\r\n\r\n" not in request:
        request += connection.recv(65536)
    head, _, body = request.partition(b"\r\n\r\n")
    [length] = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    while len(body) < length:
        body += connection.recv(65536)


@contextmanager
def raw_server(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """Reads one request, then lets `answer` do what it likes with the connection. Gives the URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                read_request(connection)
                try:
                    answer(connection)
                except OSError:
                    return  # the client has gone, as it should

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
        thread.join(20)
        assert not thread.is_alive(), "the connection was not closed"


def endless(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\n", b"done" * 16384),
        (CHUNKED, b"10000\r\n" + b"done" * 16384 + b"\r\n"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 2147483648\r\n\r\n", b"x" * 65536),
    ],
)
async def test_an_endless_body_costs_nothing_and_is_no_answer_of_an_app(head: bytes, piece: bytes) -> None:
    with raw_server(endless(head, piece)) as url:
        answer = await post(ticket_for(url))
    assert (answer.verdict, answer.answered) == (Verdict.UNCLEAR, True)
    assert len(answer.reason) < 300


async def test_endless_white_space_is_not_done() -> None:
    with raw_server(lambda connection: connection.sendall(b"HTTP/1.0 200 OK\r\n\r\ndone" + b" " * 10_000)) as url:
        assert (await post(ticket_for(url))).verdict == Verdict.UNCLEAR


async def test_a_connection_lost_within_the_answer_is_retried() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo"
    with raw_server(lambda connection: connection.sendall(reply)) as url:
        assert (await post(ticket_for(url))).verdict == Verdict.AGAIN


RESET = struct.pack("ii", 1, 0)
"""SO_LINGER: closing the connection resets it."""


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndo",
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 40\r\n\r\nwrong sec",
        b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
    ],
)
async def test_a_reset_within_an_answer_is_retried_without_a_traceback(
    reply: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    def answer(connection: socket.socket) -> None:
        connection.sendall(reply)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

    for _ in range(5):
        with raw_server(answer) as url:
            found = await post(ticket_for(url))
        assert (found.verdict, found.answered) == (Verdict.AGAIN, False)
    await asyncio.sleep(0)
    assert [record.message for record in caplog.records if record.exc_info] == []


async def test_interim_responses_are_not_the_answer() -> None:
    reply = b"HTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone"
    with raw_server(lambda connection: connection.sendall(reply)) as url:
        assert (await post(ticket_for(url))).verdict == Verdict.DONE


@pytest.mark.parametrize("count", [1, 20])
async def test_an_app_that_dies_after_interim_responses_is_called_again(count: int) -> None:
    with raw_server(lambda connection: connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * count)) as url:
        answer = await post(ticket_for(url))
    assert (answer.verdict, answer.answered) == (Verdict.AGAIN, False)


async def test_an_endless_header_is_retried() -> None:
    with raw_server(endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000)) as url:
        answer = await post(ticket_for(url))
    assert (answer.verdict, answer.answered) == (Verdict.AGAIN, False)


@pytest.mark.parametrize(
    "garbage", [b"\x00\xff" * 500 + b"\r\n\r\n", b"HTTP/9 x\r\n\r\n", b"220 smtp.example ESMTP\r\n"]
)
async def test_an_answer_that_is_not_http_is_retried(garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with raw_server(lambda connection: connection.sendall(garbage)) as url:
        assert (await post(ticket_for(url))).verdict == Verdict.AGAIN
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with a self-signed certificate for localhost and its key."""
    file = tmp_path_factory.mktemp("tls") / "localhost.pem"
    command = [
        require_tool("openssl"),
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", "-", "-out", "-"]
    file.write_bytes(subprocess.run(command, check=True, capture_output=True).stdout)
    return file


@contextmanager
def tls_server(certificate: Path) -> Iterator[str]:
    """Answers one request over TLS with `done`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    def answer(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secure:
            read_request(secure)
            secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            connection, _ = listening.accept()
            with connection:
                try:
                    answer(connection)
                except OSError:
                    return  # the client does not trust us

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"https://localhost:{listening.getsockname()[1]}/"
        thread.join(20)


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The same, known to the system. Tornado keeps the context that it once made from the system's certificates."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    netutil._client_ssl_defaults.cache_clear()
    yield certificate
    netutil._client_ssl_defaults.cache_clear()


async def test_a_trusted_certificate_is_accepted(trusted: Path) -> None:
    with tls_server(trusted) as url:
        assert await post(ticket_for(url)) == Answer(Verdict.DONE)


async def test_the_operators_own_authority_is_accepted(certificate: Path) -> None:
    with tls_server(certificate) as url:
        assert await post(ticket_for(url), callback_ca_file=str(certificate)) == Answer(Verdict.DONE)


async def test_an_untrusted_certificate_is_refused(certificate: Path) -> None:
    with tls_server(certificate) as url:
        answer = await post(ticket_for(url))
    assert answer.verdict == Verdict.AGAIN
    assert answer.reason.startswith("no secure connection")
