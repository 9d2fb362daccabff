"""The examples' pages for people who use no mouse, a telephone, their own colours, a screen reader, another script.

The library's part is played by the test. What a screen reader gets is asserted: the accessibility tree, and every text
that came into a live region.
"""

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, FileChooser, Page, expect

from tests.support.waiting import wait_until
from tests.system.examples.conftest import StartExample
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming
from tests.system.examples.played_library import a_file, calls_of, drop, play, uploader_of, wait_for_uploaders

LISTEN = """
window.heard = [];
new MutationObserver((changes) => {
    for (const { target, addedNodes } of changes) {
        const element = target instanceof Element ? target : target.parentElement;
        const region = element?.closest("[role=log], [role=status], [role=alert], [aria-live]") ?? null;
        const text = Array.from(addedNodes, (node) => node.textContent).join("");
        if (region !== null && text !== "") window.heard.push(text);
    }
}).observe(document, { subtree: true, childList: true, characterData: true });
"""


def heard(page: Page) -> list[str]:
    """What was said to a screen reader so far."""
    sentences: list[str] = page.evaluate("window.heard")
    return sentences


@pytest.fixture
def listening_page(quiet_page: Page) -> Page:
    quiet_page.add_init_script(LISTEN)
    return quiet_page


def choose_names(page: Page, *names: str) -> None:
    """Choose files, and wait until as many of them as may have an uploader."""
    before = page.evaluate("window.uploaders.length")
    page.set_input_files("#input_file", [a_file(name) for name in names])
    wait_for_uploaders(page, before + min(len(names), 4))


def focused(page: Page) -> str:
    """The name of what has the keyboard's focus."""
    name: str = page.evaluate(
        """() => {
            const { tagName, id, ariaLabel, textContent } = document.activeElement;
            return tagName === "BODY" ? "" : ariaLabel ?? (id || textContent);
        }"""
    )
    return name


