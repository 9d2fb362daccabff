"""Pages are reloaded and closed, browsers change, files change: an upload goes on where it was, or is refused."""

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Page
from playwright.sync_api import Error as PlaywrightError

from tests.conftest import StartProxy, StartServer
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import KnownFile, make_file
from tests.support.waiting import wait_until
from tests.system.e2e.upload_app import UploadApp
from tests.system.e2e.upload_page import SLOW, PageUpload, UploadPage, over_both
from tests.system.faults.consistency import tickets_in

MIB = 1 << 20
THREE_DAYS = 3 * 24 * 3600
"""More than an upload may be idle, less than it may be paused."""


@pytest.fixture
def slow(upload: PageUpload) -> PageUpload:
    """An upload that has begun, and does not end before its `max_rate` is set: another page may take its time."""
    return upload.start_and_hold(MIB)


def unfinished(page: UploadPage) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.tab.evaluate("incoming.unfinished()")
    return found


def assert_goes_on(upload: PageUpload, acked: int) -> None:
    """It finishes, and began with at least so many bytes."""
    upload.wait_until_finished()
    connected = next(moment for moment in upload.moments if moment.connected)
    assert connected.bytes_acked >= acked > 0


# --- The page is gone


@over_both
@pytest.mark.promise(3, 111)
def test_an_upload_resumes_after_a_reload(
    slow: PageUpload, upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    before = slow.now
    upload_page.open()
    assert_goes_on(upload_page.upload(ticket, file.path).start(), before.bytes_acked)
    app.assert_received(ticket, file)


@over_both
@pytest.mark.promise(3, 111)
def test_an_upload_resumes_in_another_browser(
    slow: PageUpload,
    upload_page: UploadPage,
    chromium: Browser,
    app: UploadApp,
    server: IncomingServer,
    file: KnownFile,
    ticket: str,
    transport: str,
) -> None:
    before = slow.now
    upload_page.tab.context.close()
    with chromium.new_context() as context:
        other = UploadPage(context.new_page(), app, server.host).open(transport=transport)
        assert unfinished(other) == [], "another browser knows nothing of it"
        assert_goes_on(other.upload(ticket, file.path).start(), before.bytes_acked)
    app.assert_received(ticket, file)


def three_days_pass(server: IncomingServer) -> None:
    """For everything that the server knows of; it is not running meanwhile."""
    assert server.stop() == 0
    with closing(sqlite3.connect(server.storage_dir / "incoming.sqlite")) as database, database:
        changes = "active_at = active_at - :passed, state_since = state_since - :passed"
        assert database.execute(f"UPDATE tickets SET {changes}", {"passed": THREE_DAYS}).rowcount
    server.start()


@over_both
def test_an_upload_resumes_days_later(page: Page, start_server: StartServer, file: KnownFile, transport: str) -> None:
    """A paused upload outlives its page, the server and an upload that was just left alone."""
    server = start_server("--failed-grace", "1s")  # a short limit makes the janitor come often
    with UploadApp(server.base_url) as app:
        ticket, abandoned = app.new_ticket(), app.new_ticket()
        upload_page = UploadPage(page, app, server.host).open(transport=transport)
        slow = upload_page.upload(ticket, file.path).start_and_hold(MIB)
        slow.pause("pause")
        before = slow.now
        wait_until(lambda: tickets_in(server.storage_dir)[ticket].paused, "the server to know of the pause")
        page.goto("about:blank")
        three_days_pass(server)
        (callback,) = app.wait_for(1, abandoned)
        assert (callback.params["cancelled"], callback.params["cancelReason"]) == ("yes", "upload timed out")
        later = page.context.new_page()
        later.clock.install(time=time.time() + THREE_DAYS)
        upload_page = UploadPage(later, app, server.host).open(transport=transport)
        (entry,) = unfinished(upload_page)
        assert entry["ticket"] == ticket
        assert later.evaluate("Date.now()") - entry["last_activity"] > 0.99 * THREE_DAYS * 1000
        assert_goes_on(upload_page.upload(ticket, file.path).start(), before.bytes_acked)
        app.assert_received(ticket, file)


# --- What the browser remembers


@over_both
def test_unfinished_uploads_are_offered(
    slow: PageUpload, upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str, tmp_path: Path
) -> None:
    before = slow.now
    began = upload_page.tab.evaluate("Date.now()")
    upload_page.open()
    (entry,) = unfinished(upload_page)
    assert (entry["ticket"], entry["name"], entry["size"]) == (ticket, "file.bin", file.size)
    assert entry["last_modified"] == int(file.path.stat().st_mtime * 1000)
    assert before.bytes_acked <= entry["bytes_acked"] < file.size
    assert began - 60_000 < entry["last_activity"] <= upload_page.tab.evaluate("Date.now()")
    assert entry["can_continue"] is False

    other = make_file(tmp_path / "other.bin", file.size, seed=1)
    upload_page.tab.set_input_files("#file", other.path)
    assert upload_page.tab.evaluate("incoming.match(chosen_file())") is None
    upload_page.tab.set_input_files("#file", file.path)
    assert upload_page.tab.evaluate("incoming.match(chosen_file()).ticket") == ticket

    assert_goes_on(upload_page.upload(ticket, None).start(), entry["bytes_acked"])
    assert unfinished(upload_page) == [], "nothing is left to be offered"
    app.assert_received(ticket, file)


@over_both
def test_an_upload_resumes_after_a_crash_of_the_tab(
    slow: PageUpload,
    upload_page: UploadPage,
    app: UploadApp,
    server: IncomingServer,
    file: KnownFile,
    ticket: str,
    transport: str,
) -> None:
    """A tab that had no time to say anything: the next one knows of its upload all the same."""
    before = slow.now
    with upload_page.tab.expect_event("crash"), suppress(PlaywrightError):
        upload_page.tab.goto("chrome://crash")
    other = UploadPage(upload_page.tab.context.new_page(), app, server.host).open(transport=transport)
    assert [entry["ticket"] for entry in unfinished(other)] == [ticket]
    assert_goes_on(other.upload(ticket, file.path).start(), before.bytes_acked)
    app.assert_received(ticket, file)


def test_a_forgotten_upload_is_not_offered_again(slow: PageUpload, upload_page: UploadPage, ticket: str) -> None:
    slow.pause("pause")
    assert [entry["ticket"] for entry in unfinished(upload_page)] == [ticket]
    upload_page.tab.evaluate("(ticket) => incoming.forget(ticket)", ticket)
    assert unfinished(upload_page) == []
    upload_page.open()
    assert unfinished(upload_page) == []


def test_nothing_is_remembered_if_the_page_forbids_it(
    upload_page: UploadPage, app: UploadApp, file: KnownFile, ticket: str
) -> None:
    upload_page.tab.evaluate("incoming.set_remember(false)")
    upload_page.upload(ticket, file.path).start_and_hold(MIB)
    assert unfinished(upload_page) == []
    assert upload_page.tab.evaluate("localStorage.length") == 0
    upload_page.open()
    assert unfinished(upload_page) == []
    upload_page.upload(ticket, file.path).start().wait_until_finished()
    app.assert_received(ticket, file)


# --- Another file


def other_content(file: KnownFile) -> None:
    was = file.path.stat()
    make_file(file.path, file.size, seed=7)
    os.utime(file.path, ns=(was.st_atime_ns, was.st_mtime_ns))


def other_size(file: KnownFile) -> None:
    was = file.path.stat()
    with file.path.open("ab") as content:
        content.write(b"more")
    os.utime(file.path, ns=(was.st_atime_ns, was.st_mtime_ns))


def other_time(file: KnownFile) -> None:
    was = file.path.stat()
    os.utime(file.path, ns=(was.st_atime_ns, was.st_mtime_ns + 5_000_000_000))


@over_both
@pytest.mark.parametrize("change", [other_content, other_size, other_time])
def test_a_changed_file_is_refused(
    slow: PageUpload,
    upload_page: UploadPage,
    app: UploadApp,
    file: KnownFile,
    ticket: str,
    change: Callable[[KnownFile], None],
) -> None:
    """It is told apart before a byte of it is taken; the right one can go on."""
    slow.pause("pause")
    acked = slow.now.bytes_acked
    was = file.path.stat()
    upload_page.open()
    change(file)
    wrong = upload_page.upload(ticket, file.path).start()
    end = wrong.wait_until_over()
    assert (end.error_code, end.finished) == (400, False)
    wrong.assert_lawful()
    assert app.of(ticket) == []
    right = make_file(file.path, file.size)
    assert right.sha256 == file.sha256
    os.utime(file.path, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert_goes_on(upload_page.upload(ticket, file.path).start(), acked)
    app.assert_received(ticket, file)


@over_both
@pytest.mark.parametrize(("change", "code"), [(other_time, 1002), (lambda file: file.path.unlink(), 1001)])
def test_a_file_that_changes_while_it_is_read_is_refused(
    slow: PageUpload, app: UploadApp, file: KnownFile, ticket: str, change: Callable[[KnownFile], None], code: int
) -> None:
    change(file)
    slow.set("max_rate", 0)
    end = slow.wait_until_over()
    assert (end.error_code, end.finished) == (code, False)
    slow.assert_lawful()
    assert [call.callback for call in slow.calls if call.callback != "onprogress"] == ["onerror"]
    assert app.of(ticket) == [], "no mixed file is handed over"


# --- With a handle the file need not be chosen again


MAKE_FILE_WITH_HANDLE = """async (size) => {
    const directory = await navigator.storage.getDirectory();
    const handle = await directory.getFileHandle("kept.bin", { create: true });
    const writable = await handle.createWritable();
    const content = new Uint8Array(size);
    for (let i = 0; i < size; i++) content[i] = (i * 31 + (i >> 8) * 17 + (i >> 16)) & 255;
    await writable.write(content);
    await writable.close();
    window.handle = handle;
    window.file = await handle.getFile();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
    return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}"""


@over_both
def test_a_stored_file_handle_resumes_by_one_click(upload_page: UploadPage, app: UploadApp, ticket: str) -> None:
    """The handle of a file survives the reload of the page, and reads the file again."""
    size = 8 * MIB
    sha256 = upload_page.tab.evaluate(MAKE_FILE_WITH_HANDLE, size)
    upload_page.tab.evaluate(
        "(ticket) => { make_upload(ticket, file, { handle }); }",
        ticket,
    )
    before = PageUpload(upload_page.tab, 0).start_and_hold(MIB).now
    wait_until(lambda: [entry["can_continue"] for entry in unfinished(upload_page)] == [True], "the handle to be kept")
    upload_page.open()
    assert [entry["can_continue"] for entry in unfinished(upload_page)] == [True]
    number = upload_page.tab.evaluate(
        "async (ticket) => record(await incoming.continue_upload(ticket))",
        ticket,
    )
    again = PageUpload(upload_page.tab, number)
    assert again.now.state_msg == "not yet started"
    assert_goes_on(again.start(), before.bytes_acked)
    app.wait_for(1, ticket)
    receipt = app.receipts[ticket]
    assert (receipt.name, receipt.size, receipt.sha256) == ("kept.bin", size, sha256)
    rejected = upload_page.tab.evaluate(
        "(ticket) => incoming.continue_upload(ticket).then(() => 'taken', () => 'rejected')", ticket
    )
    assert rejected == "rejected", "the handle went with the upload"


TAKE_DROPPED = """() => {
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", async (event) => {
        event.preventDefault();
        const [item] = event.dataTransfer.items;
        window.file = item.getAsFile();
        window.handle = await item.getAsFileSystemHandle();
    });
}"""


def drop(page: Page, path: Path) -> None:
    """A file from the disk is dragged onto the page."""
    page.evaluate(TAKE_DROPPED)
    session = page.context.new_cdp_session(page)
    dragged = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": 50, "y": 50, "data": dragged})
    page.wait_for_function("() => window.handle")


@pytest.mark.promise(73)
def test_a_dropped_file_resumes_after_a_crash(
    upload_page: UploadPage, app: UploadApp, server: IncomingServer, file: KnownFile, ticket: str
) -> None:
    """A file of the user's disk, with the handle that comes with a drop."""
    drop(upload_page.tab, file.path)
    upload_page.tab.evaluate("(ticket) => { make_upload(ticket, file, { handle }); }", ticket)
    before = PageUpload(upload_page.tab, 0).start_and_hold(MIB).now
    wait_until(lambda: [entry["can_continue"] for entry in unfinished(upload_page)] == [True], "the handle to be kept")
    with upload_page.tab.expect_event("crash"), suppress(PlaywrightError):
        upload_page.tab.goto("chrome://crash")
    other = UploadPage(upload_page.tab.context.new_page(), app, server.host).open()
    other.tab.evaluate(
        """(ticket) => addEventListener("click", async () => record(await incoming.continue_upload(ticket)))""", ticket
    )
    other.tab.mouse.click(5, 5)
    other.tab.wait_for_function("() => uploads.length")
    again = PageUpload(other.tab, 0)
    assert_goes_on(again.start(), before.bytes_acked)
    app.assert_received(ticket, file)


# --- The page is about to be left


def test_leaving_the_page_asks_the_user(
    slow: PageUpload, upload_page: UploadPage, app: UploadApp, file: KnownFile
) -> None:
    asked: list[str] = []

    def stay(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.dismiss()

    tab = upload_page.tab
    tab.on("dialog", stay)
    tab.mouse.click(5, 5)  # browsers ask only for pages that were used
    slow.set("warn_on_leave", True)
    tab.evaluate("() => { setTimeout(() => location.reload()) }")
    wait_until(lambda: slow.now and asked, "the browser to ask")
    assert asked == ["beforeunload"]
    slow.set("max_rate", 0)
    slow.wait_until_finished()
    tab.reload()
    assert asked == ["beforeunload"], "there was nothing left to lose"


def test_leaving_the_page_asks_nothing_by_default(slow: PageUpload, upload_page: UploadPage) -> None:
    asked: list[str] = []

    def leave(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    upload_page.tab.on("dialog", leave)
    upload_page.tab.mouse.click(5, 5)
    assert slow.now.connected
    upload_page.tab.reload()
    assert asked == []


# --- The machine stays awake


STUB_OF_WAKE_LOCK = """
    window.locks = { requested: 0, released: 0 };
    const request = async () => {
        locks.requested++;
        return { release: async () => { locks.released++; } };
    };
    Object.defineProperty(navigator, "wakeLock", { value: { request } });
"""


@over_both
def test_the_machine_is_kept_awake_while_bytes_flow(
    page: Page,
    app: UploadApp,
    server: IncomingServer,
    start_proxy: StartProxy,
    file: KnownFile,
    ticket: str,
    transport: str,
) -> None:
    def held() -> int:
        number: int = page.evaluate("locks.requested - locks.released")
        return number

    proxy = start_proxy(server.port)
    page.add_init_script(STUB_OF_WAKE_LOCK)
    upload = UploadPage(page, app, proxy.host).open(transport=transport).upload(ticket, file.path)
    upload.set("max_rate", SLOW)
    assert page.evaluate("locks.requested") == 0
    upload.start().wait_for_bytes()
    assert held() == 1
    upload.pause("pause")
    wait_until(lambda: held() == 0, "the lock to be released during a pause")
    upload.pause("unpause")
    upload.wait_for(lambda now: now.connected, "the upload to go on")
    assert held() == 1
    proxy.refuse()
    assert proxy.cut() > 0
    upload.wait_for(lambda now: not now.connected, "the loss to be noticed")
    wait_until(lambda: held() == 0, "the lock to be released while nothing flows")
    proxy.accept()
    app.default = "wait"
    upload.set("max_rate", 0)
    upload.wait_for(lambda now: now.state_msg == "processing file on server", "the app to say wait")
    wait_until(lambda: held() == 0, "the lock to be released during the handover")
    assert app.finish_upload(ticket) == "ok"
    upload.wait_until_finished()
    assert page.evaluate("locks.requested") >= 3
    assert held() == 0
