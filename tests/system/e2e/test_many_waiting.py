"""Many uploads over HTTP/1.1 that wait for the application: a browser has six connections, and the page needs them."""

import pytest
from playwright.sync_api import Page, Request, Route

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage

UPLOADS = 6
"""As many as a browser has connections to one server over HTTP/1.1."""


class WaitingRequests:
    """The page's requests for news that have not ended."""

    def __init__(self, tab: Page) -> None:
        self._open: set[Request] = set()
        tab.on("request", self._begun)
        tab.on("requestfinished", self._ended)
        tab.on("requestfailed", self._ended)

    def _begun(self, request: Request) -> None:
        if "wait" in request.url:
            self._open.add(request)

    def _ended(self, request: Request) -> None:
        self._open.discard(request)

    def urls(self) -> list[str]:
        return [request.url for request in self._open]


@pytest.mark.parametrize("knows", [True, False], ids=["this server", "a server that cannot wait for several"])
def test_uploads_that_wait_for_the_app_hold_one_connection(
    knows: bool, page: Page, server: IncomingServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    file = make_file(tmp_path_factory.mktemp("file") / "file.bin", 1000)
    refused: list[str] = []

    def refuse(route: Route) -> None:
        refused.append("")
        route.fulfill(status=404, content_type="application/json", body='{"code": 106, "message": "no such URL"}')

    if not knows:
        page.route("**/uploads/wait", refuse)
    with UploadApp(server.base_url, default="wait") as app:
        upload_page = UploadPage(page, app, server.host).open(transport="http")
        waiting = WaitingRequests(page)
        tickets = [app.new_ticket() for _ in range(UPLOADS)]
        uploads = [upload_page.upload(ticket, file.path).start() for ticket in tickets]
        for upload in uploads:
            upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app's 'wait'")
        # What the page itself asks for is answered although all of them wait.
        for _ in range(3):
            library = f"{server.base_url}/incoming/0.1/frontend/incoming.js"
            assert (
                page.evaluate("(url) => fetch(url, { cache: 'no-store' }).then(({ status }) => status)", library) == 200
            )
            assert len(waiting.urls()) <= 1, waiting.urls()
        wait_until(lambda: len(waiting.urls()) == 1, "one request that waits")
        assert bool(refused) is not knows
        for ticket in tickets:
            app.finish_upload(ticket)
        for upload in uploads:
            upload.wait_until_finished()
        wait_until(lambda: waiting.urls() == [], "no request any more")
