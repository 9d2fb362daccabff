"""UpChunk in a real Chromium, as doc/clients.md shows it, through a cut connection and a restart."""

import json

import pytest
from playwright.sync_api import Page

from tests.support.tools import require_node_package
from tests.system.clients.ordeal import Ordeal
from tests.system.clients.page_app import PageApp
from tests.system.clients.snippets import snippet

PAGE = """<!DOCTYPE html>
<link rel="icon" href="data:,">
<input type="file" id="file">
<script src="upchunk.js"></script>
<script>
const server = {server}, ticket = {ticket};
{snippet}
</script>
"""


@pytest.mark.parametrize("kill", [False, True], ids=["restart", "kill"])
def test_upchunk_uploads_a_file(page: Page, app: PageApp, ordeal: Ordeal, kill: bool) -> None:
    library = require_node_package("@mux/upchunk") / "dist" / "upchunk.js"
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    # Of another origin than the server: the page's own is the app's.
    app.files["/page.html"] = PAGE.format(
        server=json.dumps(ordeal.origin), ticket=json.dumps(ordeal.ticket), snippet=snippet("upchunk")
    )
    app.files["/upchunk.js"] = library.read_text()
    page.goto(app.page_url + "page.html")
    with page.expect_console_message(lambda message: message.text == "arrived", timeout=120_000):
        page.set_input_files("#file", ordeal.file.path)
        ordeal.inflict(kill=kill)
    ordeal.assert_survived()
    assert any(line.endswith(" %") for line in said)
    assert not [line for line in said if "Stopping upload" in line]
