"""<incoming-uploader> while the module that sends files is not there yet: what the user sees and can do."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.element_app import ElementApp

MODULE = "**/incoming-transfer.mjs*"


@pytest.fixture
def app(server: IncomingServer) -> Iterator[ElementApp]:
    with ElementApp(server.base_url) as app:
        yield app


@pytest.fixture
def film(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.mp4", 1 << 20)


def choose(page: Page, film: KnownFile) -> Locator:
    """Choose the file as soon as the element is there; its row."""
    page.locator("incoming-uploader input[type=file]").first.set_input_files(film.path)
    return page.locator("incoming-row")


def test_a_file_is_chosen_paused_and_resumed_before_the_module_is_there(
    page: Page, app: ElementApp, film: KnownFile
) -> None:
    held: list[Route] = []
    page.route(MODULE, lambda route: held.append(route))
    page.goto(app.page_url)
    expect(page.locator("incoming-uploader [part~=choose]")).not_to_be_empty()
    row = choose(page, film)
    expect(row.locator("[part=status]")).to_contain_text("Connecting")
    wait_until(lambda: len(app.asked) == 1, "the ticket")
    row.get_by_role("button", name="Pause").click()
    expect(row.locator("[part=status]")).to_contain_text("Paused")
    row.get_by_role("button", name="Resume").click()
    expect(row.locator("[part=status]")).to_contain_text("Connecting")
    assert [route.request.url.endswith("/incoming-transfer.mjs") for route in held] == [True]
    held[0].continue_()
    expect(page.locator("incoming-row[data-state=finished]")).to_have_count(1, timeout=30_000)
    (ticket,) = app.receipts
    app.assert_received(ticket, film)


def test_a_user_reads_that_the_upload_waits_and_tries_again(page: Page, app: ElementApp, film: KnownFile) -> None:
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.abort("connectionreset")

    page.route(MODULE, refuse)
    page.goto(app.page_url)
    row = choose(page, film)
    expect(row.locator("[part=status]")).to_contain_text("Connection lost, connecting again")
    expect(row.locator("[part=status]")).to_contain_text("The server cannot be reached", timeout=60_000)
    assert len(set(refused)) == len(refused) >= 6
    page.unroute(MODULE)
    row.get_by_role("button", name="Try now").click()
    expect(page.locator("incoming-row[data-state=finished]")).to_have_count(1, timeout=30_000)
    (ticket,) = app.receipts
    app.assert_received(ticket, film)
