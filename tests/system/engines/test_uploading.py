"""The main job in Firefox and WebKit, over both transports. Chromium does it in all other tests."""

from pathlib import Path

import pytest

from tests.conftest import StartProxy
from tests.support.browser_tab import Tab
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage, over_both
from tests.system.faults.consistency import tickets_in

MIB = 1 << 20

pytestmark = [pytest.mark.parametrize("engine", ["firefox", "webkit"]), over_both]

WANTED = {"auto": "websocket", "http": "http"}


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", 3 * MIB + 1)


@pytest.fixture
def ticket(app: UploadApp) -> str:
    return app.new_ticket()


def begin(upload: PageUpload) -> PageUpload:
    """Start an upload that is held until its `max_rate` is set to 0, and wait until some of it has arrived."""
    return upload.start_and_hold(1)


def callbacks(upload: PageUpload) -> list[str]:
    return [call.callback for call in upload.calls if call.callback != "onprogress"]


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
def test_a_file_arrives_and_its_app_is_called(
    upload_page: UploadPage, app: UploadApp, tmp_path: Path, ticket: str, transport: str, size: int
) -> None:
    file = make_file(tmp_path / "größe 'x'.bin", size)
    upload = upload_page.upload(ticket, file.path).start()
    end = upload.wait_until_finished()
    assert (end.bytes_acked, end.frac_complete) == (size, 1)
    assert {moment.transport for moment in upload.moments if moment.connected} == {WANTED[transport]}
    assert callbacks(upload) == ["onfinished"]
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1


def test_a_pause_stops_the_bytes_and_resuming_sends_them(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, file: KnownFile, ticket: str
) -> None:
    upload = begin(upload_page.upload(ticket, file.path))
    upload.pause("pause")
    assert upload.now.paused
    wait_until(lambda: tickets_in(server.storage_dir)[ticket].paused, "the server to know of the pause")
    acked = upload.now.bytes_acked
    assert 0 < acked < file.size
    upload.set("max_rate", 0)
    upload.pause("unpause")
    upload.wait_until_finished()
    assert upload.now.bytes_acked > acked
    app.assert_received(ticket, file)


def test_a_cancelled_upload_leaves_nothing_and_its_app_gets_the_reason(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, file: KnownFile, ticket: str
) -> None:
    upload = begin(upload_page.upload(ticket, file.path))
    upload.cancel("wrong film")
    end = upload.wait_until_over()
    assert (end.cancelled, end.cancel_msg) == (True, "wrong film")
    assert callbacks(upload) == ["oncancelled"]
    upload.assert_lawful()
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "wrong film")
    wait_until(lambda: not list(server.storage_dir.rglob(f"*{ticket}*")), "what had arrived to be removed")


def test_a_reloaded_page_resumes_where_it_was(
    tab: Tab,
    app: UploadApp,
    server: IncomingServer,
    start_proxy: StartProxy,
    file: KnownFile,
    ticket: str,
    transport: str,
) -> None:
    """The file is chosen again; nothing that was acknowledged is sent again."""
    proxy = start_proxy(server.port)
    page = UploadPage(tab, app, proxy.host).open(transport=transport)
    acked = begin(page.upload(ticket, file.path)).now.bytes_acked
    assert 0 < acked < file.size
    page.reload()
    sent = proxy.counters.bytes_to_server
    upload = page.upload(ticket, file.path).start()
    upload.wait_until_finished()
    connected = next(moment for moment in upload.moments if moment.connected)
    assert connected.bytes_acked >= acked
    messages = 100_000  # greetings and headers
    assert proxy.counters.bytes_to_server - sent < file.size - acked + messages
    app.assert_received(ticket, file)
