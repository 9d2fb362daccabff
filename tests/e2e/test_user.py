"""What users do: two tabs, long pauses, cancelling where nobody listens, buttons at every moment."""

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


@pytest.mark.promise(111)
def test_the_newest_page_wins(upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str) -> None:
    first = upload_page.upload(ticket, file.path)
    first.set("max_rate", SLOW)
    first.start().wait_for_bytes()
    second = upload_page.upload(ticket, None).start()
    assert first.wait_until_over().error_code == 204
    second.wait_until_finished()
    app.assert_received(ticket, file)
