"""Each page for a framework, from an empty directory to a finished upload in Chromium, and what its traps look like."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file, sha256_of
from tests.support.tools import ROOT, require_tool
from tests.support.waiting import wait_until
from tests.system.backends.walkthrough import Walkthrough


@dataclass(frozen=True)
class Framework:
    """A page of doc/, the programs that it needs, where its callback is and where it puts files."""

    page: str
    programs: tuple[str, ...] = ("openssl",)
    callback: str = "/taken"
    uploads: str = "uploads"
    traps: tuple[str, ...] = ("CSRF", "slash", "full disk")


FRAMEWORKS = [
    Framework("flask"),
    Framework("fastapi", traps=("empty form field", "slash", "quotes", "full disk")),
    Framework("django", (), "/taken/", "media", ("CSRF", "slash", "ALLOWED_HOSTS", "full disk")),
    Framework("express", ("openssl", "node")),
    Framework("php", ("openssl", "php"), "/taken.php", traps=("csrf", "slash", "it is empty", "display_errors")),
]


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "größe & co.bin", 2_000_000)


def upload(page: Page, app: Walkthrough, file: KnownFile) -> None:
    page.goto(app.url)
    page.locator("incoming-uploader input[type=file]").first.set_input_files(str(file.path))
    expect(page.locator("incoming-row[data-state=finished]")).to_have_count(1, timeout=60_000)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.page)
def test_the_page_leads_to_a_finished_upload(
    framework: Framework, server: IncomingServer, page: Page, page_errors: list[str], file: KnownFile, tmp_path: Path
) -> None:
    for program in framework.programs:
        require_tool(program)
    with Walkthrough(framework.page, tmp_path, server) as app:
        upload(page, app, file)
        uploads = app.directory / framework.uploads
        [taken] = [path for path in uploads.iterdir() if not path.name.startswith(".")]
        assert sha256_of(taken) == file.sha256
        wait_until(lambda: not list(server.storage_dir.glob("??/*")), "the server to be rid of the file")
        forged = {"id": taken.name, "filename": "/etc/passwd", "filenameFromBrowser": "x", "cancelled": "no"}
        assert requests.post(app.url + framework.callback, data=forged, timeout=30).status_code == 403
        assert list(uploads.iterdir()) == [taken]
        if framework.page == "django":
            look_at_the_admin(page, app, file)
    assert [error for error in page_errors if "favicon.ico" not in error] == []


def look_at_the_admin(page: Page, app: Walkthrough, file: KnownFile) -> None:
    page.goto(f"{app.url}/admin/uploads/upload/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "choose-another")
    page.click("input[type=submit]")
    expect(page.locator("#result_list th.field-name")).to_have_text(file.path.name)


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.page)
def test_each_page_is_short_and_names_its_traps(framework: Framework) -> None:
    text = (ROOT / "doc" / f"{framework.page}.md").read_text()
    assert len(text.splitlines()) <= 150
    assert [trap for trap in framework.traps if trap not in text.partition("| trap |")[2]] == []
