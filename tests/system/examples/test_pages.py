"""Example 1's page in Chromium, with a library whose part the test plays: what users see and can do.

The pages' policy forbids `eval`, so tests poll from here and not by Playwright's `wait_for_function`.
"""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.waiting import wait_until
from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming
from tests.system.examples.played_library import (
    a_file,
    calls_of,
    drag_from_disk,
    drag_over,
    drop,
    play,
    ticket_of,
    wait_for_uploaders,
)

ATTACK = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"


# --- Example 1


@pytest.mark.promise(115, 120)
def test_simple_uploads_the_chosen_file(quiet_page: Page, simple: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    page.goto(simple.url)
    assert page.evaluate("window.server_hostname") == incoming.host
    expect(page.locator("#input_file")).to_be_enabled()
    expect(page.locator("#stats_progress_bar")).to_be_hidden()

    page.set_input_files("#input_file", a_file("my file.txt"))
    assert (ticket_of(page, 0), calls_of(page, 0)) == (incoming.last_ticket(), [["start"]])
    expect(page.locator("#input_file")).to_be_disabled()
    expect(page.locator("#stats_file_name")).to_have_text("my file.txt")
    expect(page.locator("#stats_state_msg")).to_have_text("uploading")

    play(page, 0, bytes_total=3_000_000_000, bytes_acked=1_260_000_000, frac_complete=0.42)
    assert page.evaluate("document.getElementById('stats_progress_bar').value") == 0.42
    assert page.evaluate("document.getElementById('stats_progress_bar').max") == 1
    expect(page.locator("#stats_numbers")).to_have_text("42 % · 1.26 GB of 3.00 GB")
    expect(page.locator("#output_finished")).to_be_hidden()

    play(page, 0, bytes_acked=3_000_000_000, frac_complete=1, state_msg="handing over")
    expect(page.locator("#output_finished")).to_be_hidden()  # arrived, but the app has not got it yet
    play(page, 0, finished=True, state_msg="all done")
    expect(page.locator("#output_finished")).to_be_visible()
    expect(page.locator("#input_file")).to_be_disabled()

    page.click("#output_finished a")
    expect(page.locator("#output_finished")).to_be_hidden()
    assert len(incoming.calls_of("new_upload")) == 2, "another page, another ticket"


@pytest.mark.promise(115)
def test_simple_takes_one_file_by_drop(quiet_page: Page, simple: ExampleApp) -> None:
    page = quiet_page
    page.goto(simple.url)
    assert drop(page, "h1", "stray.txt"), "the browser must not leave the page to show it"
    assert page.evaluate("window.uploaders.length") == 0
    assert "drag_over" in drag_over(page, "#drop_area svg")
    assert "drag_over" not in drag_over(page, "h1")
    drop(page, "#drop_area", "first.txt", "second.txt")
    drop(page, "#drop_area", "third.txt")
    assert page.evaluate("window.uploaders.map((uploader) => uploader.filename)") == ["first.txt"]


@pytest.mark.promise(115)
def test_simple_takes_no_folder(quiet_page: Page, simple: ExampleApp, tmp_path: Path) -> None:
    page = quiet_page
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.txt").write_text("content")
    page.goto(simple.url)
    drag_from_disk(page, "#drop_area", tmp_path / "folder")
    expect(page.get_by_role("alert")).to_have_text("This page takes a file, not a folder.")
    assert page.evaluate("window.uploaders.length") == 0
    drag_from_disk(page, "#drop_area", tmp_path / "file.txt")
    wait_for_uploaders(page, 1)
    expect(page.get_by_role("alert")).to_be_hidden()


@pytest.mark.promise(119)
@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_library_is_reported(
    page: Page, start_example: StartExample, incoming: FakeIncoming, number: int
) -> None:
    incoming.library = None
    page.goto(start_example(number).url)
    expect(page.locator("#stats_state_msg")).to_have_text(
        "Did not load incoming lib - was it blocked? Is the incoming server offline?"
    )
    expect(page.locator("#input_file")).to_be_disabled()


@pytest.mark.promise(120)
def test_simple_shows_errors(quiet_page: Page, simple: ExampleApp) -> None:
    page = quiet_page
    page.goto(simple.url)
    page.set_input_files("#input_file", a_file())
    expect(page.locator("#stats_error_msg")).to_be_hidden()
    waiting = {"state_msg": "waiting: disk full", "error_code": 501, "error_msg": "disk full"}
    play(page, 0, **waiting)
    expect(page.locator("#stats_error_msg")).to_have_text("waiting: disk full")
    expect(page.locator("#stats_state_msg")).to_be_hidden()
    expect(page.locator("#output_failed")).to_be_hidden()
    play(page, 0, state_msg="uploading", error_code=None, error_msg="")
    expect(page.locator("#stats_error_msg")).to_be_hidden()
    expect(page.locator("#stats_state_msg")).to_have_text("uploading")
    play(page, 0, state_msg="failed: unknown upload", error_code=200, error_msg="unknown upload", failed=True)
    expect(page.locator("#stats_error_msg")).to_have_text("failed: unknown upload")
    page.click("#output_failed a")
    expect(page.locator("#output_failed")).to_be_hidden()
    expect(page.locator("#input_file")).to_be_enabled()


@pytest.mark.promise(115, 120)
def test_foreign_text_is_never_markup(quiet_page: Page, simple: ExampleApp, incoming: FakeIncoming) -> None:
    page, app = quiet_page, simple
    page.goto(app.url)
    page.set_input_files("#input_file", a_file("<img src=x onerror=alert(1)>"))
    wait_for_uploaders(page, 1)
    for attack in ({"failed": True}, {"cancelled": True}, {"finished": True}):
        play(page, 0, state_msg=ATTACK, error_msg=ATTACK, cancel_msg=ATTACK, transport=ATTACK, **attack)
    ticket = incoming.last_ticket()
    incoming.hand_over(ticket, b"", "<img src=x onerror=alert(1)>")
    wait_until(lambda: app.contents(), "the file to be taken")
    page.goto(app.url)
    expect(page.locator("#uploaded_files_list a")).to_have_text("<img src=x onerror=alert(1)>")
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("window.pwned") is None


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_overflows_the_page(quiet_page: Page, simple: ExampleApp, width: int) -> None:
    page = quiet_page
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(simple.url)
    page.set_input_files("#input_file", a_file("long" * 60 + ".txt"))
    wait_for_uploaders(page, 1)
    play(page, 0, bytes_total=10**13, bytes_tx=10**13, state_msg="x" * 200, error_msg="y" * 200)
    assert page.evaluate("document.documentElement.scrollWidth") == width


# --- What the numbers say


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 s"),
        (1, "1 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (61, "1 min 1 s"),
        (3700, "1 h 1 min"),
        (360000, "4 d 4 h"),
    ],
)
def test_durations_are_readable(quiet_page: Page, simple: ExampleApp, seconds: float, text: str) -> None:
    quiet_page.goto(simple.url)
    script = "(seconds) => import('./static/progress.js').then((progress) => progress.human_duration(seconds))"
    assert quiet_page.evaluate(script, seconds) == text


