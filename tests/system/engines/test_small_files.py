"""A small file with the first request, in every engine."""

from pathlib import Path

import pytest

from tests.support.known_files import make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage

pytestmark = pytest.mark.parametrize("engine", ["firefox", "webkit"])


@pytest.mark.parametrize("size", [1, 163_840])
def test_a_small_file_is_sent_with_the_first_request(
    upload_page: UploadPage, app: UploadApp, tmp_path: Path, size: int
) -> None:
    file, ticket = make_file(tmp_path / "größe 'x'.bin", size), app.new_ticket()
    upload_page.tab.set_input_files("#file", file.path)
    upload = upload_page.upload_of("chosen_file(), { at_once: true }", ticket)
    end = upload.start().wait_until_finished()
    assert (end.bytes_acked, end.frac_complete) == (size, 1)
    requests = upload_page.tab.evaluate("() => performance.getEntriesByType('resource').map(({ name }) => name)")
    assert len([url for url in requests if "/whole?" in url]) == 1
    app.assert_received(ticket, file)
    assert len(app.of(ticket)) == 1
