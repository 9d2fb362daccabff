"""What users do: two tabs, long pauses, cancelling where nobody listens, buttons at every moment."""

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from tests.conftest import StartProxy, StartServer
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage, over_both
from tests.system.faults.consistency import tickets_in

MIB = 1 << 20


def outcomes(upload: PageUpload) -> list[str]:
    return [call.callback for call in upload.calls if call.callback != "onprogress"]


# --- Two tabs


@pytest.mark.promise(111)
@over_both
def test_the_newest_tab_takes_the_upload_over(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, file: KnownFile, ticket: str, transport: str
) -> None:
    """The older one is told, and does not come back by itself: two tabs never fight for a ticket."""
    first = upload_page.upload(ticket, file.path).start_and_hold(1)
    tab = UploadPage(upload_page.tab.context.new_page(), app, server.host).open(transport=transport)
    second = tab.upload(ticket, file.path).start_and_hold(1)
    end = first.wait_until_over()
    assert (end.error_code, end.connected, end.cancelled) == (204, False, False)
    told, sockets = first.calls, list(upload_page.sockets)
    second.set("max_rate", 0)
    second.wait_until_finished()
    assert outcomes(second) == ["onfinished"]
    assert (first.calls, upload_page.sockets) == (told, sockets), "the older one keeps away"
    assert outcomes(first) == ["onerror"]
    first.assert_lawful()
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1


@over_both
def test_a_tab_takes_its_upload_back(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, file: KnownFile, ticket: str, transport: str
) -> None:
    first = upload_page.upload(ticket, file.path).start_and_hold(1)
    tab = UploadPage(upload_page.tab.context.new_page(), app, server.host).open(transport=transport)
    second = tab.upload(ticket, file.path).start_and_hold(1)
    assert first.wait_until_over().error_code == 204
    first.start()
    assert second.wait_until_over().error_code == 204
    first.set("max_rate", 0)
    first.wait_until_finished()
    app.assert_received(ticket, file)


# --- Long absences


def test_an_upload_resumes_after_a_long_pause(start_server: StartServer, page: Page, file: KnownFile) -> None:
    """A paused upload outlives one that was left alone later, of which the app is told."""
    server = start_server("--idle-timeout", "3s", "--paused-timeout", "1h")
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, server.host).open()
        ticket = app.new_ticket()
        slow = upload_page.upload(ticket, file.path).start_slowly()
        slow.pause("pause")
        abandoned = app.new_ticket()
        (callback,) = app.wait_for(1, abandoned)
        assert callback.params["cancelled"] == "yes"
        assert callback.params["cancelReason"] == "upload timed out"
        assert slow.now.paused
        slow.set("max_rate", 0)
        slow.pause("unpause")
        slow.wait_until_finished()
        app.assert_received(ticket, file)


@pytest.mark.promise(101)
def test_an_upload_paused_for_too_long_expires(start_server: StartServer, page: Page, file: KnownFile) -> None:
    server = start_server("--idle-timeout", "2s", "--paused-timeout", "2s")
    with UploadApp(server.base_url) as app:
        ticket = app.new_ticket()
        slow = UploadPage(page, app, server.host).open().upload(ticket, file.path).start_slowly()
        slow.pause("pause")
        (callback,) = app.wait_for(1, ticket)
        assert callback.params["cancelled"] == "yes"
        assert not list(server.storage_dir.rglob(f"*{ticket}*")), "what had arrived is removed"
        slow.pause("unpause")
        end = slow.wait_until_over()
        assert (end.cancelled, end.cancel_msg) == (True, callback.params["cancelReason"])
        slow.assert_lawful()


# --- Cancelled where nobody listens


