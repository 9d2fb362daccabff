"""How uploads end, over either transport: handed over, refused, cancelled by the user or by the app, at any time."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, sha256_of
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SLOW, PageUpload, UploadPage

MIB = 1 << 20


@pytest.fixture
def file_size() -> int:
    return 24 * MIB


@pytest.fixture(params=["websocket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def callbacks(upload: PageUpload) -> list[str]:
    """In their order, runs of onprogress as one."""
    names = [call.callback for call in upload.calls]
    return [name for number, name in enumerate(names) if name != "onprogress" or names[number - 1 : number] != [name]]


# --- The handover


@pytest.mark.promise(45, 59, 81, 94, 97, 100, 104)
def test_an_upload_is_finished_only_when_the_app_has_the_file(upload: PageUpload, app: UploadApp, ticket: str) -> None:
    app.hold()
    upload.start()
    app.wait_for(1, ticket)
    arrived = upload.wait_for(lambda now: now.frac_complete == 1, "the file to have arrived")
    assert (arrived.finished, arrived.can_pause, arrived.can_cancel) == (False, False, False)
    assert upload.wait_for(lambda now: now.state_msg == "handing file to app", "the handover")
    before = upload.now
    upload.cancel("too late")
    upload.pause("pause")
    assert upload.now == before, "neither is possible any more"
    assert "onfinished" not in callbacks(upload)
    app.release()
    upload.wait_until_finished()
    assert callbacks(upload) == ["onprogress", "onfinished"]
    assert len(app.of(ticket)) == 1


@pytest.mark.promise(39, 57, 59, 63, 86)
def test_a_slow_app_is_waited_for(upload: PageUpload, app: UploadApp, file: KnownFile, ticket: str) -> None:
    app.default = "wait"
    upload.start()
    waiting = upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")
    assert (waiting.finished, waiting.can_pause, waiting.can_cancel, waiting.frac_complete) == (False, False, False, 1)
    assert waiting.connected
    assert app.finish_upload(ticket) == "ok"
    upload.wait_until_finished()
    app.assert_received(ticket, file)


@pytest.mark.promise(64, 88, 89, 102)
def test_a_refusal_by_the_app_is_an_error_with_its_reason(upload: PageUpload, app: UploadApp, ticket: str) -> None:
    app.default = (418, "I'm a teapot")
    upload.start()
    end = upload.wait_until_over()
    upload.assert_lawful()
    assert (end.finished, end.cancelled, end.error_code) == (False, False, 303)
    assert "418" in end.error_msg
    assert (end.can_pause, end.can_cancel) == (False, False)
    assert end.state_msg == f"failed: {end.error_msg}"
    assert callbacks(upload) == ["onprogress", "onerror"]


def test_an_app_that_is_deployed_when_the_file_arrives_gets_it_later(
    upload: PageUpload, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    app.default = (404, "404 page not found")  # what its proxy says meanwhile
    upload.start()
    safe = upload.wait_for(
        lambda now: now.state_msg.startswith("your file has arrived safely"), "the word that it is safe"
    )
    assert ticket[:8] in safe.state_msg
    assert (safe.frac_complete, safe.finished, safe.error_code) == (1, False, None)
    app.default = "done"
    upload.wait_until_finished()
    app.assert_received(ticket, file)


def test_a_new_page_learns_that_its_upload_finished(
    upload_page: UploadPage, upload: PageUpload, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """The app gets the file although the tab is closed, and another page with that ticket learns of it."""
    app.hold()
    upload.start()
    app.wait_for(1, ticket)
    upload_page.tab.goto("about:blank")
    app.release()
    upload_page.open()
    again = upload_page.upload(ticket, file.path).start()
    end = again.wait_until_finished()
    assert end.bytes_acked == file.size
    assert len(app.of(ticket)) == 1


@pytest.mark.parametrize("removed", ["true", "false"])
@pytest.mark.promise(60)
def test_the_file_is_removed_or_left(
    upload_page: UploadPage, app: UploadApp, file: KnownFile, tmp_path: Path, removed: str
) -> None:
    ticket = app.new_ticket(removeFileWhenFinished=removed)
    upload_page.upload(ticket, file.path).start().wait_until_finished()
    path = Path(app.of(ticket)[0].params["filename"])
    if removed == "true":
        assert not path.exists()
    else:
        assert sha256_of(path) == file.sha256


# --- Cancelled by the user


@pytest.mark.promise(46, 87, 95, 96, 101, 108, 112)
def test_the_user_can_cancel(slow: PageUpload, app: UploadApp, server: IncomingServer, ticket: str) -> None:
    reason = "too large & <b>too</b> slow ☃"
    slow.cancel(reason)
    end = slow.wait_until_over()
    slow.assert_lawful()
    assert (end.cancelled, end.finished, end.cancel_msg, end.error_code) == (True, False, reason, None)
    assert end.state_msg == f"cancelled: {reason}"
    cancelling = [moment for moment in slow.moments if moment.cancelling]
    assert cancelling, "the server's answer was waited for"
    assert not any(moment.cancelled or moment.can_cancel or moment.can_pause for moment in cancelling)
    assert callbacks(slow) == ["onprogress", "oncancelled"]
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", reason)
    wait_until(lambda: not list(server.storage_dir.rglob(f"*{ticket}*")), "what had arrived to be removed")
    slow.start()
    slow.pause("toggle")
    slow.cancel("again")
    assert slow.now == end, "that was its end"


def test_the_user_can_cancel_before_the_start(upload: PageUpload, app: UploadApp, ticket: str) -> None:
    upload.cancel("changed my mind")
    assert upload.now.cancelled
    upload.assert_lawful()
    assert callbacks(upload) == ["onprogress", "oncancelled"]
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "changed my mind")
    upload.start()
    assert upload.now.cancelled


def test_the_user_can_cancel_while_connecting(
    upload_page: UploadPage, upload: PageUpload, app: UploadApp, ticket: str
) -> None:
    upload_page.tab.evaluate("() => { uploads[0].uploader.start(); uploads[0].uploader.cancel('at once'); }")
    assert upload.wait_until_over().cancelled
    upload.assert_lawful()
    (callback,) = app.wait_for(1, ticket)
    assert callback.params["cancelReason"] == "at once"


def test_the_user_can_cancel_after_a_pause(slow: PageUpload, app: UploadApp, ticket: str) -> None:
    slow.pause("pause")
    assert not slow.now.can_cancel
    slow.pause("unpause")
    slow.wait_for(lambda now: now.can_cancel, "the upload to go on")
    slow.cancel("after a pause")
    assert slow.wait_until_over().cancelled
    slow.assert_lawful()
    assert app.wait_for(1, ticket)[0].params["cancelReason"] == "after a pause"


@pytest.mark.promise(58)
@pytest.mark.parametrize("answer", ["", "done", (500, "oops")])
def test_the_apps_answer_to_a_cancellation_is_ignored(
    slow: PageUpload, app: UploadApp, ticket: str, answer: str | tuple[int, str]
) -> None:
    app.default = answer
    slow.cancel("away with it")
    end = slow.wait_until_over()
    assert (end.cancelled, end.error_code) == (True, None)
    app.wait_for(1, ticket)


# --- Cancelled by the app


@pytest.mark.promise(23, 35, 96, 101)
@pytest.mark.parametrize("transport", ["websocket", "http"])
@pytest.mark.parametrize("workers", [1, 3])
def test_the_app_can_cancel(
    start_server: StartServer, page: Page, file: KnownFile, workers: int, transport: str
) -> None:
    """The page is told at once, on the connection that it has, whichever worker hears of the cancellation."""
    # One connection each: a further one would be somebody who comes back.
    server = start_server("--workers", str(workers), "--connections-per-upload", "1")
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, server.host).open(transport=transport)
        for _ in range(4):
            ticket = app.new_ticket()
            upload = upload_page.upload(ticket, file.path)
            upload.set("max_rate", SLOW)
            upload.start().wait_for_bytes()
            sockets = len(upload_page.sockets)
            assert app.cancel_upload(ticket) == "ok"
            end = upload.wait_for(lambda now: now.cancelled, "oncancelled", timeout=5)
            upload.assert_lawful()
            assert callbacks(upload) == ["onprogress", "oncancelled"]
            assert not any(moment.cancelling for moment in upload.moments)
            assert end.cancel_msg == "Cancelled by request"
            assert len(upload_page.sockets) == sockets, "it was told, it did not come back to ask"
            assert app.of(ticket) == [], "the app knows already"


@pytest.mark.promise(36)
def test_the_app_can_cancel_a_paused_upload(slow: PageUpload, app: UploadApp, ticket: str) -> None:
    slow.pause("pause")
    assert app.cancel_upload(ticket) == "ok"
    slow.pause("unpause")
    end = slow.wait_until_over()
    assert (end.cancelled, end.cancel_msg) == (True, "Cancelled by request")
    slow.assert_lawful()