def tab_to(page: Page, name: str) -> None:
    """Press Tab until `name` has the focus, which has to be visible then."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if focused(page) == name:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert outline != "none", f"nobody sees that {name} has the focus"
            return
    raise AssertionError(f"no way to {name} by the keyboard")


# --- By keyboard alone


@pytest.mark.promise(123)
def test_everything_can_be_done_by_keyboard(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    page.goto(dynamic.url)
    tab_to(page, "input_file")
    page.keyboard.press("Enter")
    wait_until(lambda: page.title() and choosers, "the browser's dialog")
    choosers[0].set_files([a_file("first"), a_file("second")])
    wait_for_uploaders(page, 2)
    first, second = (uploader_of(page, name) for name in ("first", "second"))

    tab_to(page, "second")
    page.keyboard.press("Enter")
    expect(page.locator("#stats_heading")).to_have_text("second")
    tab_to(page, "Pause second")
    page.keyboard.press("Space")
    assert focused(page) == "Resume second", "one key pauses, the same resumes"
    page.keyboard.press("Space")
    assert calls_of(page, second)[1:] == [["pause", "toggle"], ["pause", "toggle"]]
    play(page, second, can_pause=False)
    assert focused(page) == "Pause second", "a button that is disabled for a moment keeps its user"
    expect(page.locator(".row:nth-child(2) .pause")).to_be_disabled()
    page.keyboard.press("Space")
    assert len(calls_of(page, second)) == 3, "but does nothing"
    play(page, second, can_pause=True)
    tab_to(page, "input_pause")
    page.keyboard.press("Space")
    expect(page.locator("#stats_state_msg")).to_have_text("paused")
    tab_to(page, "input_btn_cancel")
    page.keyboard.press("Enter")
    assert calls_of(page, second)[-1] == ["cancel", "cancelled by the user"]

    page.locator("#input_file").focus()
    tab_to(page, "Cancel first")
    page.keyboard.press("Enter")
    play(page, first, cancelled=True)
    assert focused(page) == "first", "the buttons are gone, the place in the list is not"


def test_the_focus_survives_changes_of_the_page(quiet_page: Page, dynamic: ExampleApp, incoming: FakeIncoming) -> None:
    page = quiet_page
    assert incoming.library is not None
    incoming.library += """
        const remembered = ["one", "two"].map((name) =>
            ({ ticket: name, name, size: 7, last_modified: 0, bytes_acked: 3, last_activity: 0 }));
        incoming.unfinished = () => remembered.slice();
        incoming.forget = (ticket) => {
            remembered.splice(0, remembered.length, ...remembered.filter((upload) => upload.ticket !== ticket));
        };
    """
    page.goto(dynamic.url)
    choose_names(page, "a.txt", "b.txt")
    for number, name in enumerate(("a.txt", "b.txt")):
        ticket = page.evaluate("(n) => window.uploaders[n].upload_id", uploader_of(page, name))
        incoming.hand_over(ticket, b"content")
        wait_until(lambda count=number + 1: len(dynamic.contents()) == count and dynamic.is_at_rest(), "the file")
        play(page, uploader_of(page, name), finished=True)
        expect(page.locator("#uploaded_files_list a")).to_have_count(number + 1)
        if number == 0:
            page.locator("#uploaded_files_list a").focus()
    assert focused(page) == "a.txt"
    page.locator("#unfinished_list button").nth(0).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#unfinished_list button")).to_have_count(1)
    assert focused(page) == "Forget two"
    page.keyboard.press("Enter")
    expect(page.locator("#unfinished")).to_be_hidden()
    assert focused(page) == "input_file"


# --- By ear


@pytest.mark.promise(122, 123)
def test_every_control_has_a_name_for_screen_readers(quiet_page: Page, dynamic: ExampleApp) -> None:
    page = quiet_page
    page.goto(dynamic.url)
    choose_names(page, "done.txt", "paused.txt", "failed.txt")
    play(page, uploader_of(page, "done.txt"), frac_complete=1, finished=True, state_msg="all done")
    page.click(".row:nth-child(2) .pause")
    play(page, uploader_of(page, "failed.txt"), failed=True, error_code=303, error_msg="not wanted")
    page.click(".row:nth-child(2) .file_name")
    expect(page.locator("main")).to_match_aria_snapshot(
        """
        - main:
          - heading "Upload files" [level=1]
          - region "Choose files":
            - button "Drop files or folders here, or choose files"
          - region "Uploads on this page":
            - heading "Uploads on this page" [level=2]
            - list:
              - listitem:
                - button "done.txt"
                - progressbar "Progress of done.txt"
                - text: 7 bytes · finished, the app has it
              - listitem:
                - button "paused.txt"
                - progressbar "Progress of paused.txt"
                - text: 0 % · 0 bytes of 7 bytes · paused
                - button "Resume paused.txt"
                - button "Cancel paused.txt"
              - listitem:
                - button "failed.txt"
                - progressbar "Progress of failed.txt"
                - text: not wanted
                - button "Try again failed.txt"
          - region "paused.txt":
            - heading "paused.txt" [level=2]
            - progressbar "Progress of the upload"
            - paragraph: paused
            - checkbox "Pause" [checked]
            - button "Cancel"
          - region "Uploaded files":
            - heading "Uploaded files" [level=2]
          - log "What has happened"
        """
    )
    expect(page.locator(".row .file_name").nth(1)).to_have_attribute("aria-current", "true")


def test_screen_readers_announce_each_outcome_once(listening_page: Page, dynamic: ExampleApp) -> None:
    page = listening_page
    page.goto(dynamic.url)
    choose_names(page, "done.txt", "failed.txt", "cancelled.txt")
    uploader = uploader_of(page, "done.txt")
    for part in (0.2, 0.5, 1):
        play(page, uploader, frac_complete=part, state_msg=f"{part}")
    play(page, uploader, finished=True, state_msg="all done")
    wait_until(lambda: len(heard(page)) == 2, "the end of the first to be said")
    play(page, uploader_of(page, "failed.txt"), failed=True, error_code=303, error_msg="not wanted")
    play(page, uploader_of(page, "cancelled.txt"), cancelled=True)
    wait_until(lambda: len(heard(page)) == 4, "the others' end to be said")
    play(page, uploader, chunks_ahead=0)
    page.wait_for_timeout(1200)  # longer than news are gathered, and than the page looks at its uploads
    expected = ["3 files added", "done.txt: finished", "failed.txt: failed, not wanted", "cancelled.txt: cancelled"]
    assert heard(page) == expected, "each end once, and no progress"


def test_outcomes_at_the_same_time_are_announced_in_one_sentence(listening_page: Page, dynamic: ExampleApp) -> None:
    page = listening_page
    page.goto(dynamic.url)
    choose_names(page, "a", "b", "c", "d")
    page.evaluate("window.uploaders.forEach((uploader) => uploader.set({ finished: true }))")
    wait_until(lambda: len(heard(page)) == 2, "their end to be said")
    [sentence] = heard(page)[1:]
    assert sentence.startswith("4 files finished: ")
    assert sentence.endswith(" and 1 more")


def test_an_unavailable_app_is_announced_once(page: Page, dynamic: ExampleApp) -> None:
    page.add_init_script(LISTEN)
    page.goto(dynamic.url)
    page.route("**/request_upload*", lambda route: route.abort())
    page.set_input_files("#input_file", [a_file(str(number)) for number in range(6)])
    expect(page.locator(".row .numbers").first).to_contain_text("Next try in 2 s.")
    away = "no answer from this app. Is it running? Uploads that have no ticket yet wait for it."
    assert heard(page) == ["6 files added", away]
    page.unroute("**/request_upload*")
    page.click(".row .retry")
    wait_for_uploaders(page, 4)
    assert heard(page) == ["6 files added", away]


def test_unreadable_files_are_announced(listening_page: Page, simple: ExampleApp, dynamic: ExampleApp) -> None:
    page = listening_page
    page.goto(dynamic.url)
    page.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File([], "x"));
            const entry = { isDirectory: true, name: "folder", createReader: () => ({
                readEntries: (resolve, reject) => reject(new Error("no permission")) }) };
            DataTransferItem.prototype.webkitGetAsEntry = () => entry;
            document.getElementById("drop_area").dispatchEvent(
                new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
        }"""
    )
    expect(page.locator("#drop_problems")).to_have_text("“folder” cannot be read: no permission")
    assert heard(page) == ["“folder” cannot be read: no permission"]