@pytest.fixture
def lost(page: Page, app: UploadApp, proxy: FaultProxy, file: KnownFile, ticket: str, transport: str) -> PageUpload:
    """An upload whose server cannot be reached any more."""
    slow = UploadPage(page, app, proxy.host).open(transport=transport).upload(ticket, file.path).start_slowly()
    proxy.refuse()
    assert proxy.cut() > 0
    slow.wait_for(lambda now: not now.connected, "the loss to be noticed")
    return slow


@over_both
@pytest.mark.promise(46, 108)
def test_cancelling_offline_reaches_the_server_later(
    lost: PageUpload, proxy: FaultProxy, app: UploadApp, ticket: str
) -> None:
    """For the user it is over at once; the server is told when it can be."""
    lost.cancel("off we go")
    end = lost.now
    assert (end.cancelled, end.cancelling, end.cancel_msg) == (True, False, "off we go")
    assert outcomes(lost) == ["oncancelled"]
    assert app.of(ticket) == []
    proxy.accept()
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "off we go")
    assert lost.now == end
    lost.assert_lawful()


@over_both
@pytest.mark.promise(108)
def test_cancelling_offline_survives_leaving_the_page(
    lost: PageUpload, page: Page, proxy: FaultProxy, app: UploadApp, ticket: str
) -> None:
    """The next page of this site brings the message."""
    lost.cancel("not today")
    page.goto("about:blank")
    accepted = proxy.counters.accepted
    proxy.accept()
    assert (app.of(ticket), proxy.counters.accepted) == ([], accepted), "nobody has told the server"
    UploadPage(page, app, proxy.host).open()
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "not today")


@pytest.mark.promise(46, 108)
def test_an_upload_cancelled_offline_for_good_expires(
    start_server: StartServer, start_proxy: StartProxy, page: Page, file: KnownFile
) -> None:
    """Nobody ever brings the message: the app hears of the end when the upload has been idle for too long."""
    server = start_server("--idle-timeout", "3s")
    proxy = start_proxy(server.port)
    with UploadApp(server.base_url) as app:
        ticket = app.new_ticket()
        slow = UploadPage(page, app, proxy.host).open().upload(ticket, file.path).start_slowly()
        proxy.refuse()
        assert proxy.cut() > 0
        slow.wait_for(lambda now: not now.connected, "the loss to be noticed")
        slow.cancel("nobody hears this")
        assert slow.now.cancelled
        page.context.close()
        (callback,) = app.wait_for(1, ticket)
        assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "upload timed out")
        assert not list(server.storage_dir.rglob(f"*{ticket}*")), "what had arrived is removed"


# --- Buttons at every moment


