"""tus-js-client in a real Chromium, as doc/clients.md shows it, through a cut connection and a kill of the server."""

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
<script src="tus.js"></script>
<script>
const server = {server}, ticket = {ticket};
{snippet}
</script>
"""
ALONE = "parallelUploads: 1"
"""What doc/clients.md shows."""


@pytest.mark.parametrize("parts", [1, 3])
def test_tus_js_client_in_a_page_survives_a_kill_of_the_server(
    page: Page, app: PageApp, ordeal: Ordeal, parts: int
) -> None:
    text = snippet("tus-js-client-page")
    assert ALONE in text
    app.files["/page.html"] = PAGE.format(
        server=json.dumps(ordeal.origin),
        ticket=json.dumps(ordeal.ticket),
        snippet=text.replace(ALONE, f"parallelUploads: {parts}"),
    )
    app.files["/tus.js"] = (require_node_package("tus-js-client") / "dist" / "tus.min.js").read_text()
    page.goto(app.page_url + "page.html")
    with page.expect_console_message(lambda message: message.text == "arrived", timeout=120_000):
        page.set_input_files("#file", ordeal.file.path)
        ordeal.inflict(kill=True)
    ordeal.assert_survived()
