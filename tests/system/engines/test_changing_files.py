"""A file changes after it was chosen, in three engines and over both transports: nothing mixed is handed over.

Chromium and WebKit compare the file's date when they read; Firefox does not look, and no engine sees a change that
keeps the date. What an engine hides the library finds.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.known_files import KnownFile, make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage, over_both

MIB = 1 << 20
HOUR = 3600
GONE, CHANGED = 1001, 1002
NOTICED_WITHIN = 20
"""Seconds; an upload that nobody hinders takes two."""

Change = Callable[[Path], None]

ENGINES = ["chromium", "firefox", "webkit"]

pytestmark = [pytest.mark.parametrize("engine", ENGINES), over_both]


@pytest.fixture
def size() -> int:
    return 2 * MIB


@pytest.fixture
def file(tmp_path: Path, size: int) -> KnownFile:
    """Random bytes; last written an hour ago, because WebKit does not see what changes within the same second."""
    file = make_file(tmp_path / "file.bin", size)
    assert file.sha256
    os.utime(file.path, (file.path.stat().st_atime, file.path.stat().st_mtime - HOUR))
    return file


@pytest.fixture
def ticket(app: UploadApp) -> str:
    return app.new_ticket()


@pytest.fixture
def upload(upload_page: UploadPage, ticket: str, file: KnownFile) -> PageUpload:
    return upload_page.upload(ticket, file.path)


# --- What may happen to a file


def overwritten(path: Path) -> None:
    """In place, from one end to the other."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.write(b"\xff" * size)


def two_pages_written(path: Path) -> None:
    """A transaction of a database: one page in what has been sent, one in what has not."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for offset in (size // 32, size - size // 32):
            file.seek(offset)
            file.write(b"\xff" * 512)


def written_with_the_same_date(path: Path) -> None:
    was = path.stat()
    two_pages_written(path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def replaced(path: Path) -> None:
    other = make_file(path.with_suffix(".new"), path.stat().st_size, seed=7)
    other.path.replace(path)


def truncated(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def touched(path: Path) -> None:
    os.utime(path)


def removed(path: Path) -> None:
    path.unlink()


HARMLESS = [grown, touched]
"""The bytes that were chosen are all there."""
CHANGES = [overwritten, two_pages_written, written_with_the_same_date, replaced, truncated, removed, *HARMLESS]


# --- What follows


def assert_refused(upload: PageUpload, app: UploadApp, ticket: str, code: int) -> None:
    end = upload.wait_until_over(NOTICED_WITHIN)
    assert (end.error_code, end.finished) == (code, False), end
    assert [call.callback for call in upload.calls if call.callback != "onprogress"] == ["onerror"]
    upload.assert_lawful()
    assert app.of(ticket) == [], "nothing is handed over"


def assert_change_found(
    engine: str, change: Change, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile
) -> None:
    if engine == "firefox" and change in HARMLESS:
        upload.wait_until_finished(NOTICED_WITHIN)
        app.assert_received(ticket, file)
    else:
        assert_refused(upload, app, ticket, GONE if change is removed else CHANGED)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changes_during_its_upload_is_refused(
    engine: str, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile, change: Change
) -> None:
    """Within two seconds of the start, and of the end, of an upload that takes no longer."""
    upload.start_and_hold(file.size // 8)
    assert upload.now.bytes_tx < file.size * 3 // 4
    change(file.path)
    upload.set("max_rate", 0)
    assert_change_found(engine, change, upload, app, ticket, file)


@pytest.mark.parametrize("change", [two_pages_written, replaced])
def test_a_file_that_changes_near_its_end_is_refused(
    engine: str, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile, change: Change
) -> None:
    """What is left is sent from the file as it was, or not at all."""
    upload.start_and_hold(file.size - MIB // 2)
    assert upload.now.bytes_tx < file.size
    change(file.path)
    upload.set("max_rate", 0)
    assert_refused(upload, app, ticket, CHANGED)


@pytest.mark.parametrize("change", [overwritten, truncated, removed])
def test_a_file_that_changes_before_its_upload_is_never_mixed(
    engine: str, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile, change: Change
) -> None:
    """Firefox takes what is there when reading begins, if it is as long: it is one file, at least."""
    change(file.path)
    upload.start()
    if engine == "firefox" and change is overwritten:
        upload.wait_until_finished(NOTICED_WITHIN)
        app.assert_received(ticket, KnownFile(file.path, file.size))
    else:
        assert_refused(upload, app, ticket, GONE if change is removed else CHANGED)


@pytest.mark.parametrize("change", [written_with_the_same_date, removed])
def test_a_file_that_changes_during_a_pause_is_refused(
    engine: str, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile, change: Change
) -> None:
    upload.start_and_hold(file.size // 8)
    upload.pause("pause")
    change(file.path)
    upload.set("max_rate", 0)
    upload.pause("unpause")
    assert_refused(upload, app, ticket, GONE if change is removed else CHANGED)


def overwritten_with_the_same_date(path: Path) -> None:
    was = path.stat()
    overwritten(path)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


@pytest.mark.parametrize("size", [66 * MIB])
@pytest.mark.parametrize(("change", "rate"), [(overwritten_with_the_same_date, 20 * MIB), (removed, MIB)])
def test_a_large_file_that_changes_is_refused(
    engine: str, upload: PageUpload, app: UploadApp, ticket: str, file: KnownFile, change: Change, rate: int
) -> None:
    """Chromium and WebKit read it on their own while it is sent, and samples are compared.

    What is written over a longer stretch does not go between samples. A request without a sample in it, whose file is
    gone, does not hang for long.
    """
    upload.start_and_hold(rate // 2, rate)
    change(file.path)
    upload.set("max_rate", rate)
    assert_refused(upload, app, ticket, GONE if change is removed else CHANGED)
