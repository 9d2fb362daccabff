"""The configurations of conf/ forward the frontend, and none of the backend functions."""

import base64
import http.client
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

import pytest

from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.proxies.authority import Certificate
from tests.system.proxies.conftest import PROXIES, StartRealProxy
from tests.system.proxies.real_proxy import RealProxy

FRONTENDS = ["/incoming/0.1/frontend/", "/incoming/frontend/"]
CLOSED = [
    f"{prefix}{path}"
    for prefix in ("/incoming/0.1", "/incoming", "/incoming/", "/incoming//0.1", "/%69ncoming", f"{FRONTENDS[0]}..")
    for path in ("/backend/new_upload", "/backend/finish_upload", "/health", "/metrics", "/status")
]
REFUSALS = {400, 403, 404}


class Visitor:
    """A client outside, which trusts only the certificate's authority."""

    def __init__(self, proxy: RealProxy, certificate: Certificate) -> None:
        self._port = proxy.port
        self._trust = certificate.client_context()

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        with closing(
            http.client.HTTPSConnection("127.0.0.1", self._port, timeout=20, context=self._trust)
        ) as connection:
            connection.request(method, path, body or None)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def handshake(self, path: str) -> str:
        """Return the status line for a WebSocket client."""
        with self.upgraded(path) as status:
            return status

    @contextmanager
    def upgraded(self, path: str) -> Iterator[str]:
        """The same, with the connection open until the end."""
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: incoming.1\r\n\r\n"
        )
        with (
            socket.create_connection(("127.0.0.1", self._port), timeout=20) as plain,
            self._trust.wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            connection.sendall(request.encode())
            yield connection.makefile("rb").readline().decode()


@pytest.mark.promise(7, 133, 134)
@pytest.mark.parametrize("name", PROXIES)
def test_pages_reach_the_frontend_and_not_the_backend_functions(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate, name: str
) -> None:
    proxy = start_real_proxy(name)
    visitor = Visitor(proxy, certificate)
    for frontend in FRONTENDS:
        status, library = visitor.ask("GET", proxy.prefix + frontend + "incoming.js")
        assert status == 200
        assert b"incoming" in library
        ticket = app.new_ticket()
        assert visitor.handshake(f"{proxy.prefix}{frontend}upload_ws?ticket={ticket}").startswith("HTTP/1.1 101 ")
        status, _ = visitor.ask("PUT", f"{proxy.prefix}{frontend}upload/{ticket}", b"x" * 2_000_000)
        assert status == 200
        app.wait_for(1, ticket)
    for path in CLOSED:
        for method in ("GET", "POST"):
            status, content = visitor.ask(method, proxy.prefix + path)
            assert status in REFUSALS, f"{method} {path}: {status} {content!r}"


@pytest.mark.promise(134)
def test_the_application_is_reachable_and_its_callback_is_not(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate
) -> None:
    visitor = Visitor(start_real_proxy("nginx"), certificate)
    assert visitor.ask("GET", "/?script=x")[0] == 200
    before = len(app.callbacks)
    assert visitor.ask("POST", "/api/backend/upload_finished", b"id=x")[0] == 403
    assert len(app.callbacks) == before


@pytest.mark.parametrize("name", PROXIES)
def test_no_log_has_a_whole_ticket(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate, name: str
) -> None:
    proxy = start_real_proxy(name)
    visitor = Visitor(proxy, certificate)
    tickets = [app.new_ticket() for _ in range(4)]
    frontend = f"{proxy.prefix}{FRONTENDS[0]}"
    assert visitor.handshake(f"{frontend}upload_ws?ticket={tickets[0]}").startswith("HTTP/1.1 101 ")
    assert visitor.ask("HEAD", f"{frontend}tus/{tickets[3]}")[0] in (404, 412)
    assert visitor.ask("PUT", f"{frontend}upload/{tickets[1]}?filename=a", b"x")[0] == 200
    assert visitor.ask("GET", f"{frontend}upload/{tickets[2]}?wait=0")[0] == 200
    assert visitor.ask("GET", f"{frontend}incoming.js?ticket={tickets[2]}")[0] == 200
    shown = (
        "upload_ws",
        f"upload/{tickets[1][:8]}",
        f"upload/{tickets[2][:8]}",
        f"tus/{tickets[3][:8]}",
        "incoming.js",
    )

    def missing() -> list[str]:
        written = proxy.written()
        return [name for name in shown if f"{FRONTENDS[0]}{name}" not in written]

    # A client may have its answer before the proxy has written the line; HAProxy then ends without it.
    wait_until(lambda: not missing(), "a line of the log for each request")
    proxy.stop()
    written = proxy.written()
    for ticket in tickets:
        assert ticket not in written
        assert ticket[9:] not in written


@pytest.mark.parametrize("name", ["nginx-prefix", "haproxy-prefix"])
def test_a_prefix_is_removed_and_the_rest_forwarded_unchanged(
    start_real_proxy: StartRealProxy, certificate: Certificate, name: str
) -> None:
    visitor = Visitor(start_real_proxy(name), certificate)
    for frontend in FRONTENDS:
        assert visitor.ask("GET", f"/files{frontend}incoming.js?x=%3F")[0] == 200
        for decoded in ("incoming.js%3Fx", "incoming.js%20", "%69ncoming.js", "x%20HTTP/1.1%0d%0a%0d%0a"):
            assert visitor.ask("GET", f"/files{frontend}{decoded}")[0] in REFUSALS, decoded
        for around in (f"/files/x/..{frontend}incoming.js", f"/files{frontend}../../backend/new_upload"):
            assert visitor.ask("GET", around)[0] in REFUSALS, around


@pytest.mark.parametrize("name", ["nginx", "nginx-central", "nginx-prefix", "haproxy"])
def test_connections_of_one_address_are_limited(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate, name: str
) -> None:
    limit = ("limit_conn incoming 256;", "limit_conn incoming 2;") if "nginx" in name else ("gt 256", "gt 2")
    proxy = start_real_proxy(name, limit)
    visitor = Visitor(proxy, certificate)
    path = f"{proxy.prefix}{FRONTENDS[0]}upload_ws?ticket={app.new_ticket()}"
    with ExitStack() as open_ones:
        for _ in range(2):
            open_ones.enter_context(visitor.upgraded(path))
        try:
            assert visitor.ask("GET", f"{proxy.prefix}{FRONTENDS[0]}incoming.js")[0] == 503
        except (ConnectionError, ssl.SSLError):
            assert name == "haproxy"
    wait_until(lambda: answers(visitor, f"{proxy.prefix}{FRONTENDS[0]}incoming.js"), "a place being free")


def answers(visitor: Visitor, path: str) -> bool:
    try:
        return visitor.ask("GET", path)[0] == 200
    except (ConnectionError, ssl.SSLError):
        return False
