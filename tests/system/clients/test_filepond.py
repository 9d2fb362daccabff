"""FilePond in a real Chromium with its own chunk protocol, as doc/clients.md shows it, through cuts and a death."""

import json

import pytest
from playwright.sync_api import Page

from tests.support.app_stub import Answer, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.tools import require_node_package
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.page_app import PageApp
from tests.system.clients.snippets import snippet

PAGE = """<!DOCTYPE html>
<link rel="icon" href="data:,">
<input type="file" id="file">
<script src="filepond.js"></script>
<script>
const server = {server};
{snippet}
</script>
"""
RETRIES = "Array(60).fill(1000)"
"""What doc/clients.md has as `chunkRetryDelays`."""


class Endpoint:
    """The endpoint of the application: answers FilePond's first request with the URL of the ordeal's upload."""

    def __init__(self, ordeal: Ordeal) -> None:
        self._ordeal = ordeal
        self.lengths: list[str] = []

    def __call__(self, callback: Callback) -> Answer:
        self.lengths.append(callback.headers["upload-length"])
        return Answer(201, "", {"Location": self._ordeal.tus_url})


@pytest.fixture
def endpoint(app: PageApp, ordeal: Ordeal) -> Endpoint:
    app.endpoints["/files"] = endpoint = Endpoint(ordeal)
    return endpoint


def show(page: Page, app: PageApp, ordeal: Ordeal, *, retries: bool) -> None:
    """Open the page with the snippet; without `retries` the first fault ends the upload."""
    text = snippet("filepond")
    assert RETRIES in text
    shown = text if retries else text.replace(RETRIES, "[]")
    library = require_node_package("filepond") / "dist" / "filepond.js"
    app.files["/page.html"] = PAGE.format(server=json.dumps(ordeal.origin), snippet=shown)
    app.files["/filepond.js"] = library.read_text()
    page.goto(app.page_url + "page.html")


@pytest.mark.promise(3)
def test_filepond_survives_a_kill_of_the_server(page: Page, app: PageApp, ordeal: Ordeal, endpoint: Endpoint) -> None:
    show(page, app, ordeal, retries=True)
    with page.expect_console_message(lambda message: message.text == "arrived", timeout=120_000):
        page.set_input_files(".filepond--browser", ordeal.file.path)
        ordeal.inflict(kill=True)
    ordeal.assert_survived()
    assert endpoint.lengths == [str(ordeal.file.size)]


def test_a_user_of_filepond_tries_again_and_the_upload_resumes(
    page: Page, server: IncomingServer, app: PageApp, ordeal: Ordeal, endpoint: Endpoint
) -> None:
    show(page, app, ordeal, retries=False)
    with page.expect_console_message(lambda message: message.text == "failed", timeout=60_000):
        page.set_input_files(".filepond--browser", ordeal.file.path)
        ordeal.wait_for_a_good_part()
        server.kill()
    server.start()
    with page.expect_console_message(lambda message: message.text == "arrived", timeout=120_000):
        page.evaluate("() => { pond.processFile(); }")
    ordeal.assert_survived()
    assert len(endpoint.lengths) == 1, "it was to go on, not to ask for another upload"


def test_a_user_of_filepond_removes_the_file_and_the_upload_is_cancelled(
    page: Page, app: PageApp, ordeal: Ordeal, endpoint: Endpoint
) -> None:
    show(page, app, ordeal, retries=False)
    page.set_input_files(".filepond--browser", ordeal.file.path)
    ordeal.wait_for_a_good_part()
    page.evaluate("() => { pond.removeFile({ revert: true }); }")
    [cancelled] = app.wait_for(1, ordeal.ticket)
    assert cancelled.params["cancelled"] != "no"
