"""Pages of another origin than the server's, in a real Chromium: what they may do, and whom the server lets.

The page comes from the application, at 127.0.0.1, or at localhost, which to a browser is yet another origin.
"""

import http.client
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode

import pytest
import requests
from playwright.sync_api import Page

from incoming.core.errors import Forbidden
from tests.conftest import StartServer
from tests.support.app_stub import Answer, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.ports import free_port
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SCRIPT, PageUpload, UploadPage

both_transports = pytest.mark.parametrize("transport", ["websocket", "http"])


@pytest.fixture
def app_port() -> int:
    return free_port()


@pytest.fixture
def server(start_server: StartServer, app_port: int) -> IncomingServer:
    """Open to pages of the application, as long as they come from 127.0.0.1."""
    return start_server("--allowed-origins", f"http://127.0.0.1:{app_port}")


@pytest.fixture
def open_server(start_server: StartServer) -> IncomingServer:
    """Open to all pages."""
    return start_server()


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.mp4", 3 << 20)


@pytest.fixture
def app(server: IncomingServer, app_port: int) -> Iterator[UploadApp]:
    with UploadApp(server.base_url, port=app_port) as app:
        yield app


class SandboxingApp(UploadApp):
    """Its pages have no origin of their own."""

    def answer(self, callback: Callback) -> Answer:
        answer = super().answer(callback)
        headers = {**answer.headers, "Content-Security-Policy": "sandbox allow-scripts"}
        return replace(answer, headers=headers) if callback.method == "GET" else answer


class Statuses:
    """What the server answered to the page's requests and handshakes, whether or not the page may read it."""

    def __init__(self, page: Page) -> None:
        self.all: list[int] = []
        session = page.context.new_cdp_session(page)
        session.on("Network.responseReceivedExtraInfo", lambda event: self.all.append(event["statusCode"]))
        session.send("Network.enable")
        page.on("websocket", lambda socket: socket.on("socketerror", self._on_failed_handshake))

    def _on_failed_handshake(self, message: str) -> None:
        self.all += [int(status) for status in re.findall(r"response code: (\d+)", message)]


def upload_from(page: Page, page_host: str, app: UploadApp, server: IncomingServer, transport: str) -> UploadPage:
    upload_page = UploadPage(page, app, server.host)
    query = urlencode({"script": server.base_url + SCRIPT})
    page.goto(f"http://{page_host}:{app.port}/?{query}")
    page.evaluate("(host) => incoming.set_server_hostname(host)", server.host)
    page.evaluate("(transport) => incoming.set_transport(transport)", transport)
    return upload_page


def arrived(server: IncomingServer, ticket: str) -> int:
    answer = requests.get(f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}", timeout=30)
    return int(answer.json()["arrived"])


@both_transports
def test_an_origin_that_the_server_allows_may_upload(
    quiet_page: Page, app: UploadApp, server: IncomingServer, file: KnownFile, transport: str
) -> None:
    ticket = app.new_ticket(allowedOrigins=f"http://127.0.0.1:{app.port},https://app.example.org")
    upload = upload_from(quiet_page, "127.0.0.1", app, server, transport).upload(ticket, file.path).start()
    upload.wait_until_finished()
    assert {moment.transport for moment in upload.moments} == {"", transport}
    app.assert_received(ticket, file)


@both_transports
def test_an_origin_that_the_server_does_not_allow_is_refused(
    page: Page, app: UploadApp, server: IncomingServer, file: KnownFile, transport: str
) -> None:
    """Such a page is told nothing at all, so to the library it is as if the server could not be reached."""
    upload_page = upload_from(page, "localhost", app, server, transport)
    statuses = Statuses(page)
    ticket = app.new_ticket()
    upload: PageUpload = upload_page.upload(ticket, file.path).start()

    def refused() -> bool:
        assert not upload.now.connected  # which also lets the browser's events in
        return 403 in statuses.all

    wait_until(refused, "a refusal")
    assert arrived(server, ticket) == 0
    assert not {200, 101, 308} & set(statuses.all)


