"""Example 1's page for people who use a telephone, their own colours, another script. The test plays the library."""

import base64
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.support.waiting import wait_until
from tests.system.examples.example_app import ExampleApp
from tests.system.examples.fake_incoming import FakeIncoming
from tests.system.examples.played_library import a_file, drop, play, wait_for_uploaders


def choose_name(page: Page, name: str) -> None:
    page.set_input_files("#input_file", a_file(name))
    wait_for_uploaders(page, 1)


# --- On a telephone


@pytest.mark.parametrize("name", ["long" * 40 + ".txt", "\u05d0" * 200])
def test_a_phone_shows_the_whole_page(quiet_page: Page, simple: ExampleApp, name: str) -> None:
    page = quiet_page
    page.set_viewport_size({"width": 320, "height": 640})
    page.goto(simple.url)
    choose_name(page, name)
    play(page, 0, bytes_total=10**13, bytes_tx=10**13, state_msg="word " * 40, connected=False)
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


@pytest.mark.parametrize("state", ["under way", "failed"])
def test_the_progress_bar_is_visible_in_forced_colours(forced_page: Page, simple: ExampleApp, state: str) -> None:
    page = forced_page
    page.goto(simple.url)
    choose_name(page, "file.txt")
    play(page, 0, frac_complete=0.5, failed=state == "failed", error_msg="", error_code=None)
    bar = "#stats_progress_bar"
    wait_until(lambda: len(set(colours(page, bar))) == 2, "what is done to be told from the rest")
    border = page.evaluate("(bar) => getComputedStyle(document.querySelector(bar)).borderTopWidth", bar)
    assert border == "1px", "where it ends cannot be seen"


# --- In other scripts, and with what cannot be seen


def test_the_direction_of_a_name_does_not_affect_other_text(
    quiet_page: Page, simple: ExampleApp, incoming: FakeIncoming
) -> None:
    page, app = quiet_page, simple
    page.goto(app.url)
    hebrew = "\u05d4\u05e8\u05e6\u05d0\u05d4 1.pdf"
    choose_name(page, hebrew)
    incoming.hand_over(incoming.last_ticket(), b"content", hebrew)
    wait_until(lambda: hebrew in app.contents() and app.is_at_rest(), "the file to be taken")
    expect(page.locator("#stats_file_name bdi")).to_have_text(hebrew)
    page.goto(app.url)
    expect(page.locator("#uploaded_files_list a bdi")).to_have_text(hebrew)
    link, size = page.locator("#uploaded_files_list a"), page.locator("#uploaded_files_list .numbers")
    left, right = link.bounding_box(), size.bounding_box()
    assert left
    assert right
    assert left["x"] < right["x"], "the size is behind the name, as for any other"


def test_invisible_characters_in_names_are_shown(quiet_page: Page, simple: ExampleApp) -> None:
    page = quiet_page
    page.goto(simple.url)
    drop(page, "#drop_area", "exe.\u202egpj\u200d\n\u2066.bat")
    wait_for_uploaders(page, 1)
    shown = page.locator("#stats_file_name")
    assert shown.text_content() == "exe.\u2039U+202E\u203agpj\u200d\u2039U+000A\u203a\u2039U+2066\u203a.bat"
    assert page.evaluate("window.uploaders[0].filename") == "exe.\u202egpj\u200d\n\u2066.bat"
