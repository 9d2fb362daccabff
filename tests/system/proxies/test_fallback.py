"""Where WebSockets do not work the library continues over HTTP requests, by itself and without losing progress."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import StartProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage
from tests.system.proxies.conftest import OpenPage, StartRealProxy
from tests.system.proxies.websocket_spoiler import WebSocketSpoiler, Whim

MIB = 1 << 20
RATE = 8 * MIB
HELD = 100_000
"""At this rate the file takes minutes, which no test waits for."""

OpenDirectly = Callable[..., UploadPage]


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.mp4", 20 * MIB)


@pytest.fixture
def spoiler(server: IncomingServer) -> Iterator[WebSocketSpoiler]:
    with WebSocketSpoiler(server.port) as spoiler:
        yield spoiler


@pytest.fixture
def open_directly(page: Page, app: UploadApp) -> OpenDirectly:
    """Function that opens the recording page for a host; with `transport=...` that one is forced."""

    def open_for(host: str, **others: str) -> UploadPage:
        return UploadPage(page, app, host).open(**others)

    return open_for


def assert_same_as_ever(upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile) -> None:
    """Check that the upload finished, with callbacks and flags in the usual order, and nothing lost."""
    end = upload.wait_until_finished()
    assert end.bytes_acked == file.size
    assert end.error_code is None
    calls = upload.calls
    assert [call.callback for call in calls if call.callback != "onprogress"] == ["onfinished"]
    acked = [call.moment.bytes_acked for call in calls]
    assert acked == sorted(acked), "what had arrived was not to be sent again"
    app.assert_received(ticket, file)


def test_a_refused_websocket_falls_back_to_http(
    start_real_proxy: StartRealProxy, open_page: OpenPage, app: UploadApp, file: KnownFile
) -> None:
    refusal = (r"    location ~ \^/incoming", "    location ~ upload_ws { return 403; }\n    location ~ ^/incoming")
    upload_page = open_page(start_real_proxy("nginx-central", refusal))
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    assert_same_as_ever(upload, app, ticket, file)
    assert upload_page.sockets, "a WebSocket was to be tried"
    assert {moment.transport for moment in upload.moments} == {"", "http"}


def test_a_stripped_upgrade_header_falls_back_to_http(
    start_proxy: StartProxy, open_directly: OpenDirectly, server: IncomingServer, app: UploadApp, file: KnownFile
) -> None:
    proxy = start_proxy(server.port)
    proxy.strip_upgrade()
    upload_page = open_directly(proxy.host)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    assert_same_as_ever(upload, app, ticket, file)
    assert proxy.counters.upgrades_stripped > 0
    assert {moment.transport for moment in upload.moments} == {"", "http"}


@pytest.mark.parametrize("whim", ["silent", "cut", "swallow", "hang", "nameless"])
def test_a_websocket_that_never_delivers_falls_back_to_http(
    spoiler: WebSocketSpoiler, open_directly: OpenDirectly, app: UploadApp, file: KnownFile, whim: Whim
) -> None:
    spoiler.spoil(whim)
    upload_page = open_directly(spoiler.host)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    assert_same_as_ever(upload, app, ticket, file)
    assert spoiler.spoiled > 0
    assert upload.moments[-2].transport == "http" or upload.moments[-3].transport == "http"


@pytest.mark.parametrize("whim", ["silent", "cut", "swallow"])
def test_a_websocket_that_stops_delivering_falls_back_to_http(
    spoiler: WebSocketSpoiler, open_directly: OpenDirectly, app: UploadApp, file: KnownFile, whim: Whim
) -> None:
    upload_page = open_directly(spoiler.host)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start_and_hold(4 * MIB, RATE)
    before = upload.now
    assert before.transport == "websocket"
    spoiler.spoil(whim)
    upload.set("max_rate", 1 * MIB)  # chunks are to meet it
    upload.wait_for(lambda now: now.transport == "http", "HTTP to be taken", timeout=60)
    upload.set("max_rate", 0)
    assert_same_as_ever(upload, app, ticket, file)
    assert spoiler.spoiled > 0
    over_http = [moment for moment in upload.moments if moment.transport == "http"]
    assert before.bytes_acked <= over_http[0].bytes_acked < file.size


def test_each_transport_replaces_the_other(
    spoiler: WebSocketSpoiler, open_directly: OpenDirectly, app: UploadApp, file: KnownFile
) -> None:
    """WebSockets are useless, then nothing gets through for a while, then only WebSockets, then only requests."""
    spoiler.spoil("cut")
    upload_page = open_directly(spoiler.host)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path)
    upload.set("max_rate", HELD)
    upload.start()
    upload.wait_for(lambda now: now.transport == "http", "HTTP to be taken", timeout=60)
    spoiler.take_requests(False)
    spoiler.spoil("silent")
    lost = upload.wait_for(lambda now: not now.connected, "the loss to be noticed")
    assert (lost.can_pause, lost.can_cancel, lost.error_code) == (True, True, None)
    wait_until(lambda: upload.now and spoiler.refused >= 3, "both to be tried in vain")
    spoiler.spoil("pass")
    upload.wait_for(lambda now: now.transport == "websocket", "a WebSocket to be taken", timeout=60)
    spoiler.take_requests(True)
    spoiler.spoil("cut")
    again = upload.wait_for(lambda now: now.transport == "http", "HTTP to be taken again", timeout=60)
    assert lost.bytes_acked <= again.bytes_acked < file.size
    upload.set("max_rate", 0)
    assert_same_as_ever(upload, app, ticket, file)


def test_the_browser_remembers_the_fallback_to_http(
    spoiler: WebSocketSpoiler, open_directly: OpenDirectly, app: UploadApp, file: KnownFile
) -> None:
    spoiler.spoil("hang")
    upload_page = open_directly(spoiler.host)
    tickets = [app.new_ticket() for _ in range(3)]
    assert_same_as_ever(upload_page.upload(tickets[0], file.path).start(), app, tickets[0], file)
    assert upload_page.sockets
    upload_page.sockets.clear()
    upload_page.open()
    upload = upload_page.upload(tickets[1], file.path).start()
    assert_same_as_ever(upload, app, tickets[1], file)
    assert upload_page.sockets == []
    spoiler.whim = "pass"
    upload_page.tab.evaluate("localStorage.clear()")
    upload_page.open()
    upload = upload_page.upload(tickets[2], file.path).start()
    assert_same_as_ever(upload, app, tickets[2], file)
    assert {moment.transport for moment in upload.moments} == {"", "websocket"}


@pytest.mark.parametrize("transport", ["websocket", "http"])
def test_a_forced_transport_is_the_only_one_used(
    open_directly: OpenDirectly, server: IncomingServer, app: UploadApp, file: KnownFile, transport: str
) -> None:
    upload_page = open_directly(server.host, transport=transport)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    assert_same_as_ever(upload, app, ticket, file)
    assert {moment.transport for moment in upload.moments} == {"", transport}
    assert bool(upload_page.sockets) == (transport == "websocket")


def test_http_uses_parallel_requests_and_a_long_poll(
    start_proxy: StartProxy, open_directly: OpenDirectly, server: IncomingServer, app: UploadApp, file: KnownFile
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(RATE)
    app.hold()
    upload_page = open_directly(proxy.host, transport="http")
    asked: list[str] = []
    upload_page.tab.on("request", lambda request: asked.append(request.url))
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    upload.wait_for(lambda now: now.bytes_acked == file.size, "all bytes to arrive")
    app.wait_for(1, ticket)
    held = upload.wait_for(lambda now: "arrived" not in now.state_msg and not now.finished, "the handover")
    assert held.connected
    asked.clear()
    app.release()
    assert_same_as_ever(upload, app, ticket, file)
    assert max(moment.chunks_ahead for moment in upload.moments) > 1
    assert len(asked) <= 2, f"one question that waits for its answer: {asked}"
