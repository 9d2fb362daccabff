"""Files of every awkward size arrive as they are."""

from pathlib import Path

import pytest

from tests.support.known_files import make_file, make_sparse_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage, over_both

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
CHUNK_MIN, CHUNK_MAX = 64 * KIB, 8 * MIB  # the server's defaults


@over_both
@pytest.mark.promise(1, 2, 77, 79, 81)
@pytest.mark.parametrize(
    "size",
    [
        0,
        1,
        2,
        *(CHUNK_MIN + d for d in (-1, 0, 1)),
        *(3 * CHUNK_MIN + d for d in (-1, 0, 1)),
        CHUNK_MAX,
        2 * CHUNK_MAX + 1,
    ],
)
def test_files_of_any_size_arrive_whole(upload_page: UploadPage, app: UploadApp, tmp_path: Path, size: int) -> None:
    file = make_file(tmp_path / "file.bin", size)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    end = upload.wait_until_finished()
    assert end.bytes_total == end.bytes_tx == end.bytes_acked == size
    assert end.frac_complete == 1
    app.assert_received(ticket, file)


@pytest.mark.slow
@pytest.mark.promise(1, 2, 17)
def test_a_file_above_four_gibibytes_arrives_whole(upload_page: UploadPage, app: UploadApp, tmp_path: Path) -> None:
    size = 4 * GIB + 64 * MIB
    file = make_sparse_file(tmp_path / "huge.bin", size)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    end = upload.wait_until_finished(timeout=600)
    assert end.bytes_acked == end.bytes_total == size
    app.assert_received(ticket, file)
    assert upload_page.sockets, "this was to go over WebSockets"
