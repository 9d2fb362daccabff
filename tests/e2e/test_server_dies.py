"""The server ends, politely or not, in the middle of uploads from a real browser, and comes back."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import StartServer
from tests.e2e.upload_app import UploadApp
from tests.e2e.upload_page import UploadPage
from tests.support.known_files import make_file

MIB = 1 << 20


@pytest.mark.promise(3)
@pytest.mark.parametrize("transport", ["auto", "http"])
def test_killed(page: Page, start_server: StartServer, tmp_path: Path, transport: str) -> None:
    server = start_server()
    file = make_file(tmp_path / "file.bin", 12 * MIB)
    with UploadApp(server.base_url) as app:
        ticket = app.new_ticket()
        upload = UploadPage(page, app, server.host).open(transport=transport).upload(ticket, file.path)
        upload.set("max_rate", MIB)
        upload.start().wait_for_bytes()
        server.restart(kill=True)
        upload.set("max_rate", 0)
        upload.wait_until_finished()
        app.assert_received(ticket, file)
        assert {call.callback for call in upload.calls} == {"onprogress", "onfinished"}
