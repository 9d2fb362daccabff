"""The module that sends files cannot be loaded for a while, in each engine: uploads wait for it, and finish."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.support.browser_tab import Tab
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import UploadPage
from tests.system.engines.library_host import LibraryHost
from tests.system.faults.consistency import tickets_in

MIB = 1 << 20
RECONNECTING = "lost connection, trying to connect again"

pytestmark = pytest.mark.parametrize("engine", ["chromium", "firefox", "webkit"])


@pytest.fixture
def library() -> Iterator[LibraryHost]:
    with LibraryHost() as library:
        yield library


@pytest.fixture
def file(tmp_path: Path) -> KnownFile:
    return make_file(tmp_path / "film.bin", MIB + 1)


def page_of(tab: Tab, app: UploadApp, library: LibraryHost, server: IncomingServer) -> UploadPage:
    page = UploadPage(tab, app, library.host)
    tab.goto(app.page_url + "?" + urlencode({"script": f"http://{library.host}/library.js"}))
    wait_until(lambda: tab.evaluate("() => 'incoming' in globalThis"), "the library")
    tab.evaluate("(host) => incoming.set_server_hostname(host)", server.host)
    return page


def test_the_module_is_loaded_at_once_and_not_by_the_first_upload(
    tab: Tab, app: UploadApp, library: LibraryHost, server: IncomingServer, file: KnownFile
) -> None:
    page = page_of(tab, app, library, server)
    wait_until(lambda: library.served, "the module to be loaded")
    ticket = app.new_ticket()
    page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)
    assert (library.met, library.served) == ([], [1])


@pytest.mark.parametrize("fault", ["dropped", "cut", "503", "404"])
def test_an_upload_waits_for_a_module_that_cannot_be_loaded_at_first(
    tab: Tab, app: UploadApp, library: LibraryHost, server: IncomingServer, file: KnownFile, fault: str
) -> None:
    library.fault, library.attempts = fault, 3
    page = page_of(tab, app, library, server)
    wait_until(lambda: library.met, "the fault to be met before there is an upload")
    ticket = app.new_ticket()
    upload = page.upload(ticket, file.path).start()
    upload.wait_until_finished()
    app.assert_received(ticket, file)
    assert set(library.met) == {1, 2, 3}
    assert library.served == [4]
    assert RECONNECTING in [moment.state_msg for moment in upload.moments]
    assert not [moment for moment in upload.moments if moment.error_code is not None]


def test_a_request_for_the_module_that_is_never_answered_is_repeated(
    tab: Tab, app: UploadApp, library: LibraryHost, server: IncomingServer, file: KnownFile
) -> None:
    library.fault, library.attempts = "silent", 1
    page = page_of(tab, app, library, server)
    ticket = app.new_ticket()
    page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)
    assert (set(library.met), library.served) == ({1}, [2])


def test_an_upload_is_cancelled_without_the_module(
    tab: Tab, app: UploadApp, library: LibraryHost, server: IncomingServer, file: KnownFile
) -> None:
    library.fault, library.attempts = "503", 1_000
    page = page_of(tab, app, library, server)
    ticket = app.new_ticket()
    upload = page.upload(ticket, file.path).start()
    upload.wait_for(lambda now: now.state_msg == RECONNECTING, "the wait for the module")
    upload.pause("pause")
    assert upload.now.paused
    upload.pause("unpause")
    upload.cancel("wrong film")
    assert (upload.now.cancelled, upload.now.cancel_msg) == (True, "wrong film")
    upload.assert_lawful()
    (callback,) = app.wait_for(1, ticket)
    assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "wrong film")
    wait_until(lambda: tickets_in(server.storage_dir)[ticket].state == "cancelled", "the server to know of it")
    met = len(library.met)
    assert met > 0
    assert library.served == []
