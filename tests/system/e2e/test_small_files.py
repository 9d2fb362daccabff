"""Small files that a page sends with the first request, and everything that may happen to that request."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route

from tests.conftest import StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage

WHOLE = "**/whole?hello=*"


@pytest.fixture
def server(start_server: StartServer) -> IncomingServer:
    """One for each test, because one is not to survive. A call that died with it is made again after its lease."""
    return start_server("--handover-timeout", "5s")


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "größe.bin", 10_000)


@pytest.fixture
def upload(upload_page: UploadPage, ticket: str, file: KnownFile) -> PageUpload:
    upload_page.tab.set_input_files("#file", file.path)
    return upload_page.upload_of("chosen_file(), { at_once: true }", ticket)


def meet(page: Page, what: Callable[[Route], None]) -> list[str]:
    """Do this to each request that carries a file; return their addresses as they come."""
    met: list[str] = []

    def handle(route: Route) -> None:
        met.append(route.request.url)
        what(route)

    page.route(WHOLE, handle)
    return met


def test_a_small_file_takes_one_request_and_no_preflight(
    page: Page, upload_page: UploadPage, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile
) -> None:
    requests: list[tuple[str, str]] = []
    network = page.context.new_cdp_session(page)
    network.on("Network.requestWillBeSent", lambda event: requests.append((event["type"], event["request"]["method"])))
    network.send("Network.enable")
    end = upload.start().wait_until_finished()
    assert (end.bytes_acked, end.frac_complete) == (file.size, 1)
    first, *news = requests
    assert (first, len(news) <= 3, upload_page.sockets) == (("XHR", "POST"), True, [])
    assert "OPTIONS" not in [method for _, method in requests]
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1
    page.evaluate("() => incoming.set_transport('http')")
    upload_page.upload(app.new_ticket(), file.path).start().wait_until_finished()
    assert "OPTIONS" in [method for _, method in requests], "one would have been seen"


def test_the_answer_is_lost_and_the_file_has_arrived(
    page: Page, upload_page: UploadPage, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile
) -> None:
    def cut(route: Route) -> None:
        assert route.fetch().json()["state"] in ("arrived", "handing_over")
        route.abort("connectionreset")

    met = meet(page, cut)
    upload.start().wait_until_finished()
    assert (len(met), len(upload_page.sockets)) == (1, 1)
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1


def test_the_server_is_killed_before_its_answer_is_read(
    page: Page, upload: PageUpload, app: UploadApp, server: IncomingServer, ticket: str, file: KnownFile
) -> None:
    def killed(route: Route) -> None:
        route.fetch()
        server.restart(kill=True)
        route.abort("connectionreset")

    met = meet(page, killed)
    upload.start().wait_until_finished()
    assert len(met) == 1
    app.assert_received(ticket, file)


def test_the_server_is_away_and_the_file_is_sent_in_the_usual_way_when_it_is_back(
    page: Page, upload_page: UploadPage, upload: PageUpload, app: UploadApp, server: IncomingServer, ticket: str,
    file: KnownFile,
) -> None:  # fmt: skip
    def away(route: Route) -> None:
        server.kill()
        route.abort("connectionrefused")
        server.start()

    met = meet(page, away)
    upload.start().wait_until_finished()
    assert (len(met), bool(upload_page.sockets)) == (1, True)
    app.assert_received(ticket, file)


def test_a_server_of_before_gets_all_files_in_the_usual_way(
    page: Page, upload_page: UploadPage, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile
) -> None:
    answer = '{"code": 106, "name": "not_found", "message": "no such URL", "retry": false, "retry_after": null}'
    cors = {"Access-Control-Allow-Origin": "*"}
    met = meet(
        page, lambda route: route.fulfill(status=404, headers=cors, content_type="application/json", body=answer)
    )
    upload.start().wait_until_finished()
    app.assert_received(ticket, file)
    other = app.new_ticket()
    upload_page.upload_of("chosen_file(), { at_once: true }", other).start().wait_until_finished()
    app.assert_received(other, file)
    assert (len(met), len(upload_page.sockets)) == (1, 2)


def test_a_ticket_that_is_cancelled_meanwhile_stores_nothing(
    page: Page, upload: PageUpload, app: UploadApp, server: IncomingServer, ticket: str
) -> None:
    def cancelled(route: Route) -> None:
        assert app.cancel_upload(ticket) == "ok"
        route.continue_()

    met = meet(page, cancelled)
    end = upload.start().wait_until_over()
    assert (end.cancelled, len(met)) == (True, 1)
    assert not [path for path in server.storage_dir.rglob(f"*{ticket}*") if path.stat().st_size]


def test_a_user_who_cancels_too_late_is_not_told_that_the_upload_was_cancelled(
    page: Page, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile
) -> None:
    held: list[Route] = []

    def late(route: Route) -> None:
        route.fetch()
        held.append(route)

    meet(page, late)
    upload.start()
    while not held:
        page.wait_for_timeout(10)
    upload.cancel("too late")
    end = upload.wait_until_over()
    assert (end.finished, end.cancelled) == (True, False)
    app.assert_received(ticket, file)


def test_a_user_who_cancels_in_time_gets_the_upload_cancelled(
    page: Page, upload: PageUpload, app: UploadApp, ticket: str
) -> None:
    held: list[Route] = []
    meet(page, held.append)
    upload.start()
    while not held:
        page.wait_for_timeout(10)
    upload.cancel("in time")
    assert upload.wait_until_over().cancelled
    [call] = app.wait_for(1, ticket)
    assert call.params["cancelled"] == "yes"


def test_a_file_that_changes_while_it_is_read_is_not_sent(
    page: Page, upload_page: UploadPage, upload: PageUpload, app: UploadApp, ticket: str
) -> None:
    """The second reading of it finds another last byte, as in a browser that notices nothing."""
    page.evaluate(
        """() => {
            const slice = Blob.prototype.slice;
            let reads = 0;
            Blob.prototype.slice = function (start, end) {
                const part = slice.call(this, start, end);
                if (!(this instanceof File) || ++reads < 2) return part;
                return new Blob([slice.call(part, 0, end - start - 1), "?"]);
            };
        }"""
    )
    met = meet(page, lambda route: route.continue_())
    assert upload.start().wait_until_over().error_code == 1002
    assert (met, upload_page.sockets, app.of(ticket)) == ([], [], [])
