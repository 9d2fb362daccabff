"""An uploader's properties, flags, callbacks and functions, as a page sees them while a real upload runs."""

from itertools import groupby, pairwise
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SLOW, Moment, PageUpload, UploadPage

KIB, MIB = 1 << 10, 1 << 20


@pytest.fixture
def file_size() -> int:
    return 24 * MIB


@pytest.fixture(params=["websocket", "http"])
def transport(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture
def slow(upload_page: UploadPage, file: KnownFile, ticket: str) -> PageUpload:
    """An upload that goes slowly until its `max_rate` is set to 0."""
    upload = upload_page.upload(ticket, file.path)
    upload.set("max_rate", SLOW)
    return upload


def status(server: IncomingServer, ticket: str) -> dict[str, object]:
    answer = requests.get(f"{server.base_url}/incoming/0.1/frontend/upload/{ticket}", timeout=30)
    found: dict[str, object] = answer.json()
    return found


@pytest.mark.promise(72, 73, 75, 76, 77, 88, 98)
def test_properties_have_their_initial_values_before_the_start(
    upload_page: UploadPage, file: KnownFile, ticket: str
) -> None:
    upload = upload_page.upload(ticket, file.path)
    assert upload.now == Moment(
        upload_id=ticket,
        filename="file.bin",
        bytes_total=file.size,
        bytes_tx=0,
        bytes_acked=0,
        bytes_received=0,
        bytes_ahead=0,
        frac_complete=0,
        chunks_tx_now=0,
        chunks_acked_now=0,
        chunks_ahead=0,
        state_msg="not yet started",
        cancel_msg="",
        error_code=None,
        error_msg="",
        connected=False,
        finished=False,
        paused=False,
        can_pause=False,
        cancelling=False,
        cancelled=False,
        can_cancel=True,
        transport="",
    )
    assert upload.calls == []
    assert upload_page.sockets == [], "nothing happens before start()"


@pytest.mark.promise(78, 79, 80, 81, 82, 83, 84, 86, 91, 92, 98, 99, 103, 105, 106, 110)
def test_progress_never_goes_back(
    upload_page: UploadPage, slow: PageUpload, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    slow.set("max_rate", 16 * MIB)
    slow.start()
    slow.wait_until_finished()
    moments = slow.moments
    assert [moment.finished for moment in moments] == [False] * (len(moments) - 1) + [True]
    on_their_way = [moment for moment in moments if moment.chunks_ahead and moment.bytes_acked]
    assert len(on_their_way) > 5, "this upload was to take its time"
    assert all(moment.connected and moment.can_pause and moment.can_cancel for moment in on_their_way)
    assert {moment.state_msg for moment in on_their_way} == {"transfer file chunks to upload server"}
    (transport,) = {moment.transport for moment in on_their_way}
    assert (transport == "websocket") == bool(upload_page.sockets)
    for earlier, later in pairwise(moments):
        assert earlier.bytes_acked <= later.bytes_acked
        assert earlier.chunks_acked_now <= later.chunks_acked_now
    assert moments[-1].chunks_acked_now == moments[-1].chunks_tx_now > 1
    words = list(dict.fromkeys(moment.state_msg for moment in moments))
    assert words[:2] == ["connecting to upload server", "transfer file chunks to upload server"]
    assert words[-1] == "all done"
    app.assert_received(ticket, file)


@pytest.mark.promise(79, 83)
@pytest.mark.parametrize("transport", ["websocket", "http"])
def test_bytes_arrive_by_chunks(page: Page, start_server: StartServer, file: KnownFile, transport: str) -> None:
    """Over one connection: a further one is told also of parts of chunks that others have on their way."""
    server = start_server("--connections-per-upload", "1")
    with UploadApp(server.base_url) as app:
        upload = UploadPage(page, app, server.host).open(transport=transport).upload(app.new_ticket(), file.path)
        upload.set("max_rate", 16 * MIB)
        upload.start().wait_until_finished()
    arriving = [moment for moment in upload.moments if moment.connected]
    for earlier, later in pairwise(arriving):
        assert (earlier.bytes_acked < later.bytes_acked) == (earlier.chunks_acked_now < later.chunks_acked_now)
    assert len({moment.bytes_acked for moment in arriving}) > 5, "this upload was to take its time"


@pytest.mark.promise(82, 83, 85)
def test_chunks_of_another_size_after_a_reconnect(page: Page, start_server: StartServer, file: KnownFile) -> None:
    server = start_server("--chunk-min", "64KiB", "--chunk-max", "64KiB")
    with UploadApp(server.base_url) as app:
        ticket = app.new_ticket()
        slow = UploadPage(page, app, server.host).open().upload(ticket, file.path)
        slow.set("max_rate", SLOW)
        slow.start().wait_for_bytes(500 * KIB)
        server.options = ("--chunk-min", "96KiB", "--chunk-max", "96KiB")
        server.restart()
        slow.set("max_rate", 0)
        slow.wait_until_finished()
        app.assert_received(ticket, file)
    moments = slow.moments
    lost = next(number for number, moment in enumerate(moments) if moment.bytes_acked and not moment.connected)
    again = lost + next(number for number, moment in enumerate(moments[lost:]) if moment.connected)
    assert moments[again].chunks_tx_now == 0, "counted anew"
    first_acked = moments[lost].bytes_acked
    assert first_acked == moments[again - 1].bytes_acked <= moments[again].bytes_acked, "bytes are not"
    sizes = {
        (later.bytes_acked - earlier.bytes_acked) / (later.chunks_acked_now - earlier.chunks_acked_now)
        for earlier, later in pairwise(moments)
        if later.chunks_acked_now > earlier.chunks_acked_now > 0
    }
    assert sizes >= {64 * KIB, 96 * KIB}


@pytest.mark.promise(4, 93, 94, 97, 107)
@pytest.mark.parametrize(("pause", "go_on"), [("pause", "unpause"), ("toggle", "toggle")])
def test_a_paused_upload_sends_nothing_until_it_is_resumed(
    slow: PageUpload,
    app: UploadApp,
    server: IncomingServer,
    file: KnownFile,
    ticket: str,
    pause: str,
    go_on: str,
) -> None:
    slow.start()
    slow.wait_for_bytes()
    slow.pause(pause)
    paused = slow.now
    assert (paused.paused, paused.can_pause, paused.can_cancel, paused.connected) == (True, False, False, False)
    assert paused.state_msg == "paused"
    assert 0 < paused.bytes_acked < file.size
    assert paused.bytes_ahead == 0, "nothing is on its way"
    wait_until(lambda: status(server, ticket)["paused"] is True, "the server to know of the pause")

    slow.pause("pause")
    slow.cancel("not while it is paused")
    assert slow.now == paused

    slow.pause(go_on)
    slow.wait_for_bytes(paused.bytes_acked + 1)
    assert status(server, ticket)["paused"] is False
    slow.pause("unpause")  # of what is not paused
    assert not slow.now.paused
    slow.set("max_rate", 0)
    slow.wait_until_finished()
    app.assert_received(ticket, file)
    assert [paused for paused, _ in groupby(moment.paused for moment in slow.moments)] == [False, True, False]


@pytest.mark.promise(107)
def test_pause_accepts_three_values(upload_page: UploadPage, slow: PageUpload) -> None:
    slow.start()
    slow.wait_for_bytes()
    thrown = upload_page.tab.evaluate("try { uploads[0].uploader.pause('later') } catch (error) { error.code }")
    assert thrown == 1003
    assert not slow.now.paused


@pytest.mark.promise(4)
def test_quick_pauses_and_resumptions_leave_the_upload_working(
    slow: PageUpload, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    slow.start()
    slow.wait_for_bytes()
    for _ in range(20):
        slow.pause("toggle")  # without effect while it connects again
    slow.pause("unpause")
    assert not slow.now.paused
    slow.set("max_rate", 0)
    slow.wait_until_finished()
    app.assert_received(ticket, file)


@pytest.mark.promise(74, 75)
def test_two_uploads_run_side_by_side(
    upload_page: UploadPage, app: UploadApp, slow: PageUpload, file: KnownFile, ticket: str, tmp_path: Path
) -> None:
    slow.start()
    slow.wait_for_bytes()
    second_file = make_file(tmp_path / "second.bin", 9 * MIB, seed=1)
    second_ticket = app.new_ticket()
    second = upload_page.upload(second_ticket, second_file.path).start()
    second.wait_until_finished()
    assert not slow.now.over, "the first was to take longer"
    app.assert_received(second_ticket, second_file)
    slow.set("max_rate", 0)
    slow.wait_until_finished()
    app.assert_received(ticket, file)
    for upload, known in ((slow, file), (second, second_file)):
        assert {moment.bytes_total for moment in upload.moments} == {known.size}


@pytest.mark.promise(109)
def test_start_returns_at_once(upload_page: UploadPage, slow: PageUpload) -> None:
    seen = upload_page.tab.evaluate(
        "() => { const { uploader } = uploads[0]; return [uploader.start() === uploader, snapshot(uploader)]; }"
    )
    assert seen[0]
    at_once = Moment.of(seen[1])
    assert (at_once.connected, at_once.bytes_tx, at_once.can_cancel) == (False, 0, True)
    assert at_once.state_msg == "connecting to upload server"
    slow.wait_for_bytes()
    slow.cancel("seen enough")
    slow.wait_until_over()


@pytest.mark.promise(106)
def test_starting_twice_has_no_effect(slow: PageUpload, app: UploadApp, file: KnownFile, ticket: str) -> None:
    slow.start().start()
    slow.wait_for_bytes()
    before = slow.now
    slow.start()
    assert slow.now.chunks_tx_now >= before.chunks_tx_now, "a running upload takes no notice"
    slow.set("max_rate", 0)
    slow.wait_until_finished()
    told = slow.calls
    slow.start()
    assert slow.calls == told, "neither does one that has ended"
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1


@pytest.mark.promise(99, 103)
def test_callbacks_may_raise_or_call_the_uploader(
    upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    """A page's mistake harms nothing, and a callback may use the uploader."""
    uncaught: list[str] = []
    upload_page.tab.on("pageerror", lambda error: uncaught.append(str(error)))
    upload = upload_page.upload(ticket, file.path)
    upload_page.tab.evaluate(
        """() => {
            const { uploader } = uploads[0];
            const record = uploader.onprogress;
            let paused = false;
            uploader.onprogress = (given) => {
                record(given);
                if (paused || !given.bytes_acked || !given.can_pause) return;
                paused = true;
                given.pause("pause");
                setTimeout(() => given.start(), 50);
                throw new Error("a mistake in the page");
            };
        }"""
    )
    upload.start()
    upload.wait_until_finished()
    app.assert_received(ticket, file)
    assert [moment.paused for moment in upload.moments].count(True) == 1
    assert uncaught == ["a mistake in the page"], "the page's author shall see it"
