"""Every string that a client can send, over every interface, with known attack strings.

It stays data: never in a path or a header, and in the log only escaped.
"""

import json
import os
import unicodedata
from urllib.parse import quote

import pytest

from tests.support.app_stub import AppStub
from tests.support.incoming_server import IncomingServer
from tests.support.raw_websocket import CLOSE, frame
from tests.support.waiting import wait_until
from tests.system.hostile.conftest import LogLines
from tests.system.hostile.wire import Socket, ask, new_ticket, request, status_of, upload_path

HOSTILE = {
    "traversal": "../../../../etc/passwd",
    "absolute": "/etc/passwd",
    "drive": "C:\\Windows\\win.ini",
    "share": "\\\\host\\share\\x",
    "encoded traversal": "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "NUL": "a.txt\0.jpg",
    "line break": "a\r\nX-Injected: 1\r\n\r\n<script>",
    "line feed": "a\n2026-01-01T00:00:00Z INFO incoming.http 1 forged line",
    "other line ends": "a\x0b\x0c\x1c\x85\u2028\u2029forged",
    "quote and semicolon": 'a"; filename="b.exe"; x="',
    "right-to-left": "invoice\u202etxt.exe",
    "invisible": "\u200b\ufeff\u2066a\u2069",
    "nothing": "",
    "dot": ".",
    "dots": "..",
    "device": "CON",
    "emoji": "\U0001f389\U0001f468\u200d\U0001f469.png",
    "half a pair": "a\ud800b\udfff.txt",
    "markup": "<img src=x onerror=alert(1)>.png",
    "escapes": "\x1b[31mred\x1b]0;title\x07\x9b1m",
    "placeholders": "%s%n%(upload)s{0.__class__}{upload!r}${jndi:ldap://127.0.0.1:9/x}",
    "long": "n" * 1024,
    "leading dash": "-rf --no-preserve-root",
}

INJECTED = "\r\nx-injected"


@pytest.fixture(params=HOSTILE, ids=lambda name: name.replace(" ", "-"))
def text(request: pytest.FixtureRequest) -> str:
    return HOSTILE[request.param]


def assert_handed_over_as_data(server: IncomingServer, app: AppStub, ticket: str) -> None:
    callback = app.wait_for(1, ticket)[0]
    kept = callback.params["filenameFromBrowser"]
    assert kept == os.path.basename(kept)  # noqa: PTH119 - as an app might
    assert kept.strip() not in ("", ".", "..")
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in kept)
    assert not set(kept) & set("/\\\u202e\u2066")
    assert callback.params["filename"] == str(server.storage_dir / ticket[:2] / ticket)
    assert set(callback.headers) <= {
        *("host", "connection", "accept-encoding", "content-type", "content-length", "user-agent"),
        *("incoming-delivery", "incoming-attempt", "incoming-timestamp", "incoming-signature"),
    }
    wait_until(lambda: status_of(server, ticket)["state"] == "finished", "the upload being finished")


def assert_harmless(lines: list[str]) -> None:
    """Check that the log has only the server's lines, one for each event, all printable."""
    assert lines
    for line in lines:
        assert line.isprintable(), line
        assert line[:4].isdigit(), f"no line of the server's: {line}"
    assert len(lines) <= 5, lines


def assert_storage_is_clean(server: IncomingServer) -> None:
    for path in server.storage_dir.rglob("*"):
        name = path.name.removesuffix(".part")
        assert path.is_dir() or name.startswith("incoming.sqlite") or len(name) == 36, path


def test_any_name_over_a_websocket_stays_data(
    hostile_server: IncomingServer, app_stub: AppStub, log_lines: LogLines, text: str
) -> None:
    ticket = new_ticket(hostile_server, app_stub.url, backendSecret="s")
    with Socket(hostile_server.port, ticket) as socket:
        more = {"fingerprint": text[:200], "media_type": text[:255]}
        welcome = socket.hello(5, name=text, **more)
        assert welcome["type"] == "welcome", welcome
        socket.chunk(0, b"12345")
        assert_handed_over_as_data(hostile_server, app_stub, ticket)
    expected = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert status_of(hostile_server, ticket)["name"] == expected
    assert_harmless(log_lines())
    assert_storage_is_clean(hostile_server)


@pytest.mark.parametrize("way", ["query", "disposition", "extended"])
def test_any_name_of_a_put_stays_data(
    hostile_server: IncomingServer, app_stub: AppStub, log_lines: LogLines, text: str, way: str
) -> None:
    ticket = new_ticket(hostile_server, app_stub.url)
    encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
    printable = "".join(c for c in text if c.isprintable()).encode("utf-8", "replace").decode("latin-1")
    path, headers = upload_path(ticket), []
    if way == "query":
        path += f"?filename={encoded}"
    elif way == "disposition":
        headers = [f'Content-Disposition: attachment; filename="{printable}"']
    else:
        headers = [f"Content-Disposition: attachment; filename*=UTF-8''{encoded}", f"Content-Type: {printable}"]
    status, head, body = ask(hostile_server, request(f"PUT {path}", *headers, body=b"12345"))
    assert INJECTED not in head.lower()
    if status == 400:  # bytes that are no UTF-8 in a query, or that HTTP does not allow in a header
        assert body
        assert status_of(hostile_server, ticket)["arrived"] == 0
        assert len(log_lines()) <= 2
        return
    assert status == 200, body
    assert_handed_over_as_data(hostile_server, app_stub, ticket)
    assert_harmless(log_lines())
    assert_storage_is_clean(hostile_server)


