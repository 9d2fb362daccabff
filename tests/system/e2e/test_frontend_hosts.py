"""A server with two names, 127.0.0.1 and localhost: pages open more connections over HTTP than to one."""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page

from tests.conftest import StartProxy, StartServer
from tests.support.app_stub import Answer, Callback
from tests.support.known_files import make_file
from tests.support.ports import free_port
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage

MIB = 1 << 20
PER_HOST = 6
"""What browsers open to a name over HTTP/1.1."""

LONG_LINE = """
const send = XMLHttpRequest.prototype.send;
XMLHttpRequest.prototype.send = function (body) {
    if (typeof body === "string") setTimeout(() => send.call(this, body), 300);
    else send.call(this, body);
};
"""
"""The hello takes its time, by which the library sees that many connections may help."""


class PolicyApp(UploadApp):
    """Its page has a Content-Security-Policy with these sources for connections."""

    sources = ""

    def answer(self, callback: Callback) -> Answer:
        answer = super().answer(callback)
        if not self.sources:
            return answer
        return replace(answer, headers={**answer.headers, "Content-Security-Policy": f"connect-src {self.sources}"})


def begin(page: Page, app: UploadApp, host: str, path: Path, ticket: str) -> PageUpload:
    page.add_init_script(LONG_LINE)
    return UploadPage(page, app, host).open(transport="http").upload(ticket, path).start()


@pytest.fixture
def puts(page: Page) -> Counter[str]:
    """Requests of `page` with chunks, by host."""
    found: Counter[str] = Counter()

    def note(host: str, method: str) -> None:
        found[host] += method == "PUT"

    page.on("request", lambda request: note(urlsplit(request.url).netloc, request.method))
    return found


def test_with_two_names_more_connections_than_to_one_carry_an_upload(
    page: Page, puts: Counter[str], start_server: StartServer, start_proxy: StartProxy, tmp_path: Path
) -> None:
    port = free_port()
    server = start_server("--frontend-hosts", f"localhost:{port}")
    proxy = start_proxy(server.port, port=port)
    proxy.limit(8 * MIB)
    file = make_file(tmp_path / "film.bin", 64 * MIB)
    with PolicyApp(server.base_url) as app:
        app.sources = f"http://127.0.0.1:{port} http://localhost:{port}"
        ticket = app.new_ticket()
        upload = begin(page, app, proxy.host, file.path, ticket)
        upload.wait_for(lambda _: proxy.open_connections > PER_HOST, f"more than {PER_HOST} connections")
        proxy.limit(None)
        upload.wait_until_finished()
        app.assert_received(ticket, file)
    assert set(+puts) == {f"127.0.0.1:{port}", f"localhost:{port}"}


@pytest.mark.parametrize("obstacle", ["nobody is there", "another server is there", "the page's policy"])
def test_a_name_that_does_not_work_costs_nothing(
    obstacle: str, page: Page, puts: Counter[str], start_server: StartServer, start_proxy: StartProxy, tmp_path: Path
) -> None:
    port, bad = free_port(), free_port()
    server = start_server("--frontend-hosts", f"localhost:{bad}")
    proxy = start_proxy(server.port, port=port)
    proxy.limit(8 * MIB)
    if obstacle == "another server is there":
        start_server(port=bad)
    elif obstacle == "the page's policy":
        start_proxy(server.port, port=bad)
    file = make_file(tmp_path / "film.bin", 32 * MIB)
    with PolicyApp(server.base_url) as app:
        if obstacle == "the page's policy":
            app.sources = f"http://127.0.0.1:{port}"
        refused: list[str] = []
        page.on("console", lambda message: refused.append(message.text) if f"localhost:{bad}" in str(message) else None)
        failed: list[str] = []
        page.on("requestfailed", lambda request: failed.append(request.url))
        page.on("response", lambda response: failed.append(response.url) if response.status >= 400 else None)
        ticket = app.new_ticket()
        upload = begin(page, app, proxy.host, file.path, ticket)
        upload.wait_until_finished()
        app.assert_received(ticket, file)
    assert any(f"localhost:{bad}" in text for text in failed + refused), "the name was to be tried"
    assert all(moment.error_code is None and moment.transport in ("", "http") for moment in upload.moments)
    assert [moment.connected for moment in upload.moments if 0 < moment.frac_complete < 1].count(False) == 0
    assert +puts == Counter({f"127.0.0.1:{port}": puts.total()})