def new(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    """Nothing has happened yet."""


def connecting(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    proxy.stall()
    upload.start()
    proxy.wait_for(lambda counters: counters.stalled, "an attempt to connect")


def uploading(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    upload.start_slowly()


def reconnecting(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    upload.start_slowly()
    proxy.refuse()
    assert proxy.cut() > 0
    upload.wait_for(lambda now: not now.connected, "the loss to be noticed")


def handing_over(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    app.hold()
    upload.start()
    upload.wait_for(lambda now: now.state_msg == "handing file to app", "the handover")


def processing(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    app.default = "wait"
    upload.start()
    upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")


def paused(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    upload.start_slowly()
    upload.pause("pause")


def finished(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    upload.start().wait_until_finished()


def cancelled(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    upload.start_slowly()
    upload.cancel("before")
    upload.wait_until_over()


def refused(upload: PageUpload, app: UploadApp, proxy: FaultProxy) -> None:
    app.default = (403, "never heard of it")
    upload.start()
    assert upload.wait_until_over().error_code == 303


Reach = Callable[[PageUpload, UploadApp, FaultProxy], None]

MOMENTS: list[tuple[Reach, bool, bool]] = [
    # (how it is reached, can_pause, can_cancel)
    (new, False, True),
    (connecting, True, True),
    (uploading, True, True),
    (reconnecting, True, True),
    (handing_over, False, False),
    (processing, False, False),
    (paused, False, False),
    (finished, False, False),
    (cancelled, False, False),
    (refused, False, False),
]


@pytest.fixture
def upload(page: Page, app: UploadApp, proxy: FaultProxy, file: KnownFile, ticket: str, transport: str) -> PageUpload:
    return UploadPage(page, app, proxy.host).open(transport=transport).upload(ticket, file.path)


@over_both
@pytest.mark.promise(94, 97)
@pytest.mark.parametrize(("reach", "can_pause", "can_cancel"), MOMENTS)
def test_pausing_works_at_every_moment(
    upload: PageUpload,
    app: UploadApp,
    proxy: FaultProxy,
    file: KnownFile,
    ticket: str,
    reach: Reach,
    can_pause: bool,
    can_cancel: bool,
) -> None:
    reach(upload, app, proxy)
    before = upload.now
    assert (before.can_pause, before.can_cancel) == (can_pause, can_cancel)
    upload.pause("pause")
    if can_pause:
        now = upload.now
        assert (now.paused, now.can_pause, now.can_cancel, now.connected) == (True, False, False, False)
        proxy.accept()
        proxy.resume()
        upload.set("max_rate", 0)
        upload.pause("unpause")
        upload.wait_until_finished()
        app.assert_received(ticket, file)
    else:
        if not before.paused:
            upload.pause("unpause")
            upload.pause("toggle")
        assert upload.now == before
    upload.assert_lawful()


@over_both
@pytest.mark.promise(97, 108)
@pytest.mark.parametrize(("reach", "can_pause", "can_cancel"), MOMENTS)
def test_cancelling_works_at_every_moment(
    upload: PageUpload,
    app: UploadApp,
    proxy: FaultProxy,
    ticket: str,
    reach: Reach,
    can_pause: bool,
    can_cancel: bool,
) -> None:
    reach(upload, app, proxy)
    before = upload.now
    told = len(app.of(ticket))
    upload.cancel("enough")
    if not can_cancel:
        assert upload.now == before
        return
    now = upload.now
    assert now.cancelling != now.cancelled
    proxy.resume()
    proxy.accept()
    end = upload.wait_until_over()
    assert (end.cancelled, end.cancel_msg) == (True, "enough")
    assert outcomes(upload) == ["oncancelled"]
    upload.assert_lawful()
    callback = app.wait_for(told + 1, ticket)[-1]
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "enough")


@pytest.mark.promise(94, 97, 108)
def test_pausing_and_cancelling_work_over_http(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, file: KnownFile, ticket: str
) -> None:
    slow = upload_page.open(transport="http").upload(ticket, file.path).start_slowly()
    assert slow.now.transport == "http"
    slow.pause("pause")
    paused = slow.now
    wait_until(lambda: tickets_in(server.storage_dir)[ticket].paused, "the server to know of the pause")
    slow.pause("unpause")
    slow.wait_for_bytes(paused.bytes_acked + 1)
    assert not tickets_in(server.storage_dir)[ticket].paused
    slow.cancel("enough")
    end = slow.wait_until_over()
    assert any(moment.cancelling for moment in slow.moments), "the server's answer was waited for"
    assert (end.cancelled, end.cancel_msg) == (True, "enough")
    assert outcomes(slow) == ["oncancelled"]
    slow.assert_lawful()
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "enough")


@over_both
@pytest.mark.promise(106)
@pytest.mark.parametrize("reach", [connecting, reconnecting, handing_over, processing, finished, cancelled])
def test_start_has_no_effect_where_nothing_can_be_started(
    upload: PageUpload, app: UploadApp, proxy: FaultProxy, reach: Reach
) -> None:
    """Where there is nothing to start, start() changes nothing and opens nothing."""
    reach(upload, app, proxy)
    before, calls, accepted = upload.now, upload.calls, proxy.counters.accepted
    upload.start().start()
    assert (upload.now, upload.calls) == (before, calls)
    assert proxy.counters.accepted == accepted