@both_transports
def test_an_origin_that_the_ticket_does_not_allow_is_refused(
    page: Page, app_port: int, open_server: IncomingServer, file: KnownFile, transport: str
) -> None:
    with UploadApp(open_server.base_url, port=app_port) as app:
        ticket = app.new_ticket(allowedOrigins="https://app.example.org")
        upload = upload_from(page, "127.0.0.1", app, open_server, transport).upload(ticket, file.path).start()
        end = upload.wait_for(lambda now: now.error_code, "the refusal to be told")
        assert end.failed
        assert (end.error_code, end.bytes_acked) == (Forbidden.code, 0)
        assert arrived(open_server, ticket) == 0


@both_transports
@pytest.mark.parametrize("open_to_all", [True, False], ids=["open", "narrow"])
def test_a_page_with_an_opaque_origin_is_treated_as_another_host(
    page: Page,
    app_port: int,
    server: IncomingServer,
    open_server: IncomingServer,
    file: KnownFile,
    transport: str,
    open_to_all: bool,
) -> None:
    """A sandboxed page says "null", and has no localStorage either."""
    where = open_server if open_to_all else server
    with SandboxingApp(where.base_url, port=app_port) as app:
        ticket = app.new_ticket()
        upload_page = upload_from(page, "127.0.0.1", app, where, transport)
        assert page.evaluate("self.origin") == "null"
        statuses = Statuses(page)
        upload = upload_page.upload(ticket, file.path).start()
        if open_to_all:
            upload.wait_until_finished()
            app.assert_received(ticket, file)
        else:
            wait_until(lambda: not upload.now.connected and 403 in statuses.all, "a refusal")
            assert arrived(where, ticket) == 0


def test_a_page_may_read_the_documented_headers(page: Page, app: UploadApp, server: IncomingServer) -> None:
    """A piece needs a preflight, for its Content-Range; its answer's Range is among what is exposed."""
    ticket = app.new_ticket()
    url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}"
    upload_from(page, "127.0.0.1", app, server, "http")
    told = page.evaluate(
        """async (url) => {
            const headers = { "Content-Range": "bytes 0-4/10", "Content-Type": "video/mp4", "X-Own": "x" };
            const answer = await fetch(url, { method: "PUT", body: "hello", headers });
            return [answer.status, answer.headers.get("Range")];
        }""",
        url,
    )
    assert told == [308, "bytes=0-4"]
    cancelled = page.evaluate("async (url) => (await (await fetch(url, { method: 'DELETE' })).json()).state", url)
    assert cancelled == "cancelled"


def test_a_preflight_decides_only_on_the_origin(app: UploadApp, server: IncomingServer) -> None:
    """It is answered alike for tickets that exist and those that do not, and changes nothing."""

    def preflight(ticket: str, origin: str) -> tuple[int, str | None, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        wanted = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-range"}
        path = f"/incoming/0.1/frontend/upload/{ticket}"
        connection.request("OPTIONS", path, headers={"Origin": origin, **wanted})
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        if answer.status == 204:
            assert "PUT" in (answer.headers["Access-Control-Allow-Methods"] or "")
            assert "content-range" in (answer.headers["Access-Control-Allow-Headers"] or "")
            assert int(answer.headers["Access-Control-Max-Age"] or 0) >= 7200
        return answer.status, answer.headers["Access-Control-Allow-Origin"], content

    ticket = app.new_ticket()
    origin = f"http://127.0.0.1:{app.port}"
    assert preflight(ticket, origin) == (204, origin, b"")
    assert preflight("unknown", origin) == (204, origin, b"")
    assert preflight(ticket, "http://evil.example")[:2] == (403, None)
    url = f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}"
    assert requests.get(url, timeout=30).json()["state"] == "new"
