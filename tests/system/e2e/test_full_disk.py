"""The server's disk is really full in the middle of uploads from a real browser: they wait, say why, and go on."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import StartServer
from tests.support.known_files import make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage
from tests.system.faults.small_disk import SmallDisk

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with SmallDisk(tmp_path / "storage", 24 * MIB) as disk:
        yield disk


@pytest.mark.promise(3)
def test_uploads_wait_on_a_full_disk_show_the_reason_and_resume(
    page: Page, start_server: StartServer, disk: SmallDisk, tmp_path: Path
) -> None:
    """Over both transports at once; and a ticket given before is as good as before, though its upload had not begun."""
    server = start_server("--workers", "1", "--low-space", "0", storage_dir=disk.path)
    server.expect_noise(r"incoming\.storage.*(ticket database|storage directory)")
    file = make_file(tmp_path / "file.bin", 6 * MIB)
    with UploadApp(server.base_url) as app:
        upload_page = UploadPage(page, app, server.host).open()
        uploads = {}
        for transport in ("websocket", "http"):
            page.evaluate("(transport) => incoming.set_transport(transport)", transport)
            ticket = app.new_ticket()
            uploads[ticket] = upload = upload_page.upload(ticket, file.path)
            upload.set("max_rate", 100_000)  # a minute: the first is not to finish before the disk is full
            assert upload.start().wait_for_bytes(100_000).transport == transport
        unused = app.new_ticket()
        disk.fill()
        for upload in uploads.values():
            told = upload.wait_for(lambda now: now.error_code is not None, "the full disk to be told")
            assert told.error_code == 501
            assert "no space is left" in told.error_msg, "for the file or for what is noted of it"
            assert told.error_msg in told.state_msg
            assert (told.can_pause, told.can_cancel, told.paused) == (True, True, False)
        disk.empty()
        for ticket, upload in uploads.items():
            upload.set("max_rate", 0)
            end = upload.wait_until_finished()
            assert (end.error_code, end.error_msg) == (None, "")
            assert {call.callback for call in upload.calls} == {"onprogress", "onfinished"}, "it was no error of theirs"
            app.assert_received(ticket, file)
        upload_page.upload(unused, file.path).start().wait_until_finished()
        app.assert_received(unused, file)
