"""Example 2's page with the real element and server: panel, refusals and outages of its app, names, small screens."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.known_files import make_file
from tests.support.tools import ROOT, require_node_package
from tests.support.waiting import wait_until
from tests.system.e2e.conftest import StartExample
from tests.system.e2e.test_examples import FINISHED, LINE, MIB, PATIENCE, ROW, choose_made_file
from tests.system.examples.played_library import a_file

QUEUE = "document.querySelector('incoming-uploader').queue"
# `void`: Playwright calls a function that a script leaves.
SLOWLY = f"void {QUEUE}.subscribe(({{ uploads }}) => uploads.forEach((one) => (one.max_rate ||= 1_000_000)))"
FAST = f"{QUEUE}.snapshot().uploads.forEach((one) => (one.max_rate = 0))"

# What the panel shows and what it should, of one moment.
PANEL = """() => {
    const { uploads: [one] } = document.querySelector("incoming-uploader").queue.snapshot();
    const kilobytes = (bytes) => Math.round(bytes / 1024);
    const { state_msg, error_msg, cancel_msg, connected, cancelling, cancelled, finished } = one;
    const { chunks_tx_now, chunks_acked_now, chunks_ahead } = one;
    const expected = { state_msg, error_msg, cancel_msg, connected, cancelling, cancelled, finished,
        transport: one.transport || "\\u2013", chunks_tx: chunks_tx_now, chunks_acked: chunks_acked_now, chunks_ahead,
        kb_tx: kilobytes(one.bytes_tx), kb_acked: kilobytes(one.bytes_acked), kb_ahead: kilobytes(one.bytes_ahead) };
    const shown = (name) => document.getElementById("stats_" + name).textContent;
    return [Object.fromEntries(Object.keys(expected).map((name) => [name, shown(name)])),
        Object.fromEntries(Object.entries(expected).map(([name, value]) => [name, String(value)])),
        [document.getElementById("stats_progress_bar").value, one.frac_complete],
        [document.getElementById("input_pause").disabled, !(one.can_pause || one.paused)],
        [document.getElementById("input_btn_cancel").disabled, !(one.can_cancel || one.paused)]];
}"""


def expect_the_panel_to_be_right(page: Page) -> dict[str, str]:
    """Compare it with the uploader's properties; returns what it shows."""
    shown, expected, *pairs = page.evaluate(PANEL)
    assert shown == expected
    for one, other in pairs:
        assert one == other
    values: dict[str, str] = shown
    return values


@pytest.mark.promise(122, 123)
def test_the_panel_shows_every_property_in_every_state(
    quiet_page: Page, start_example: StartExample, tmp_path: Path
) -> None:
    page, app = quiet_page, start_example(2, "--delay", "0")
    file = make_file(tmp_path / "file.bin", 20 * MIB)
    page.goto(app.url)
    page.evaluate(SLOWLY)
    page.set_input_files("#input_file", file.path)
    expect(page.locator("#stats_heading")).to_have_text("file.bin")
    expect(page.locator("#stats_chunks_acked")).to_have_text(re.compile("^[1-9]"))
    shown = expect_the_panel_to_be_right(page)
    assert (shown["connected"], shown["transport"], shown["finished"]) == ("true", "websocket", "false")
    assert int(shown["kb_tx"]) >= int(shown["kb_acked"]) > 0
    page.locator("#input_pause").check()
    assert expect_the_panel_to_be_right(page)["state_msg"] == "paused"
    expect(page.locator("#input_btn_cancel")).to_be_enabled()
    page.locator("#input_pause").uncheck()
    expect(page.locator("#stats_connected")).to_have_text("true")
    page.locator("#input_pause").focus()
    page.evaluate(FAST)
    expect(page.locator("#stats_finished")).to_have_text("true", timeout=PATIENCE)
    assert page.evaluate("document.activeElement.id") == "input_pause", "a control that is disabled keeps its user"
    page.keyboard.press("Tab")
    assert expect_the_panel_to_be_right(page)["kb_acked"] == str(20 * 1024)


def test_the_panel_has_names_for_screen_readers_and_axe_objects_to_nothing(
    quiet_page: Page, start_example: StartExample, tmp_path: Path
) -> None:
    require_node_package("axe-core")
    page, app = quiet_page, start_example(2)
    page.goto(app.url)
    page.evaluate(SLOWLY)
    page.set_input_files("#input_file", make_file(tmp_path / "film.mp4", 20 * MIB).path)
    expect(page.locator("#stats_connected")).to_have_text("true")
    page.locator("#input_pause").check()
    expect(page.locator("main")).to_match_aria_snapshot(
        """
        - region "Choose files"
        - region "film.mp4":
          - heading "film.mp4" [level=2]
          - progressbar "Progress of the upload"
          - paragraph: paused
          - checkbox "Pause" [checked]
          - button "Cancel"
        - region "Uploaded files":
          - heading "Uploaded files" [level=2]
        """
    )
    page.evaluate((ROOT / "node_modules" / "axe-core" / "axe.min.js").read_text())
    found = page.evaluate("axe.run(document, { resultTypes: ['violations'] }).then((found) => found.violations)")
    assert [f"{one['id']}: {[node['target'] for node in one['nodes']]}" for one in found] == []