# --- On a telephone


@pytest.mark.parametrize("number", [1, 2])
def test_a_phone_shows_the_whole_page(quiet_page: Page, start_example: StartExample, number: int) -> None:
    page = quiet_page
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(start_example(number).url)
    names = ["long" * 40 + ".txt", "\u05d0" * 200, "two.txt", "three.txt"][: 4 if number == 2 else 1]
    choose_names(page, *names)
    for uploader in range(len(names)):
        play(page, uploader, bytes_total=10**13, bytes_tx=10**13, state_msg="word " * 40, connected=False)
    play(page, 0, failed=True, error_code=303, error_msg="https://example.org/" + "long" * 50)
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    small = page.evaluate(
        """() => Array.from(document.querySelectorAll("button, input"))
            .filter((control) => control.offsetParent !== null && control.type !== "checkbox")
            .map((control) => [control.outerHTML, control.getBoundingClientRect()])
            .filter(([, { left, right, height }]) => left < 0 || right > 320 || height < 24)"""
    )
    assert small == []


# --- In the user's own colours


@pytest.fixture
def forced_page(chromium: Browser) -> Iterator[Page]:
    context = chromium.new_context(forced_colors="active")
    yield context.new_page()
    context.close()


def colours(page: Page, selector: str) -> tuple[str, str]:
    """The colours that an element has at a quarter and at three quarters of its width."""
    picture = base64.b64encode(page.locator(selector).screenshot()).decode()
    left, right = page.evaluate(
        """async (picture) => {
            const image = new Image();
            image.src = "data:image/png;base64," + picture;
            await image.decode();
            const canvas = new OffscreenCanvas(image.width, image.height);
            const context = canvas.getContext("2d");
            context.drawImage(image, 0, 0);
            const [width, y] = [image.width, Math.floor(image.height / 2)];
            const colour = (part) => context.getImageData(Math.floor(part * width), y, 1, 1).data.slice(0, 3).join();
            return [colour(0.25), colour(0.75)];
        }""",
        picture,
    )
    return left, right


@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.parametrize("state", ["under way", "failed"])
def test_progress_bars_are_visible_in_forced_colours(
    forced_page: Page, start_example: StartExample, number: int, state: str
) -> None:
    page = forced_page
    page.goto(start_example(number).url)
    choose_names(page, "file.txt")
    play(page, 0, frac_complete=0.5, failed=state == "failed", error_msg="", error_code=None)
    bars = ["#stats_progress_bar"] if number == 1 else ["#stats_progress_bar", ".row progress"]
    for bar in bars:
        wait_until(lambda bar=bar: len(set(colours(page, bar))) == 2, f"{bar}: what is done to be told from the rest")
        border = page.evaluate("(bar) => getComputedStyle(document.querySelector(bar)).borderTopWidth", bar)
        assert border == "1px", f"{bar}: where it ends cannot be seen"


# --- In other scripts, and with what cannot be seen


@pytest.mark.parametrize("number", [1, 2])
def test_the_direction_of_a_name_does_not_affect_other_text(
    quiet_page: Page, start_example: StartExample, incoming: FakeIncoming, number: int
) -> None:
    page = quiet_page
    app = start_example(number, *(["--delay", "0"] if number == 2 else []))
    page.goto(app.url)
    hebrew = "\u05d4\u05e8\u05e6\u05d0\u05d4 1.pdf"
    choose_names(page, hebrew)
    names = ["#stats_file_name"] if number == 1 else ["#stats_heading", ".row .file_name"]
    incoming.hand_over(incoming.last_ticket(), b"content", hebrew)
    wait_until(lambda: hebrew in app.contents() and app.is_at_rest(), "the file to be taken")
    for name in names:
        expect(page.locator(f"{name} bdi")).to_have_text(hebrew)
    page.goto(app.url)
    expect(page.locator("#uploaded_files_list a bdi")).to_have_text(hebrew)
    link, size = page.locator("#uploaded_files_list a"), page.locator("#uploaded_files_list .numbers")
    left, right = link.bounding_box(), size.bounding_box()
    assert left
    assert right
    assert left["x"] < right["x"], "the size is behind the name, as for any other"


@pytest.mark.parametrize("number", [1, 2])
def test_invisible_characters_in_names_are_shown(quiet_page: Page, start_example: StartExample, number: int) -> None:
    page = quiet_page
    page.goto(start_example(number).url)
    drop(page, "#drop_area", "exe.\u202egpj\u200d\n\u2066.bat")
    wait_for_uploaders(page, 1)
    shown = page.locator("#stats_file_name" if number == 1 else ".row .file_name")
    assert shown.text_content() == "exe.\u2039U+202E\u203agpj\u200d\u2039U+000A\u203a\u2039U+2066\u203a.bat"
    assert page.evaluate("window.uploaders[0].filename") == "exe.\u202egpj\u200d\n\u2066.bat"
