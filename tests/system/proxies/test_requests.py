"""Uploads by HTTP requests through an nginx with unfavourable settings."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from tests.support.known_files import KnownFile, make_file
from tests.system.e2e.upload_app import UploadApp
from tests.system.proxies.conftest import OpenPage, StartRealProxy

KIB, MIB = 1 << 10, 1 << 20

pytestmark = pytest.mark.promise(133)


class Pieces:
    """The started and the answered PUTs of a page, as seen by the browser's network stack."""

    def __init__(self, page: Page) -> None:
        self.protocols: set[str] = set()
        self._sizes: dict[str, int] = {}
        self._statuses: dict[str, int] = {}
        session = page.context.new_cdp_session(page)
        session.on("Network.requestWillBeSent", self._on_request)
        session.on("Network.responseReceived", self._on_response)
        session.on("Network.responseReceivedExtraInfo", self._on_headers)
        session.send("Network.enable")

    def sizes(self, *statuses: int) -> set[int]:
        """Return the lengths of the bodies with this answer, whether or not the page could read it."""
        return {size for request, size in self._sizes.items() if self._statuses.get(request) in statuses}

    def _on_request(self, event: dict[str, Any]) -> None:
        told = event["request"]["headers"].get("Content-Range")
        if told is not None:
            start, end = told.removeprefix("bytes ").partition("/")[0].split("-")
            self._sizes[event["requestId"]] = int(end) + 1 - int(start)

    def _on_response(self, event: dict[str, Any]) -> None:
        if event["requestId"] in self._sizes:
            self.protocols.add(event["response"]["protocol"])

    def _on_headers(self, event: dict[str, Any]) -> None:
        self._statuses[event["requestId"]] = event["statusCode"]


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.mp4", 6 * MIB)


@pytest.mark.parametrize("buffering", ["on", "off"])
@pytest.mark.parametrize(("name", "protocol"), [("nginx", "h2"), ("nginx-central", "http/1.1")])
def test_request_buffering_does_not_prevent_an_upload(
    start_real_proxy: StartRealProxy,
    open_page: OpenPage,
    app: UploadApp,
    file: KnownFile,
    name: str,
    protocol: str,
    buffering: str,
) -> None:
    edit = ("proxy_request_buffering off;", f"proxy_request_buffering {buffering};")
    upload_page = open_page(start_real_proxy(name, edit, blocked=True))
    pieces = Pieces(upload_page.tab)
    ticket = app.new_ticket()
    app.hold()
    upload = upload_page.upload(ticket, file.path).start()
    upload.wait_for(lambda moment: moment.frac_complete == 1, "the end of the file")
    assert upload_page.tab.evaluate("uploads[0].uploader.diagnosis().protocol") == protocol
    app.release()
    upload.wait_until_finished()
    assert {moment.transport for moment in upload.moments} == {"", "http"}
    assert pieces.protocols == {protocol}
    app.assert_received(ticket, file)


@pytest.mark.parametrize("limit", [200 * KIB, 40 * KIB], ids=["below-large-pieces", "below-the-smallest"])
@pytest.mark.parametrize("same_origin", [True, False], ids=["same-origin", "other-origin"])
def test_a_body_limit_does_not_prevent_an_upload(
    start_real_proxy: StartRealProxy,
    open_page: OpenPage,
    app: UploadApp,
    file: KnownFile,
    limit: int,
    same_origin: bool,
) -> None:
    """nginx's refusal has no CORS headers: a page of another origin cannot read the 413, and must infer it."""
    proxy = start_real_proxy("nginx", ("client_max_body_size 0;", f"client_max_body_size {limit};"), blocked=True)
    upload_page = open_page(proxy, same_origin=same_origin)
    pieces = Pieces(upload_page.tab)
    ticket = app.new_ticket()
    upload = upload_page.upload(ticket, file.path).start()
    upload.wait_until_finished()
    assert {moment.transport for moment in upload.moments} == {"", "http"}
    app.assert_received(ticket, file)
    refused, taken = pieces.sizes(413), pieces.sizes(200, 308)
    assert refused, "the limit was to be hit"
    assert min(refused) > limit
    assert limit / 2 <= max(taken) <= limit