@pytest.mark.promise(121)
@pytest.mark.parametrize("away", ["nobody listens", "a proxy answers in its place"])
def test_tickets_are_requested_for_four_files_until_the_app_is_back(
    page: Page, start_example: StartExample, away: str
) -> None:
    page.goto(start_example(2, "--delay", "0").url)
    asked: list[str] = []

    def miss(route: Route) -> None:
        asked.append(route.request.url)
        if away == "nobody listens":
            route.abort("connectionrefused")
        else:
            route.fulfill(status=404, body="<html>404 page not found</html>", content_type="text/html")

    page.route("**/request_upload*", miss)
    page.set_input_files("#input_file", [a_file(f"{number}.txt") for number in range(6)])
    expect(page.locator(LINE, has_text="Waiting: The site does not answer")).to_have_count(4)
    expect(page.locator(LINE).first).to_contain_text("Next try in")
    expect(page.locator(LINE).nth(4)).to_contain_text("Waiting for its turn")
    expect(page.locator("#stats_error_msg")).to_contain_text("the application gives no ticket at present")
    assert {url.rpartition("=")[2] for url in asked} == {f"{number}.txt" for number in range(4)}
    page.unroute("**/request_upload*")  # each row tries again by itself
    expect(page.locator(FINISHED)).to_have_count(6, timeout=PATIENCE)


@pytest.mark.promise(121)
def test_a_refused_ticket_is_shown_in_the_apps_words_and_can_be_tried_again(
    page: Page, start_example: StartExample
) -> None:
    page.goto(start_example(2, "--delay", "0").url)
    refusal = {"status": 403, "body": "Please log in.", "content_type": "text/plain; charset=utf-8"}
    page.route("**/request_upload*", lambda route: route.fulfill(**refusal))
    page.set_input_files("#input_file", a_file())
    expect(page.locator("#stats_error_msg")).to_have_text("Please log in.")
    expect(page.locator(LINE)).to_contain_text("Failed: Please log in.")
    page.unroute("**/request_upload*")
    page.locator(ROW).get_by_role("button", name="Try again").click()
    expect(page.locator(FINISHED)).to_have_count(1)
    expect(page.locator("#stats_error_msg")).to_be_hidden()


@pytest.mark.promise(118, 124)
@pytest.mark.parametrize("away", ["nobody listens", "a proxy says so"])
def test_a_finished_file_is_listed_when_the_app_answers_again(
    page: Page, page_errors: list[str], start_example: StartExample, away: str
) -> None:
    page.goto(start_example(2, "--delay", "0").url)
    expect(page.locator("#no_uploaded_files")).to_be_visible()
    looks: list[str] = []

    def miss(route: Route) -> None:
        looks.append(route.request.url)
        if away == "nobody listens":
            route.abort("connectionrefused")
        else:
            route.fulfill(status=502, body="<html>Bad Gateway</html>")

    page.route("**/api/frontend/uploads", miss)
    page.set_input_files("#input_file", a_file("new.txt"))
    error = page.locator("#uploaded_files_error")
    expect(error).to_have_text("This app does not answer. Until it does, files may be missing here.")
    wait_until(lambda: page.title() and len(looks) >= 2, "another try")
    page.unroute("**/api/frontend/uploads")
    expect(page.locator("#uploaded_files_list a")).to_have_text("new.txt", timeout=20_000)
    expect(error).to_be_hidden()
    expect(page.locator("#no_uploaded_files")).to_be_hidden()
    with page.expect_download() as download:
        page.click("#uploaded_files_list a")
    assert download.value.suggested_filename == "new.txt"
    assert download.value.path().read_bytes() == b"content"
    assert [text for text in page_errors if text.startswith("uncaught")] == []


def test_the_list_of_uploaded_files_keeps_the_focus_when_it_grows(
    quiet_page: Page, start_example: StartExample
) -> None:
    page = quiet_page
    page.goto(start_example(2, "--delay", "0").url)
    page.set_input_files("#input_file", a_file("a.txt"))
    page.locator("#uploaded_files_list a").focus()
    page.set_input_files("#input_file", a_file("b.txt"))
    expect(page.locator("#uploaded_files_list a")).to_have_count(2)
    assert page.evaluate("document.activeElement.textContent") == "a.txt"


def test_invisible_characters_in_names_are_shown(quiet_page: Page, start_example: StartExample) -> None:
    page = quiet_page
    page.goto(start_example(2, "--delay", "0").url)
    choose_made_file(page, "exe.\u202egpj\u200d\u2066.bat")
    shown = "exe.\u2039U+202E\u203agpj\u200d\u2039U+2066\u203a.bat"
    expect(page.locator(f"{ROW} bdi[part=name]")).to_have_text(shown)
    expect(page.locator("#stats_heading bdi")).to_have_text(shown)
    expect(page.locator(FINISHED)).to_have_count(1)


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_is_wider_than_the_page(quiet_page: Page, start_example: StartExample, width: int) -> None:
    page = quiet_page
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(start_example(2).url)
    for name in ("long" * 40 + ".txt", "\u05d0" * 60 + ".txt", "two.txt"):
        choose_made_file(page, name)
    expect(page.locator(ROW)).to_have_count(3)
    expect(page.locator(LINE, has_text="the site is processing it").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    buttons = page.get_by_role("button")
    boxes = [button.bounding_box() for button in buttons.all() if button.is_visible()]
    assert boxes
    assert all(box and box["x"] >= 0 and box["x"] + box["width"] <= width and box["height"] >= 24 for box in boxes)