def speeds(page: Page, moments: list[dict[str, Any]]) -> list[float | None]:
    """What the speedometer says at each moment of an upload."""
    measured: list[float | None] = page.evaluate(
        """async (moments) => {
            const { Speedometer } = await import("./static/progress.js");
            const speedometer = new Speedometer();
            return moments.map(({ time, ...uploader }) => speedometer.measure(uploader, time));
        }""",
        moments,
    )
    return measured


def moment(time: float, bytes_acked: int, **others: Any) -> dict[str, Any]:
    return {
        "time": time,
        "bytes_acked": bytes_acked,
        "connected": True,
        "paused": False,
        "chunks_acked_now": 1,
    } | others


def test_speed_is_averaged_over_recent_seconds(quiet_page: Page, simple: ExampleApp) -> None:
    quiet_page.goto(simple.url)
    steady = [moment(second, 1000 * second) for second in range(30)]
    assert speeds(quiet_page, steady)[1:] == [1000] * 29

    # what earlier connections have sent does not count as fast
    resumed = [moment(0, 0, chunks_acked_now=0), moment(1, 10**9, chunks_acked_now=0)]
    resumed += [moment(2, 10**9 + 1000), moment(3, 10**9 + 2000)]
    assert speeds(quiet_page, resumed) == [None, None, 1000, 1000]

    # bursts every 20 s, looked at every second: no jumps between nothing and much
    bursts = [moment(second, 20_000 * (second // 20)) for second in range(200)]
    assert all(speed is not None and 600 < speed < 1100 for speed in speeds(quiet_page, bursts)[60:])

    # a stalled line is slower and slower; a broken or a paused one has no speed
    stalled = [moment(0, 0), moment(1, 1000), moment(10, 1000), moment(100, 1000)]
    assert speeds(quiet_page, stalled)[1:] == [1000, 100, 10]
    for stop in ({"connected": False}, {"paused": True}):
        assert speeds(quiet_page, [*steady, moment(31, 30_000, **stop), moment(32, 30_000)])[-2:] == [None, None]
