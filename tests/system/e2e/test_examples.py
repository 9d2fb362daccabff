"""Both example apps as people use them: the real server, the real backends, a real browser, real files."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import StartProxy
from tests.support.fault_proxy import TO_SERVER
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file, sha256_of
from tests.support.waiting import wait_until
from tests.system.e2e.conftest import StartExample
from tests.system.examples.example_app import ExampleApp

MIB = 1 << 20
PATIENCE = 120_000.0
"""Milliseconds for a large file on a busy machine."""

# Example 2's rows, and their parts.
ROW = "incoming-row"
LINE = f"{ROW} [part=status]"
FINISHED = f"{ROW}[data-state=finished]"
UNFINISHED = "incoming-unfinished [part=unfinished]"

HOSTILE = "<img src=x onerror=alert(1)>.bin"


def stored(app: ExampleApp) -> dict[str, str]:
    """What the app has, as name and SHA-256."""
    return {path.name: sha256_of(path) for path in app.uploads.iterdir() if not path.name.startswith(".")}


def websockets(page: Page) -> list[str]:
    """The addresses of the WebSockets that the page opens from now on."""
    found: list[str] = []
    page.on("websocket", lambda socket: found.append(socket.url))
    return found


def choose_made_file(page: Page, name: str, content: str = "content") -> None:
    """Choose a file of that name; a real file could not have every name."""
    page.evaluate(
        """([name, content]) => {
            const data = new DataTransfer();
            data.items.add(new File([content], name));
            const input = document.getElementById("input_file");
            input.files = data.files;
            input.dispatchEvent(new Event("change"));
        }""",
        [name, content],
    )


# --- Example 1


@pytest.mark.slow
@pytest.mark.promise(1, 2, 6, 9, 10, 11, 12, 19, 20, 61, 113, 114, 115, 116, 118, 120)
def test_example_1_uploads_a_large_file(
    quiet_page: Page, start_example: StartExample, server: IncomingServer, tmp_path: Path
) -> None:
    page, app, sockets = quiet_page, start_example(1), websockets(quiet_page)
    file = make_file(tmp_path / "large file.bin", 320 * MIB + 12345)
    page.goto(app.url)
    page.set_input_files("#input_file", file.path)
    expect(page.locator("#input_file")).to_be_disabled()
    expect(page.locator("#stats_state_msg")).to_have_text("transfer file chunks to upload server")
    expect(page.locator("#output_finished")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#stats_numbers")).to_contain_text("100 %")
    expect(page.locator("#stats_error_msg")).to_be_hidden()
    assert stored(app) == {"large file.bin": file.sha256}
    assert sockets
    assert all(socket.startswith(f"ws://{server.host}/") for socket in sockets)
    page.reload()
    expect(page.locator("#uploaded_files_list a")).to_have_text("large file.bin")
    with page.expect_download() as download:
        page.click("#uploaded_files_list a")
    assert sha256_of(download.value.path()) == file.sha256


@pytest.mark.promise(119)
@pytest.mark.parametrize("number", [1, 2])
def test_a_blocked_library_is_reported(page: Page, start_example: StartExample, number: int) -> None:
    app = start_example(number)
    page.route(re.compile(r"/frontend/incoming[\w-]*\.m?js$"), lambda route: route.abort())
    page.goto(app.url)
    expect(page.locator("#stats_state_msg")).to_have_text(
        "Did not load incoming lib - was it blocked? Is the incoming server offline?"
    )


@pytest.mark.promise(117)
def test_example_1_reports_a_missing_server(page: Page, tmp_path: Path) -> None:
    with ExampleApp(1, tmp_path / "app", "--internal_incoming_host", "127.0.0.1:9") as app:
        answer = page.goto(app.url)
    assert answer is not None
    assert answer.status == 500
    expect(page.locator("body")).to_contain_text("incoming!! error")


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize(
    ("name", "stored_name"), [(HOSTILE, HOSTILE), ("../../etc/passwd", "passwd"), ("🎉 ünï.bin", "🎉 ünï.bin")]
)
def test_file_names_are_shown_as_text(
    quiet_page: Page, start_example: StartExample, number: int, name: str, stored_name: str
) -> None:
    page, app = quiet_page, start_example(number, *(["--delay", "0"] if number == 2 else []))
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.goto(app.url)
    choose_made_file(page, name)
    wait_until(lambda: stored_name in stored(app), f"the file under the name {stored_name}")
    expect(page.locator("#output_finished" if number == 1 else FINISHED)).to_be_visible()
    page.reload()
    expect(page.locator("#uploaded_files_list a")).to_have_text(stored_name)
    assert {path.name for path in app.directory.iterdir()} == {"tickets.sqlite", "uploads"}
    assert page.locator("main img, main script").count() == 0
    assert dialogs == []


# --- Example 2


@pytest.mark.slow
@pytest.mark.promise(1, 2, 57, 74, 113, 121, 122, 125, 126)
def test_example_2_uploads_several_large_files(
    quiet_page: Page, start_example: StartExample, server: IncomingServer, tmp_path: Path
) -> None:
    page, app, sockets = quiet_page, start_example(2, "--delay", "1"), websockets(quiet_page)
    sizes = {
        "a.bin": 120 * MIB,
        "b.bin": 60 * MIB + 1,
        "c.bin": 60 * MIB - 1,
        "d.bin": 10 * MIB,
        "e.bin": 1,
        "f.bin": 0,
    }
    files = [make_file(tmp_path / name, size, seed) for seed, (name, size) in enumerate(sizes.items())]
    page.goto(app.url)
    page.set_input_files("#input_file", [file.path for file in files])
    expect(page.locator(ROW)).to_have_count(len(files))
    expect(page.locator("#stats_connected")).to_have_text("true")
    expect(page.locator("#stats_transport")).to_have_text("websocket")
    expect(page.locator(LINE, has_text="the site is processing it").first).to_be_visible(timeout=PATIENCE)
    expect(page.locator(FINISHED)).to_have_count(len(files), timeout=PATIENCE)
    assert stored(app) == {file.path.name: file.sha256 for file in files}
    expect(page.locator("#uploaded_files_list a")).to_have_count(len(files))
    expect(page.locator("#input_file")).to_be_enabled()
    expect(page.locator("#stats_kb_acked")).to_have_text(str(120 * 1024))
    tickets = page.evaluate("document.querySelector('incoming-uploader').value")
    assert len(set(tickets)) == len(files)
    by_websocket = {re.findall("ticket=([^&]+)", socket)[0] for socket in sockets}
    assert set(tickets[:4]) <= by_websocket <= set(tickets), "one request may send the small ones"
    assert not list(server.storage_dir.glob("??/*")), "the app has moved everything away"
    expect(page.locator(UNFINISHED)).to_be_hidden()


@pytest.mark.promise(4, 122, 123)
def test_example_2_pauses_and_cancels(quiet_page: Page, start_example: StartExample, tmp_path: Path) -> None:
    page, app = quiet_page, start_example(2, "--delay", "0")
    kept, dropped = make_file(tmp_path / "kept.bin", 150 * MIB), make_file(tmp_path / "dropped.bin", 150 * MIB, seed=1)
    page.goto(app.url)
    page.set_input_files("#input_file", [kept.path, dropped.path])
    pause, cancel = page.locator("#input_pause"), page.locator("#input_btn_cancel")
    first, second = page.locator(ROW).nth(0), page.locator(ROW).nth(1)
    pause.check()
    expect(page.locator("#stats_state_msg")).to_have_text("paused")
    expect(first.get_by_role("button", name="Resume")).to_be_visible()
    second.get_by_role("button", name="Pause").click()
    expect(second.locator("[part=status]")).to_contain_text("Paused")
    second.locator("[part=name]").click()
    expect(cancel).to_be_enabled()
    cancel.click()  # a paused upload, by one call
    expect(second.locator("[part=status]")).to_have_text("Cancelled: cancelled by the user")
    expect(page.locator("#stats_cancelled")).to_have_text("true")
    expect(page.locator("#stats_cancel_msg")).to_have_text("cancelled by the user")
    wait_until(lambda: "was cancelled: 'cancelled by the user'" in app.log, "the app to be told")
    first.locator("[part=name]").click()
    pause.uncheck()
    expect(page.locator("#stats_finished")).to_have_text("true", timeout=PATIENCE)
    assert stored(app) == {"kept.bin": kept.sha256}


@pytest.mark.promise(4, 124, 126)
def test_example_2_survives_an_outage_of_its_app(
    page: Page, start_example: StartExample, server: IncomingServer, tmp_path: Path
) -> None:
    """It is killed before the first file has arrived, and started again when the second waits for a ticket."""
    app = start_example(2, "--delay", "0")
    first, second = make_file(tmp_path / "first.bin", 80 * MIB), make_file(tmp_path / "second.bin", 3 * MIB, seed=1)
    page.goto(app.url)
    page.set_input_files("#input_file", first.path)
    expect(page.locator("#stats_connected")).to_have_text("true")
    app.stop()
    page.set_input_files("#input_file", second.path)
    on_its_way = re.compile("Arrived safely")
    expect(page.locator(LINE).nth(0)).to_contain_text(on_its_way, timeout=PATIENCE)
    expect(page.locator(LINE).nth(1)).to_contain_text("Waiting: The site does not answer")
    app.start()
    expect(page.locator(FINISHED)).to_have_count(2, timeout=PATIENCE)
    assert stored(app) == {"first.bin": first.sha256, "second.bin": second.sha256}


@pytest.mark.promise(124)
def test_example_2_uploads_files_one_after_the_other(
    quiet_page: Page, start_example: StartExample, tmp_path: Path
) -> None:
    page, app = quiet_page, start_example(2, "--delay", "0")
    file = make_file(tmp_path / "same name.bin", 3 * MIB)
    page.goto(app.url)
    for number in range(1, 4):
        expect(page.locator("#input_file")).to_be_enabled()
        page.set_input_files("#input_file", file.path)
        expect(page.locator(FINISHED)).to_have_count(number)
    names = ["same name.bin", "same name (2).bin", "same name (3).bin"]
    assert stored(app) == dict.fromkeys(names, file.sha256)


@pytest.mark.promise(3, 111)
def test_example_2_resumes_after_a_reload(
    quiet_page: Page, start_example: StartExample, server: IncomingServer, start_proxy: StartProxy, tmp_path: Path
) -> None:
    proxy = start_proxy(server.port)
    proxy.limit(4 * MIB, TO_SERVER)  # the reload has twelve seconds, on a busy machine too
    page, app = quiet_page, start_example(2, "--delay", "0", "--public_incoming_host", proxy.host)
    sockets = websockets(page)
    file = make_file(tmp_path / "file.bin", 60 * MIB)
    page.goto(app.url)
    page.set_input_files("#input_file", file.path)
    expect(page.locator(LINE)).to_contain_text(re.compile(r"^[2-9][0-9]%"), timeout=PATIENCE)
    page.reload()
    expect(page.locator(f"{UNFINISHED} [part=name]")).to_have_text("file.bin")
    expect(page.locator(f"{UNFINISHED} [part=status]").last).to_contain_text(re.compile(r"^[2-9][0-9]% has arrived"))
    sent_before = proxy.counters.bytes_to_server
    proxy.limit(None, TO_SERVER)
    page.set_input_files("#input_file", file.path)
    expect(page.locator(UNFINISHED)).to_be_hidden()
    expect(page.locator(FINISHED)).to_have_count(1, timeout=PATIENCE)
    assert stored(app) == {"file.bin": file.sha256}
    assert proxy.counters.bytes_to_server - sent_before < 0.85 * file.size, "what had arrived was not sent again"
    assert len({re.findall("ticket=([^&]+)", socket)[0] for socket in sockets}) == 1
    expect(page.locator(UNFINISHED)).to_be_hidden()


@pytest.mark.promise(4, 122, 123, 124)
def test_example_2_shows_the_upload_whose_row_is_chosen(
    quiet_page: Page, start_example: StartExample, tmp_path: Path
) -> None:
    page, app = quiet_page, start_example(2, "--delay", "0")
    kept, dropped = make_file(tmp_path / "kept.bin", 30 * MIB), make_file(tmp_path / "dropped.bin", 30 * MIB, seed=1)
    page.goto(app.url)
    expect(page.locator("#input_pause")).to_be_disabled()
    expect(page.locator("#input_btn_cancel")).to_be_disabled()
    page.evaluate(
        "void document.querySelector('incoming-uploader').queue"
        ".subscribe(({ uploads }) => uploads.forEach((one) => (one.max_rate ||= 1_000_000)))"
    )
    page.set_input_files("#input_file", [kept.path, dropped.path])
    rows = page.locator(ROW)
    expect(rows).to_have_count(2)
    expect(page.locator("#stats_heading")).to_have_text("kept.bin")
    expect(page.locator("#stats_connected")).to_have_text("true")
    expect(page.locator("#stats_transport")).to_have_text("websocket")
    expect(page.locator("#stats_kb_acked")).to_have_text(re.compile("^[1-9]"))
    page.locator("#input_pause").check()
    expect(page.locator("#stats_state_msg")).to_have_text("paused")
    expect(rows.nth(0)).to_have_attribute("data-state", "paused")

    rows.nth(1).get_by_role("button", name="Pause").click()
    expect(page.locator("#stats_heading")).to_have_text("dropped.bin")
    expect(page.locator("#input_pause")).to_be_checked()
    page.locator("#input_btn_cancel").click()  # a paused upload, by one call
    expect(page.locator("#stats_cancelled")).to_have_text("true")
    expect(page.locator("#stats_cancel_msg")).to_have_text("cancelled by the user")
    expect(rows.nth(1)).to_have_attribute("data-state", "cancelled")
    wait_until(lambda: "was cancelled: 'cancelled by the user'" in app.log, "the app to be told")

    rows.nth(0).locator("[part=name]").click()
    expect(page.locator("#stats_heading")).to_have_text("kept.bin")
    page.evaluate("document.querySelector('incoming-uploader').queue.snapshot().uploads[0].max_rate = 0")
    page.locator("#input_pause").uncheck()
    expect(page.locator("#stats_finished")).to_have_text("true", timeout=PATIENCE)
    expect(page.locator("#uploaded_files_list a")).to_have_text("kept.bin")
    assert stored(app) == {"kept.bin": kept.sha256}
    assert page.evaluate("document.querySelector('incoming-uploader').value.length") == 1
