"""Takes the pictures of doc/pages.md: the element itself, in Chromium, with uploads in several states at a real server.

`python -m tools.screenshots [DIR]` writes pages-light.png and the others to DIR (default doc/images). Look at each of
them before you commit it. Figures and times differ from run to run.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.conftest import CHROMIUM_ARGUMENTS
from tests.support.app_stub import Answer, Callback
from tests.support.incoming_server import IncomingServer
from tests.support.known_files import make_file
from tests.support.tools import ROOT, chromium_path
from tests.system.e2e.element_app import ElementApp

LARGEST = 150_000
"""Bytes of a picture."""
MOST = 60_000
"""Milliseconds for a state to be reached."""

HEAD = """<meta name="color-scheme" content="light dark">
<style>body { font: 16px/1.4 system-ui, sans-serif; margin: 1rem; } h1 { font-size: 1.5rem; }</style>"""

# `void`: Playwright calls a function that a script leaves.
SLOWLY = """void document.querySelector("incoming-uploader").queue.subscribe(({ uploads }) => {
    for (const one of uploads) if (one.bytes_total > 1e7) one.max_rate ||= 3_000_000;
})"""


@dataclass(frozen=True)
class Names:
    """What the page's files are called, and what the app answers for the refused one."""

    heading: str
    finished: str
    running: str
    paused: str
    refused: str
    waiting: str
    refusal: str


ENGLISH = Names(
    "Films",
    "notes.txt",
    "holiday.mp4",
    "interview with the director, part 1.mov",
    "poster.png",
    "trailer.mov",
    "The poster is there already",
)
ARABIC = Names(
    "الأفلام",
    "ملاحظات.txt",
    "العطلة.mp4",
    "مقابلة مع المخرج، الجزء 1.mov",
    "ملصق.png",
    "إعلان.mov",
    "الملصق موجود بالفعل",
)


@dataclass(frozen=True)
class Picture:
    """One picture; `details` opens those of the running upload."""

    name: str
    width: int = 720
    colours: str = "light"
    lang: str = "en"
    names: Names = ENGLISH
    details: bool = False


PICTURES = [
    Picture("light"),
    Picture("dark", colours="dark"),
    Picture("phone", width=360),
    Picture("arabic", lang="ar", names=ARABIC),
    Picture("details", details=True),
]


class FilmApp(ElementApp):
    """Refuses one file, and is away for another."""

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        self.names = ENGLISH

    def answer(self, callback: Callback) -> Answer:
        answers: Mapping[str, Answer] = {
            self.names.refused: Answer(403, self.names.refusal, {"Content-Type": "text/plain; charset=utf-8"}),
            self.names.waiting: Answer(503, "busy"),
        }
        self.away = answers.get(callback.params.get("filename", "")) if callback.path == "/ticket" else None
        return super().answer(callback)

    def _page(self) -> str:
        return super()._page().replace("<h1>Films", f"<h1>{self.names.heading}")


def prepare(page: Page, picture: Picture, folder: Path) -> None:
    """Bring the page's uploads into their states."""
    names = picture.names
    sizes = {names.finished: 2_700, names.running: 60_000_000, names.paused: 42_000_000, names.refused: 3_400_000}
    sizes[names.waiting] = 30_000_000
    page.evaluate(SLOWLY)
    files = [folder / name for name in sizes]
    for file in files:
        if not file.exists():
            make_file(file, sizes[file.name])
    page.locator("incoming-uploader input[type=file]").first.set_input_files(files)
    rows = page.locator("incoming-row")
    expect(rows).to_have_count(len(files))
    for number, state in enumerate(("finished", "transferring", "transferring", "failed", "waiting")):
        expect(rows.nth(number)).to_have_attribute("data-state", state, timeout=MOST)
    for number in (1, 2):
        expect(rows.nth(number).locator("[part=status]")).to_contain_text("2", timeout=MOST)
    page.wait_for_timeout(5_000)  # for steady rates, which no condition tells
    rows.nth(2).locator("#pause").click()
    expect(rows.nth(2)).to_have_attribute("data-state", "paused", timeout=MOST)
    if picture.details:
        rows.nth(1).locator("summary").click()
        expect(rows.nth(1).locator("dd")).to_have_count(9, timeout=MOST)
    page.mouse.move(0, 0)
    page.wait_for_timeout(1_500)  # the rows that tick have shown it


def take(browser: Browser, app: FilmApp, picture: Picture, folder: Path, target: Path) -> None:
    """Take one picture of the whole page."""
    app.names, app.lang, app.head, app.attributes = picture.names, picture.lang, HEAD, "folders"
    context = browser.new_context(
        viewport={"width": picture.width, "height": 400},
        color_scheme="dark" if picture.colours == "dark" else "light",
        locale=picture.lang,
    )
    page = context.new_page()
    page.goto(app.page_url)
    expect(page.locator("incoming-uploader [part~=choose]")).not_to_be_empty()
    prepare(page, picture, folder)
    page.screenshot(path=target, full_page=True)
    context.close()
    size = target.stat().st_size
    print(f"{target}: {size} bytes")
    if size > LARGEST:
        raise SystemExit(f"{target} has {size} bytes, more than {LARGEST}: make the page smaller")


def main() -> None:
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "doc" / "images"
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        (folder / "files").mkdir()
        (folder / "storage").mkdir()
        server = IncomingServer(folder / "storage").start()
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=CHROMIUM_ARGUMENTS)
        try:
            with FilmApp(server.base_url) as app:
                for picture in PICTURES:
                    take(browser, app, picture, folder / "files", target / f"pages-{picture.name}.png")
        finally:
            browser.close()
            server.kill()


if __name__ == "__main__":
    main()