@pytest.mark.parametrize("way", ["websocket", "post", "delete"])
def test_any_reason_stays_data(
    hostile_server: IncomingServer, app_stub: AppStub, log_lines: LogLines, text: str, way: str
) -> None:
    ticket = new_ticket(hostile_server, app_stub.url)
    if way == "websocket":
        with Socket(hostile_server.port, ticket) as socket:
            socket.hello()
            socket.say(type="cancel", reason=text)
            assert socket.closing()[1] == 1000
    elif way == "post":
        message = json.dumps({"type": "cancel", "reason": text}).encode()
        assert ask(hostile_server, request(f"POST {upload_path(ticket)}", body=message))[0] == 200
    else:
        reason = quote(text.encode("utf-8", "replace"), safe="")
        assert ask(hostile_server, request(f"DELETE {upload_path(ticket)}?reason={reason}"))[0] == 200
    callback = app_stub.wait_for(1, ticket)[0]
    assert callback.params["cancelled"] == "yes"
    assert "x-injected" not in callback.headers
    assert status_of(hostile_server, ticket)["state"] == "cancelled"
    assert_harmless(log_lines())


def test_any_string_as_a_ticket_is_unknown(hostile_server: IncomingServer, log_lines: LogLines, text: str) -> None:
    """A ticket that was never issued is unknown, whatever it looks like."""
    encoded = quote(text.encode("utf-8", "surrogatepass"), safe="")
    for method in ("GET", "PUT", "POST", "DELETE"):
        status, head, body = ask(hostile_server, request(f"{method} /incoming/frontend/upload/{encoded}", body=b""))
        assert status in (400, 404), body
        assert INJECTED not in head.lower()
        assert b"passwd" not in body
    with Socket(hostile_server.port, "") as socket:
        assert socket.closing()[1] == 4200
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    with Socket(hostile_server.port, text) as socket:
        last, code = socket.closing()
        assert last is not None
        assert (last["code"], code) == (200, 4200)
    assert len(log_lines()) <= 0
    assert_storage_is_clean(hostile_server)


def test_any_invalid_session_is_refused(hostile_server: IncomingServer, log_lines: LogLines, text: str) -> None:
    with Socket(hostile_server.port, new_ticket(hostile_server)) as socket:
        socket.hello(session=text + " ")
        assert socket.closing()[1] in (4100, None)
    assert all(line.isprintable() for line in log_lines())


@pytest.mark.parametrize("name", ["backendSecret", "id", "signalFinishURL"])
def test_any_parameter_of_a_backend_function_stays_data(
    hostile_server: IncomingServer, log_lines: LogLines, text: str, name: str
) -> None:
    given = quote(text.encode("utf-8", "surrogatepass"), safe="")
    form = f"{name}={given}" + ("" if name == "signalFinishURL" else "&signalFinishURL=http://127.0.0.1:9/")
    kind = "Content-Type: application/x-www-form-urlencoded"
    for function in ("new_upload", "cancel_upload", "finish_upload"):
        status, head, body = ask(
            hostile_server, request(f"POST /incoming/backend/{function}", kind, body=form.encode())
        )
        assert status in (200, 400), body
        assert INJECTED not in head.lower()
    lines = log_lines()
    assert len(lines) <= 3
    assert all(line.isprintable() for line in lines)
    if len(text) > 8 and name == "backendSecret":
        assert not any(text in line for line in lines)


@pytest.mark.parametrize("header", ["Origin", "X-Forwarded-For"])
def test_no_string_reaches_a_header_of_an_answer(
    hostile_server: IncomingServer, log_lines: LogLines, text: str, header: str
) -> None:
    printable = "".join(c for c in text if c.isprintable()).encode("utf-8", "replace").decode("latin-1")
    ticket = new_ticket(hostile_server)
    log_lines()
    status, head, _ = ask(hostile_server, request(f"GET {upload_path(ticket)}", f"{header}: {printable}"))
    assert status in (200, 400, 403)
    assert INJECTED not in head.lower()
    assert len(log_lines()) <= 1


def test_any_close_reason_stays_data(hostile_server: IncomingServer, log_lines: LogLines, text: str) -> None:
    with Socket(hostile_server.port, new_ticket(hostile_server)) as socket:
        socket.hello()
        log_lines()
        socket.send(frame(CLOSE, b"\x0f\xa0" + text.encode("utf-8", "surrogatepass")[:120]))
        socket.closing()
    lines = log_lines()
    assert len(lines) <= 1
    assert all(line.isprintable() for line in lines)


def test_no_string_reaches_a_file_name_of_the_storage(hostile_server: IncomingServer) -> None:
    assert_storage_is_clean(hostile_server)
