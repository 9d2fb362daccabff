"""Why is it slow? Line, browser and app are slowed in turn; page and operators are told which it is.

A slow disk and a slow server are in tests/integration/handlers/test_path_reports.py.
"""

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from playwright.sync_api import Page

from tests.support.fault_proxy import TO_SERVER, FaultProxy
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import PageUpload, UploadPage, over_both

LARGE = "new File(Array(64).fill(new Blob([new Uint8Array(8 << 20)])), 'film.bin', { lastModified: 5 })"
"""Half a gigabyte, of which nothing is on a disk."""

MOST = 60.0
"""Seconds for a limit to be found: a few, on a machine that has time."""


@pytest.fixture
def host(proxy: FaultProxy) -> str:
    return proxy.host


@pytest.fixture
def large(upload_page: UploadPage, ticket: str) -> Iterator[PageUpload]:
    upload = upload_page.upload_of(LARGE, ticket)
    yield upload
    upload_page.tab.evaluate("() => { for (const { uploader } of uploads) uploader.discard(); }")


def diagnosis(upload_page: UploadPage) -> dict[str, Any]:
    found: dict[str, Any] = upload_page.tab.evaluate("() => uploads[0].uploader.diagnosis()")
    return found


def shown(server: IncomingServer, ticket: str) -> dict[str, Any]:
    """What operators see."""
    uploads = requests.get(f"{server.base_url}/incoming/status/now", timeout=30).json()["uploads"]
    return next((upload for upload in uploads if upload["id"] == ticket), {"limit": None})


def assert_limit(upload_page: UploadPage, server: IncomingServer, ticket: str, limit: str) -> dict[str, Any]:
    """Page and operators name this limit, both at the same moment."""

    seen: list[dict[str, Any]] = []

    def both() -> bool:
        seen[:] = [diagnosis(upload_page), shown(server, ticket)]
        return all(one["limit"] == limit for one in seen)

    try:
        wait_until(both, f"the limit {limit}", MOST)
    except AssertionError as error:
        raise AssertionError(f"{error}; last seen: {seen}") from None
    return seen[0]


@over_both
def test_the_line(
    large: PageUpload, upload_page: UploadPage, proxy: FaultProxy, server: IncomingServer, ticket: str, transport: str
) -> None:
    proxy.limit(1_000_000, TO_SERVER)
    large.start()
    found = assert_limit(upload_page, server, ticket, "line")
    assert found["transport"] == ("http" if transport == "http" else "websocket")
    assert found["connections"] >= 1
    assert found["ack_delay"] > 0
    wait_until(lambda: diagnosis(upload_page)["server"], "the server's figures", MOST)
    figures = diagnosis(upload_page)["server"]
    assert figures["limit"] == ""
    assert figures["rtt"] > 0


def test_the_browser(
    large: PageUpload, upload_page: UploadPage, page: Page, server: IncomingServer, ticket: str
) -> None:
    """A processor that is twenty times as slow, and a page that computes all the time."""
    page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": 20})
    compute = "const end = performance.now() + 300; while (performance.now() < end);"
    page.evaluate(f"() => {{ setInterval(() => {{ {compute} }}, 320); }}")
    large.start()
    found = assert_limit(upload_page, server, ticket, "browser")
    assert found["lag"] > 0.08


def test_the_app(
    upload: PageUpload, upload_page: UploadPage, app: UploadApp, server: IncomingServer, ticket: str
) -> None:
    """It does not take the file."""
    app.hold()
    upload.start()
    assert_limit(upload_page, server, ticket, "app")


def test_the_app_when_it_gives_no_ticket(upload_page: UploadPage, file: KnownFile) -> None:
    upload_page.tab.set_input_files("#file", file.path)
    make = "() => { make_upload(() => new Promise(() => {}), chosen_file()); uploads[0].uploader.start(); }"
    upload_page.tab.evaluate(make)
    assert diagnosis(upload_page)["limit"] == "app"
