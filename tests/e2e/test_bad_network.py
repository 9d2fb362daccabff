"""What bad networks do between a real browser and the real server: every fault costs time, and nothing else."""

from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.conftest import StartProxy
from tests.e2e.upload_app import UploadApp
from tests.e2e.upload_page import PageUpload, UploadPage
from tests.support.fault_proxy import FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file

MIB = 1 << 20
SLOW = 1 * MIB
"""Bytes a second: `file` is on its way for as long as a test may want."""


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "file.bin", 12 * MIB)


@pytest.fixture
def ticket(app: UploadApp) -> str:
    return app.new_ticket()


@pytest.fixture
def proxy(server: IncomingServer, start_proxy: StartProxy) -> FaultProxy:
    return start_proxy(server.port)


@pytest.fixture(params=["auto", "http"])
def upload_page(request: pytest.FixtureRequest, page: Page, app: UploadApp, proxy: FaultProxy) -> UploadPage:
    return UploadPage(page, app, proxy.host).open(transport=request.param)


@pytest.fixture
def slow(upload_page: UploadPage, file: KnownFile, ticket: str) -> PageUpload:
    """An upload that has begun and goes on slowly until its `max_rate` is set to 0."""
    upload = upload_page.upload(ticket, file.path)
    upload.set("max_rate", SLOW)
    upload.start().wait_for_bytes()
    return upload


def assert_only_delayed(upload: PageUpload) -> None:
    """It has finished, and what was in the way was no error that anybody had to be told of."""
    upload.wait_until_finished()
    assert {call.callback for call in upload.calls} == {"onprogress", "onfinished"}


@pytest.mark.promise(3)
def test_cut(slow: PageUpload, proxy: FaultProxy, app: UploadApp, file: KnownFile, ticket: str) -> None:
    proxy.cut_after(MIB + 777)
    proxy.wait_for(lambda counters: counters.cut == 1, "a connection to be cut within a chunk")
    slow.set("max_rate", 0)
    assert_only_delayed(slow)
    app.assert_received(ticket, file)
