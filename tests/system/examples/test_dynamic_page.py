"""Example 2's page in Chromium, with a library whose part the test plays: what users see and can do.

The page's policy forbids `eval`, so tests poll from here and not by Playwright's `wait_for_function`.
"""

from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.waiting import wait_until
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming
from tests.system.examples.played_library import (
    a_file,
    calls_of,
    drag_from_disk,
    drop,
    play,
    ticket_of,
    uploader_of,
    wait_for_uploaders,
)


@pytest.mark.promise(121, 124)
def test_dynamic_uploads_one_after_the_other(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    for number, ending in enumerate([{"finished": True}, {"cancelled": True}, {"failed": True}, {"finished": True}]):
        expect(page.locator("#input_file")).to_be_enabled()
        page.set_input_files("#input_file", a_file("same.txt"))
        wait_for_uploaders(page, number + 1)
        expect(page.locator("#input_file")).to_be_enabled()
        assert (ticket_of(page, number), calls_of(page, number)) == (incoming.last_ticket(), [["start"]])
        play(page, number, **ending)
    expect(page.locator("#input_file")).to_be_enabled()
    assert len({ticket_of(page, number) for number in range(4)}) == 4
    expect(page.locator(".row")).to_have_count(4)


@pytest.mark.promise(122)
def test_dynamic_shows_everything(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)
    play(
        page, 0, bytes_total=10240, bytes_tx=5120, bytes_acked=2048, bytes_ahead=3072, frac_complete=0.2, finished=False
    )
    play(page, 0, chunks_tx_now=5, chunks_acked_now=2, chunks_ahead=3, transport="http", state_msg="on its way")
    play(page, 0, error_msg="an error", cancel_msg="a reason", cancelling=True)
    expected = {
        "connected": "true",
        "cancelling": "true",
        "cancelled": "false",
        "finished": "false",
        "chunks_tx": "5",
        "chunks_acked": "2",
        "chunks_ahead": "3",
        "kb_tx": "5",
        "kb_acked": "2",
        "kb_ahead": "3",
        "transport": "http",
        "state_msg": "on its way",
        "error_msg": "an error",
        "cancel_msg": "a reason",
    }
    for name, value in expected.items():
        expect(page.locator(f"#stats_{name}")).to_have_text(value)
    assert page.evaluate("document.getElementById('stats_progress_bar').value") == 0.2


@pytest.mark.promise(123)
def test_dynamic_pause_and_cancel(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    pause, cancel = page.locator("#input_pause"), page.locator("#input_btn_cancel")
    page.goto(dynamic.url)
    expect(pause).to_be_disabled()
    expect(cancel).to_be_disabled()
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)
    expect(pause).to_be_enabled()

    pause.check()
    assert page.evaluate("window.uploaders[0].can_cancel") is False
    expect(cancel).to_be_enabled()  # the page resumes it first
    play(page, 0, can_pause=False)
    expect(pause).to_be_enabled()  # or nobody could ever go on
    pause.uncheck()
    play(page, 0, can_pause=True)
    page.click(".row .pause")
    expect(pause).to_be_checked()
    page.click(".row .pause")
    expect(pause).not_to_be_checked()
    play(page, 0, can_pause=False, can_cancel=False)
    expect(pause).to_be_disabled()
    expect(cancel).to_be_disabled()
    play(page, 0, can_cancel=True)
    cancel.click()
    expect(cancel).to_be_disabled()
    calls = [["start"], *[["pause", "toggle"]] * 4, ["cancel", "cancelled by the user"]]
    assert calls_of(page, 0) == calls
    play(page, 0, cancelled=True, cancelling=False, state_msg="cancelled: cancelled by the user")
    expect(page.locator(".row .numbers")).to_have_text("cancelled")
    expect(page.locator("#input_file")).to_be_enabled()


@pytest.mark.promise(121)
def test_dynamic_uploads_several_at_once(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file("a"))
    wait_for_uploaders(page, 1)
    page.set_input_files("#input_file", a_file("b"))
    wait_for_uploaders(page, 2)
    drop(page, "#drop_area", "c", "d", "e", "f")
    wait_for_uploaders(page, 4)
    expect(page.locator(".row .file_name")).to_have_text(["a", "b", "c", "d", "e", "f"])
    expect(page.locator(".row .numbers").nth(4)).to_have_text("7 bytes · waits for its turn")
    assert len(incoming.calls_of("new_upload")) == 4, "no ticket is asked for before it is needed"

    page.locator(".row .cancel").nth(5).click()
    expect(page.locator(".row .numbers").nth(5)).to_have_text("7 bytes · cancelled before it began")
    page.locator(".row .pause").nth(0).click()  # makes room
    wait_for_uploaders(page, 5)
    for number in range(5):
        play(page, number, finished=True, paused=False)
    expect(page.locator(".row.finished")).to_have_count(5)
    expect(page.locator("#input_file")).to_be_enabled()
    assert len(incoming.calls_of("new_upload")) == 5


@pytest.mark.promise(122)
def test_dynamic_shows_the_details_of_the_clicked_row(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", [a_file("first"), a_file("second")])
    wait_for_uploaders(page, 2)
    expect(page.locator("#stats_heading")).to_have_text("first")
    page.click(".row:nth-child(2) .file_name")
    expect(page.locator("#stats_heading")).to_have_text("second")
    page.check("#input_pause")
    paused = page.evaluate("Object.fromEntries(window.uploaders.map(({filename, paused}) => [filename, paused]))")
    assert paused == {"first": False, "second": True}


@pytest.mark.promise(121)
def test_dynamic_encodes_the_name(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    name = "a&filename=b #1 100%+ö☃?.txt"
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file(name))
    wait_for_uploaders(page, 1)
    incoming.hand_over(ticket_of(page, 0), b"content", "ignored")
    wait_until(lambda: dynamic.contents() == {name: b"content"}, "the file under its own name")


@pytest.mark.promise(123)
def test_dynamic_cancels_a_paused_upload(quiet_page: Page, dynamic: ExampleApp) -> None:
    """Which the library would not: `can_cancel` is false. So the page resumes it, and cancels it then."""
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", [a_file("first"), a_file("second")])
    wait_for_uploaders(page, 2)
    for row, button in ((1, "#input_btn_cancel"), (2, ".row:nth-child(2) .cancel")):
        number = uploader_of(page, "first" if row == 1 else "second")
        page.click(f".row:nth-child({row}) .pause")
        assert page.evaluate("(n) => window.uploaders[n].can_cancel", number) is False
        page.click(button)
        assert calls_of(page, number)[2:] == [["pause", "unpause"], ["cancel", "cancelled by the user"]]
        play(page, number, cancelled=True, cancelling=False)
    expect(page.locator(".row .numbers")).to_have_text(["cancelled", "cancelled"])


# --- The app is away, or refuses


@pytest.mark.promise(121)
@pytest.mark.parametrize("away", ["nobody listens", "a proxy says so", "a proxy answers in its place", "no ticket"])
def test_dynamic_retries_while_its_app_is_unavailable(
    page: Page, dynamic: ExampleApp, incoming: FakeIncoming, away: str
) -> None:
    page.goto(dynamic.url)
    asked: list[str] = []

    def miss(route: Route) -> None:
        asked.append(route.request.url)
        if away == "nobody listens":
            route.abort("connectionrefused")
        elif away == "a proxy says so":
            route.fulfill(status=404, body="<html>404 page not found</html>", content_type="text/html")
        elif away == "a proxy answers in its place":
            route.fulfill(status=200, body="", content_type="text/plain")
        else:
            route.fulfill(status=500, body="incoming!! error: 503 disk full", content_type="text/plain")

    page.route("**/request_upload*", miss)
    page.set_input_files("#input_file", [a_file(f"{number}.txt") for number in range(33)])
    reason = "incoming!! error: 503 disk full" if away == "no ticket" else "no answer from this app. Is it running?"
    expect(page.locator(".row .numbers").first).to_have_text(f"7 bytes · {reason} Next try in 2 s.", timeout=20_000)
    expect(page.locator("#stats_state_msg")).to_contain_text(reason)
    expect(page.locator(".row.failed")).to_have_count(0)
    assert {url.rpartition("=")[2] for url in asked} == {f"{number}.txt" for number in range(4)}
    expect(page.locator(".row .retry:visible")).to_have_count(4)

    page.unroute("**/request_upload*")
    page.click(".row:nth-child(2) .retry")  # the others come by themselves
    wait_for_uploaders(page, 4)
    for number in range(33):
        wait_for_uploaders(page, number + 1)
        play(page, number, finished=True)
    expect(page.locator(".row.finished")).to_have_count(33)
    assert len(incoming.calls_of("new_upload")) == 33
    expect(page.locator(".row .retry:visible")).to_have_count(0)


def test_dynamic_waits_longer_after_each_attempt(page: Page, dynamic: ExampleApp) -> None:
    page.clock.install(time=0)
    page.goto(dynamic.url)
    page.clock.pause_at(60_000)
    asked: list[str] = []
    page.route("**/request_upload*", lambda route: (asked.append(route.request.url), route.abort()))
    page.set_input_files("#input_file", a_file())
    for number, pause in enumerate((1, 2, 4, 8, 16, 30, 30), start=1):
        expect(page.locator(".row .numbers")).to_contain_text(f"Next try in {pause} s.")
        page.clock.run_for(1000 * pause - 1)
        assert len(asked) == number
        page.clock.run_for(1)
    wait_until(lambda: page.title() and len(asked) == 8, "the last of these tries")
    expect(page.locator(".row .numbers")).to_contain_text("Next try in 30 s.")
    page.evaluate("window.dispatchEvent(new Event('online'))")
    wait_until(lambda: page.title() and len(asked) == 9, "a try as soon as the network is back")
    page.click(".row .cancel")
    expect(page.locator(".row .numbers")).to_have_text("7 bytes · cancelled before it began")
    page.clock.run_for(60_000)
    expect(page.locator(".row .numbers")).to_have_text("7 bytes · cancelled before it began")
    assert len(asked) == 9


@pytest.mark.promise(121)
def test_dynamic_shows_a_refused_ticket(page: Page, dynamic: ExampleApp) -> None:
    """That is the app's decision, for which the user may find a remedy."""
    page.goto(dynamic.url)
    refusal = {"status": 403, "body": "Please log in.", "content_type": "text/plain; charset=utf-8"}
    page.route("**/request_upload*", lambda route: route.fulfill(**refusal))
    page.set_input_files("#input_file", a_file())
    expect(page.locator("#stats_error_msg")).to_have_text("Please log in.")
    expect(page.locator(".row.failed .numbers")).to_have_text("7 bytes · Please log in.")
    page.unroute("**/request_upload*")
    page.click(".row .retry")
    wait_for_uploaders(page, 1)
    expect(page.locator("#stats_error_msg")).to_be_hidden()
    expect(page.locator(".row.failed")).to_have_count(0)


def test_dynamic_retries_a_failed_upload(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)
    play(page, 0, failed=True, error_code=303, error_msg="not wanted", state_msg="failed: not wanted")
    expect(page.locator(".row.failed .numbers")).to_have_text("not wanted")
    page.click(".row .retry")
    wait_for_uploaders(page, 2)
    assert ticket_of(page, 1) == incoming.last_ticket() != ticket_of(page, 0)
    play(page, 1, finished=True)
    expect(page.locator(".row.finished")).to_have_count(1)


# --- Folders


def test_dynamic_takes_the_files_in_a_folder(quiet_page: Page, dynamic: ExampleApp, tmp_path: Path) -> None:
    page = quiet_page
    folder = tmp_path / "folder"
    names = {f"{number}.txt" for number in range(150)} | {"inner.txt", "deep.txt", "beside.txt"}
    (folder / "a" / "b").mkdir(parents=True)
    for number in range(150):  # more than a browser tells at a time
        (folder / f"{number}.txt").write_text("content")
    (folder / "a" / "inner.txt").write_text("content")
    (folder / "a" / "b" / "deep.txt").write_text("content")
    (tmp_path / "beside.txt").write_text("content")
    page.goto(dynamic.url)
    drag_from_disk(page, "#drop_area", folder, tmp_path / "beside.txt")
    expect(page.locator(".row")).to_have_count(len(names))
    assert set(page.locator(".row .file_name").all_text_contents()) == names
    expect(page.locator("#drop_problems")).to_be_hidden()
    wait_for_uploaders(page, 4)
    assert page.evaluate("window.uploaders[0].bytes_total") == len("content")


def test_dynamic_lists_what_it_cannot_read_in_a_folder(quiet_page: Page, dynamic: ExampleApp, tmp_path: Path) -> None:
    page = quiet_page
    (tmp_path / "empty").mkdir()
    page.goto(dynamic.url)
    drag_from_disk(page, "#drop_area", tmp_path / "empty")
    expect(page.locator("#drop_problems li")).to_have_text(["The folder “empty” is empty."])
    expect(page.locator(".row")).to_have_count(0)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file.txt").write_text("content")
    drag_from_disk(page, "#drop_area", tmp_path / "full")
    expect(page.locator(".row .file_name")).to_have_text(["file.txt"])
    expect(page.locator("#drop_problems")).to_be_hidden()


@pytest.mark.promise(122, 124)
def test_dynamic_retries_after_a_transient_error(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)
    play(page, 0, connected=False, error_code=300, error_msg="disk full", state_msg="trying again soon")
    expect(page.locator("#stats_error_msg")).to_have_text("disk full")
    expect(page.locator(".row .numbers")).to_have_text("0 % · 0 bytes of 7 bytes · trying again soon")
    expect(page.locator(".row .buttons")).to_be_visible()
    play(page, 0, connected=True, error_code=None, error_msg="", state_msg="uploading")
    expect(page.locator("#stats_error_msg")).to_be_hidden()
    play(page, 0, failed=True, error_code=200, error_msg="unknown upload")
    expect(page.locator(".row.failed .numbers")).to_have_text("unknown upload")
    expect(page.locator("#input_file")).to_be_enabled()


@pytest.mark.promise(118, 124)
def test_dynamic_lists_a_file_as_soon_as_it_is_finished(
    quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming
) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    expect(page.locator("#no_uploaded_files")).to_be_visible()
    page.set_input_files("#input_file", a_file("new.txt"))
    wait_for_uploaders(page, 1)
    incoming.hand_over(ticket_of(page, 0), b"content")
    wait_until(lambda: "new.txt" in dynamic.contents(), "the file to be taken")
    play(page, 0, finished=True)
    expect(page.locator("#uploaded_files_list a")).to_have_text("new.txt")
    expect(page.locator("#no_uploaded_files")).to_be_hidden()
    with page.expect_download() as download:
        page.click("#uploaded_files_list a")
    assert download.value.suggested_filename == "new.txt"
    assert download.value.path().read_bytes() == b"content"


@pytest.mark.promise(118, 124)
@pytest.mark.parametrize("away", ["nobody listens", "a proxy says so"])
def test_dynamic_lists_a_file_when_its_backend_is_back(
    page: Page, page_errors: list[str], dynamic: ExampleApp, incoming: FakeIncoming, away: str
) -> None:
    """The app is away just when the upload is finished."""
    page.clock.install()
    page.goto(dynamic.url)
    error = page.locator("#uploaded_files_error")
    expect(error).to_be_hidden()
    page.set_input_files("#input_file", a_file("new.txt"))
    wait_for_uploaders(page, 1)
    incoming.hand_over(ticket_of(page, 0), b"content")
    wait_until(lambda: "new.txt" in dynamic.contents(), "the file to be taken")
    looks: list[str] = []

    def miss(route: Route) -> None:
        looks.append(route.request.url)
        if away == "nobody listens":
            route.abort("connectionrefused")
        else:
            route.fulfill(status=502, body="<html>Bad Gateway</html>")

    page.route("**/api/frontend/uploads", miss)
    play(page, 0, finished=True)
    expect(error).to_have_text("This app does not answer. Until it does, files may be missing here.")
    page.clock.fast_forward(3000)
    wait_until(lambda: page.title() and len(looks) == 2, "another try")
    page.unroute("**/api/frontend/uploads")
    page.clock.fast_forward(3000)
    expect(page.locator("#uploaded_files_list a")).to_have_text("new.txt", timeout=20_000)
    expect(error).to_be_hidden()
    assert [told for told in page_errors if told.startswith("uncaught")] == []


# A library that remembers: what a later version of the page's library offers.
REMEMBERS = """
const remembered = [{ ticket: "old-ticket", name: "big.bin", size: 7, last_modified: 1700000000000,
                      bytes_acked: 3, last_activity: 1700000000000 },
                    { ticket: "arrived-ticket", name: "arrived.bin", size: 7, last_modified: 1700000000000,
                      bytes_acked: 7, last_activity: 1700000000000 }];
incoming.unfinished = async () => remembered.slice();
incoming.forget = async (ticket) => {
    const found = remembered.findIndex((upload) => upload.ticket === ticket);
    if (found >= 0) remembered.splice(found, 1);
};
"""


def choose(page: Page, name: str, last_modified: int, times: int = 1) -> None:
    """Choose a file with a date of its own."""
    page.evaluate(
        """([name, lastModified, times]) => {
            const data = new DataTransfer();
            for (let n = 0; n < times; n++) data.items.add(new File(["content"], name, { lastModified }));
            const input = document.getElementById("input_file");
            input.files = data.files;
            input.dispatchEvent(new Event("change"));
        }""",
        [name, last_modified, times],
    )


def test_dynamic_resumes_an_unfinished_upload(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    assert incoming.library is not None
    incoming.library += REMEMBERS
    page.goto(dynamic.url)
    expect(page.locator("#unfinished_list .file_name")).to_have_text("big.bin")
    expect(page.locator("#unfinished_list .numbers")).to_contain_text("42 % of 7 bytes")

    choose(page, "big.bin", 1_600_000_000_000)  # changed since: another file
    wait_for_uploaders(page, 1)
    assert ticket_of(page, 0) != "old-ticket"
    play(page, 0, finished=True)

    choose(page, "big.bin", 1_700_000_000_000, times=2)  # the same file, but it cannot be uploaded twice
    wait_for_uploaders(page, 3)
    assert [ticket_of(page, 1), ticket_of(page, 2)].count("old-ticket") == 1
    assert len(incoming.calls_of("new_upload")) == 2
    expect(page.locator("#unfinished")).to_be_hidden()

    choose(page, "arrived.bin", 1_700_000_000_000)  # not listed, for it needs no file; nor is it sent again
    wait_for_uploaders(page, 4)
    assert ticket_of(page, 3) == "arrived-ticket"


def test_dynamic_forgets_an_unfinished_upload(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    assert incoming.library is not None
    incoming.library += REMEMBERS
    page.goto(dynamic.url)
    page.click("#unfinished_list button")
    expect(page.locator("#unfinished")).to_be_hidden()
    choose(page, "big.bin", 1_700_000_000_000)
    wait_for_uploaders(page, 1)
    assert ticket_of(page, 0) == incoming.last_ticket()
