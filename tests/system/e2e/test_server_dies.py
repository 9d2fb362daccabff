"""The server ends, politely or not, in the middle of uploads from a real browser, and comes back."""

import signal
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page

from tests.conftest import StartProxy, StartServer
from tests.support.app_stub import Answer
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SLOW, PageUpload, UploadPage

MIB = 1 << 20


@pytest.fixture
def server(start_server: StartServer) -> IncomingServer:
    """One for each test, because it is not to survive."""
    return start_server()


@pytest.fixture(params=["auto", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def host(proxy: FaultProxy) -> str:
    return proxy.host


@pytest.fixture
def file_size() -> int:
    return 12 * MIB


@pytest.fixture
def slow(slow: PageUpload) -> Iterator[PageUpload]:
    """Whatever happens to the server, the page has no error to report."""
    upload = slow
    yield upload
    assert "onerror" not in {call.callback for call in upload.calls}, "nobody was to be told of an error"


def wait_until_missed(proxy: FaultProxy, attempts: int = 2) -> None:
    before = proxy.counters.unreachable
    proxy.wait_for(lambda counters: counters.unreachable >= before + attempts, "the page to look for the server")


@pytest.mark.promise(3, 111)
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_an_upload_survives_an_outage_of_the_server(
    slow: PageUpload,
    server: IncomingServer,
    proxy: FaultProxy,
    app: UploadApp,
    file: KnownFile,
    ticket: str,
    how: signal.Signals,
) -> None:
    if how == signal.SIGTERM:
        assert server.stop() == 0
    else:
        server.kill()
    wait_until_missed(proxy)
    away = slow.wait_for(lambda now: not now.connected, "every connection's loss to be noticed")
    assert (away.can_pause, away.can_cancel, away.finished, away.cancelled) == (True, True, False, False)
    server.start()
    again = slow.wait_for(lambda now: now.connected, "the upload to go on")
    assert again.bytes_acked >= away.bytes_acked > 0, "what was acknowledged is there"
    slow.set("max_rate", 0)
    assert slow.wait_until_finished().error_code is None
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1


@pytest.mark.promise(3)
def test_an_upload_survives_a_rolling_restart(
    page: Page, start_server: StartServer, start_proxy: StartProxy, file: KnownFile
) -> None:
    """The next generation serves before the old one ends: a page sees a short reconnection and nothing else."""
    old = start_server()
    proxy = start_proxy(old.port)
    with UploadApp(old.base_url) as app:
        upload_page = UploadPage(page, app, proxy.host).open()
        uploads = {}
        for transport in ("websocket", "http"):
            page.evaluate("(transport) => incoming.set_transport(transport)", transport)
            ticket = app.new_ticket()
            uploads[ticket] = upload_page.upload(ticket, file.path)
            uploads[ticket].set("max_rate", SLOW / 4)  # both shall have bytes left when the new server is up
            assert uploads[ticket].start().wait_for_bytes().transport == transport
        new = start_server(storage_dir=old.storage_dir)
        proxy.forward_to(new.port)
        before = {ticket: upload.now for ticket, upload in uploads.items()}
        assert old.stop() == 0
        for ticket, upload in uploads.items():
            ended = upload.now.bytes_acked
            assert before[ticket].bytes_acked <= upload.wait_for_bytes(ended + MIB / 4).bytes_acked < file.size
        for ticket, upload in uploads.items():
            upload.set("max_rate", 0)
            upload.wait_until_finished()
            assert {call.callback for call in upload.calls} == {"onprogress", "onfinished"}
            acked = [moment.bytes_acked for moment in upload.moments]
            assert acked == sorted(acked), "no acknowledged byte is missing"
            app.assert_received(ticket, file)
            assert len(app.of(ticket)) == 1
        over_websocket = next(iter(uploads.values()))
        reconnecting = [moment for moment in over_websocket.moments[1:-1] if not moment.connected]
        assert {moment.error_code for moment in reconnecting} <= {None, 500}
        assert any(moment.bytes_acked for moment in reconnecting), "the connection outlived its server"


@pytest.mark.promise(3)
def test_an_upload_survives_repeated_kills_of_the_server(
    slow: PageUpload, server: IncomingServer, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """Each life of the server takes a part of the file."""
    pids = {server.pid}
    for _ in range(2):
        acked = slow.now.bytes_acked
        server.restart(kill=True)
        pids.add(server.pid)
        assert slow.wait_for_bytes(acked + 1).bytes_acked < file.size
    assert len(pids) == 3
    slow.set("max_rate", 0)
    slow.wait_until_finished()
    app.assert_received(ticket, file)
    acked_bytes = [moment.bytes_acked for moment in slow.moments]
    assert acked_bytes == sorted(acked_bytes), "no acknowledged byte is missing"


@pytest.mark.promise(3)
def test_a_kill_between_two_callbacks_loses_no_file(
    slow: PageUpload, server: IncomingServer, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """The app had asked for a moment; after the restart it is called again, and the page waits for its answer."""
    app.answer_next(Answer(503, "not now", {"Retry-After": "4"}))
    slow.set("max_rate", 0)
    wait_until(lambda: "callback attempt 1" in server.log, "the app to be called")
    server.restart(kill=True)
    slow.wait_until_finished()
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 2


@pytest.mark.promise(3)
@pytest.mark.parametrize("how", ["restarted", "killed"])
def test_an_app_can_finish_after_a_restart_of_the_server(
    slow: PageUpload,
    server: IncomingServer,
    proxy: FaultProxy,
    app: UploadApp,
    file: KnownFile,
    ticket: str,
    how: str,
) -> None:
    """The app had said "wait", and says that it is done to another process than it said that to."""
    app.default = "wait"
    slow.set("max_rate", 0)
    slow.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")
    accepted = proxy.counters.accepted
    server.restart(kill=how == "killed")
    assert app.finish_upload(ticket) == "ok"
    slow.wait_until_finished()
    assert proxy.counters.accepted > accepted, "the page had to connect again"
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1, "it had answered"


@pytest.mark.promise(3)
def test_a_page_learns_the_outcome_when_it_reaches_the_server_again(
    slow: PageUpload, server: IncomingServer, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """The file is handed over although its page is cut off, which then learns that all is done."""
    app.hold()
    slow.set("max_rate", 0)
    app.wait_for(1, ticket)
    proxy.refuse()
    assert proxy.cut() > 0
    slow.wait_for(lambda now: not now.connected, "the loss to be noticed")
    app.release()
    wait_until(lambda: not list(server.storage_dir.rglob(f"*{ticket}*")), "the file to be removed as agreed")
    server.restart()
    proxy.accept()
    slow.wait_until_finished()
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1
