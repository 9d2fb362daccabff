"""What the configurations of conf/ let in, and what not: the library's addresses, and none of the backend functions."""

import base64
import http.client
import os
import socket

import pytest

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
    """Somebody outside, who trusts the certificate's authority and nobody else."""

    def __init__(self, proxy: RealProxy, certificate: Certificate) -> None:
        self._port = proxy.port
        self._trust = certificate.client_context()

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, timeout=20, context=self._trust)
        connection.request(method, path, body or None)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, content

    def handshake(self, path: str) -> str:
        """The status line that a WebSocket client gets."""
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
            return connection.makefile("rb").readline().decode()


@pytest.mark.promise(7, 133, 134)
@pytest.mark.parametrize("name", PROXIES)
def test_pages_get_in_and_nobody_to_the_backend_functions(
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
def test_alongside_the_application_is_open_and_its_callback_is_not(
    start_real_proxy: StartRealProxy, app: UploadApp, certificate: Certificate
) -> None:
    visitor = Visitor(start_real_proxy("nginx"), certificate)
    assert visitor.ask("GET", "/?script=x")[0] == 200
    before = len(app.callbacks)
    assert visitor.ask("POST", "/api/backend/upload_finished", b"id=x")[0] == 403
    assert len(app.callbacks) == before
