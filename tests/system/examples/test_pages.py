"""Both pages in Chromium, with a library whose part the test plays: what users see and can do.

The pages' policy forbids `eval`, so tests poll from here and not by Playwright's `wait_for_function`.
"""

from typing import Any

import pytest
from playwright.sync_api import FilePayload, Page, Route, expect

from tests.support.waiting import wait_until
from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming

ATTACK = "<img src=x onerror=window.pwned=1><script>window.pwned=1</script>"


def a_file(name: str = "file.txt", content: bytes = b"content") -> FilePayload:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def wait_for_uploaders(page: Page, count: int) -> None:
    wait_until(lambda: page.evaluate("window.uploaders.length") >= count, f"{count} uploaders")


def play(page: Page, number: int, **properties: Any) -> None:
    """Change properties of an uploader, as the library would."""
    page.evaluate("([number, properties]) => window.uploaders[number].set(properties)", [number, properties])


def calls_of(page: Page, number: int) -> list[list[str]]:
    calls: list[list[str]] = page.evaluate("(number) => window.uploaders[number].calls", number)
    return calls


def ticket_of(page: Page, number: int) -> str:
    ticket: str = page.evaluate("(number) => window.uploaders[number].upload_id", number)
    return ticket


def drop(page: Page, selector: str, *names: str) -> bool:
    """Drop files on an element; returns whether the page took care of it, so that the browser will not."""
    taken: bool = page.evaluate(
        """([selector, names]) => {
            const data = new DataTransfer();
            for (const name of names) data.items.add(new File(["content"], name));
            const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
            return !document.querySelector(selector).dispatchEvent(event);
        }""",
        [selector, list(names)],
    )
    return taken


def drag_over(page: Page, selector: str) -> str:
    """Drag a file over an element; returns the drop area's classes."""
    classes: str = page.evaluate(
        """(selector) => {
            const data = new DataTransfer();
            data.items.add(new File(["content"], "file.txt"));
            document.querySelector(selector).dispatchEvent(
                new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true }));
            return document.getElementById("drop_area").className;
        }""",
        selector,
    )
    return classes


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


@pytest.mark.promise(119)
@pytest.mark.parametrize("number", [1, 2])
def test_a_missing_library_is_said(
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


@pytest.mark.promise(115, 120, 122)
@pytest.mark.parametrize("number", [1, 2])
def test_texts_of_others_stay_text(
    quiet_page: Page, start_example: StartExample, incoming: FakeIncoming, number: int
) -> None:
    page = quiet_page
    app = start_example(number)
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


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_sticks_out(quiet_page: Page, start_example: StartExample, number: int, width: int) -> None:
    page = quiet_page
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(start_example(number).url)
    page.set_input_files("#input_file", a_file("long" * 60 + ".txt"))
    wait_for_uploaders(page, 1)
    play(page, 0, bytes_total=10**13, bytes_tx=10**13, state_msg="x" * 200, error_msg="y" * 200)
    assert page.evaluate("document.documentElement.scrollWidth") == width


# --- Example 2


@pytest.mark.promise(121, 124)
def test_dynamic_uploads_one_after_the_other(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    for number, ending in enumerate([{"finished": True}, {"cancelled": True}, {"failed": True}, {"finished": True}]):
        expect(page.locator("#input_file")).to_be_enabled()
        page.set_input_files("#input_file", a_file("same.txt"))
        wait_for_uploaders(page, number + 1)
        expect(page.locator("#input_file")).to_be_disabled()
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
    expect(cancel).to_be_disabled()  # a paused upload cannot be cancelled
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
    page.set_input_files("#input_file", [a_file("a"), a_file("b")])
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
def test_dynamic_details_are_about_the_row_that_is_clicked(quiet_page: Page, dynamic: ExampleApp) -> None:
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


@pytest.mark.promise(121)
def test_dynamic_without_a_ticket(page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    incoming.failures.append((507, "disk full"))
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file())
    expect(page.locator("#stats_error_msg")).to_have_text("incoming!! error: 507 disk full")
    expect(page.locator(".row.failed .numbers")).to_have_text("7 bytes · incoming!! error: 507 disk full")
    expect(page.locator("#input_file")).to_be_enabled()
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)
    expect(page.locator("#stats_error_msg")).to_be_hidden()


def test_dynamic_without_its_own_backend(page: Page, dynamic: ExampleApp) -> None:
    page.goto(dynamic.url)
    page.route("**/request_upload*", lambda route: route.abort("connectionrefused"))
    page.set_input_files("#input_file", a_file())
    expect(page.locator("#stats_error_msg")).to_have_text("no answer from this app. Is it running?")
    expect(page.locator("#input_file")).to_be_enabled()
    page.unroute("**/request_upload*")
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)


@pytest.mark.promise(122, 124)
def test_dynamic_waits_for_the_end_of_a_passing_error(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    page.set_input_files("#input_file", a_file())
    wait_for_uploaders(page, 1)
    play(page, 0, connected=False, error_code=300, error_msg="disk full", state_msg="trying again soon")
    expect(page.locator("#stats_error_msg")).to_have_text("disk full")
    expect(page.locator(".row .numbers")).to_have_text("0 % · 0 bytes of 7 bytes · trying again soon")
    expect(page.locator("#input_file")).to_be_disabled()
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
                      bytes_acked: 3, last_activity: 1700000000000 }];
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


def test_dynamic_goes_on_with_an_unfinished_upload(
    quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming
) -> None:
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
def test_durations(quiet_page: Page, simple: ExampleApp, seconds: float, text: str) -> None:
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


def test_speed(quiet_page: Page, simple: ExampleApp) -> None:
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
