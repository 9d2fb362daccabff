"""Pages are reloaded and closed, browsers change, files change: an upload goes on where it was, or is refused."""

from pathlib import Path

import pytest

from tests.e2e.upload_app import UploadApp
from tests.e2e.upload_page import UploadPage
from tests.support.known_files import KnownFile, make_file

MIB = 1 << 20
SLOW = 1 * MIB


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", 8 * MIB)


@pytest.fixture
def ticket(app: UploadApp) -> str:
    return app.new_ticket()


@pytest.mark.promise(3, 111)
def test_reloaded(upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str) -> None:
    first = upload_page.upload(ticket, file.path)
    first.set("max_rate", SLOW)
    before = first.start().wait_for_bytes(MIB)
    upload_page.open()
    again = upload_page.upload(ticket, file.path).start()
    again.wait_until_finished()
    connected = next(moment for moment in again.moments if moment.connected)
    assert connected.bytes_acked >= before.bytes_acked
    app.assert_received(ticket, file)
